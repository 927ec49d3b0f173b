"""The autoencoder's encoder in closed form: principal components of 8 x 8 patches, written into diffusers' Encoder.

Among linear encoders of patches, principal components lose the least squared error (Pearson 1901; Eckart and Young
1936). On the world's pictures sixteen of them keep about 31 dB, which an encoder trained from noise needs hours of
CPU time to reach, and latents that are known from the start let the main network train before the decoder is done.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional

from lisa.pixels import to_pixels

# Standard deviation of the posterior, in units of the latents' own: what the decoder learns to forgive.
POSTERIOR_STD = 0.05
# GroupNorm divides by the deviation within its group. A pair of constants this much larger than the latents makes
# that the same number for every picture, within 0.2 %.
_CONSTANT = 64.0


@torch.no_grad()
def write_principal_encoder(vae: AutoencoderKL, images: np.ndarray) -> Tensor:
    """Set the encoder, ``quant_conv`` and ``post_quant_conv`` of an autoencoder from pictures.

    A latent channel is one principal component divided by the square root of its standard deviation, halfway between
    plain components and whitened ones: the coarse ones still weigh more, so the main network learns shapes and colours
    before texture. All channels together have variance 1.

    Args:
        vae: an AutoencoderKL of factor 2 ** n whose residual blocks may hold anything.
        images: (N, H, W, 3) uint8, the training pictures to take statistics of; a few thousand are plenty.

    Returns:
        The standard deviation (C,) of every latent channel, largest first.
    """
    encoder = vae.encoder
    keep = vae.config.latent_channels
    silence_residuals(encoder)
    _pass_through(encoder.conv_in, 3)
    features = to_pixels(images)
    for block in encoder.down_blocks[:-1]:
        _pass_through(block.resnets[0].conv_shortcut, features.shape[1])
        down = block.downsamplers[0].conv
        last = block is encoder.down_blocks[-2]
        basis = principal_basis(fold(features), keep if last else min(4 * features.shape[1], down.out_channels))
        _write_fold(down, basis)
        features = torch.einsum("kc,bchw->bkhw", basis, fold(features))
    std, mean = torch.std_mean(features, dim=(0, 2, 3))
    gain = 1 / (std.sqrt() * std.mean().sqrt())
    _write_output(encoder, gain, mean)
    _pass_through(vae.quant_conv, 2 * keep)
    _zero(vae.post_quant_conv)
    vae.post_quant_conv.weight[:, :, 0, 0] = torch.diag(1 / (std * gain))
    return std * gain


def silence_residuals(module: nn.Module) -> None:
    """Zero the last convolution of every residual block: the block starts as its shortcut (Goyal et al. 2017)."""
    for name, part in module.named_modules():
        if name.endswith("conv2"):
            _zero(part)


def fold(features: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, 4C, H/2, W/2): the four pixels of each 2 x 2 patch as channels."""
    return functional.pixel_unshuffle(features, 2)


def principal_basis(features: Tensor, keep: int) -> Tensor:
    """The leading principal directions (keep, C) of features (B, C, H, W), over pictures and positions."""
    rows = features.movedim(1, -1).flatten(0, 2).double()
    vectors = torch.linalg.eigh(torch.cov(rows.T)).eigenvectors.flip(1)[:, :keep].T
    # An eigenvector's sign is arbitrary; fixing it gives the same latents on every machine.
    signs = vectors.gather(1, vectors.abs().argmax(1, keepdim=True)).sign()
    return (vectors * signs).float()


def _zero(part: nn.Module) -> None:
    nn.init.zeros_(part.weight)
    nn.init.zeros_(part.bias)


def _pass_through(conv: nn.Conv2d | None, channels: int) -> None:
    """Make a convolution copy its first channels; None is a block that already does."""
    if conv is not None:
        _zero(conv)
        centre = conv.kernel_size[0] // 2
        for i in range(channels):
            conv.weight[i, i, centre, centre] = 1


def _write_fold(conv: nn.Conv2d, basis: Tensor) -> None:
    """Write ``basis @ fold(x)`` into a 3 x 3 convolution of stride 2 that is padded below and on the right."""
    _zero(conv)
    kept = len(basis)
    taps = basis.unflatten(1, (-1, 2, 2))
    conv.weight[:kept, : taps.shape[1], :2, :2] = taps


def _write_output(encoder: nn.Module, gain: Tensor, mean: Tensor) -> None:
    """Carry the components through GroupNorm and SiLU unchanged: silu(x) - silu(-x) = x."""
    wide, norm, out = encoder.down_blocks[-1].resnets[0].conv_shortcut, encoder.conv_norm_out, encoder.conv_out
    keep, group = len(gain), wide.out_channels // norm.num_groups
    each = keep // norm.num_groups
    _zero(wide)
    _zero(out)
    # A group holds 2 * each channels of +-components and one pair of +-constants; its deviation is then known.
    undo = _CONSTANT * math.sqrt(2 / group)
    for k in range(keep):
        first = k // each * group + k % each
        for channel, sign in ((first, 1), (first + each, -1)):
            wide.weight[channel, k] = sign * gain[k]
            wide.bias[channel] = -sign * gain[k] * mean[k]
            out.weight[k, channel, 1, 1] = sign * undo
    for g in range(norm.num_groups):
        wide.bias[g * group + 2 * each] = _CONSTANT
        wide.bias[g * group + 2 * each + 1] = -_CONSTANT
    out.bias[keep:] = 2 * math.log(POSTERIOR_STD)
