from __future__ import annotations

import contextlib

import pytest
import torch
from diffusers import ControlNetModel, DDPMScheduler, StableDiffusionPipeline
from torch.nn import functional

from lisa.families.base import FAMILIES
from lisa.objective import arm_loss, prior
from lisa.settings import LisaSettings
from tests import tiny

LISA = LisaSettings()


def _setup(kind="sd21", names=("down_5",), **more):
    family = tiny.cached_family(kind)
    side = tiny.open_control(family.new_side(0))
    return family, side, tiny.decoders(family, side, names, **more), tiny.batch(family)


# --- weight 0 is plain training ---


def _plain_training(folder, side, batches):
    """Three steps of ControlNet training as diffusers' example script does it."""
    pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipe.unet.requires_grad_(False)
    widths = side.config.conditioning_embedding_out_channels
    controlnet = ControlNetModel.from_unet(pipe.unet, conditioning_embedding_out_channels=widths)
    controlnet.load_state_dict(side.state_dict())
    controlnet.train()
    scheduler = DDPMScheduler.from_config(pipe.scheduler.config)
    optimizer = torch.optim.AdamW(controlnet.parameters(), lr=1e-3, weight_decay=0.01)
    losses = []
    for batch in batches:
        noisy = scheduler.add_noise(batch.latents, batch.noise, batch.timesteps)
        states = batch.text["states"]
        down, mid = controlnet(noisy, batch.timesteps, states, controlnet_cond=batch.condition, return_dict=False)
        prediction = pipe.unet(
            noisy,
            batch.timesteps,
            states,
            down_block_additional_residuals=down,
            mid_block_additional_residual=mid,
            return_dict=False,
        )[0]
        velocity = scheduler.config.prediction_type == "v_prediction"
        target = scheduler.get_velocity(batch.latents, batch.noise, batch.timesteps) if velocity else batch.noise
        loss = functional.mse_loss(prediction.float(), target.float(), reduction="mean")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return controlnet, losses


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("kind", ["sd15", "sd21", tiny.EMBEDDED])
def test_weight_zero_is_plain_training_bit_for_bit(kind, shared):
    family = tiny.cached_family(kind)
    side = family.new_side(0)
    before = side.conv_in.weight.clone()
    decoders = tiny.decoders(family, side, ("down_5", "mid"), trained=False)
    folder = FAMILIES.get("scenes-unet").source if kind == tiny.EMBEDDED else tiny.folder(kind)
    batches = [tiny.batch(family, size=3, seed=seed) for seed in range(3)]
    reference, losses = _plain_training(folder, side, batches)
    groups = [{"params": side.parameters()}, {"params": decoders.parameters()}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, weight_decay=0.01)
    for batch, plain in zip(batches, losses, strict=True):
        with family.shared() if shared else contextlib.nullcontext():
            loss = arm_loss(family, side, decoders, batch, LISA, 0.0, prior(family, batch))
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        assert torch.equal(loss.total.detach(), plain)
    after = reference.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in side.state_dict().items())
    assert not torch.equal(after["conv_in.weight"], before)  # three steps did move it
    assert decoders["mid"].out.weight.abs().max() > 0  # and the probes did learn


def test_a_weight_reaches_the_side_network_and_zero_does_not():
    family, side, decoders, batch = _setup()
    free = prior(family, batch)
    plain = arm_loss(family, side, decoders, batch, LISA, 0.0, free)
    lisa = arm_loss(family, side, decoders, batch, LISA, 0.5, free)
    torch.testing.assert_close(lisa.total, plain.total + 0.5 * plain.alignment)
    assert torch.equal(lisa.alignment, plain.alignment)
    gradients = []
    for loss in (plain, lisa):
        side.zero_grad()
        loss.total.backward()
        gradients.append(tiny.gradients(side))
    assert not torch.equal(gradients[0]["conv_in.weight"], gradients[1]["conv_in.weight"])
    behind = "mid_block.resnets.1.conv2.weight"  # comes after the tap
    assert torch.equal(gradients[0][behind], gradients[1][behind])
    assert all(parameter.grad is None for parameter in family.main.parameters())


def test_alignment_reaches_the_trunk_while_the_zero_layers_are_shut():
    family = tiny.cached_family("sd15")
    side = family.new_side(0)
    decoders, batch = tiny.decoders(family, side, ("down_5",)), tiny.batch(family)
    for weight, reached in ((0.0, False), (0.2, True)):
        side.zero_grad()
        arm_loss(family, side, decoders, batch, LISA, weight, prior(family, batch)).total.backward()
        assert (side.conv_in.weight.grad.abs().max() > 0) == reached


# --- sharing ---


def _all_arms(family, sides, decoders, batch, shared):
    """Losses, gradients, and how often the encoder ran."""
    runs = []
    hook = family.main.down_blocks[0].resnets[0].register_forward_hook(lambda *_: runs.append(1))
    for module in (*sides, *decoders):
        module.zero_grad()
    results = []
    with family.shared() if shared else contextlib.nullcontext():
        free = prior(family, batch)
        for side, decoder, weight in zip(sides, decoders, (0.0, 0.2, 3.0), strict=True):
            loss = arm_loss(family, side, decoder, batch, LISA, weight, free)
            loss.total.backward()
            results.append((loss.numbers(), tiny.gradients(side), tiny.gradients(decoder)))
    hook.remove()
    return free, results, len(runs)


@pytest.mark.parametrize("kind", [*tiny.KINDS, tiny.EMBEDDED])
def test_shared_equals_unshared_exactly_for_several_arms(kind):
    family = tiny.cached_family(kind)
    sides = [tiny.open_control(family.new_side(0), seed=seed) for seed in range(3)]
    decoders = [tiny.decoders(family, side, ("down_3", "mid")) for side in sides]
    batch = tiny.batch(family)
    free, plain, runs = _all_arms(family, sides, decoders, batch, shared=False)
    shared_free, shared, shared_runs = _all_arms(family, sides, decoders, batch, shared=True)
    assert (runs, shared_runs) == (4, 1)
    assert torch.equal(free, shared_free)
    for (numbers, *gradients), (shared_numbers, *shared_gradients) in zip(plain, shared, strict=True):
        assert numbers == shared_numbers
        for one, other in zip(gradients, shared_gradients, strict=True):
            assert one.keys() == other.keys()
            assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert not any("forward" in module.__dict__ for module in family.main.modules())
