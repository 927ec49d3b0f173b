"""Intervals and nulls for measures over a probe, whose rows come in blocks: all rows of one scene belong together.

- interval: the spread over random halves of the scenes, which estimates the standard error of the whole (delete-half
  jackknife; Shao and Wu 1989), shown as value +- 1.96 standard errors. Unlike a bootstrap it repeats no row, which
  would count as a perfect neighbour in the measures that look at pairs.
- null: the 95th percentile under permuted labels. A factor of the scene is permuted between scenes, one of the
  probe's design within each scene.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
HALVES = 100
PERMUTATIONS = 100


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


def figure(value: float, of_halves: Iterable[float], chance: Iterable[float] = (), lowest: float = 0.0) -> Figure:
    """Put a figure together.

    Args:
        value: on all rows.
        of_halves: the same measure on random halves.
        chance: the same measure under permuted labels; none leaves the null out.
        lowest: the least value that the measure can have; the greatest is 1.
    """
    spread, drawn = 1.96 * float(np.std(list(of_halves))), list(chance)
    null = float(np.percentile(drawn, 95)) if drawn else float("nan")
    return Figure(float(value), max(lowest, value - spread), min(1.0, value + spread), null)


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
        self.rng = np.random.default_rng(seed)

    def halves(self, count: int = HALVES) -> list[Array]:
        """Row numbers of random halves of the scenes."""
        picks = [self.rng.permutation(self.count)[: self.count // 2] for _ in range(count)]
        return [np.flatnonzero(np.isin(self.codes, pick)) for pick in picks]

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
