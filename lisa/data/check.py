"""A look at training data before anything is trained: how much there is, and what in it cannot be used. No torch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lisa.annotators.base import ANNOTATORS, annotator_for, availability
from lisa.data.imagefolder import HELD_OUT, Row, read_rows, split_rows
from lisa.data.source import resolve_data
from lisa.errors import LisaError
from lisa.report import Report, tell_nobody
from lisa.scenes.example import SIZE
from lisa.scenes.pool import EXACT, count_cached, people_for

LOOK = 2000
_LOOK_SECONDS = 30.0  # photographs of 12 million pixels take 0.1 s each
_NAMED = 10
_USUAL = ("canny", "depth", "segmentation", "pose")


@dataclass(frozen=True)
class DataReport:
    """What training data hold, as far as it was looked at.

    Attributes:
        data: as in the settings: "scenes", a folder, a zip or a hub data set.
        condition: that is to be learnt.
        rows: pictures in all; for scenes as many as are asked for, rendered on demand.
        train_rows: of these, to train on.
        held_out_rows: of these, for validation and test; 0 for scenes, which have held-out ones of their own.
        captioned: rows with a caption.
        brought: rows that bring the condition's map themselves.
        annotator: makes the other maps; empty if none is needed, or none can.
        smallest: width and height in pixels of the picture with the shortest side; None if none was looked at.
        small: pictures looked at whose shorter side is below the resolution, so that they are enlarged.
        resolution: pixels along a side of what the networks see.
        looked_at: rows whose files were opened: those that training takes first, 2,000 or half a minute at most.
        faulty_rows: of these, rows with a file that cannot be read; training stops at the first it meets.
        faulty: name and reason of the first 10 of them.
        cached: scenes that are rendered already; 0 for all other data.
        problem: why training cannot start, in a sentence; empty if it can.
    """

    data: str
    condition: str
    rows: int
    train_rows: int
    held_out_rows: int
    captioned: int
    brought: int
    annotator: str = ""
    smallest: tuple[int, int] | None = None
    small: int = 0
    resolution: int = 0
    looked_at: int = 0
    faulty_rows: int = 0
    faulty: tuple[tuple[str, str], ...] = ()
    cached: int = 0
    problem: str = ""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DataReport:
        """Rebuild a report from what ``dataclasses.asdict`` and JSON made of it."""
        smallest = values["smallest"] and tuple(values["smallest"])
        return cls(**{**values, "smallest": smallest, "faulty": tuple(map(tuple, values["faulty"]))})


def trainable_conditions() -> tuple[str, ...]:
    """List the conditions that the scenes have exactly or an annotator can make here, the usual ones first."""
    makers = [spec for spec in ANNOTATORS.values() if spec.condition]
    known = {*EXACT, *(spec.condition for spec in makers if not availability(spec.name))}
    return (*(name for name in _USUAL if name in known), *sorted(known.difference(_USUAL)))


def check_data(
    data: str, condition: str, samples: int, resolution: int, look: int = LOOK, report: Report = tell_nobody
) -> DataReport:
    """Count the rows of training data and open their first files.

    Args:
        data: "scenes", a folder, a zip or a hub data set; the last two are unpacked or fetched first.
        condition: that is to be learnt.
        samples: rows that training takes at most.
        resolution: pixels along a side of what the networks see.
        look: rows to open at most; 0 opens none.
        report: called with (what is being done, done, in all).

    Returns:
        The report; what is wrong with single rows, or with all of them together, stands in it.

    Raises:
        LisaError: if there is no such data, or they cannot be read at all.
    """
    if data == "scenes":
        return _check_scenes(condition, samples, resolution)
    rows = read_rows(resolve_data(data))
    train = split_rows(rows, "train")
    held_out = list({id(row): row for split in HELD_OUT for row in split_rows(rows, split)}.values())
    brought = sum(condition in row.columns for row in rows)
    annotator, problem = _maker(condition) if brought < len(rows) or not rows else ("", "")
    for split, part in (("to train on", train), ("to hold out for validation", held_out)):
        if not part:
            problem = f"{data} has no picture {split} among its {len(rows)}: add pictures, or name their splits."
            break
    counted = DataReport(
        data, condition, len(rows), len(train), len(held_out), sum(bool(row.caption) for row in rows), brought,
        annotator, resolution=resolution, problem=problem,
    )  # fmt: skip
    return _look(counted, [*train[:samples], *held_out][:look], report)


def _check_scenes(condition: str, samples: int, resolution: int) -> DataReport:
    exact = condition in EXACT
    annotator, problem = ("", "") if exact else _maker(condition)
    return DataReport(
        "scenes", condition, samples, samples, 0, samples, samples if exact else 0, annotator, (SIZE, SIZE),
        samples if resolution > SIZE else 0, resolution, cached=count_cached("train", people_for(condition)),
        problem=problem,
    )  # fmt: skip


def _maker(condition: str) -> tuple[str, str]:
    """The annotator that makes a condition, or why none can."""
    try:
        return annotator_for(condition), ""
    except LisaError as error:
        return "", str(error)


def _look(counted: DataReport, rows: list[Row], report: Report) -> DataReport:
    """Open the files of rows, one after the other."""
    sizes: list[tuple[int, int]] = []
    faulty: list[tuple[str, str]] = []
    looked_at, end = 0, time.monotonic() + _LOOK_SECONDS
    for row in rows:
        if time.monotonic() > end:
            break
        if looked_at % 50 == 0:
            report("looking at pictures", looked_at, len(rows))
        looked_at += 1
        try:
            sizes.append(row.load_image().size)
            row.load_condition(counted.condition)
        except LisaError as error:
            faulty.append((row.name, str(error.__cause__ or error)))
    smallest, small = min(sizes, key=min, default=None), sum(min(size) < counted.resolution for size in sizes)
    return replace(
        counted, smallest=smallest, small=small, looked_at=looked_at, faulty_rows=len(faulty),
        faulty=tuple(faulty[:_NAMED]),
    )  # fmt: skip
