"""Figures: arrays and images in, images out."""

from __future__ import annotations

import numpy as np
from PIL import Image

INK = (255, 45, 149)  # pink: neither the world's colours nor those of the two arms
_BLACK = 24


def overlay(image: Image.Image, condition: Image.Image, opacity: float) -> Image.Image:
    """Lay a condition map over a generated image.

    A map that is mostly black (edges, a skeleton) is drawn as ink: its black stays transparent, and its white
    becomes pink. Any other map (depth, segmentation) is blended as a whole.

    Args:
        image: RGB.
        condition: RGB map of any size; it is resized to the image's.
        opacity: 0 shows the image alone, 1 the map as strong as it gets.

    Returns:
        RGB, of the image's size.
    """
    below = np.asarray(image.convert("RGB"), dtype=np.float32)
    above = np.asarray(condition.convert("RGB").resize(image.size, Image.Resampling.BILINEAR), dtype=np.float32)
    light = above.max(axis=2, keepdims=True)
    cover = np.ones_like(light)
    # Asked of the map as it was made: resizing smears its black.
    if (np.asarray(condition.convert("RGB")).max(axis=2) <= _BLACK).mean() > 0.6:
        cover = light / 255
        is_white = above.min(axis=2, keepdims=True) > 0.8 * light
        above = np.where(is_white, np.float32(INK), above * 255 / np.maximum(light, 1))
    mixed = below + opacity * cover * (above - below)
    return Image.fromarray(np.rint(mixed).clip(0, 255).astype(np.uint8))
