from __future__ import annotations

import pytest
import torch
from diffusers import SD3ControlNetModel, SD3Transformer2DModel

from lisa.errors import LisaError
from lisa.families.base import FAMILIES
from tests.families import contract


@pytest.mark.parametrize("name", ["sd3", "scenes_dit"])
def test_texts_are_encoded_as_the_pipeline_does(name):
    made = contract.family(name)
    prompts = ["a red cube", "a blue cone on the floor"]
    states, _, pooled, _ = made.pipeline().encode_prompt(
        prompts, None, None, "cpu", 1, False, max_sequence_length=77 if name == "sd3" else 0
    )
    text = made.encode_text(prompts)
    assert torch.equal(text["states"], states)
    assert torch.equal(text["pooled"], pooled)
    length = made.parts["tokenizer"].model_max_length
    assert states.shape[1] == (length + 77 if name == "sd3" else length)


def test_tokens_are_counted_where_clip_alone_reads_them():
    made, letters = contract.family("scenes_dit"), list("abcdefghijklmnopqrst")
    given, read = made.count_tokens(" ".join(letters))
    assert given == len(letters) > read
    whole, kept, less = (made.encode_text([" ".join(letters[:count])])["pooled"] for count in (given, read, read - 1))
    assert torch.equal(whole, kept) and not torch.equal(kept, less)
    assert contract.family("sd3").count_tokens("a red cube") is None


def test_a_new_side_network_copies_the_first_blocks_and_leaves_the_transformers_config_alone():
    made = contract.family("sd3")
    layers = made.main.config.num_layers
    side = made.new_side(0)
    assert (len(side.transformer_blocks), made.main.config.num_layers) == (layers // 2, layers)
    assert not side.config.force_zeros_for_pooled_projection
    main = made.main.state_dict()
    copied = [name for name in side.state_dict() if not name.startswith(("controlnet_", "pos_embed_input"))]
    assert all(torch.equal(side.state_dict()[name], main[name]) for name in copied)
    assert len(made.new_side(0, num_layers=1).transformer_blocks) == 1


def test_the_condition_is_a_latent_with_the_images_shift():
    made = contract.family("sd3")
    pixels = torch.rand(1, 3, 32, 32)
    assert made.vae.config.shift_factor
    mean = made.vae.encode(pixels * 2 - 1).latent_dist.mean
    wanted = (mean - made.vae.config.shift_factor) * made.vae.config.scaling_factor
    torch.testing.assert_close(made.encode_condition(pixels), wanted)
    torch.testing.assert_close(made.decode_latents(wanted), made.vae.decode(mean).sample.clamp(-1, 1))


def test_a_side_network_of_another_size_is_refused(tmp_path):
    made = contract.family("sd3")
    config = {name: value for name, value in made.new_side(0).config.items() if not name.startswith("_")}
    SD3ControlNetModel(**{**config, "num_attention_heads": 4, "caption_projection_dim": 32}).save_pretrained(tmp_path)
    spec = FAMILIES.get("sd3")
    with pytest.raises(LisaError, match="num_attention_heads is 4, but must be 2"):
        made.load_side(tmp_path)
    with pytest.raises(LisaError, match="num_attention_heads is 4, but must be 2"):
        spec.check_side(spec, str(contract.folder("sd3")), "", tmp_path)
    made.new_side(0).save_pretrained(tmp_path / "fits")
    spec.check_side(spec, str(contract.folder("sd3")), "", tmp_path / "fits")


def test_a_published_side_network_reads_what_it_was_trained_to_read():
    made = contract.family("sd3")
    config = {name: value for name, value in made.new_side(0).config.items() if not name.startswith("_")}
    side = SD3ControlNetModel.from_config({**config, "force_zeros_for_pooled_projection": True})
    seen = []
    side.register_forward_pre_hook(lambda _module, _args, kwargs: seen.append(kwargs), with_kwargs=True)
    pixels, batch = torch.rand(2, 3, 32, 32), contract.batch(made, 32)
    made.predict(batch.latents, batch.timesteps, batch.text, side, made.encode_condition(pixels))
    unshifted = made.vae.encode(pixels * 2 - 1).latent_dist.mean * made.vae.config.scaling_factor
    torch.testing.assert_close(seen[0]["controlnet_cond"], unshifted)
    assert not seen[0]["pooled_projections"].any()


def test_the_second_attention_of_3_5_is_copied_into_a_new_side_network():
    made = contract.loaded("sd3")
    config = {name: value for name, value in made.main.config.items() if not name.startswith("_")}
    made.main = SD3Transformer2DModel.from_config({**config, "dual_attention_layers": (0, 1)}).requires_grad_(False)
    side, batch = made.new_side(0), contract.batch(made, 32)
    blocks = [network.transformer_blocks[1].attn2.state_dict() for network in (side, made.main)]
    assert all(torch.equal(value, blocks[1][name]) for name, value in blocks[0].items())
    with torch.no_grad():
        free, controlled = (
            made.predict(batch.latents, batch.timesteps, batch.text, *control).value
            for control in ((), (side, batch.condition))
        )
    assert torch.equal(free, controlled)
