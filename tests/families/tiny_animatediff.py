"""A tiny Stable Diffusion 1.5 with a motion adapter beside it, as the family's folders have it."""

from __future__ import annotations

from pathlib import Path

from diffusers import MotionAdapter
from torch import nn

from tests import tiny

NAME, PIXELS = "animatediff", 64


def build() -> BaseAndAdapter:
    """The stock pipeline of the images with an adapter of small sizes."""
    return BaseAndAdapter()


class BaseAndAdapter:
    """A pipeline and its motion adapter, saved into one folder."""

    def __init__(self) -> None:
        self.pipeline = tiny.pipeline("sd15")
        self.adapter = MotionAdapter(
            block_out_channels=(8, 16, 16, 16), motion_layers_per_block=2, motion_norm_num_groups=4,
            motion_num_attention_heads=2, motion_max_seq_length=32,
        )  # fmt: skip

    def save_pretrained(self, path: Path, **options: bool) -> None:
        """Write both."""
        self.pipeline.save_pretrained(path, **options)
        self.adapter.save_pretrained(path / "motion_adapter", **options)


def open_control(side: nn.Module) -> nn.Module:
    """Give the zero-initialised layers values, as training would, so that control acts."""
    return tiny.open_control(side)
