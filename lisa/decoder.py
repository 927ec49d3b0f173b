"""The score decoder: from a side network's feature to the shape of the main network's output."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import Tensor, nn

from lisa.errors import LisaError
from lisa.files import read_json, write_atomically, write_json

WEIGHTS, CONFIG = "decoder.safetensors", "decoder.json"
_FIELDS = ("channels", "stride", "out_channels", "width")
_TIME_CHANNELS = 256
# From this many channels on, the first convolution is 1x1.
_WIDE = 512
_LARGEST = 1 << 16


class ScoreDecoder(nn.Module):
    """LISA's decoder (arXiv 2606.27192 and its authors' recipe), for a feature of any width and stride.

    The embedded time is added to the feature. Then comes one block per factor 2 of upsampling (convolution
    halving the channels down to width, SiLU, nearest 2x), or one block without upsampling at stride 1, and
    last a zero-initialised convolution. It is used in training only.

    Args:
        channels: Channels of the feature.
        stride: Output pixels per feature pixel along each side, a power of two.
        out_channels: Channels of the output.
        width: Fewest channels inside; a narrower feature keeps its own.

    Raises:
        LisaError: If a size is not positive or the stride is no power of two.
    """

    def __init__(self, channels: int, stride: int, out_channels: int, width: int = 64) -> None:
        super().__init__()
        if stride < 1 or stride & (stride - 1):
            raise LisaError(f"A score decoder's stride is {stride}, but must be a power of two.")
        if min(channels, out_channels, width) < 1:
            raise LisaError(
                f"A score decoder has {channels} channels, {out_channels} output channels and width {width}, "
                "but each must be at least 1."
            )
        self.channels, self.stride, self.out_channels, self.width = channels, stride, out_channels, width
        self.time = nn.Sequential(nn.Linear(_TIME_CHANNELS, channels), nn.SiLU())
        self.blocks, inner = _blocks(channels, stride, width)
        self.out = nn.Conv2d(inner, out_channels, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, feature: Tensor, t: Tensor) -> Tensor:
        """Decode a feature.

        Args:
            feature: (B, channels, h / stride, w / stride).
            t: Times in the network's unit, (B,).

        Returns:
            (B, out_channels, h, w).
        """
        time = self.time(time_embedding(t).to(self.out.weight.dtype))
        return self.out(self.blocks(feature + time[:, :, None, None]))

    def save(self, folder: str | Path) -> None:
        """Write decoder.safetensors and decoder.json, each atomically.

        Args:
            folder: Made if it does not exist.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        write_atomically(folder / WEIGHTS, safetensors.save(tensors))
        write_json(folder / CONFIG, {name: getattr(self, name) for name in _FIELDS})

    @classmethod
    def load(cls, folder: str | Path) -> ScoreDecoder:
        """Read what save() wrote.

        Args:
            folder: Holds decoder.safetensors and decoder.json.

        Returns:
            The decoder in float32, on the CPU.

        Raises:
            LisaError: If a file is missing, damaged, or does not fit the other.
        """
        folder = Path(folder)
        config = read_json(folder / CONFIG)
        if not isinstance(config, dict) or sorted(config) != sorted(_FIELDS):
            raise LisaError(f"{folder / CONFIG} must hold {', '.join(_FIELDS)} and nothing else.")
        if not all(type(value) is int and value < _LARGEST for value in config.values()):
            raise LisaError(f"{folder / CONFIG} holds {config}, but needs whole numbers below {_LARGEST}.")
        decoder = cls(**config)
        try:
            decoder.load_state_dict(safetensors.load_file(folder / WEIGHTS))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise LisaError(
                f"{folder / WEIGHTS} is not the safetensors file that {CONFIG} describes: restore it."
            ) from error
        return decoder


def time_embedding(t: Tensor, channels: int = _TIME_CHANNELS) -> Tensor:
    """Embed times in sinusoids with periods from 2 pi to 20000 pi (Vaswani et al. 2017), cosines first.

    Args:
        t: Times, (B,).
        channels: Even length of an embedding.

    Returns:
        (B, channels) float32 in [-1, 1].
    """
    half = channels // 2
    exponents = torch.arange(half, device=t.device, dtype=torch.float32) / half
    angles = t.float()[:, None] * torch.exp(-math.log(10_000) * exponents)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def _blocks(channels: int, stride: int, width: int) -> tuple[nn.Sequential, int]:
    """Build the upsampling blocks; also returns their output channels."""
    layers: list[nn.Module] = []
    for i in range(max(1, stride.bit_length() - 1)):
        kernel = 1 if i == 0 and stride > 1 and channels >= _WIDE else 3
        out = min(channels, max(channels // 2, width))
        layers += [nn.Conv2d(channels, out, kernel, padding=kernel // 2), nn.SiLU()]
        if stride > 1:
            layers.append(nn.Upsample(scale_factor=2.0, mode="nearest"))
        channels = out
    return nn.Sequential(*layers), channels
