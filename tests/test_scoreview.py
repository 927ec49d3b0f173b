"""The likelihood score as pictures: the target is what control must explain, and a fitted decoder explains some."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from lisa import scoreview
from lisa.data.samples import TrainingData
from lisa.decoder import ScoreDecoder
from lisa.scoreview import (
    Fit,
    Reader,
    alignment_ratio,
    false_colours,
    find_decoders,
    fit_decoder,
    held_out_sample,
    score_views,
)
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
        # All of the target is left to explain, with its own sign.
        left, target = (np.asarray(image).astype(int) for image in (view.difference[reader], view.target))
        assert np.array_equal(left, target) and target.std() > 10


def test_a_fitted_decoder_explains_more_than_nothing_on_what_it_saw(setup):
    family, side, tap, data = setup
    fitted = fit_decoder(family, side, tap.name, data, steps=60)
    again = fit_decoder(family, side, tap.name, data, steps=60)
    assert all(torch.equal(a, b) for a, b in zip(fitted.parameters(), again.parameters(), strict=True))
    assert not any(p.grad is not None for p in side.parameters())
    silent = ScoreDecoder(tap.channels, tap.stride, family.latent_channels)
    assert alignment_ratio(family, side, tap.name, silent, data) == pytest.approx(1)
    assert alignment_ratio(family, side, tap.name, fitted, data) < 0.98
    reader = Reader("x", tap.name, Fit(4, 4, 0.9))
    views = score_views(family, {reader: (side, fitted)}, one(data), TIMES)
    assert np.mean([view.ratio[reader] for view in views]) < 0.98


def test_a_decoder_is_found_beside_its_side_network_and_a_missing_one_is_fitted(setup, tmp_path, monkeypatch):
    family, side, tap, _ = setup
    kept = ScoreDecoder(tap.channels, tap.stride, family.latent_channels)
    torch.nn.init.constant_(kept.out.bias, 0.25)
    kept.save(tmp_path / "lisa" / "decoder" / tap.name)
    monkeypatch.setattr(scoreview, "_PROBE_SAMPLES", 8)
    monkeypatch.setattr(scoreview, "fit_decoder", partial(fit_decoder, steps=2))
    told = []
    sides = {arm: (side, tmp_path / arm) for arm in ("baseline", "lisa")}
    found = find_decoders(family, sides, (tap.name,), "depth", lambda *each: told.append(each))
    probe, trained = found
    assert (probe.arm, trained) == ("baseline", Reader("lisa", tap.name))
    assert (probe.fitted.samples, probe.fitted.held_out) == (8, 2) and 0.5 < probe.fitted.ratio < 1.5
    assert torch.equal(found[trained][1].out.bias, kept.out.bias)
    # One whole with one end, whatever it is made of.
    done = [each[1] for each in told]
    assert done == sorted(done) and done[-1] == 1000 and {total for *_, total in told} == {1000}


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
