"""A study: its rows against each other, its arms against each other, and how it reports itself."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
import torch

from lisa.settings import FeatureSettings
from lisa.study import Study, run_study
from tests import tiny

SETTINGS = FeatureSettings(scenes=6, noises=2, prompts="own", timesteps="100,900", method="pca")
KEY = (1, "baseline", "mid")


def trained(family):
    """A side network that is no copy of the main network any more."""
    side, generator = family.new_side(0), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in side.parameters():
            weights.add_(0.1 * torch.randn(weights.shape, generator=generator))
    return side


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def study(told):
    family = tiny.cached_family("scenes-unet")
    sides = {(1, "baseline"): partial(family.new_side, 0), (1, "lisa"): partial(trained, family)}
    sides[1, "twin"] = sides[1, "baseline"]
    return run_study(family, "depth", sides, ("mid",), SETTINGS, lambda *each: told.append(each))


def test_neighbours_are_other_scenes_each_once_and_nearest_first(study):
    scenes = study.probe.factors["scene"]
    near = study.neighbors(KEY, 0, 4)
    rows, distances = zip(*near, strict=True)
    assert len({scenes[0], *scenes[list(rows)]}) == 5 and list(distances) == sorted(distances)
    for row, distance in near:
        from_here = np.linalg.norm(study.features[KEY] - study.features[KEY][0], axis=1)
        assert distance == pytest.approx(from_here[scenes == scenes[row]].min())
    assert len(study.neighbors(KEY, 0, 99)) == SETTINGS.scenes - 1


def test_every_other_arm_is_held_against_the_first_on_the_same_resamples(study):
    by_arm = {arm: [row for row in study.table if row.arm == arm] for arm in ("baseline", "lisa", "twin")}
    assert all(row.difference is None for row in by_arm["baseline"])
    for first, other, twin in zip(*by_arm.values(), strict=True):
        assert other.difference.value == pytest.approx(other.figure.value - first.figure.value)
        spread = 1.96 * np.std(np.subtract(other.figure.draws, first.figure.draws))
        assert other.difference.high - other.difference.value == pytest.approx(spread)
        # Two networks with the same weights do not differ, and nothing is uncertain about that.
        assert twin.difference.value == twin.difference.low == twin.difference.high == 0
    assert any(row.difference.high > row.difference.low for row in by_arm["lisa"])


def test_every_value_lies_in_its_interval_and_has_a_null(study):
    for row in study.table:
        assert row.figure.low <= row.figure.value <= row.figure.high
        assert np.isfinite(row.figure.null), row


def test_a_study_is_one_whole_from_beginning_to_end(study, told):
    assert isinstance(study, Study)
    done = [each[1] for each in told]
    assert done == sorted(done) and (done[0], done[-1]) == (0, 1000) and {total for *_, total in told} == {1000}
    assert [*dict.fromkeys(what for what, *_ in told)] == [
        "rendering scenes", "features of baseline, step 1", "features of lisa, step 1", "features of twin, step 1",
        "projecting mid", "measuring",
    ]  # fmt: skip


def test_a_study_is_plain_json_without_its_resamples(study):
    plain = json.loads(json.dumps(study.plain()["table"], allow_nan=False))
    assert plain[0]["difference"] is None and "draws" not in plain[0]["figure"]
    assert {"value", "low", "high", "null"} == set(plain[-1]["difference"])
