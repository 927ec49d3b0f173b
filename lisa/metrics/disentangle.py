"""How much features know of each factor, measured in the full feature space and never on a projection.

All measures but DCI work on the Gram matrix of the features, so their cost does not depend on the number of channels.
Labels are (N,) whole numbers from 0; intervals and nulls are those of ``lisa.metrics.resampling``: the bootstrap for
variance share, probe accuracy and informativeness, which weigh rows (the probes stay as fitted: what varies is whom
they are asked about, so their intervals leave out that other scenes would have taught them otherwise); halves of the
scenes for silhouette and linear CKA, which compare rows with each other, and
for DCI's disentanglement and completeness, whose regression would fit repeated scenes more closely than new ones.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lisa.metrics.resampling import PERMUTATIONS, Blocks, Figure, figure

Array = np.ndarray
_FOLDS = 5
_RIDGE = 1.0
_STACK = 20_000  # columns of one-hot labels that are multiplied at once


def gram_matrix(features: Array) -> Array:
    """Inner products (N, N) of centred features (N, D), float32."""
    centred = (features - features.mean(0, dtype=np.float64)).astype(np.float32)
    return centred @ centred.T


def variance_share(gram: Array, labels: Array, blocks: Blocks) -> Figure:
    """Share of the features' variance between the groups of a factor, 0..1: R^2 of PERMANOVA (Anderson 2001)."""
    one_hot = _one_hot(labels)
    shuffled = np.stack([one_hot_of(blocks.permuted(labels), one_hot.shape[1]) for _ in range(PERMUTATIONS)])
    whole = variance_shares(gram, one_hot[None])[0]
    drawn = variance_shares(gram, one_hot * blocks.bootstrap()[..., None])
    return figure(whole, drawn, variance_shares(gram, shuffled))


def variance_shares(gram: Array, groups: Array) -> Array:
    """Variance shares (B,) of B groupings (B, N, G): 0, or in a row's own group how often the row counts."""
    step = max(1, _STACK // groups.shape[2])
    return np.concatenate([_shares(gram, groups[i : i + step]) for i in range(0, len(groups), step)])


def _shares(gram: Array, groups: Array) -> Array:
    draws, rows, count = groups.shape
    sums = (gram @ groups.transpose(1, 0, 2).reshape(rows, draws * count)).reshape(rows, draws, count)
    size, taken = groups.sum(1), groups.sum(2)
    mean = np.einsum("bn,nb->b", taken, sums.sum(2)) / taken.sum(1)
    between = (np.einsum("nbg,bng->bg", sums, groups) / np.maximum(size, 1)).sum(1)
    return (between - mean) / (taken @ np.diag(gram) - mean)


def silhouette(gram: Array, labels: Array, blocks: Blocks) -> Figure:
    """Mean silhouette, -1..1, of Euclidean distances (Rousseeuw 1987); groups of one row count 0."""
    norm = np.diag(gram)
    distance = np.sqrt(np.maximum(norm[:, None] + norm[None] - 2 * gram, 0))
    halves = [mean_silhouette(distance[np.ix_(rows, rows)], labels[rows]) for rows in blocks.halves()]
    chance = [mean_silhouette(distance, blocks.permuted(labels)) for _ in range(PERMUTATIONS)]
    return figure(mean_silhouette(distance, labels), halves, chance, lowest=-1.0)


def mean_silhouette(distance: Array, labels: Array) -> float:
    """The mean silhouette of distances (N, N)."""
    one_hot = _one_hot(labels)
    size, own, rows = one_hot.sum(0), one_hot.argmax(1), np.arange(len(labels))
    sums = distance @ one_hot
    inside = sums[rows, own] / np.maximum(size[own] - 1, 1)
    means = sums / size
    means[rows, own] = np.inf
    outside = means.min(1)
    values = np.where(size[own] > 1, (outside - inside) / np.maximum(outside, inside).clip(1e-12), 0)
    return float(values.mean())


def linear_cka(gram: Array, other: Array, blocks: Blocks) -> Figure:
    """Linear centred kernel alignment of two sets of features of the same rows, near 0..1 (Kornblith 2019).

    HSIC is estimated without bias (Song 2012): the plain estimate tends to 1 where there are more channels than rows,
    whatever the features. The null pairs every row with the same cell of another scene.
    """
    a, b = u_centred(gram), u_centred(other)
    power = np.sqrt(np.vdot(a, a) * np.vdot(b, b)) or 1.0
    halves = []
    for rows in blocks.halves():
        part = np.ix_(rows, rows)
        x, y = u_centred(gram[part]), u_centred(other[part])
        halves.append(np.vdot(x, y) / (np.sqrt(np.vdot(x, x) * np.vdot(y, y)) or 1.0))
    partners = (blocks.exchanged(np.arange(len(gram))) for _ in range(PERMUTATIONS))
    chance = [np.vdot(a, b[np.ix_(p, p)]) / power for p in partners]
    return figure(np.vdot(a, b) / power, halves, chance, lowest=-1.0)


def u_centred(gram: Array) -> Array:
    """Székely and Rizzo's U-centring: zero diagonal, and rows that sum to zero."""
    n = len(gram)
    out = gram.copy()
    np.fill_diagonal(out, 0)
    rows = out.sum(1, keepdims=True) / (n - 2)
    out = out - rows - rows.T + out.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(out, 0)
    return out


class Probes:
    """Linear probes of one set of features: ridge regression to a factor's groups, held out fold by fold.

    What a fold's rows are told depends on the labels of the others alone, through a matrix that is computed once.

    Args:
        gram: (N, N) inner products.
        blocks: the rows by scene.
    """

    def __init__(self, gram: Array, blocks: Blocks) -> None:
        self.gram, self.blocks = gram, blocks
        self.operators: dict[bytes, list[tuple[Array, Array, Array]]] = {}

    def say(self, targets: Array, folds: Array) -> Array:
        """Held-out predictions (N, G) of one-hot targets (N, G), balanced by group size."""
        weighted = targets / np.maximum(targets.sum(0), 1)
        out = np.empty_like(weighted)
        for test, train, operator in self._operators(folds):
            out[test] = operator @ (weighted[train] - weighted[train].mean(0))
        return out

    def _operators(self, folds: Array) -> list[tuple[Array, Array, Array]]:
        key = folds.tobytes()
        if key not in self.operators:
            self.operators[key] = [self._operator(folds == fold) for fold in np.unique(folds)]
        return self.operators[key]

    def _operator(self, held_out: Array) -> tuple[Array, Array, Array]:
        test, train = np.flatnonzero(held_out), np.flatnonzero(~held_out)
        ridge = _RIDGE * np.trace(self.gram) / len(self.gram)
        kernel = self.gram[np.ix_(train, train)] + ridge * np.eye(len(train), dtype=self.gram.dtype)
        return test, train, np.linalg.solve(kernel, self.gram[np.ix_(train, test)]).T


def probe_accuracy(probes: Probes, labels: Array) -> Figure:
    """How often a linear probe names the group of a row whose fold it has not seen, 0..1 (Alain and Bengio 2016).

    Whole scenes are held out, or, where the label is the scene itself, whole cells of the design.
    """
    blocks = probes.blocks
    folds, hot = folds_of(labels, blocks), _one_hot(labels)
    hits = probes.say(hot, folds).argmax(1) == labels
    weights = blocks.bootstrap()
    return figure(hits.mean(), weights @ hits / weights.sum(1), _hits_by_chance(probes, labels, folds).mean(1))


def _hits_by_chance(probes: Probes, labels: Array, folds: Array) -> Array:
    """Which rows (PERMUTATIONS, N) a probe names rightly that is taught and asked permuted labels."""
    shuffled = np.stack([probes.blocks.permuted(labels) for _ in range(PERMUTATIONS)])
    count = int(labels.max()) + 1
    said = probes.say(np.concatenate([one_hot_of(each, count) for each in shuffled], 1), folds)
    return shuffled == said.reshape(len(labels), PERMUTATIONS, count).argmax(2).T


def folds_of(labels: Array, blocks: Blocks) -> Array:
    """Fold (N,) of each row: by scene, or, where the label is the scene itself, by cell of the design."""
    by_cell = blocks.is_scene(labels) and blocks.cells > 1
    return (blocks.place() if by_cell else blocks.codes) % _FOLDS


def dci(features: Array, factors: Mapping[str, Array], blocks: Blocks) -> dict[str, Figure]:
    """Disentanglement and completeness, 0..1, and informativeness, up to 1 (Eastwood and Williams 2018).

    The importance of a channel for a factor is the size of its weights in ridge regression to the factor's groups.
    Disentanglement asks whether a channel serves one factor, completeness whether a factor sits in few channels.
    Informativeness is the mean held-out accuracy of linear probes above that of the commonest answer, scaled so that 1
    is all right.

    Args:
        features: (N, D).
        factors: name -> labels, at least two factors.
        blocks: the rows by scene.
    """
    x = ((features - features.mean(0)) / (features.std(0) + 1e-6)).astype(np.float32)
    labels = list(factors.values())
    halves = [importances(x[rows], [[each[rows] for each in labels]])[0] for rows in blocks.halves()]
    drawn = [[blocks.permuted(each) for each in labels] for _ in range(PERMUTATIONS)]
    whole, *chance = importances(x, [labels, *drawn])
    figures = {}
    for name, turn in (("disentanglement", np.asarray), ("completeness", np.transpose)):
        of_halves, of_chance = ([purity(turn(table)) for table in tables] for tables in (halves, chance))
        figures[name] = figure(purity(turn(whole)), of_halves, of_chance)
    return {**figures, "informativeness": _informativeness(Probes(gram_matrix(x), blocks), labels)}


def importances(x: Array, draws: list[list[Array]]) -> list[Array]:
    """For each draw of all factors' labels: the share (D, F) of each channel in each factor's ridge weights."""
    hot = [[_one_hot(labels) for labels in factors] for factors in draws]
    groups = np.concatenate([each / each.sum(0) - 1 / len(each) for factors in hot for each in factors], 1)
    weights = np.abs(_ridge_weights(x, groups.astype(np.float32)))
    ends = np.cumsum([each.shape[1] for factors in hot for each in factors])[:-1]
    sums = np.stack([part.sum(1) for part in np.split(weights, ends, 1)], 1)
    shares = sums / np.maximum(sums.sum(0), 1e-12)
    return np.split(shares, len(draws), 1)


def _ridge_weights(x: Array, targets: Array) -> Array:
    """Weights (D, G) of ridge regression of targets (N, G) on x (N, D), by the smaller of the two systems."""
    ridge = np.float32(_RIDGE * np.square(x).sum() / len(x))
    if x.shape[1] < len(x):
        return np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1], dtype=x.dtype), x.T @ targets)
    return x.T @ np.linalg.solve(x @ x.T + ridge * np.eye(len(x), dtype=x.dtype), targets)


def _informativeness(probes: Probes, factors: list[Array]) -> Figure:
    blocks, weights = probes.blocks, probes.blocks.bootstrap()
    value, draws, chance = 0.0, np.zeros(len(weights)), np.zeros(PERMUTATIONS)
    for labels in factors:
        folds, hot = folds_of(labels, blocks), _one_hot(labels)
        hits = probes.say(hot, folds).argmax(1) == labels
        common = hot.mean(0).max()
        scale = len(factors) * max(1 - common, 1e-12)
        value += (hits.mean() - common) / scale
        draws += (weights @ hits / weights.sum(1) - common) / scale
        chance += (_hits_by_chance(probes, labels, folds).mean(1) - common) / scale
    # Probes that are wrong more often than the commonest answer fall below 0.
    return figure(value, draws, chance, lowest=-np.inf)


def purity(table: Array) -> float:
    """One minus the entropy of the rows of a table of shares, weighed by their part of the table."""
    share = table.sum(1)
    rows = table / np.maximum(share[:, None], 1e-12)
    entropy = -(rows * np.log(np.maximum(rows, 1e-12))).sum(1) / np.log(max(2, table.shape[1]))
    return float(((1 - entropy) * share).sum() / max(share.sum(), 1e-12))


def _one_hot(labels: Array) -> Array:
    """One column for each label that occurs."""
    return one_hot_of(np.unique(labels, return_inverse=True)[1])


def one_hot_of(codes: Array, count: int = 0) -> Array:
    """(N,) whole numbers from 0 -> (N, count) float32 of 0 and 1."""
    return np.eye(count or int(codes.max()) + 1, dtype=np.float32)[codes]
