"""Maps as pictures: the condition images that side networks read."""

from __future__ import annotations

import cv2
import numpy as np

from lisa.scenes import vocabulary as words

Array = np.ndarray

# OpenPose's limbs (pairs of COCO keypoints) and its colour wheel.
LIMBS = ((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13),
         (1, 0), (0, 14), (14, 16), (0, 15), (15, 17))  # fmt: skip
LIMB_COLORS = ((255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0),
               (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255),
               (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85))  # fmt: skip
_PALETTE = np.array([color for _, color in words.CLASSES], np.uint8)


def depth_map(depth: Array) -> Array:
    """Disparity as MiDaS draws it: (H, W) distances -> (H, W) uint8, near is bright, the sky is 0."""
    disparity = np.where(np.isfinite(depth), 1 / depth, 0)
    return np.round(disparity / max(float(disparity.max()), 1e-6) * 255).astype(np.uint8)


def normal_map(normals: Array) -> Array:
    """Unit normals (H, W, 3) in [-1, 1] -> (H, W, 3) uint8, 128 is zero."""
    return np.round(np.clip(normals * 0.5 + 0.5, 0, 1) * 255).astype(np.uint8)


def class_map(classes: Array) -> Array:
    """Class indices (H, W) -> (H, W, 3) uint8 in the colours of ``vocabulary.CLASSES``."""
    return _PALETTE[classes]


def pose_map(keypoints: Array, size: int) -> Array:
    """OpenPose skeletons on black.

    Args:
        keypoints: (P, 18, 2 or more), the first two being x and y in pixels.
        size: width and height of the map in pixels.

    Returns:
        (size, size, 3) uint8. Joints that are out of sight are drawn too, as the world knows them; joints out of
        the frame are cut off by it.
    """
    scale = 4  # cv2 draws on whole pixels: draw larger, then average down
    canvas = np.zeros((size * scale, size * scale, 3), np.uint8)
    for person in keypoints:
        xy = np.round(person[:, :2] * scale).astype(int)
        for (a, b), color in zip(LIMBS, LIMB_COLORS[: len(LIMBS)], strict=True):
            cv2.line(
                canvas,
                tuple(map(int, xy[a])),
                tuple(map(int, xy[b])),
                tuple(int(0.6 * c) for c in color),
                max(1, size * scale // 48),
            )
        for (x, y), color in zip(xy, LIMB_COLORS, strict=True):
            cv2.circle(canvas, (int(x), int(y)), max(1, size * scale // 72), color, -1)
    return cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)


def gray_to_rgb(gray: Array) -> Array:
    """(..., H, W) uint8 -> (..., H, W, 3) uint8."""
    return np.repeat(gray[..., None], 3, -1)
