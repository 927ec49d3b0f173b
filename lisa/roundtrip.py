"""The round trip of a condition: draw held-out scenes from it, read it back from the images, and see what was lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from torch import nn

from lisa.evaluate import generate_held_out, held_out, passes
from lisa.families.base import Family
from lisa.metrics.fidelity import measure_of
from lisa.metrics.judge import Judge, load_judge
from lisa.report import Report, Ticks, tell_nobody
from lisa.settings import GenerateSettings

Array = np.ndarray
_TOLERANCE = 1  # pixels by which an edge may lie beside its place, as in edge_f1
_AGREE, _MISSING, _EXTRA = (235, 235, 235), (60, 130, 246), (240, 120, 40)


@dataclass(frozen=True)
class Trip:
    """One arm's round trip of one scene: its image, the condition read back from it, what differs, and the measure."""

    image: Image.Image
    read: Image.Image
    error: Image.Image
    value: float


@dataclass(frozen=True)
class RoundTrip:
    """One held-out scene: its caption, its condition, and the trip of every arm."""

    caption: str
    condition: Image.Image
    trips: dict[str, Trip]


@dataclass(frozen=True)
class RoundTrips:
    """Several scenes under one measure; ``unit`` may be empty."""

    measure: str
    unit: str
    higher_is_better: bool
    scenes: tuple[RoundTrip, ...]


def round_trips(
    family: Family,
    sides: Mapping[str, nn.Module],
    data: str,
    settings: GenerateSettings,
    judge_folder: Path,
    report: Report = tell_nobody,
) -> RoundTrips:
    """Draw the first held-out samples with every arm and read their condition back.

    Args:
        family: of the main network.
        sides: side networks by arm.
        data: that they were trained on: "scenes" or a folder.
        settings: condition, sampling steps, guidance, strength and first seed; ``count`` is the number of samples, of
            which number i starts from the noise of seed + i.
        judge_folder: where the judge lies; needed for depth, segmentation and pose of scenes.
        report: called with (what is being done, done, in all).

    Raises:
        LisaError: if nothing can read the condition back, or the judge is missing.
    """
    family.refuse_clips("Round trips")
    measure = measure_of(settings.condition, data == "scenes")
    judge = load_judge(judge_folder) if measure.needs_scenes else Judge()
    held = held_out(family, data, settings.condition, settings.count, report)
    wanted = held.truth.conditions
    trips: dict[str, list[Trip]] = {}
    on_pass = Ticks("drawing scenes", len(sides) * passes(len(held.data), settings.steps), report)
    for arm, side in sides.items():
        images = generate_held_out(family, side, held, settings, on_pass)
        read, values = (of(images, held.truth, judge) for of in (measure.read, measure.values))
        trips[arm] = [
            _trip(settings.condition, *each) for each in zip(images, read, wanted, values.tolist(), strict=True)
        ]
    scenes = tuple(
        RoundTrip(caption, Image.fromarray(wanted[i]), {arm: trips[arm][i] for arm in sides})
        for i, caption in enumerate(held.data.captions)
    )
    return RoundTrips(measure.name, measure.unit, measure.higher_is_better, scenes)


def _trip(condition: str, image: Array, read: Array, wanted: Array, value: float) -> Trip:
    pictures = (Image.fromarray(each) for each in (image, read, error_map(condition, read, wanted)))
    return Trip(*pictures, value)


def error_map(condition: str, read: Array, wanted: Array) -> Array:
    """Show where two condition maps differ.

    Args:
        condition: kind of the maps.
        read: (H, W, 3) uint8, read back from an image.
        wanted: (H, W, 3) uint8, which the image was drawn from.

    Returns:
        (H, W, 3) uint8. Edges: light grey where both have one, blue where one is missing, orange where there is one
        too many, on black. Depth: white where equal, orange where the image is nearer, blue where it is farther.
        Else: black where equal, orange by how much the colours differ.
    """
    if condition == "canny":
        return _edge_errors(read[..., 0] > 127, wanted[..., 0] > 127)
    difference = (read.astype(np.float32) - wanted) / 255
    if condition == "depth":
        return _blend((255, 255, 255), np.maximum(difference, 0), _EXTRA, np.maximum(-difference, 0), _MISSING)
    return _blend((0, 0, 0), np.abs(difference).max(-1, keepdims=True), _EXTRA)


def _edge_errors(read: Array, wanted: Array) -> Array:
    kernel = np.ones((2 * _TOLERANCE + 1,) * 2, np.uint8)
    near_read, near_wanted = (cv2.dilate(m.astype(np.uint8), kernel) > 0 for m in (read, wanted))
    error = np.zeros((*read.shape, 3), np.uint8)
    error[wanted & ~near_read] = _MISSING
    error[read & ~near_wanted] = _EXTRA
    error[read & near_wanted] = _AGREE
    return error


def _blend(ground: tuple[int, int, int], *layers: Array | tuple[int, int, int]) -> Array:
    """Mix colours into a ground, by shares (H, W, 1 or 3) in 0..1 that come before each colour."""
    picture: Array = np.array(ground, np.float32)
    for share, colour in zip(layers[::2], layers[1::2], strict=True):
        share = np.sqrt(np.clip(share[..., :1], 0, 1))  # small differences are to be seen too
        picture = (1 - share) * picture + share * np.array(colour, np.float32)
    return picture.round().astype(np.uint8)
