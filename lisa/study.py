"""A study of features: the probe run through every arm, projected together, measured apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from torch import nn

from lisa.families.base import Family
from lisa.features import DESIGN, FACTORS, Probe, build_probe, collect_features
from lisa.metrics import disentangle
from lisa.metrics.resampling import Blocks, Figure
from lisa.options import to_dict
from lisa.projection import nearest, project
from lisa.report import Report, tell_nobody
from lisa.settings import FeatureSettings

Array = np.ndarray
# Factors that a probe is asked for; the rest of the design are not properties of what is shown.
_KNOWN = ("shape", "color", "size", "material", "pose", "time", "floor", "timestep", "prompt")


@dataclass(frozen=True)
class Row:
    """One line of the table: a measure of one factor, or of none, for one arm at one tap and training step."""

    step: int
    arm: str
    tap: str
    measure: str
    factor: str
    figure: Figure

    def plain(self) -> dict[str, Any]:
        """The line as JSON can say it, which knows no NaN."""
        figure = {name: None if math.isnan(value) else value for name, value in vars(self.figure).items()}
        return {**vars(self), "figure": figure}


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

    def neighbors(self, key: tuple[int, str, str], row: int, count: int) -> Array:
        """The rows of other scenes that are nearest to one in the full feature space: (count,) row numbers."""
        scenes = self.probe.factors["scene"]
        others = np.flatnonzero(scenes != scenes[row])
        return others[nearest(self.features[key][others], self.features[key][row], count)]


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
    probe = build_probe(family, condition, settings, report)
    features: dict[tuple[int, str, str], Array] = {}
    for (step, arm), load in sides.items():
        of_this = partial(_renamed, report, f"features of {arm}, step {step}")
        collected = collect_features(family, load(), probe, taps, settings.pooling, of_this)
        features |= {(step, arm, tap): rows for tap, rows in collected.items()}
    points: dict[tuple[int, str, str], Array] = {}
    for i, tap in enumerate(taps):
        report("projecting", i, len(taps))
        of_tap = {key: rows for key, rows in features.items() if key[2] == tap}
        points |= project(of_tap, settings.method, settings.dimensions, settings.seed)
    table: list[Row] = []
    for i, (key, rows) in enumerate(features.items()):
        report("measuring", i, len(features))
        table += [Row(*key, *line) for line in measure(rows, probe, settings.seed)]
    return Study(settings, probe, features, points, tuple(table))


def _renamed(report: Report, name: str, _what: str, done: int, total: int) -> None:
    report(name, done, total)


def measure(features: Array, probe: Probe, seed: int = 0) -> list[tuple[str, str, Figure]]:
    """Measure one set of features in its full space.

    Args:
        features: (N, D), a row for each of the probe's.
        probe: knows the factors.
        seed: of the resampling.

    Returns:
        (measure, factor, figure); a factor that does not vary in the probe is left out.
    """
    gram, blocks = disentangle.gram_matrix(features), Blocks(probe.factors["scene"], seed)
    codes = {name: np.unique(labels, return_inverse=True)[1] for name, labels in probe.factors.items()}
    varying = [name for name in FACTORS if codes[name].any()]
    known = [name for name in varying if name in _KNOWN]
    lines = [("variance share", name, disentangle.variance_share(gram, codes[name], blocks)) for name in varying]
    probes = disentangle.Probes(gram, blocks)
    lines += [("probe accuracy", name, disentangle.probe_accuracy(probes, codes[name])) for name in known]
    lines.append(("silhouette", "scene", disentangle.silhouette(gram, codes["scene"], blocks)))
    for name, rows in (("condition", probe.condition_rows()), ("noisy sample", probe.sample_rows())):
        lines.append(("linear CKA", name, disentangle.linear_cka(gram, disentangle.gram_matrix(rows), blocks)))
    shown = {name: codes[name] for name in known if name not in DESIGN[1:3]}
    return lines + [("DCI", name, figure) for name, figure in disentangle.dci(features, shown, blocks).items()]
