"""Pictures as the networks take them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def to_pixels(images: np.ndarray) -> Tensor:
    """Turn pictures (..., H, W, 3) uint8 into (..., 3, H, W) float32 in [-1, 1]."""
    return channels_first(images).float() / 127.5 - 1


def channels_first(images: np.ndarray) -> Tensor:
    """Turn pictures (..., H, W, 3) uint8 into (..., 3, H, W) uint8."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, -1, -3)))
