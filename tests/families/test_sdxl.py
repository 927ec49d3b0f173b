from __future__ import annotations

import pytest
import torch

from tests.families import contract


def test_texts_are_encoded_as_the_pipeline_does():
    made = contract.family("sdxl")
    prompts = ["a red cube", "a blue cone on the floor"]
    states, _, pooled, _ = made.pipeline().encode_prompt(prompts, do_classifier_free_guidance=False)
    text = made.encode_text(prompts)
    assert torch.equal(text["states"], states)
    assert torch.equal(text["pooled"], pooled)


def test_both_networks_are_told_the_size_of_the_picture_and_the_pooled_text(monkeypatch):
    made = contract.family("sdxl")
    side, batch = made.new_side(0), contract.batch(made, 64)
    seen = []
    for network in (side, made.main):
        inner = network.add_embedding.forward
        monkeypatch.setattr(network.add_embedding, "forward", lambda x, inner=inner: (seen.append(x), inner(x))[1])
    made.predict(batch.latents, batch.timesteps, batch.text, side, batch.condition)
    sizes = made.main.add_time_proj(torch.tensor([64.0, 64, 0, 0, 64, 64])).flatten()
    wanted = torch.cat([batch.text["pooled"], sizes.expand(2, -1)], 1)
    assert len(seen) == 2
    assert all(torch.equal(each, wanted) for each in seen)


def test_the_default_tap_is_in_the_middle_at_half_resolution():
    made = contract.family("sdxl")
    (tap,) = made.default_taps(made.new_side(0))
    assert (tap.name, tap.stride, len(made.taps(made.new_side(0)))) == ("down_4", 2, 10)


@pytest.mark.parametrize("name", ["sdxl", "svd"])
def test_an_autoencoder_that_overflows_in_float16_runs_in_float32(name):
    made, pixels = contract.loaded(name, dtype=torch.float16), contract.kind(name).PIXELS
    assert made.vae.config.force_upcast
    seen = []
    for part in (made.vae.encoder, made.vae.decoder):
        part.register_forward_pre_hook(lambda _module, args: seen.append(args[0].dtype))
    frames = (made.frames,) if made.frames else ()
    latents = made.encode_image(torch.zeros(1, *frames, 3, pixels, pixels))
    made.decode_latents(latents)
    assert latents.isfinite().all()
    assert set(seen) == {torch.float32} and len(seen) == 2
    assert made.vae.dtype == torch.float16
