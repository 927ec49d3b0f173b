"""The score decoder: from a side feature and a timestep to a score-shaped map (arXiv 2606.27192).

It is trained with the side network and thrown away after training, so it costs nothing at inference.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lisa.errors import LisaError
from lisa.files import read_json, write_json

_TIME_CHANNELS = 256
_MANY_CHANNELS = 512
_WEIGHTS, _CONFIG = "decoder.safetensors", "decoder.json"


def timestep_embedding(t: Tensor, channels: int = _TIME_CHANNELS) -> Tensor:
    """Sinusoidal embedding, cosines first: (B,) in 0..1000 -> (B, channels) float32."""
    half = channels // 2
    frequencies = torch.exp(-math.log(10_000) * torch.arange(half, device=t.device) / half)
    angles = t.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], 1)


class ScoreDecoder(nn.Module):
    """Decode one feature map.

    The embedded timestep is added to the feature. Then, per factor 2 of upsampling: a convolution that halves the
    channels down to ``width``, SiLU, nearest-neighbour 2x; its kernel is 3x3, but 1x1 in the first block where it
    reads 512 channels or more. Without upsampling there is one 3x3 block. A zero-initialised 3x3 convolution gives
    the output.

    Args:
        channels: channels of the feature.
        stride: factor to upsample by, a power of two.
        out_channels: channels of the main network's output.
        width: fewest channels that halving goes down to.

    Raises:
        LisaError: if the stride is no power of two.
    """

    def __init__(self, channels: int, stride: int, out_channels: int, width: int = 64) -> None:
        super().__init__()
        if stride < 1 or stride & (stride - 1):
            raise LisaError(f"The feature's stride is {stride}: the score decoder upsamples by powers of two only.")
        self.config = {"channels": channels, "stride": stride, "out_channels": out_channels, "width": width}
        self.time = nn.Sequential(nn.Linear(_TIME_CHANNELS, channels), nn.SiLU())
        layers: list[nn.Module] = []
        for block in range(max(1, stride.bit_length() - 1)):
            halved = max(channels // 2, width) if channels > width else channels
            kernel = 1 if block == 0 and stride > 1 and channels >= _MANY_CHANNELS else 3
            layers += [nn.Conv2d(channels, halved, kernel, padding=kernel // 2), nn.SiLU()]
            if stride > 1:
                layers.append(nn.Upsample(scale_factor=2.0, mode="nearest"))
            channels = halved
        self.body = nn.Sequential(*layers)
        self.out = nn.Conv2d(channels, out_channels, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, feature: Tensor, t: Tensor) -> Tensor:
        """Decode.

        Args:
            feature: (B, channels, h, w).
            t: (B,) timesteps in 0..1000.

        Returns:
            (B, out_channels, h * stride, w * stride).
        """
        time = self.time(timestep_embedding(t).to(feature.dtype))
        return self.out(self.body(feature + time[:, :, None, None]))

    def save(self, folder: Path) -> None:
        """Write ``decoder.safetensors`` and ``decoder.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: value.contiguous() for name, value in self.state_dict().items()}, folder / _WEIGHTS)
        write_json(folder / _CONFIG, self.config)

    @classmethod
    def load(cls, folder: Path) -> ScoreDecoder:
        """Read what ``save`` wrote, in float32.

        Raises:
            LisaError: if the folder holds no decoder.
        """
        try:
            decoder = cls(**read_json(folder / _CONFIG))
            decoder.load_state_dict({name: value.float() for name, value in load_file(folder / _WEIGHTS).items()})
        except (OSError, SafetensorError, TypeError, RuntimeError) as error:
            raise LisaError(f"{folder} holds no score decoder: a side network without one can still be used.") from error
        return decoder
