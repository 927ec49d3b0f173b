"""The encoder in closed form is what principal components say, and the decoder grows towards the whole one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from lisa.pixels import to_pixels
from lisa.pretrain.architecture import LATENT_CHANNELS, new_vae
from lisa.pretrain.principal import POSTERIOR_STD, principal_basis, write_principal_encoder
from lisa.pretrain.vae import decode_grown, new_heads
from lisa.scenes.example import render_example


@pytest.fixture(scope="module")
def images():
    return np.stack([render_example(seed).image for seed in range(24)])


@pytest.fixture(scope="module")
def written(images):
    torch.manual_seed(0)
    vae = new_vae().eval().requires_grad_(False)
    return vae, write_principal_encoder(vae, images)


def best_linear_error(latents, pixels):
    """Squared error of the best linear map from latents to the 8 x 8 patches behind them."""
    patches = functional.pixel_unshuffle(pixels, 8).movedim(1, -1).reshape(-1, 192)
    rows = latents.movedim(1, -1).reshape(len(patches), -1)
    rows = torch.cat([rows, torch.ones(len(rows), 1)], 1)
    return float((rows @ torch.linalg.lstsq(rows, patches).solution - patches).square().mean())


def test_latents_keep_what_principal_components_of_patches_keep(written, images):
    vae, std = written
    pixels = to_pixels(images)
    latents = vae.encode(pixels).latent_dist.mean
    patches = functional.pixel_unshuffle(pixels, 8)
    basis = principal_basis(patches, LATENT_CHANNELS)
    plain = torch.einsum("kc,bchw->bkhw", basis, patches)
    # The encoder folds in three steps and drops a little on the way: within a twentieth of the optimum.
    assert best_linear_error(latents, pixels) < 1.05 * best_linear_error(plain, pixels)
    assert torch.allclose(latents.std((0, 2, 3)), std, rtol=0.02)
    assert (latents.mean((0, 2, 3)).abs() < 0.05).all() and torch.all(std.diff() <= 0)
    assert float(std.square().mean()) == pytest.approx(1, rel=0.25)


def test_posterior_is_narrow_and_the_decoder_sees_unit_variance(written, images):
    vae, _ = written
    posterior = vae.encode(to_pixels(images)).latent_dist
    assert torch.allclose(posterior.std, torch.full_like(posterior.std, POSTERIOR_STD), rtol=1e-3)
    seen = vae.post_quant_conv(posterior.mean)
    assert torch.allclose(seen.std((0, 2, 3)), torch.ones(LATENT_CHANNELS), rtol=0.02)


def test_the_encoder_is_linear_for_one_picture_as_for_another(written, images):
    """GroupNorm must not rescale a dark picture: half the contrast gives half the latents."""
    vae, _ = written
    pixels = to_pixels(images[:4])
    zero, whole, half = (vae.encode(pixels * scale).latent_dist.mean for scale in (0.0, 1.0, 0.5))
    assert torch.allclose(half - zero, (whole - zero) / 2, atol=0.02)
    assert (whole - half).abs().max() > 0.5


def test_float16_weights_give_the_same_latents(written, images):
    vae, _ = written
    before = vae.encode(to_pixels(images[:4])).latent_dist.mean
    rounded = new_vae().eval()
    rounded.load_state_dict({name: value.half().float() for name, value in vae.state_dict().items()})
    assert torch.allclose(before, rounded.encode(to_pixels(images[:4])).latent_dist.mean, atol=0.02)


@pytest.mark.parametrize(("factor", "side"), [(4, 32), (2, 64), (1, 128)])
def test_the_grown_decoder_speaks_of_the_whole_picture(written, factor, side):
    vae, _ = written
    output = decode_grown(vae, new_heads(vae), torch.zeros(2, LATENT_CHANNELS, 16, 16), factor)
    assert output.shape == (2, 3 * factor**2, side, side)
