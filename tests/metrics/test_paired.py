"""Paired differences: their intervals hold what they promise, for few scenes too."""

from __future__ import annotations

import numpy as np
import pytest

from lisa.metrics.paired import LEAST, difference_words, paired_difference


def test_the_interval_covers_the_truth_and_missing_values_are_left_out():
    rng = np.random.default_rng(1)
    base = rng.normal(size=400)
    values = base + 0.1 + 0.05 * rng.normal(size=400)
    values[3] = np.nan
    mean, (low, high) = paired_difference(values, base)
    assert low < mean < high and low > 0.08 and high < 0.12


@pytest.mark.parametrize("count", [LEAST, 64])
def test_nineteen_of_twenty_intervals_hold_the_truth(count):
    """600 experiments: 95 % +- 1.8 % by chance; the plain percentile interval of 16 holds it in 91 %."""
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(600):
        _, (low, high) = paired_difference(rng.normal(size=count), np.zeros(count))
        held += low < 0 < high
    assert 0.93 <= held / 600 <= 0.975


def test_fewer_differences_have_no_interval():
    values = np.arange(LEAST, dtype=float)
    assert paired_difference(values, np.zeros(LEAST))[1] is not None
    values[0] = np.nan
    assert paired_difference(values, np.zeros(LEAST)) == (np.nanmean(values), None)


def test_differences_in_words():
    assert difference_words({"loss": 0.2}, "loss", 3) == ""
    assert difference_words({"loss_difference": -0.1}, "loss", 3) == "-0.100 (too few for an interval)"
    row = {"loss_difference": -0.1, "loss_interval": (-0.2, 0.0)}
    assert difference_words(row, "loss", 3) == "-0.100 (-0.200 to +0.000)"
