"""Training: lockstep arms, exact resume, plain training at lambda 0, sharing, and learning at all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch.nn import functional

from lisa.checkpoint import load_arm, load_tensors, optimizer_tensors, restore_optimizer, save_arm, save_tensors
from lisa.data.samples import TrainingData
from lisa.errors import LisaError
from lisa.settings import TrainSettings
from lisa.train import Trainer
from tests import tiny

SETTINGS = TrainSettings(steps=4, batch_size=2, learning_rate=1e-3, validation_samples=4, clip_norm=1.0)
KINDS = pytest.mark.parametrize("kind", ["sd15", "sd21", "scenes-unet"])


def random_data(family, count=8, seed=0) -> TrainingData:
    generator = torch.Generator().manual_seed(seed)
    size = tiny.PIXELS // family.downscale
    latents = torch.randn((count, family.latent_channels, size, size), generator=generator)
    conditions = torch.randint(0, 256, (count, 3, tiny.PIXELS, tiny.PIXELS), generator=generator, dtype=torch.uint8)
    return TrainingData(latents, conditions, tuple(f"cube {i}" for i in range(count)), tuple(map(str, range(count))))


def trainer(kind, **changes) -> Trainer:
    family = tiny.family(kind)
    settings = replace(SETTINGS, family=kind, **changes)
    return Trainer(settings, family, random_data(family), random_data(family, 4, 1), Accelerator(cpu=True))


def weights(arm) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in arm.side.parameters()])


@KINDS
def test_weight_zero_is_plain_controlnet_training_bit_for_bit(kind):
    """Against a loop written with diffusers and torch alone."""
    ours = trainer(kind, arms="baseline")
    family = ours.family
    plain = family.new_side(SETTINGS.seed).train()
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-3, weight_decay=SETTINGS.weight_decay)
    for step, record in enumerate(ours.steps()):
        batch = ours.batch(step, 0)
        x_t = family.path.add_noise(batch.latents, batch.noise, batch.timesteps)
        (states,) = batch.text.values()
        down, mid = plain(x_t, batch.timesteps, states, batch.condition, return_dict=False)
        output = family.main(
            x_t, batch.timesteps, states, down_block_additional_residuals=down, mid_block_additional_residual=mid
        ).sample
        loss = functional.mse_loss(output, family.path.target(batch.latents, batch.noise, batch.timesteps))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), SETTINGS.clip_norm)
        optimizer.step()
        assert record.losses["baseline"]["control"] == pytest.approx(float(loss), rel=1e-6)
    assert torch.equal(weights(ours.arms[0]), torch.cat([p.detach().flatten() for p in plain.parameters()]))


@KINDS
def test_a_baseline_is_the_same_alone_or_beside_other_arms(kind):
    alone, beside = trainer(kind, arms="baseline"), trainer(kind, arms="lisa,baseline,other:weight=2:taps=mid")
    records = [list(t.steps()) for t in (alone, beside)]
    assert torch.equal(weights(alone.arms[0]), weights(beside.arms[1]))
    assert records[0][-1].losses["baseline"] == records[1][-1].losses["baseline"]
    assert not torch.equal(weights(beside.arms[0]), weights(beside.arms[1]))


@KINDS
def test_shared_equals_unshared_exactly(kind):
    shared, unshared = trainer(kind, share=True), trainer(kind, share=False)
    assert [r.losses for r in shared.steps()] == [r.losses for r in unshared.steps()]
    for a, b in zip(shared.arms, unshared.arms, strict=True):
        assert torch.equal(weights(a), weights(b))


@KINDS
def test_interrupt_and_resume_equals_uninterrupted(kind, tmp_path):
    whole = trainer(kind)
    losses = [r.losses for r in whole.steps()]

    first = trainer(kind)
    before = [r.losses for _, r in zip(range(2), first.steps(), strict=False)]
    save_tensors(tmp_path / "o.safetensors", {a.name: optimizer_tensors(a.optimizer) for a in first.arms})
    for arm in first.arms:
        save_arm(tmp_path / arm.name, arm.side, arm.decoders)

    torch.manual_seed(99)  # a resumed process starts with another global state
    second = trainer(kind)
    groups = load_tensors(tmp_path / "o.safetensors")
    for arm in second.arms:
        load_arm(tmp_path / arm.name, arm.side, arm.decoders)
        restore_optimizer(arm.optimizer, groups[arm.name])
    second.step = 2
    assert before + [r.losses for r in second.steps()] == losses
    for a, b in zip(whole.arms, second.arms, strict=True):
        assert torch.equal(weights(a), weights(b))
    assert whole.validate() == second.validate()


def test_arms_start_from_the_same_weights_and_validation_never_moves():
    t = trainer("scenes-unet")
    assert torch.equal(weights(t.arms[0]), weights(t.arms[1]))
    first = t.validate()
    assert first == t.validate()
    assert first["baseline"]["control"] == first["lisa"]["control"] == first["lisa"]["prior"]
    assert first["lisa"]["ratio"] == pytest.approx(1.0)


def test_the_error_of_a_difference_is_over_samples_whatever_the_batch_size():
    errors = []
    for size in (1, 2, 4):
        t = trainer("scenes-unet", batch_size=size)
        tiny.open_control(t.arms[1].side, seed=3)  # else both arms predict the same
        losses = t.validate()["lisa"]
        assert losses["difference_samples"] == 4
        assert losses["difference"] == pytest.approx(losses["control"] - t.validate()["baseline"]["control"], rel=1e-4)
        errors.append(losses["difference_error"])
    assert errors[0] > 0 and errors == pytest.approx([errors[0]] * 3, rel=1e-3)


def test_accumulation_equals_one_large_batch():
    """Two micro-batches give the gradient of their mean."""
    t = trainer("scenes-unet", arms="lisa", accumulation=2, clip_norm=0.0)
    record = next(t.steps())
    single = trainer("scenes-unet", arms="lisa", clip_norm=0.0)
    losses = []
    for micro in range(2):
        sums = {"lisa": []}
        single._accumulate(t.batch(0, micro), sums)
        losses.append(float(sums["lisa"][0].control))
    norm = torch.nn.utils.get_total_norm([p.grad / 2 for p in single.arms[0].side.parameters() if p.grad is not None])
    assert record.losses["lisa"]["control"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert record.losses["lisa"]["gradient_norm"] == pytest.approx(float(norm), rel=1e-4)


@pytest.mark.parametrize("arm", ["baseline", "lisa"])
def test_training_lowers_the_loss_on_a_fixed_batch(arm, monkeypatch):
    t = trainer("scenes-unet", arms=arm, steps=25, learning_rate=3e-3)
    fixed = t.batch(0, 0)
    monkeypatch.setattr(t, "batch", lambda step, micro: fixed)
    records = [r.losses[arm] for r in t.steps()]
    assert records[-1]["control"] < records[0]["control"]
    assert records[-1]["ratio"] < 0.97


def test_the_learning_rate_warms_up_and_then_stays_or_falls_along_a_cosine():
    flat = trainer("scenes-unet", arms="baseline", steps=12, warmup_steps=2)
    assert [flat.learning_rate(step) for step in (0, 1, 2, 11)] == pytest.approx([5e-4, 1e-3, 1e-3, 1e-3])
    falling = trainer("scenes-unet", arms="baseline", steps=12, warmup_steps=2, rate_schedule="cosine")
    assert [falling.learning_rate(step) for step in (1, 2, 7, 12)] == pytest.approx([1e-3, 1e-3, 5e-4, 0])


def test_all_arms_start_from_a_side_network_that_was_trained_before(tmp_path):
    before = trainer("scenes-unet", arms="baseline")
    list(before.steps())
    save_arm(tmp_path / "side", before.arms[0].side, before.arms[0].decoders)
    after = trainer("scenes-unet", start=str(tmp_path / "side"))
    assert [torch.equal(weights(arm), weights(before.arms[0])) for arm in after.arms] == [True, True]
    list(after.steps())
    assert not any(torch.equal(weights(arm), weights(before.arms[0])) for arm in after.arms)
    with pytest.raises(LisaError, match="nowhere"):
        trainer("scenes-unet", start=str(tmp_path / "nowhere"))


def test_an_unknown_tap_is_one_sentence():
    with pytest.raises(LisaError, match="tap of arm odd"):
        trainer("scenes-unet", arms="odd:weight=1:taps=down_99")
