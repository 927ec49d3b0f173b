from __future__ import annotations

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxControlNetModel, FluxPipeline

from lisa.errors import LisaError
from lisa.families._flux import pack, unpack
from lisa.families.base import FAMILIES
from lisa.noise import from_scheduler
from tests.families import contract


def test_packing_is_the_pipelines_own_and_unpacking_undoes_it():
    latents = torch.randn(2, 4, 6, 8)
    packed = pack(latents)
    assert torch.equal(packed, FluxPipeline._pack_latents(latents, 2, 4, 6, 8))
    assert torch.equal(unpack(packed, 6, 8), latents)


def test_texts_are_encoded_as_the_pipeline_does():
    made = contract.family("flux")
    prompts = ["a red cube", "a blue cone on the floor"]
    states, pooled, _ = made.pipeline().encode_prompt(prompts, None, max_sequence_length=77)
    text = made.encode_text(prompts)
    assert torch.equal(text["states"], states)
    assert torch.equal(text["pooled"], pooled)


def test_training_times_are_not_shifted_where_the_shift_belongs_to_sampling():
    assert from_scheduler(FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)).shift == 1
    assert from_scheduler(FlowMatchEulerDiscreteScheduler(shift=3.0)).shift == 3


def test_a_new_side_network_has_no_more_blocks_than_the_transformer_and_copies_them():
    made = contract.family("flux")
    side = made.new_side(0)
    assert (len(side.transformer_blocks), len(side.single_transformer_blocks)) == (3, 2)
    main = made.main.state_dict()
    copied = [name for name in side.state_dict() if not name.startswith("controlnet_")]
    assert all(torch.equal(side.state_dict()[name], main[name]) for name in copied)
    assert len(made.new_side(0, num_single_layers=0).controlnet_single_blocks) == 0


def test_pixels_that_cannot_be_packed_are_refused():
    made = contract.family("flux")
    with pytest.raises(LisaError, match="must be multiples of 4"):
        made.encode_image(torch.zeros(1, 3, 30, 32))


def test_a_side_network_of_another_size_is_refused(tmp_path):
    made, spec = contract.family("flux"), FAMILIES.get("flux")
    config = {**made.new_side(0).config, "joint_attention_dim": 16}
    FluxControlNetModel.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(LisaError, match="joint_attention_dim is 16, but must be 32"):
        made.load_side(tmp_path)
    with pytest.raises(LisaError, match="joint_attention_dim is 16, but must be 32"):
        spec.check_side(spec, str(contract.folder("flux")), "", tmp_path)


def test_tokens_are_not_counted_since_t5_reads_on_where_clip_stops():
    assert contract.family("flux").count_tokens("a red cube") is None
