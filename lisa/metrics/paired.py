"""Paired differences between arms: all arms saw the same scenes, so most of what varies cancels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import ndtr, stdtrit  # scipy.stats takes a second to import

LEAST = 16
"""Differences that an interval takes: the bootstrap of fewer is too coarse to be widened into a true one."""
_DRAWS = 2000


def paired_difference(values: np.ndarray, reference: np.ndarray) -> tuple[float, tuple[float, float] | None]:
    """The mean difference of two arms over scenes, with a 95 % bootstrap interval over scenes (fixed resamples).

    The percentile interval of n differences is too narrow by about sqrt((n - 1) / n) times the ratio of the normal to
    Student's quantile, so it is expanded by as much (Hesterberg 2015, "What teachers should know about the
    bootstrap", The American Statistician 69, section 5.3).

    Args:
        values: (N,) of one arm; NaN where there was nothing to measure.
        reference: (N,) of the other.

    Returns:
        Mean of values - reference, and low and high; no interval from fewer than ``LEAST`` differences.
    """
    difference = (values - reference)[~np.isnan(values - reference)]
    count = len(difference)
    mean = float(difference.mean()) if count else math.nan
    if count < LEAST:
        return mean, None
    draws = np.random.default_rng(0).integers(count, size=(_DRAWS, count))
    tail = ndtr(math.sqrt(count / (count - 1)) * stdtrit(count - 1, 0.025))
    low, high = np.quantile(difference[draws].mean(1), (tail, 1 - tail))
    return mean, (float(low), float(high))


def difference_words(row: Mapping[str, Any], key: str, digits: int) -> str:
    """A measured difference with its interval, as ``lisa.evaluate`` stores them; empty for the first arm.

    Args:
        row: of one arm and training step.
        key: "loss" or "fidelity".
        digits: after the point.
    """
    if f"{key}_difference" not in row:
        return ""
    words = f"{row[f'{key}_difference']:+.{digits}f}"
    if f"{key}_interval" not in row:
        return f"{words} (too few for an interval)"
    low, high = row[f"{key}_interval"]
    return f"{words} ({low:+.{digits}f} to {high:+.{digits}f})"
