"""Condition fidelity: does the generated image show what its condition asked for?

Each measure takes generated images and the scenes whose maps conditioned them, and gives one number per image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from PIL import Image

from lisa.annotators.base import annotate
from lisa.metrics.judge import Judge, Reading, half_size
from lisa.pixels import to_pixels
from lisa.registry import Registry
from lisa.scenes.pool import Pool

Array = np.ndarray
_BATCH = 32


@dataclass(frozen=True)
class Measure:
    """One fidelity measure: its name, unit, whether higher is better, and the function from images to (N,) values."""

    name: str
    unit: str
    higher_is_better: bool
    values: Callable[[Array, Pool, Judge], Array]


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


def _canny(images: Array, pool: Pool, judge: Judge) -> Array:
    def edges(image: Array) -> Array:
        return np.asarray(annotate(Image.fromarray(image), "canny"))[..., 0] > 127

    return np.array([edge_f1(edges(image), edges(truth)) for image, truth in zip(images, pool.images, strict=True)])


@torch.no_grad()
def read_images(judge: Judge, images: Array) -> list[Reading]:
    """Run the judge over images (N, H, W, 3) uint8 in batches."""
    batches = (images[i : i + _BATCH] for i in range(0, len(images), _BATCH))
    return [judge(to_pixels(b)) for b in batches]


def _depth(images: Array, pool: Pool, judge: Judge) -> Array:
    seen = torch.cat([reading.disparity for reading in read_images(judge, images)]).numpy()
    return np.sqrt(((seen - half_size(pool.depth) / 255) ** 2).mean((1, 2)))


def mean_iou(found: Array, wanted: Array) -> float:
    """Mean intersection over union of two class maps (H, W), over the classes that the wanted map holds."""
    return float(
        np.mean(
            [((found == c) & (wanted == c)).sum() / ((found == c) | (wanted == c)).sum() for c in np.unique(wanted)]
        )
    )


def _segmentation(images: Array, pool: Pool, judge: Judge) -> Array:
    seen = torch.cat([reading.classes.argmax(1) for reading in read_images(judge, images)]).numpy()
    return np.array([mean_iou(a, b) for a, b in zip(seen, half_size(pool.classes), strict=True)])


def pck(heat: Array, keypoints: Array, threshold: float = 0.1) -> float:
    """Percentage of correct keypoints (0..1) of one image.

    A joint is sought at the peak of its heat map inside its person's box, grown by a quarter, and is correct within
    ``threshold`` of the box's diagonal. Only joints inside the frame count.

    Args:
        heat: (18, h, w) at half the image's size.
        keypoints: (P, 18, 2) in pixels of the image.
        threshold: share of the box diagonal.
    """
    correct = []
    height, width = heat.shape[1:]
    for person in keypoints / 2:
        low, high = person.min(0), person.max(0)
        grow, limit = 0.25 * (high - low), threshold * np.hypot(*(high - low))
        x0, y0 = np.maximum(np.floor(low - grow).astype(int), 0)
        x1, y1 = np.minimum(np.ceil(high + grow).astype(int) + 1, (width, height))
        for joint, (x, y) in enumerate(person):
            if 0 <= x < width and 0 <= y < height:
                window = heat[joint, y0:y1, x0:x1]
                row, column = np.unravel_index(window.argmax(), window.shape)
                correct.append(np.hypot(column + x0 + 0.5 - x, row + y0 + 0.5 - y) <= limit)
    return float(np.mean(correct)) if correct else float("nan")


def _pose(images: Array, pool: Pool, judge: Judge) -> Array:
    heat = torch.cat([reading.joints for reading in read_images(judge, images)]).numpy()
    return np.array([pck(h, pool.keypoints(i)) for i, h in enumerate(heat)])


MEASURES.add("canny", Measure("edge F1", "", True, _canny))
MEASURES.add("depth", Measure("disparity RMSE", "of the range", False, _depth))
MEASURES.add("segmentation", Measure("mean IoU", "", True, _segmentation))
MEASURES.add("pose", Measure("PCK@0.1", "", True, _pose))
