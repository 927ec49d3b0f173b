"""A study of features: the probe run through every arm, projected together, measured apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from lisa.families.base import Family
from lisa.features import DESIGN, FACTORS, Probe, build_probe, collect_features
from lisa.metrics import disentangle
from lisa.metrics.resampling import Blocks, Figure, difference
from lisa.options import to_dict
from lisa.projection import nearest, project
from lisa.report import Phase, Phases, Report, Ticks, tell_nobody
from lisa.settings import FeatureSettings

Array = np.ndarray
# Factors that a probe is asked for; the rest of the design are not properties of what is shown.
_KNOWN = ("shape", "color", "size", "material", "pose", "time", "floor", "timestep", "prompt")


@dataclass(frozen=True)
class Row:
    """One line of the table: a measure of one factor, or of none, for one arm at one tap and training step.

    ``difference`` is what the arm has more than the first one at the same place; None for the first arm itself.
    """

    step: int
    arm: str
    tap: str
    measure: str
    factor: str
    figure: Figure
    difference: Figure | None = None

    def plain(self) -> dict[str, Any]:
        """The line as JSON can say it, which knows no NaN; without the resamples."""
        return {**vars(self), "figure": _plain(self.figure), "difference": self.difference and _plain(self.difference)}


def _plain(figure: Figure) -> dict[str, float | None]:
    values = {name: getattr(figure, name) for name in ("value", "low", "high", "null")}
    return {name: None if math.isnan(value) else value for name, value in values.items()}


@dataclass(frozen=True)
class Study:
    """What was seen.

    Attributes:
        settings: of the study.
        probe: the rows.
        features: (training step, arm, tap) -> (N, D).
        points: (training step, arm, tap) -> (N, 2 or 3), one joint fit per tap.
        table: measures of every set of features.
    """

    settings: FeatureSettings
    probe: Probe
    features: dict[tuple[int, str, str], Array]
    points: dict[tuple[int, str, str], Array]
    table: tuple[Row, ...]

    def plain(self) -> dict[str, Any]:
        """All but features and pictures, as JSON can say it: settings, factors of the rows, points, table."""
        points = [
            {"step": step, "arm": arm, "tap": tap, "points": rows.tolist()}
            for (step, arm, tap), rows in self.points.items()
        ]
        factors = {name: labels.tolist() for name, labels in self.probe.factors.items()}
        table = [row.plain() for row in self.table]
        return {"settings": to_dict(self.settings), "factors": factors, "points": points, "table": table}

    def neighbors(self, key: tuple[int, str, str], row: int, count: int) -> list[tuple[int, float]]:
        """The scenes nearest to a row in the full feature space, each by that row of it which is nearest.

        Args:
            key: of the features.
            row: whose neighbours are sought; its own scene is none.
            count: how many at most.

        Returns:
            Row and Euclidean distance, nearest first; every row is of another scene.
        """
        features, scenes = self.features[key], self.probe.factors["scene"]
        others = np.flatnonzero(scenes != scenes[row])
        rows, distances = nearest(features[others], features[row], len(others))
        _, first = np.unique(scenes[others[rows]], return_index=True)
        return [(int(others[rows[i]]), float(distances[i])) for i in sorted(first)[:count]]


def run_study(
    family: Family,
    condition: str,
    sides: Mapping[tuple[int, str], Callable[[], nn.Module]],
    taps: tuple[str, ...],
    settings: FeatureSettings,
    report: Report = tell_nobody,
) -> Study:
    """Collect, project and measure.

    Args:
        family: of all side networks.
        condition: that they read.
        sides: (training step, arm) -> what loads the side network.
        taps: names of the features.
        settings: already checked.
        report: called with (what is being done, done, in all).
    """
    phases = Phases(_costs(settings, sides, taps), report)
    probe = build_probe(family, condition, settings, phases.next())
    features: dict[tuple[int, str, str], Array] = {}
    for (step, arm), load in sides.items():
        collected = collect_features(family, load(), probe, taps, settings.pooling, phases.next())
        features |= {(step, arm, tap): rows for tap, rows in collected.items()}
    points: dict[tuple[int, str, str], Array] = {}
    for tap in taps:
        of_tap = {key: rows for key, rows in features.items() if key[2] == tap}
        phases.next()
        points |= project(of_tap, settings.method, settings.dimensions, settings.seed)
    return Study(settings, probe, features, points, tuple(_table(features, probe, settings.seed, phases)))


def _costs(settings: FeatureSettings, sides: Collection[tuple[int, str]], taps: tuple[str, ...]) -> list[Phase]:
    """What a study does, one after the other, and about how many milliseconds each takes with the embedded models."""
    rows, sets = settings.rows(), len(sides) * len(taps)
    return [
        ("rendering scenes", 40 * settings.scenes),
        *((f"features of {arm}, step {step:,}", 10 * rows) for step, arm in sides),
        *((f"projecting {tap}", (3 if settings.method == "umap" else 0.05) * rows * len(sides)) for tap in taps),
        *[("measuring", 2e-3 * rows**2)] * sets,
    ]


def _table(features: Mapping[tuple[int, str, str], Array], probe: Probe, seed: int, phases: Phases) -> list[Row]:
    """All measures of all sets; the others are held against the first arm at their training step and tap."""
    firsts: dict[tuple, Figure] = {}
    table = []
    for (step, arm, tap), rows in features.items():
        for name, factor, figure in measure(rows, probe, seed, phases.next()):
            first = firsts.setdefault((step, tap, name, factor), figure)
            more = None if figure is first else difference(figure, first)
            table.append(Row(step, arm, tap, name, factor, figure, more))
    return table


def measure(
    features: Array, probe: Probe, seed: int = 0, report: Report = tell_nobody
) -> list[tuple[str, str, Figure]]:
    """Measure one set of features in its full space.

    Args:
        features: (N, D), a row for each of the probe's.
        probe: knows the factors.
        seed: of the resampling.
        report: called with (what is being done, done, in all).

    Returns:
        (measure, factor, figure); a factor that does not vary in the probe is left out.
    """
    gram, blocks = disentangle.gram_matrix(features), Blocks(probe.factors["scene"], seed)
    codes = {name: np.unique(labels, return_inverse=True)[1] for name, labels in probe.factors.items()}
    varying = [name for name in FACTORS if codes[name].any()]
    known = [name for name in varying if name in _KNOWN]
    shown = {name: codes[name] for name in known if name not in DESIGN[1:3]}
    probes = disentangle.Probes(gram, blocks)
    inputs = {"condition": probe.condition_rows, "noisy sample": probe.sample_rows}
    tick = Ticks("measuring", len(varying) + len(known) + len(inputs) + 2, report)
    lines = []

    def add(measure: str, factor: str, figure: Figure) -> None:
        lines.append((measure, factor, figure))
        tick()

    for name in varying:
        add("variance share", name, disentangle.variance_share(gram, codes[name], blocks))
    for name in known:
        add("probe accuracy", name, disentangle.probe_accuracy(probes, codes[name]))
    add("silhouette", "scene", disentangle.silhouette(gram, codes["scene"], blocks))
    for name, rows in inputs.items():
        add("linear CKA", name, disentangle.linear_cka(gram, disentangle.gram_matrix(rows()), blocks))
    lines += [("DCI", name, figure) for name, figure in disentangle.dci(features, shown, blocks).items()]
    tick()
    return lines
