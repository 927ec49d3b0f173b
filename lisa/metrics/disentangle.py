"""How much features know of each factor, measured in the full feature space and never on a projection.

All measures work on the Gram matrix of the features, so their cost does not depend on the number of channels. Rows
come in blocks, all probes of one scene, that are not independent of each other; intervals and nulls respect that:

- interval: the spread over random halves of the scenes, which estimates the standard error of the whole (delete-half
  jackknife; Shao and Wu 1989), shown as value +- 1.96 standard errors. Unlike a bootstrap it repeats no row, which
  would count as a perfect neighbour in the measures that look at pairs.
- null: the 95th percentile under permuted labels. A factor of the scene is permuted between scenes, one of the
  probe's design within each scene.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import GroupKFold

Array = np.ndarray
_HALVES = 100
_PERMUTATIONS = 100
_DCI_DRAWS = 20
_FOLDS = 5
_RIDGE = 1.0


@dataclass(frozen=True)
class Figure:
    """One measured number: its value, 95 % interval, and the 95th percentile of its null (NaN where there is none)."""

    value: float
    low: float
    high: float
    null: float = float("nan")

    @property
    def above_null(self) -> bool:
        """Whether chance would give the value in less than 5 of 100 cases."""
        return self.value > self.null


def gram_matrix(features: Array) -> Array:
    """Inner products (N, N) of centred features (N, D), float64."""
    centred = features.astype(np.float64) - features.mean(0, dtype=np.float64)
    return centred @ centred.T


def variance_share(gram: Array, labels: Array) -> float:
    """Share of the features' variance between the groups of a factor, 0..1: R^2 of PERMANOVA (Anderson 2001).

    Args:
        gram: (N, N) inner products; it is centred again, since halves are not.
        labels: (N,) group of each row.
    """
    one_hot = _one_hot(labels)
    sums = np.einsum("ng,ng->g", gram @ one_hot, one_hot)
    mean = gram.mean() * len(gram)
    return float(((sums / one_hot.sum(0)).sum() - mean) / (np.trace(gram) - mean))


def silhouette(gram: Array, labels: Array) -> float:
    """Mean silhouette, -1..1, of Euclidean distances (Rousseeuw 1987); groups of one row count 0."""
    norm = np.diag(gram)
    distance = np.sqrt(np.maximum(norm[:, None] + norm[None] - 2 * gram, 0))
    one_hot = _one_hot(labels)
    size, own = one_hot.sum(0), one_hot.argmax(1)
    sums = distance @ one_hot
    rows = np.arange(len(own))
    inside = sums[rows, own] / np.maximum(size[own] - 1, 1)
    means = sums / size
    means[rows, own] = np.inf
    outside = means.min(1)
    values = np.where(size[own] > 1, (outside - inside) / np.maximum(outside, inside).clip(1e-12), 0)
    return float(values.mean())


def linear_cka(gram: Array, other: Array) -> float:
    """Linear centred kernel alignment with the unbiased estimator of HSIC (Kornblith 2019; Song 2012), near 0..1.

    The plain estimator tends to 1 where there are more channels than rows, whatever the features.
    """
    a, b = (_u_centred(matrix) for matrix in (gram, other))
    power = (a * a).sum() * (b * b).sum()
    return float((a * b).sum() / np.sqrt(power)) if power > 0 else 0.0


def _u_centred(gram: Array) -> Array:
    """Székely and Rizzo's U-centring: zero diagonal, and rows that sum to zero."""
    n = len(gram)
    out = gram - np.diag(np.diag(gram))
    rows = out.sum(1, keepdims=True) / (n - 2)
    out = out - rows - rows.T + out.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(out, 0)
    return out


def probe_hits(gram: Array, labels: Array, folds: Array) -> Array:
    """Which rows (N,) bool a linear probe names rightly when it has not seen their fold (Alain and Bengio 2016).

    The probe is ridge regression to the groups' indicators, balanced by group size.
    """
    return _probe(gram, _one_hot(labels), folds).argmax(1) == np.unique(labels, return_inverse=True)[1]


def probe_accuracy(gram: Array, labels: Array, scenes: Array, seed: int = 0) -> Figure:
    """Accuracy of ``probe_hits`` with interval and null; the folds hold scenes out where the factor allows it."""
    rng = np.random.default_rng(seed)
    folds, groups = folds_of(labels, scenes), len(np.unique(labels))
    hits = probe_hits(gram, labels, folds)
    spread = _spread(lambda rows: hits[rows].mean(), scenes, rng)
    shuffled = [permuted(labels, scenes, rng) for _ in range(_PERMUTATIONS)]
    # One solution for all permutations: they differ in the right-hand side only.
    said = _probe(gram, np.concatenate([_one_hot(each) for each in shuffled], 1), folds)
    said = said.reshape(len(gram), _PERMUTATIONS, groups).argmax(2)
    chance = [(said[:, i] == np.unique(each, return_inverse=True)[1]).mean() for i, each in enumerate(shuffled)]
    return _figure(float(hits.mean()), spread, chance)


def _probe(gram: Array, targets: Array, folds: Array) -> Array:
    """Held-out predictions (N, G) of ridge regression in the space of the rows."""
    weighted = targets / np.maximum(targets.sum(0), 1)
    scale = np.trace(gram) / len(gram)
    out = np.zeros_like(weighted)
    for fold in np.unique(folds):
        test, train = folds == fold, folds != fold
        kernel = gram[np.ix_(train, train)]
        dual = np.linalg.solve(kernel + _RIDGE * scale * np.eye(len(kernel)), weighted[train] - weighted[train].mean(0))
        out[test] = gram[np.ix_(test, train)] @ dual
    return out


def folds_of(labels: Array, scenes: Array) -> Array:
    """Fold (N,) of each row: by scene, or, where the label is the scene itself, by place within the scene."""
    if len(np.unique(labels)) == len(np.unique(scenes)) and _constant_within(labels, scenes):
        place = np.zeros(len(scenes), int)
        for scene in np.unique(scenes):
            rows = np.flatnonzero(scenes == scene)
            place[rows] = np.arange(len(rows))
        return place % _FOLDS
    fold = np.zeros(len(scenes), int)
    splits = GroupKFold(min(_FOLDS, len(np.unique(scenes)))).split(scenes, groups=scenes)
    for number, (_, test) in enumerate(splits):
        fold[test] = number
    return fold


def measured(
    value: Callable[[Array, Array], float],
    labels: Array,
    scenes: Array,
    seed: int = 0,
    shuffle: Callable[[Array, Array, np.random.Generator], Array] | None = None,
    lowest: float = 0.0,
) -> Figure:
    """A measure on all rows, with its interval and null.

    Args:
        value: the measure, from row numbers and their labels.
        labels: (N,) label of each row.
        scenes: (N,) scene of each row.
        seed: of halves and permutations.
        shuffle: makes the labels of the null from (labels, scenes, rng); ``permuted`` unless given.
        lowest: the least value that the measure can have; the greatest is 1.
    """
    rng = np.random.default_rng(seed)
    everything = np.arange(len(labels))
    spread = _spread(lambda rows: value(rows, labels[rows]), scenes, rng)
    chance = [value(everything, (shuffle or permuted)(labels, scenes, rng)) for _ in range(_PERMUTATIONS)]
    return _figure(value(everything, labels), spread, chance, lowest)


def _spread(value: Callable[[Array], float], scenes: Array, rng: np.random.Generator) -> float:
    """Standard deviation over random halves of the scenes: the standard error on all of them."""
    names = np.unique(scenes)
    halves = (np.isin(scenes, rng.choice(names, len(names) // 2, replace=False)) for _ in range(_HALVES))
    return float(np.std([value(np.flatnonzero(half)) for half in halves]))


def _figure(value: float, spread: float, chance: list[float], lowest: float = 0.0) -> Figure:
    low, high = max(lowest, value - 1.96 * spread), min(1.0, value + 1.96 * spread)
    return Figure(value, low, high, float(np.percentile(chance, 95)))


def permuted(labels: Array, scenes: Array, rng: np.random.Generator) -> Array:
    """Shuffle a factor of the scene between scenes, or one of the design within each scene."""
    names, where = np.unique(scenes, return_inverse=True)
    if len(names) == len(np.unique(labels)) and _constant_within(labels, scenes):
        return rng.permutation(labels)
    if _constant_within(labels, scenes):
        first = np.array([np.flatnonzero(where == i)[0] for i in range(len(names))])
        return labels[first][rng.permutation(len(names))][where]
    out = labels.copy()
    for i in range(len(names)):
        rows = np.flatnonzero(where == i)
        out[rows] = labels[rng.permutation(rows)]
    return out


def other_scenes(labels: Array, scenes: Array, rng: np.random.Generator) -> Array:
    """Give every scene the labels of another, cell by cell; all scenes have the same number of rows."""
    order = np.argsort(scenes, kind="stable")
    blocks = labels[order].reshape(len(np.unique(scenes)), -1)
    out = np.empty_like(labels)
    out[order] = rng.permutation(blocks).ravel()
    return out


def _constant_within(labels: Array, scenes: Array) -> bool:
    return all(len(np.unique(labels[scenes == scene])) == 1 for scene in np.unique(scenes))


def _one_hot(labels: Array) -> Array:
    names, which = np.unique(labels, return_inverse=True)
    return np.eye(len(names))[which]


def dci(features: Array, factors: dict[str, Array], scenes: Array, seed: int = 0) -> dict[str, Figure]:
    """Disentanglement, completeness and informativeness, each 0..1 (Eastwood and Williams 2018), with linear probes.

    The importance of a channel for a factor is the size of its weights in ridge regression to the factor's groups.
    Disentanglement asks whether a channel serves one factor, completeness whether a factor sits in few channels.
    Informativeness is the mean held-out accuracy above chance, scaled to 0..1; its null is in ``probe_accuracy``.

    Args:
        features: (N, D).
        factors: name -> labels (N,), at least two factors.
        scenes: (N,) scene of each row.
        seed: of halves and permutations.
    """
    rng = np.random.default_rng(seed)
    x = (features - features.mean(0)) / (features.std(0) + 1e-6)
    whole = importance(x, factors)
    names = np.unique(scenes)
    halves = []
    for _ in range(_DCI_DRAWS):
        half = np.isin(scenes, rng.choice(names, len(names) // 2, replace=False))
        halves.append(importance(x[half], {name: labels[half] for name, labels in factors.items()}))
    shuffled = ({name: permuted(labels, scenes, rng) for name, labels in factors.items()} for _ in range(_DCI_DRAWS))
    chance = [importance(x, each) for each in shuffled]
    figures = {}
    for name, turn in (("disentanglement", np.asarray), ("completeness", np.transpose)):
        of_halves, of_chance = ([_purity(turn(table)) for table in tables] for tables in (halves, chance))
        figures[name] = _figure(_purity(turn(whole)), float(np.std(of_halves)), of_chance)
    return {**figures, "informativeness": _informativeness(gram_matrix(x), factors, scenes, rng)}


def importance(x: Array, factors: dict[str, Array]) -> Array:
    """Share (D, F) of each channel in each factor's ridge weights; every factor's shares sum to 1."""
    targets = [_one_hot(labels) for labels in factors.values()]
    groups = np.concatenate([each / each.sum(0) - 1 / len(each) for each in targets], 1)
    gram = x @ x.T
    weights = np.abs(x.T @ np.linalg.solve(gram + _RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram)), groups))
    ends = np.cumsum([each.shape[1] for each in targets])[:-1]
    table = np.stack([part.sum(1) for part in np.split(weights, ends, 1)], 1)
    return table / np.maximum(table.sum(0), 1e-12)


def _informativeness(gram: Array, factors: dict[str, Array], scenes: Array, rng: np.random.Generator) -> Figure:
    hits = np.stack([probe_hits(gram, labels, folds_of(labels, scenes)) for labels in factors.values()])
    chance = np.array([_one_hot(labels).mean(0).max() for labels in factors.values()])

    def above_chance(rows: Array) -> float:
        return float(np.mean((hits[:, rows].mean(1) - chance) / np.maximum(1 - chance, 1e-12)))

    return _figure(above_chance(np.arange(len(gram))), _spread(above_chance, scenes, rng), [float("nan")])


def _purity(table: Array) -> float:
    """One minus the entropy of the rows, weighed by their share of the table."""
    share = table.sum(1)
    rows = table / np.maximum(share[:, None], 1e-12)
    entropy = -(rows * np.log(np.maximum(rows, 1e-12))).sum(1) / np.log(max(2, table.shape[1]))
    return float(((1 - entropy) * share).sum() / max(share.sum(), 1e-12))
