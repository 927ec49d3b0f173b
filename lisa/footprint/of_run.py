"""The footprint of a run: parameters, operations of a step and memory, from its settings and the networks' configs."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from lisa.errors import LisaError
from lisa.families.base import Family, family_spec
from lisa.footprint.sketch import config_folder, sketch_batch, sketch_family, without_content
from lisa.footprint.step import Ledger, decoding_flops, gpu_autocast, run_batch
from lisa.job import accelerator_for
from lisa.objective import Batch, prior
from lisa.plan import Footprint, Memory, StepCost
from lisa.settings import TrainSettings, parse_arms
from lisa.train import Arm

_REPEATS = 5
_FLOAT = 4  # bytes: side networks and score decoders are float32 whatever the precision of the run


def footprint(settings: TrainSettings) -> Footprint:
    """Work out what a run takes, without weights and without a connection, and measure how fast its device multiplies.

    Args:
        settings: Already checked.

    Returns:
        The footprint.

    Raises:
        LisaError: If the sizes of the main network are not known, or the settings do not fit it.
    """
    try:
        device = accelerator_for(settings).device
    except LisaError:  # a run for another machine
        device = None
    here = replace(settings, device="cpu") if device and device.type == "cpu" else settings
    with config_folder(settings.family, settings.source, settings.revision) as (folder, published):
        made = footprint_of(here, folder)
    if device is None:
        return replace(made, published=published)
    return replace(made, published=published, device=str(device), matrix_speed=matrix_speed(device, settings.precision))


def matrix_speed(device: torch.device, precision: str) -> float:
    """Measure the operations per second of products of square matrices, the best of a few.

    Args:
        device: Where they are computed.
        precision: "no", "bf16" or "fp16".

    Returns:
        Floating-point operations per second; a multiply-add is two.
    """
    size = 1024 if device.type == "cpu" else 8192
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    matrix = torch.ones(size, size, dtype=dtype, device=device)
    seconds = []
    for _ in range(_REPEATS):
        begin = time.perf_counter()
        (matrix @ matrix)[0, 0].item()  # reading a number back waits for the device
        seconds.append(time.perf_counter() - begin)
    return 2 * size**3 / min(seconds)


def footprint_of(settings: TrainSettings, folder: Path) -> Footprint:
    """Work out what a run takes.

    Args:
        settings: Already checked.
        folder: Holds the configs of the main network's pipeline, instead of the settings' source.

    Returns:
        The footprint.
    """
    s = settings
    # As many bytes as float16, and known to every autocast. On a CPU frozen networks stay float32.
    half = torch.bfloat16 if s.precision != "no" and s.device != "cpu" else None
    with without_content():
        family = sketch_family(family_spec(s.family), folder, half)
        arms = _arms(s, family)
        usual = next((arm for arm in arms if arm.lisa.weight), None) or _arms(replace(s, arms="lisa"), family)[0]
        batch = sketch_batch(family, s.batch_size)
        with gpu_autocast(half):
            main, shareable = _without_control(family, batch)
            decoding, usual_decoding = (
                sum(decoding_flops(family, arm, batch) for arm in each) for each in (arms, [usual])
            )
        ledger = _follow(s, family, arms, half)
        # Every arm takes as much as plain training and its decoders, less what it gets from the pass without control.
        plain = (ledger.flops - main - decoding) // len(arms) + (shareable if s.share else 0)
        full = main + plain + usual_decoding
        cost = StepCost(*(s.accumulation * count for count in (main, plain, full, full - shareable)))
        around = [part for part in family.parts.values() if isinstance(part, nn.Module) and part is not family.main]
        counts = [_parameters(each) for each in ([family.main], [arms[0].side], [arms[0].decoders], around)]
        return Footprint("", *counts, s.accumulation * ledger.flops, cost, _memory(family, arms, ledger.most))


def _arms(settings: TrainSettings, family: Family) -> list[Arm]:
    if settings.gradient_checkpointing:
        family.main.enable_gradient_checkpointing()
    blank = replace(settings, start="")  # weights that it starts from have the same sizes
    arms = parse_arms(settings.arms, family.spec.default_lisa)
    return [Arm(arm, family, blank, family.device) for arm in arms]


def _without_control(family: Family, batch: Batch) -> tuple[int, int]:
    """Count a pass without control, and what of it the next pass need not compute again."""
    with family.shared():
        counts = []
        for _ in range(2):
            with Ledger() as ledger:
                prior(family, batch)
            counts.append(ledger.flops)
    return counts[0], counts[0] - counts[1]


def _follow(settings: TrainSettings, family: Family, arms: list[Arm], half: torch.dtype | None) -> Ledger:
    """Follow the tensors of a step; the operations are those of its last batch, the memory that of all."""
    s = settings
    with Ledger() as ledger:
        for _ in range(min(s.accumulation, 2)):  # from the second batch on, gradients are there from the start
            batch = sketch_batch(family, s.batch_size)
            ledger.flops = 0  # without those of the text encoders
            with gpu_autocast(half):
                run_batch(family, arms, batch, s.share)
    return ledger


def _memory(family: Family, arms: list[Arm], most: int) -> Memory:
    """Put together what stays and the most that a step's own tensors take at a time, gradients among them."""
    loading = _bytes(family.parts.values())
    freed = [part for name, part in family.parts.items() if name.startswith("text_encoder")]
    weights = loading + sum(_bytes([arm.side, arm.decoders]) for arm in arms)
    weights -= _bytes(freed) if family.spec.drop_text_encoders else 0
    trained = [_FLOAT * _parameters([arm.side, arm.decoders]) for arm in arms]
    gradients, optimizer = sum(trained), 2 * sum(trained)
    # AdamW works on all parameters of an arm at once, and needs room for one more copy of them.
    most = max(most, gradients + max(trained))
    return Memory(weights, gradients, optimizer, most - gradients, weights + optimizer + most, loading)


def _parameters(networks: Iterable[nn.Module]) -> int:
    return sum(value.numel() for network in networks for value in network.parameters())


def _bytes(networks: Iterable[object]) -> int:
    return sum(
        value.numel() * value.element_size()
        for network in networks
        if isinstance(network, nn.Module)
        for value in (*network.parameters(), *network.buffers())
    )
