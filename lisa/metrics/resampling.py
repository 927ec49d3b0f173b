"""Intervals and nulls for measures over a probe, whose rows come in blocks: all rows of one scene belong together.

Intervals are value +- 1.96 standard errors, and a standard error is the spread of the measure over resamples of whole
scenes. There are two kinds of resamples:

- bootstrap (Efron 1979): as many scenes as there are, drawn with replacement. Right for what weighs rows, such as the
  share of right answers or the variance between groups: a scene that is drawn twice counts twice.
- halves: half of the scenes, drawn without replacement; the spread over them estimates the standard error of the whole
  (delete-half jackknife, Shao and Wu 1989; an m-out-of-n bootstrap without replacement). Right for what compares rows
  with each other or is fitted to them: there a scene that is drawn twice would be its own perfect neighbour.

Not percentiles of the resamples: measures that chance lifts, such as the variance between groups, lie higher on fewer
different scenes, so that the percentiles can leave out the value itself.

The resamples depend on the seed alone, so that every set of features of one probe is measured on the same ones, and
the spread of a difference leaves out what both have in common.

The null is the 95th percentile under permuted labels. A factor of the scene is permuted between scenes, one of the
probe's design within each scene.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

Array = np.ndarray
RESAMPLES = 100
PERMUTATIONS = 100
_ROUNDING = 1e-6  # with few scenes permuted labels can make the very same groups, whose sums differ in the last digit


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        value: on all rows.
        low: lower end of the 95 % interval.
        high: upper end.
        null: 95th percentile of the null; NaN where there is none.
        draws: the measure on each resample.
    """

    value: float
    low: float
    high: float
    null: float = float("nan")
    draws: tuple[float, ...] = field(default=(), repr=False)

    @property
    def above_null(self) -> bool:
        """Whether chance would give the value in less than 5 of 100 cases."""
        return self.value > self.null + _ROUNDING

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside the interval."""
        return self.low > 0 or self.high < 0


def figure(value: float, draws: Iterable[float], chance: Iterable[float] = (), lowest: float = 0.0) -> Figure:
    """Put a figure together.

    Args:
        value: on all rows.
        draws: the same measure on resamples.
        chance: the same measure under permuted labels; none leaves the null out.
        lowest: the least value that the measure can have, which rounding may miss; the greatest is 1.
    """
    value, drawn, null = min(1.0, max(lowest, float(value))), tuple(map(float, draws)), list(chance)
    spread = 1.96 * float(np.std(drawn))
    low, high = max(lowest, value - spread), min(1.0, value + spread)
    return Figure(value, low, high, float(np.percentile(null, 95)) if null else float("nan"), drawn)


def difference(other: Figure, first: Figure) -> Figure:
    """How much higher the other is, paired: both were measured on the same resamples, of which there is an equal count.

    Returns:
        The difference and its interval; it has no null, for 0 is what no difference gives.
    """
    value, drawn = other.value - first.value, tuple(np.subtract(other.draws, first.draws).tolist())
    spread = 1.96 * float(np.std(drawn))
    return Figure(value, value - spread, value + spread, draws=drawn)


class Blocks:
    """The rows of a probe by scene.

    Args:
        scenes: (N,) scene of each row; every scene has the same number of rows.
        seed: of all draws.

    Raises:
        ValueError: if the scenes have different numbers of rows.
    """

    def __init__(self, scenes: Array, seed: int = 0) -> None:
        names, self.codes, counts = np.unique(scenes, return_inverse=True, return_counts=True)
        if len(set(counts)) > 1:
            raise ValueError(f"scenes have {counts.min()} to {counts.max()} rows, but must all have the same number")
        self.count, self.cells = len(names), int(counts[0])
        self.order = np.argsort(self.codes, kind="stable")
        self.seed, self.rng = seed, np.random.default_rng(seed)

    def halves(self) -> list[Array]:
        """Row numbers of random halves of the scenes, the same at every call."""
        rng = np.random.default_rng((self.seed, 1))
        picks = [rng.permutation(self.count)[: self.count // 2] for _ in range(RESAMPLES)]
        return [np.flatnonzero(np.isin(self.codes, pick)) for pick in picks]

    def bootstrap(self) -> Array:
        """How often each row is drawn, (RESAMPLES, N) float32, when whole scenes are; the same at every call."""
        rng = np.random.default_rng((self.seed, 2))
        drawn = rng.multinomial(self.count, np.full(self.count, 1 / self.count), RESAMPLES)
        return drawn[:, self.codes].astype(np.float32)

    def is_factor_of_scene(self, labels: Array) -> bool:
        """Whether all rows of a scene have the same label."""
        table = self._table(labels)
        return bool((table == table[:, :1]).all())

    def is_scene(self, labels: Array) -> bool:
        """Whether the label is the scene itself."""
        return self.is_factor_of_scene(labels) and len(np.unique(labels)) == self.count

    def permuted(self, labels: Array) -> Array:
        """Shuffle a factor of the scene between scenes, the scene itself between rows, any other within each scene."""
        if self.is_scene(labels):
            return self.rng.permutation(labels)
        if self.is_factor_of_scene(labels):
            return self.exchanged(labels)
        return self._rows(self.rng.permuted(self._table(labels), axis=1))

    def exchanged(self, labels: Array) -> Array:
        """Give every scene the labels of another, cell by cell."""
        return self._rows(self.rng.permutation(self._table(labels)))

    def place(self) -> Array:
        """Which cell of its scene each row is, (N,)."""
        return self._rows(np.tile(np.arange(self.cells), (self.count, 1)))

    def _table(self, labels: Array) -> Array:
        return labels[self.order].reshape(self.count, self.cells)

    def _rows(self, table: Array) -> Array:
        out = np.empty(table.size, table.dtype)
        out[self.order] = table.ravel()
        return out
