"""Condition fidelity: does the generated image show what its condition asked for?

Each measure takes generated images and what they were drawn from, and gives one number per image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import torch
from PIL import Image

from lisa.annotators.base import annotate, annotator_for
from lisa.metrics.judge import Judge, Reading, half_size
from lisa.pixels import to_pixels
from lisa.registry import Registry
from lisa.scenes.drawing import class_map, gray_to_rgb, pose_map
from lisa.scenes.example import SIZE
from lisa.scenes.pool import Pool

Array = np.ndarray
_BATCH = 32


@dataclass(frozen=True)
class Truth:
    """What N images were drawn from.

    Attributes:
        conditions: (N, H, W, 3) uint8, at the images' size.
        pool: the scenes behind them; None for pictures from elsewhere.
    """

    conditions: Array
    pool: Pool | None = None


@dataclass(frozen=True)
class Measure:
    """One fidelity measure of one condition.

    Attributes:
        name: of the measure.
        unit: of its values.
        higher_is_better: or lower.
        values: from generated images (N, H, W, 3) uint8, their truth and the judge to (N,) values.
        read: from the same to condition maps (N, H, W, 3) uint8, as they are read back from the images.
        needs_scenes: whether it compares with the scene behind an image or asks the judge, who knows scenes only.
    """

    name: str
    unit: str
    higher_is_better: bool
    values: Callable[[Array, Truth, Judge], Array]
    read: Callable[[Array, Truth, Judge], Array]
    needs_scenes: bool = True


MEASURES: Registry[Measure] = Registry("fidelity measure")


def edge_f1(found: Array, wanted: Array, tolerance: int = 1) -> float:
    """F1 of two edge maps (H, W) bool, where an edge counts if the other map has one within ``tolerance`` pixels.

    Two empty maps agree (1.0); one empty map of two does not (0.0).
    """
    if not found.any() or not wanted.any():
        return float(found.any() == wanted.any())
    kernel = np.ones((2 * tolerance + 1,) * 2, np.uint8)
    near_wanted, near_found = (cv2.dilate(m.astype(np.uint8), kernel) > 0 for m in (wanted, found))
    precision, recall = near_wanted[found].mean(), near_found[wanted].mean()
    return float(2 * precision * recall / max(precision + recall, 1e-9))


def measure_of(condition: str, from_scenes: bool) -> Measure:
    """The measure of a condition.

    Args:
        condition: its name.
        from_scenes: whether the images show rendered scenes, of which the judge knows depth, classes and joints.

    Returns:
        The registered measure; where it does not apply, one that annotates the images and compares the maps.

    Raises:
        LisaError: if no annotator can read the condition back here.
    """
    if condition in MEASURES and (from_scenes or not MEASURES.get(condition).needs_scenes):
        return MEASURES.get(condition)
    read = partial(_annotated, annotator_for(condition))

    def values(images: Array, truth: Truth, judge: Judge) -> Array:
        difference = read(images, truth, judge).astype(np.float32) - truth.conditions
        return np.sqrt(np.square(difference / 255).mean((1, 2, 3)))

    return Measure("map RMSE", "of the range", False, values, read, needs_scenes=False)


def _annotated(annotator: str, images: Array, truth: Truth, judge: Judge) -> Array:
    return np.stack([np.asarray(annotate(Image.fromarray(image), annotator)) for image in images])


def _canny(images: Array, truth: Truth, judge: Judge) -> Array:
    found, wanted = (maps[..., 0] > 127 for maps in (_annotated("canny", images, truth, judge), truth.conditions))
    return np.array([edge_f1(a, b) for a, b in zip(found, wanted, strict=True)])


@torch.no_grad()
def read_images(judge: Judge, images: Array) -> list[Reading]:
    """Run the judge over images (N, H, W, 3) uint8 in batches, at the size of the scenes that it knows."""
    if images.shape[1:3] != (SIZE, SIZE):
        images = _resized(images, SIZE, cv2.INTER_AREA)
    batches = (images[i : i + _BATCH] for i in range(0, len(images), _BATCH))
    return [judge(to_pixels(b)) for b in batches]


def _disparity(images: Array, judge: Judge) -> Array:
    return torch.cat([reading.disparity for reading in read_images(judge, images)]).numpy()


def _read_depth(images: Array, truth: Truth, judge: Judge) -> Array:
    return gray_to_rgb(_resized(np.round(_disparity(images, judge) * 255).astype(np.uint8), images.shape[1]))


def _depth(images: Array, truth: Truth, judge: Judge) -> Array:
    return np.sqrt(((_disparity(images, judge) - half_size(truth.pool.depth) / 255) ** 2).mean((1, 2)))


def _resized(maps: Array, size: int, how: int = cv2.INTER_NEAREST) -> Array:
    return np.stack([cv2.resize(each, (size, size), interpolation=how) for each in maps])


def mean_iou(found: Array, wanted: Array) -> float:
    """Mean intersection over union of two class maps (H, W), over the classes that the wanted map holds."""
    return float(
        np.mean(
            [((found == c) & (wanted == c)).sum() / ((found == c) | (wanted == c)).sum() for c in np.unique(wanted)]
        )
    )


def _classes(images: Array, judge: Judge) -> Array:
    return torch.cat([reading.classes.argmax(1) for reading in read_images(judge, images)]).numpy()


def _read_segmentation(images: Array, truth: Truth, judge: Judge) -> Array:
    return class_map(_resized(_classes(images, judge).astype(np.uint8), images.shape[1]))


def _segmentation(images: Array, truth: Truth, judge: Judge) -> Array:
    wanted = half_size(truth.pool.classes)
    return np.array([mean_iou(a, b) for a, b in zip(_classes(images, judge), wanted, strict=True)])


def find_joints(heat: Array, keypoints: Array) -> Array:
    """Where the peaks of one image's heat maps lie: each joint is sought inside its person's box, grown by a quarter.

    Args:
        heat: (18, h, w) at half the image's size.
        keypoints: (P, 18, 2) true joints in pixels of the image; they set the boxes.

    Returns:
        (P, 18, 2) in pixels of the image.
    """
    found = np.zeros(keypoints.shape, np.float32)
    height, width = heat.shape[1:]
    for row, person in zip(found, keypoints / 2, strict=True):
        low, high = person.min(0), person.max(0)
        grow = 0.25 * (high - low)
        # A person out of the frame still has a window of one pixel at its rim.
        x0, y0 = np.clip(np.floor(low - grow).astype(int), 0, (width - 1, height - 1))
        x1, y1 = np.clip(np.ceil(high + grow).astype(int) + 1, (x0 + 1, y0 + 1), (width, height))
        window = heat[:, y0:y1, x0:x1]
        y, x = np.unravel_index(window.reshape(len(heat), -1).argmax(1), window.shape[1:])
        row[:] = 2 * np.stack([x + x0 + 0.5, y + y0 + 0.5], 1)
    return found


def pck(heat: Array, keypoints: Array, threshold: float = 0.1) -> float:
    """Percentage of correct keypoints (0..1) of one image.

    A joint is correct if ``find_joints`` has it within ``threshold`` of its person's diagonal. Only joints inside the
    frame count.

    Args:
        heat: (18, h, w) at half the image's size.
        keypoints: (P, 18, 2) in pixels of the image.
        threshold: share of the box diagonal.
    """
    height, width = 2 * np.array(heat.shape[1:])
    inside = ((keypoints >= 0) & (keypoints < (width, height))).all(2)
    limit = threshold * np.hypot(*(keypoints.max(1) - keypoints.min(1)).T)[:, None]
    correct = np.hypot(*np.moveaxis(find_joints(heat, keypoints) - keypoints, 2, 0)) <= limit
    return float(correct[inside].mean()) if inside.any() else float("nan")


def _heat(images: Array, judge: Judge) -> Array:
    return torch.cat([reading.joints for reading in read_images(judge, images)]).numpy()


def _read_pose(images: Array, truth: Truth, judge: Judge) -> Array:
    found = [find_joints(heat, truth.pool.keypoints(i)) for i, heat in enumerate(_heat(images, judge))]
    return np.stack([pose_map(joints * (images.shape[1] / SIZE), images.shape[1]) for joints in found])


def _pose(images: Array, truth: Truth, judge: Judge) -> Array:
    return np.array([pck(heat, truth.pool.keypoints(i)) for i, heat in enumerate(_heat(images, judge))])


def psnr(images: Array, wanted: Array) -> Array:
    """Peak signal-to-noise ratio in dB of images (N, H, W, 3) uint8, as (N,); 99 where they are equal."""
    error = np.square(images.astype(np.float32) - wanted).mean((1, 2, 3))
    return 10 * np.log10(255**2 / np.maximum(error, 255**2 * 10**-9.9))


def _super_resolution(images: Array, truth: Truth, judge: Judge) -> Array:
    return psnr(images, _resized(truth.pool.images, images.shape[1], cv2.INTER_AREA))


MEASURES.add("blur", Measure("PSNR", "dB", True, _super_resolution, partial(_annotated, "blur")))
MEASURES.add("canny", Measure("edge F1", "", True, _canny, partial(_annotated, "canny"), needs_scenes=False))
MEASURES.add("depth", Measure("disparity RMSE", "of the range", False, _depth, _read_depth))
MEASURES.add("segmentation", Measure("mean IoU", "", True, _segmentation, _read_segmentation))
MEASURES.add("pose", Measure("PCK@0.1", "", True, _pose, _read_pose))
