"""The judge: one small network that reads depth, classes and keypoints back from an image of the world.

It plays the part that MiDaS, Mask2Former and OpenPose play for photographs. It was trained on rendered scenes, and
its own error on held-out renders is the floor below which a difference means nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lisa.errors import LisaError
from lisa.scenes.mannequin import KEYPOINTS
from lisa.scenes.vocabulary import CLASSES

WEIGHTS = "judge.safetensors"
_WIDTHS = (24, 48, 64, 96)


@dataclass(frozen=True)
class Reading:
    """What the judge sees in B images, at half their size.

    Attributes:
        classes: Logits (B, 7, h, w).
        disparity: (B, h, w) in 0..1.
        joints: Logits (B, 18, h, w).
    """

    classes: Tensor
    disparity: Tensor
    joints: Tensor


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.GroupNorm(8, outputs), nn.SiLU())


class Judge(nn.Module):
    """A four-level encoder-decoder with skips, half a million parameters: (B, 3, H, W) in [-1, 1] -> Reading."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(_block(a, b, 2) for a, b in pairwise((3, *_WIDTHS)))
        self.same = nn.ModuleList(_block(width, width) for width in _WIDTHS)
        self.up = nn.ModuleList(_block(a + b, a) for a, b in pairwise(_WIDTHS))
        self.head = nn.Conv2d(_WIDTHS[0], len(CLASSES) + 1 + len(KEYPOINTS), 1)

    def forward(self, pixels: Tensor) -> Reading:
        """Read images (B, 3, H, W) in [-1, 1]; H and W are multiples of 16."""
        maps, x = [], pixels
        for down, same in zip(self.down, self.same, strict=True):
            x = same(down(x))
            maps.append(x)
        for i in reversed(range(len(self.up))):
            x = self.up[i](torch.cat([maps[i], nn.functional.interpolate(x, scale_factor=2.0)], 1))
        out = self.head(x)
        return Reading(out[:, : len(CLASSES)], out[:, len(CLASSES)].sigmoid(), out[:, len(CLASSES) + 1 :])

    def save(self, folder: Path) -> None:
        """Write the weights, float16."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: value.half().contiguous() for name, value in self.state_dict().items()}, folder / WEIGHTS)


def load_judge(folder: Path) -> Judge:
    """Read a judge.

    Raises:
        LisaError: if the folder holds none.
    """
    judge = Judge()
    try:
        judge.load_state_dict({name: value.float() for name, value in load_file(folder / WEIGHTS).items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        raise LisaError(f"{folder} holds no judge: train it with 'python -m lisa pretrain --stage judge'.") from error
    return judge.eval().requires_grad_(False)


def half_size(maps: np.ndarray) -> np.ndarray:
    """Take every second pixel of maps (N, H, W, ...), as the judge's own resolution."""
    return maps[:, 1::2, 1::2]


def joint_targets(keypoints: Tensor, size: int, radius: float = 1.5) -> Tensor:
    """Heat maps of joints.

    Args:
        keypoints: (P, 18, 2) in pixels of the full image, for all P people of one image.
        size: width and height of the full image.
        radius: standard deviation of a blob in half-size pixels.

    Returns:
        (18, size/2, size/2) in 0..1, the largest blob where several people's overlap.
    """
    grid = torch.arange(size // 2) + 0.5
    x, y = keypoints[..., 0, None] / 2 - grid, keypoints[..., 1, None] / 2 - grid
    blobs = torch.exp(-(y[..., :, None] ** 2 + x[..., None, :] ** 2) / (2 * radius**2))
    return blobs.amax(0) if len(keypoints) else torch.zeros(len(KEYPOINTS), size // 2, size // 2)
