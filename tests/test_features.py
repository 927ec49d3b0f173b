"""The factorial probe: every cell once, the same for every arm, and features as the side network computes them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lisa.errors import LisaError
from lisa.features import FACTORS, build_probe, collect_features
from lisa.options import check
from lisa.projection import nearest, project
from lisa.settings import FeatureSettings
from tests import tiny

SETTINGS = FeatureSettings(scenes=4, noises=2, prompts="own,empty,other", timesteps="100,900")


@pytest.fixture(scope="module")
def probe():
    return build_probe(tiny.cached_family("scenes-unet"), "depth", SETTINGS)


def test_the_design_is_complete_and_balanced(probe):
    assert len(probe) == SETTINGS.rows() == 4 * 3 * 2 * 2
    cells = set(zip(*(probe.factors[name] for name in FACTORS[:4]), strict=True))
    assert len(cells) == len(probe) and set(probe.factors) == set(FACTORS)
    assert {np.sum(probe.factors["timestep"] == t) for t in (100, 900)} == {len(probe) // 2}


def test_rows_are_what_they_say(probe):
    family = tiny.cached_family("scenes-unet")
    own, empty, other = (np.flatnonzero(probe.factors["prompt"] == kind) for kind in ("own", "empty", "other"))
    assert all(probe.prompts[i] == probe.captions[probe.factors["scene"][i]] for i in own)
    assert all(probe.prompts[i] == "" for i in empty)
    assert all(probe.prompts[i] != probe.captions[probe.factors["scene"][i]] for i in other)
    times = probe.timesteps
    assert times[probe.factors["timestep"] == 100].max() < times[probe.factors["timestep"] == 900].min()
    # The same cell under another prompt has the same noisy sample, another noise has another.
    first = {name: values[0] for name, values in probe.factors.items()}
    same = [
        i for i in range(len(probe)) if all(probe.factors[n][i] == first[n] for n in ("scene", "noise", "timestep"))
    ]
    assert len(same) == 3 and all(np.array_equal(probe.samples[i], probe.samples[0]) for i in same)
    assert np.isfinite(probe.samples).all() and probe.samples.shape[1] == family.latent_channels


def test_factors_name_the_largest_object(probe):
    from lisa.scenes.example import render_example
    from lisa.scenes.scene import split_seed

    for scene in range(4):
        example = render_example(split_seed("test", scene))
        counts = [np.sum(example.maps.instances == i + 2) for i in range(len(example.scene.things))]
        row = np.flatnonzero(probe.factors["scene"] == scene)[0]
        assert probe.factors["shape"][row] == example.scene.things[int(np.argmax(counts))].shape


def test_features_are_those_of_a_single_pass(probe):
    family = tiny.cached_family("scenes-unet")
    side = family.new_side(0).eval()
    tap = family.default_taps(side)[0]
    got = collect_features(family, side, probe, [tap.name, "mid"], "flatten")
    i = 17
    condition = torch.from_numpy(probe.conditions[probe.factors["scene"][i]]).permute(2, 0, 1)[None] / 255
    sample, time = (torch.from_numpy(part[i : i + 1]) for part in (probe.samples, probe.timesteps))
    with torch.no_grad():
        text, map_ = family.encode_text([probe.prompts[i]]), family.encode_condition(condition)
        prediction = family.predict(sample, time, text, side, map_, taps=[tap.name])
    assert got[tap.name].shape[0] == len(probe)
    assert np.allclose(got[tap.name][i], prediction.features[tap.name].flatten().numpy(), atol=1e-4)
    mean = collect_features(family, side, probe, [tap.name], "mean")[tap.name]
    assert mean.shape == (len(probe), tap.channels)
    assert np.allclose(mean, got[tap.name].reshape(len(probe), tap.channels, -1).mean(2), atol=1e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prompts": "own,mine"}, "'mine'"),
        ({"prompts": "own,own"}, "once"),
        ({"timesteps": "100,1000"}, "0 to 999"),
        ({"timesteps": "5,5"}, "different"),
        ({"scenes": 1}, "scenes"),
    ],
)
def test_wrong_designs_are_refused(change, words):
    with pytest.raises(LisaError, match=words):
        check(replace(SETTINGS, **change))


@pytest.mark.parametrize("method", ["umap", "pca"])
def test_projection_is_joint_and_repeatable(method):
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(0, 0.1, (30, 6)), rng.normal(5, 0.1, (30, 6))])
    sets = {"baseline": rows, "lisa": rows[:40]}
    first, second = project(sets, method), project(sets, method)
    assert first["baseline"].shape == (60, 2) and first["lisa"].shape == (40, 2)
    assert all(np.array_equal(first[name], second[name]) for name in sets)
    # Equal rows of two sets lie together, and the two clusters lie apart.
    centre = [first["baseline"][part].mean(0) for part in (slice(0, 30), slice(30, 60))]
    apart = np.linalg.norm(centre[0] - centre[1])
    assert np.linalg.norm(first["baseline"][:30] - first["lisa"][:30], axis=1).max() < apart / 2


def test_neighbours_are_sought_in_the_full_space():
    rows = np.array([[0.0, 0], [5, 0], [1, 0], [0, 2]])
    found, distances = nearest(rows, rows[0], 3)
    assert found.tolist() == [0, 2, 3] and distances.tolist() == [0, 1, 2]
