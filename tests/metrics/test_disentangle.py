"""Measures of what features know, on features whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from lisa.metrics import disentangle as d

SCENES, TIMES = 40, 5
RNG = np.random.default_rng(0)
scenes = np.repeat(np.arange(SCENES), TIMES)
times = np.tile(np.arange(TIMES), SCENES)
colors = np.repeat(RNG.integers(3, size=SCENES), TIMES)
noise = RNG.normal(size=(SCENES * TIMES, 30))


def features(color=0.0, time=0.0, scale=1.0):
    """Channel 0..2 show the colour, 3..7 the time, and all have noise."""
    out = scale * noise.copy()
    out[np.arange(len(out)), colors] += color
    out[np.arange(len(out)), 3 + times] += time
    return out


def test_variance_shares_of_a_balanced_design_add_up():
    rows = features(time=3, scale=0) + np.repeat(RNG.normal(size=(SCENES, 30)), TIMES, 0)
    gram = d.gram_matrix(rows)
    shares = [d.variance_share(gram, labels) for labels in (scenes, times)]
    assert sum(shares) == pytest.approx(1, abs=1e-9) and min(shares) > 0.05
    assert d.variance_share(gram, np.arange(len(rows))) == pytest.approx(1)


def test_silhouette_is_scikit_learns():
    rows = features(color=4)
    assert d.silhouette(d.gram_matrix(rows), colors) == pytest.approx(silhouette_score(rows, colors), abs=1e-6)


def test_cka_knows_itself_and_not_a_stranger():
    rows = RNG.normal(size=(60, 500))
    turned = rows @ np.linalg.qr(RNG.normal(size=(500, 500)))[0]
    gram = d.gram_matrix(rows)
    assert d.linear_cka(gram, d.gram_matrix(turned)) == pytest.approx(1, abs=1e-6)
    assert abs(d.linear_cka(gram, d.gram_matrix(RNG.normal(size=(60, 500))))) < 0.1


@pytest.mark.parametrize(("strength", "known"), [(4.0, True), (0.0, False)])
def test_probe_finds_what_is_there_and_nothing_else(strength, known):
    gram = d.gram_matrix(features(color=strength))
    figure = d.probe_accuracy(gram, colors, scenes)
    assert figure.above_null == known and figure.low < figure.value < figure.high
    assert (figure.value > 0.85) == known


@pytest.mark.parametrize(("strength", "known"), [(2.0, True), (0.0, False)])
def test_variance_share_has_a_null(strength, known):
    gram = d.gram_matrix(features(time=strength))
    figure = d.measured(lambda rows, labels: d.variance_share(gram[np.ix_(rows, rows)], labels), times, scenes)
    assert figure.above_null == known


def test_intervals_come_from_scenes_not_rows():
    """Rows of a scene that repeat each other must not shrink the interval."""
    once = np.random.default_rng(1).normal(size=(SCENES, 30)) + 1.5 * np.eye(30)[colors[::TIMES]]
    few = d.probe_accuracy(d.gram_matrix(once), colors[::TIMES], np.arange(SCENES))
    many = d.probe_accuracy(d.gram_matrix(np.repeat(once, TIMES, 0)), colors, scenes)
    assert many.high - many.low > 0.7 * (few.high - few.low)


def test_scene_itself_is_asked_across_the_design():
    rows = np.repeat(RNG.normal(size=(SCENES, 30)), TIMES, 0) + 0.1 * noise
    figure = d.probe_accuracy(d.gram_matrix(rows), scenes, scenes)
    assert figure.value > 0.95 and figure.null < 0.2


def test_permutations_keep_a_factors_kind():
    rng = np.random.default_rng(0)
    across = d.permuted(colors, scenes, rng)
    assert all(len(set(across[scenes == s])) == 1 for s in range(SCENES))
    within = d.permuted(times, scenes, rng)
    assert all(sorted(within[scenes == s]) == list(range(TIMES)) for s in range(SCENES))
    assert not np.array_equal(across, colors) and not np.array_equal(within, times)


def test_dci_tells_separate_channels_from_mixed_ones():
    factors = {"color": colors, "time": times}
    clean = features(color=5, time=5, scale=0.3)[:, :8]
    mixed = clean @ np.linalg.qr(np.random.default_rng(3).normal(size=(8, 8)))[0]
    apart, together = d.dci(clean, factors, scenes), d.dci(mixed, factors, scenes)
    # Completeness cannot be high: a factor of five groups needs most of eight channels.
    for name, gap in (("disentanglement", 0.4), ("completeness", 0.15)):
        assert apart[name].value > together[name].value + gap and apart[name].above_null
    assert apart["informativeness"].value > 0.9 and together["informativeness"].value > 0.9
    nothing = d.dci(noise, factors, scenes)
    assert nothing["informativeness"].value < 0.3 and not nothing["disentanglement"].above_null


def test_other_scenes_keep_the_cell():
    cells = np.tile(np.arange(TIMES), SCENES) + 100 * scenes
    moved = d.other_scenes(cells, scenes, np.random.default_rng(0))
    assert np.array_equal(moved % 100, times) and not np.array_equal(moved, cells)
    assert all(len(set(moved[scenes == s] // 100)) == 1 for s in range(SCENES))
