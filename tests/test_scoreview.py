"""The likelihood score as pictures: the target is what control must explain, and a fitted decoder explains some."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lisa.data.samples import TrainingData
from lisa.decoder import ScoreDecoder
from lisa.scoreview import Reader, decoder_of, false_colours, fit_decoder, held_out_sample, score_views
from tests import tiny

TIMES = (200, 800)


@pytest.fixture(scope="module")
def setup():
    family = tiny.cached_family("scenes-unet")
    side = family.new_side(0).eval().requires_grad_(False)
    tap = family.default_taps(side)[0]
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(4, family.latent_channels, 8, 8, generator=generator)
    pixels = torch.randint(256, (4, 3, 64, 64), generator=generator, dtype=torch.uint8)
    return family, side, tap, TrainingData(latents, pixels, ("a", "b", "c", "d"), tuple("abcd"))


def one(data):
    return data.latents[:1], data.conditions[:1].float() / 255, data.captions[0]


def test_a_decoder_that_says_nothing_leaves_everything(setup):
    family, side, tap, data = setup
    silent = ScoreDecoder(tap.channels, tap.stride, family.latent_channels).requires_grad_(False)
    reader = Reader("baseline", tap.name)
    views = score_views(family, {reader: (side, silent)}, one(data), TIMES)
    assert [view.timestep for view in views] == list(TIMES)
    for view in views:
        assert view.ratio[reader] == pytest.approx(1.0)
        grey = np.asarray(view.decoded[reader])
        assert np.ptp(grey) <= 1 and view.prior.size == (64, 64)
        # What is left over is the target with the sign turned.
        left, target = (np.asarray(image).astype(int) for image in (view.difference[reader], view.target))
        assert np.abs(left + target - 255).max() <= 1 and target.std() > 10


def test_a_fitted_decoder_explains_more_than_nothing_on_what_it_saw(setup):
    family, side, tap, data = setup
    fitted = fit_decoder(family, side, tap.name, data, steps=60)
    again = fit_decoder(family, side, tap.name, data, steps=60)
    assert all(torch.equal(a, b) for a, b in zip(fitted.parameters(), again.parameters(), strict=True))
    assert not any(p.grad is not None for p in side.parameters())
    reader = Reader("x", tap.name, fitted=True)
    views = score_views(family, {reader: (side, fitted)}, one(data), TIMES)
    assert np.mean([view.ratio[reader] for view in views]) < 0.98


def test_a_decoder_is_found_beside_its_side_network(setup, tmp_path):
    family, side, tap, _ = setup
    kept = ScoreDecoder(tap.channels, tap.stride, family.latent_channels)
    torch.nn.init.constant_(kept.out.bias, 0.25)
    kept.save(tmp_path / "decoder" / tap.name)
    found, fitted = decoder_of(family, side, tmp_path, tap.name, "depth")
    assert torch.equal(found.out.bias, kept.out.bias) and not fitted


def test_a_held_out_sample_is_a_scene_with_its_map(setup):
    family = setup[0]
    latents, pixels, caption = held_out_sample(family, "depth", 3)
    assert latents.shape[1] == family.latent_channels and pixels.shape[2] == 8 * latents.shape[2]
    assert pixels.min() >= 0 and pixels.max() <= 1 and caption


def test_zero_is_grey_and_the_reference_sets_the_scale():
    reference = torch.randn(2, 5, 8, 8, generator=torch.Generator().manual_seed(1))
    paint = false_colours(reference, 8)
    assert set(np.asarray(paint(torch.zeros(5, 8, 8))).ravel()) <= {127, 128}
    assert np.asarray(paint(10 * reference[0])).std() > np.asarray(paint(reference[0])).std()
