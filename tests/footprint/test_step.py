"""Operations and memory without weights are those of the real trainer with weights, on every kind of family."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from lisa.estimate import random_samples
from lisa.families.base import FAMILIES
from lisa.footprint.of_run import footprint_of
from lisa.settings import TrainSettings
from lisa.train import Trainer
from tests.families import contract

_ATEN = torch.ops.aten
ATTENTION = {
    _ATEN._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    _ATEN._scaled_dot_product_flash_attention_for_cpu_backward: lambda *at, **_: sdpa_backward_flop_count(*at[:4]),
}  # fmt: skip


TAPS = {"svd": "down_2", "sdxl": "down_2", "animatediff": "down_2"}


def settings_of(kind: str, **changes) -> TrainSettings:
    lisa = f"lisa:taps={TAPS[kind]}" if kind in TAPS else "lisa"
    return TrainSettings(family=contract.kind(kind).NAME, **{"arms": lisa, "batch_size": 2, **changes})


@pytest.fixture
def small(monkeypatch):
    """The real family of a kind, and its footprint at its few pixels, also where its config does not tell them."""

    def make(kind: str):
        family, pixels = contract.family(kind), contract.kind(kind).PIXELS
        spec = replace(FAMILIES.get(family.name), resolution=pixels)
        monkeypatch.setattr("lisa.footprint.of_run.family_spec", lambda name: spec)
        monkeypatch.setattr(family, "resolution", pixels)
        return family

    return make


def trainer_of(settings: TrainSettings, family) -> Trainer:
    data = random_samples(family, settings.batch_size)
    return Trainer(settings, family, data, data, Accelerator(cpu=True))


def counted(trainer: Trainer) -> int:
    """Operations of the real passes over one batch."""
    batch = trainer.batch(0, 0)
    with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
        trainer._accumulate(batch, {arm.name: [] for arm in trainer.arms})
    return counter.get_total_flops()


# sd3 is of the class of scenes_dit.
@pytest.mark.parametrize("kind", [kind for kind in contract.KINDS if kind != "sd3"])
def test_operations_are_those_of_the_trainer(kind, small):
    family, settings = small(kind), settings_of(kind)
    cost = footprint_of(settings, contract.folder(kind)).cost
    assert cost.shared == counted(trainer_of(settings, family))


def test_operations_of_other_runs_are_those_of_the_trainer(small):
    family, folder = small("scenes_dit"), contract.folder("scenes_dit")
    shared = footprint_of(settings_of("scenes_dit"), folder).cost.shared
    for changes in ({"arms": "baseline,lisa", "share": False}, {"arms": "lisa:taps=block_0+block_1"}):
        settings = settings_of("scenes_dit", **changes)
        flops = counted(trainer_of(settings, family))
        assert footprint_of(settings, folder).flops == flops > shared


def test_computing_activations_again_is_counted_and_saves_memory(small):
    folder, family = contract.folder("scenes_dit"), small("scenes_dit")
    kept, again = (footprint_of(settings_of("scenes_dit", gradient_checkpointing=on), folder) for on in (False, True))
    try:
        assert again.flops == counted(trainer_of(settings_of("scenes_dit", gradient_checkpointing=True), family))
    finally:
        family.main.disable_gradient_checkpointing()
    assert again.flops > kept.flops and again.memory.step < kept.memory.step


def test_plain_training_is_a_pass_forward_and_back(small):
    """An independent count of what the footprint finds by taking away the rest."""
    family = small("scenes_dit")
    trainer = trainer_of(settings_of("scenes_dit"), family)
    batch, side = trainer.batch(0, 0), trainer.arms[0].side
    with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
        family.predict(batch.latents, batch.timesteps, batch.text, side, batch.condition).value.sum().backward()
    cost = footprint_of(settings_of("scenes_dit"), contract.folder("scenes_dit")).cost
    assert cost.plain == counter.get_total_flops()


def test_accumulation_makes_a_step_longer_but_hardly_larger(small):
    small("scenes_dit")
    folder = contract.folder("scenes_dit")
    one, four = (footprint_of(settings_of("scenes_dit", accumulation=n), folder) for n in (1, 4))
    assert four.flops == 4 * one.flops and four.cost.plain == 4 * one.cost.plain
    assert one.memory.peak <= four.memory.peak <= one.memory.peak + one.memory.gradients


def test_memory_is_what_the_trainer_allocates(small):
    family, settings = small("scenes_dit"), settings_of("scenes_dit", batch_size=16)
    trainer = trainer_of(settings, family)
    trainer._accumulate(trainer.batch(0, 0), {"lisa": []})
    trainer.arms[0].optimizer.zero_grad(set_to_none=True)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        trainer._accumulate(trainer.batch(0, 0), {"lisa": []})
    measured, memory = most_allocated(profiler), footprint_of(settings, contract.folder("scenes_dit")).memory
    assert memory.step + memory.gradients == pytest.approx(measured, rel=0.1)
    arm = trainer.arms[0]
    trained = sum(p.numel() * 4 for module in (arm.side, arm.decoders) for p in module.parameters())
    assert memory.gradients == trained == memory.optimizer / 2
    assert memory.weights + memory.gradients + memory.optimizer + memory.step == memory.peak


def most_allocated(profiler: profile) -> int:
    """Most bytes in use at a time by torch's own record of its allocations."""
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    return int(np.cumsum([e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())]).max())


def test_half_precision_halves_the_frozen_weights_and_the_activations(small):
    small("scenes_dit")
    folder = contract.folder("scenes_dit")
    whole, half, cpu, again = (
        footprint_of(settings_of("scenes_dit", batch_size=16, **changes), folder).memory
        for changes in (
            {},
            {"precision": "bf16"},
            {"precision": "bf16", "device": "cpu"},
            {"precision": "bf16", "gradient_checkpointing": True},
        )
    )
    assert half.loading == pytest.approx(whole.loading / 2, rel=0.01) and cpu.loading == whole.loading
    assert again.step < half.step and 0.4 * whole.step < half.step < 0.8 * whole.step
    assert half.gradients == whole.gradients
