"""Measures of what features know, on features whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from lisa.metrics import disentangle as d
from lisa.metrics.resampling import RESAMPLES, Blocks, Figure, difference, figure

SCENES, TIMES = 40, 5
RNG = np.random.default_rng(0)
scenes = np.repeat(np.arange(SCENES), TIMES)
times = np.tile(np.arange(TIMES), SCENES)
colors = np.repeat(RNG.integers(3, size=SCENES), TIMES)
noise = RNG.normal(size=(SCENES * TIMES, 30))


@pytest.fixture
def blocks():
    return Blocks(scenes)


def features(color=0.0, time=0.0, scale=1.0):
    """Channel 0..2 show the colour, 3..7 the time, and all have noise."""
    out = scale * noise.copy()
    out[np.arange(len(out)), colors] += color
    out[np.arange(len(out)), 3 + times] += time
    return out


def test_variance_shares_of_a_balanced_design_add_up(blocks):
    rows = features(time=3, scale=0) + np.repeat(RNG.normal(size=(SCENES, 30)), TIMES, 0)
    gram = d.gram_matrix(rows)
    shares = [d.variance_share(gram, labels, blocks).value for labels in (scenes, times)]
    assert sum(shares) == pytest.approx(1, abs=1e-4) and min(shares) > 0.05


def test_variance_share_of_a_half_is_that_of_the_half_alone():
    gram, half = d.gram_matrix(features(color=2)), scenes < 20
    alone = d.variance_shares(d.gram_matrix(features(color=2)[half]), d.one_hot_of(colors[half], 3)[None])
    masked = d.variance_shares(gram, (d.one_hot_of(colors) * half[:, None])[None].astype(np.float32))
    assert masked[0] == pytest.approx(alone[0], abs=1e-4)


def test_silhouette_is_scikit_learns(blocks):
    rows = features(color=4)
    assert d.silhouette(d.gram_matrix(rows), colors, blocks).value == pytest.approx(
        silhouette_score(rows, colors), abs=1e-4
    )


def test_cka_knows_itself_and_not_a_stranger():
    rows = RNG.normal(size=(60, 500))
    turned = rows @ np.linalg.qr(RNG.normal(size=(500, 500)))[0]
    gram, blocks = d.gram_matrix(rows), Blocks(np.arange(60))
    itself = d.linear_cka(gram, d.gram_matrix(turned), blocks)
    assert itself.value == pytest.approx(1, abs=1e-3) and itself.above_null
    assert abs(d.linear_cka(gram, d.gram_matrix(RNG.normal(size=(60, 500))), blocks).value) < 0.1


@pytest.mark.parametrize(("strength", "known"), [(4.0, True), (0.0, False)])
def test_probe_finds_what_is_there_and_nothing_else(strength, known, blocks):
    figure = d.probe_accuracy(d.Probes(d.gram_matrix(features(color=strength)), blocks), colors)
    assert figure.above_null == known and figure.low < figure.value < figure.high
    assert (figure.value > 0.85) == known


@pytest.mark.parametrize(("strength", "known"), [(2.0, True), (0.0, False)])
def test_variance_share_has_a_null(strength, known, blocks):
    assert d.variance_share(d.gram_matrix(features(time=strength)), times, blocks).above_null == known


def test_intervals_come_from_scenes_not_rows(blocks):
    """Rows of a scene that repeat each other must not shrink the interval."""
    once = np.random.default_rng(1).normal(size=(SCENES, 30)) + 1.5 * np.eye(30)[colors[::TIMES]]
    few = d.probe_accuracy(d.Probes(d.gram_matrix(once), Blocks(np.arange(SCENES))), colors[::TIMES])
    many = d.probe_accuracy(d.Probes(d.gram_matrix(np.repeat(once, TIMES, 0)), blocks), colors)
    assert many.high - many.low > 0.7 * (few.high - few.low)


def test_scene_itself_is_asked_across_the_design(blocks):
    rows = np.repeat(RNG.normal(size=(SCENES, 30)), TIMES, 0) + 0.1 * noise
    figure = d.probe_accuracy(d.Probes(d.gram_matrix(rows), blocks), scenes)
    assert figure.value > 0.95 and figure.null < 0.2


def test_permutations_keep_a_factors_kind(blocks):
    across, within = blocks.permuted(colors), blocks.permuted(times)
    assert all(len(set(across[scenes == s])) == 1 for s in range(SCENES))
    assert all(sorted(within[scenes == s]) == list(range(TIMES)) for s in range(SCENES))
    assert not np.array_equal(across, colors) and not np.array_equal(within, times)
    assert sorted(blocks.permuted(scenes)) == sorted(scenes)


def test_scenes_exchange_cell_by_cell_in_any_order_of_rows():
    order = np.random.default_rng(4).permutation(len(scenes))
    cells = (times + 100 * scenes)[order]
    moved = Blocks(scenes[order]).exchanged(cells)
    assert not np.array_equal(moved, cells)
    assert all(len(set(moved[scenes[order] == s] // 100)) == 1 for s in range(SCENES))


def test_scenes_of_different_size_are_refused():
    with pytest.raises(ValueError, match="1 to 2 rows"):
        Blocks(np.array([0, 0, 1]))


def test_dci_tells_separate_channels_from_mixed_ones(blocks):
    factors = {"color": colors, "time": times}
    clean = features(color=5, time=5, scale=0.3)[:, :8]
    mixed = clean @ np.linalg.qr(np.random.default_rng(3).normal(size=(8, 8)))[0]
    apart, together = d.dci(clean, factors, blocks), d.dci(mixed, factors, blocks)
    # Completeness cannot be high: a factor of five groups needs most of eight channels.
    for name, gap in (("disentanglement", 0.4), ("completeness", 0.15)):
        assert apart[name].value > together[name].value + gap and apart[name].above_null
    assert apart["informativeness"].value > 0.9 and together["informativeness"].value > 0.9
    nothing = d.dci(noise, factors, blocks)
    assert all(figure.low <= figure.value <= figure.high for figure in nothing.values())
    assert nothing["informativeness"].value < 0.3
    assert not any(nothing[name].above_null for name in ("disentanglement", "informativeness"))
    assert apart["informativeness"].above_null and -0.2 < apart["informativeness"].null < 0.4


def test_a_value_below_the_least_by_rounding_stays_in_its_interval():
    shown = figure(-0.0004, [0.0, 0.0], lowest=0.0)
    assert (shown.low, shown.value, shown.high) == (0, 0, 0)


def test_the_same_groups_in_another_order_are_not_above_chance():
    assert not Figure(0.3790001, 0.0, 1.0, 0.379).above_null and Figure(0.38, 0.0, 1.0, 0.379).above_null


def test_resamples_are_the_same_for_every_set_of_features(blocks):
    blocks.permuted(colors)  # what was drawn before does not matter
    other = Blocks(scenes)
    assert np.array_equal(blocks.bootstrap(), other.bootstrap())
    assert all(np.array_equal(*pair) for pair in zip(blocks.halves(), other.halves(), strict=True))
    assert not np.array_equal(blocks.bootstrap(), Blocks(scenes, 1).bootstrap())
    weights = blocks.bootstrap()
    assert weights.shape == (RESAMPLES, SCENES * TIMES) and (weights.sum(1) == SCENES * TIMES).all()
    assert all(len(set(weights[0][scenes == s])) == 1 for s in range(SCENES))


def test_a_difference_is_paired():
    """What both share does not widen the interval; a difference of independent measures would."""
    rng = np.random.default_rng(0)
    shared, own = rng.normal(0, 0.1, RESAMPLES), rng.normal(0, 0.001, RESAMPLES)
    first, second = figure(0.5, 0.5 + shared), figure(0.52, 0.52 + shared + own)
    apart = difference(second, first)
    assert apart.value == pytest.approx(0.02) and apart.excludes_zero and apart.high - apart.low < 0.01
    assert first.high - first.low > 0.2 and not Figure(0.0, -0.1, 0.1).excludes_zero
    assert not difference(second, second).excludes_zero


def one_more_probe(seed):
    """Rows that show their scene and, in three channels, its kind."""
    rng = np.random.default_rng(seed)
    kinds = np.repeat(rng.integers(3, size=SCENES), TIMES)
    shown = np.repeat(rng.normal(size=(SCENES, 12)), TIMES, 0)
    return shown + 0.7 * rng.normal(size=shown.shape) + 1.4 * np.eye(12)[kinds], kinds, shown


MEASURES = {
    "share": lambda rows, kinds, shown, of: d.variance_share(d.gram_matrix(rows), scenes, of),
    "cka": lambda rows, kinds, shown, of: d.linear_cka(d.gram_matrix(rows), d.gram_matrix(shown), of),
    "silhouette": lambda rows, kinds, shown, of: d.silhouette(d.gram_matrix(rows), scenes, of),
    "dci": lambda rows, kinds, shown, of: d.dci(rows, {"kind": kinds, "time": times}, of)["disentanglement"],
}


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_intervals_are_as_wide_as_the_measure_varies_between_probes(measure, blocks):
    """The spread over twenty probes of other scenes is the standard error that each of them estimates."""
    seen = [measure(*one_more_probe(seed), blocks) for seed in range(20)]
    estimated = np.mean([np.std(figure.draws) for figure in seen])
    assert 0.6 < estimated / np.std([figure.value for figure in seen]) < 1.7
