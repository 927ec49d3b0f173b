"""How the condition embedding of a new ControlNet starts."""

from __future__ import annotations

import torch
from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding
from torch import nn

# 1 / sqrt(E[silu(z)^2]) of a standard normal z: with it a layer keeps the second moment of its input.
_SILU_GAIN = 1.677


def keep_variance(embedding: ControlNetConditioningEmbedding, generator: torch.Generator) -> None:
    """Start all convolutions but the last so that a map's variation reaches the end (He et al. 2015, arXiv 1502.01852).

    torch's own start takes away about two thirds of what varies over a map in every layer: seven layers leave less
    than a thousandth of it, and a run of some hundred steps ends before the side network has seen its condition. The
    last convolution stays zero, as in every ControlNet (Zhang et al. 2023, arXiv 2302.05543, section 3.3).

    Args:
        embedding: changed in place.
        generator: draws the weights, normal with variance gain^2 / fan-in; biases become zero.
    """
    with torch.no_grad():
        for convolution in (embedding.conv_in, *embedding.blocks):
            fan_in = convolution.weight[0].numel()
            nn.init.normal_(convolution.weight, std=_SILU_GAIN / fan_in**0.5, generator=generator)
            nn.init.zeros_(convolution.bias)
