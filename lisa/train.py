"""Training arms in lockstep: every arm sees the same initial weights, samples, noise, timesteps and captions.

The loop is a generator of small typed records; who runs it does the progress bar, logging, previews and checkpoints.
Everything random in a step follows from (seed, step), so a resumed run draws what an uninterrupted one would have.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from lisa import fsdp
from lisa.data.samples import TrainingData
from lisa.decoder import ScoreDecoder
from lisa.errors import unknown_name
from lisa.families.base import Family
from lisa.objective import Batch, LossBreakdown, arm_loss, prior
from lisa.settings import ArmSettings, TrainSettings, parse_arms
from lisa.tap import Tap

_VALIDATION_STREAM = 0x5EED
_ENCODE_BATCH = 16


@dataclass(frozen=True)
class StepRecord:
    """One optimizer step: its number from 1, losses and gradient norm per arm, learning rate, seconds."""

    step: int
    losses: dict[str, dict[str, float]]
    learning_rate: float
    seconds: float


class Arm:
    """One side network, spread over the processes or not, with its score decoders and optimizer."""

    def __init__(
        self,
        settings: ArmSettings,
        family: Family,
        training: TrainSettings,
        device: torch.device,
        sharded: bool = False,
    ) -> None:
        self.name = settings.name
        self.side: nn.Module = _first_side(family, training).to(device).train()
        if training.gradient_checkpointing:
            self.side.enable_gradient_checkpointing()
        taps = {tap.name: tap for tap in family.taps(self.side)}
        names = settings.lisa.taps or tuple(tap.name for tap in family.default_taps(self.side))
        for name in names:
            if name not in taps:
                raise unknown_name(f"tap of arm {self.name}", name, taps)
        self.lisa = replace(settings.lisa, taps=names)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            decoders = {name: self._decoder(taps[name], family.latent_channels) for name in names}
        self.decoders = nn.ModuleDict(decoders).to(device)
        if sharded:  # the decoders are too small to be worth it
            fsdp.shard(self.side)
        groups = [{"params": list(self.side.parameters())}, {"params": list(self.decoders.parameters())}]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=training.weight_decay)

    def _decoder(self, tap: Tap, channels: int) -> ScoreDecoder:
        return ScoreDecoder(tap.channels, tap.stride, channels, self.lisa.width)


def _first_side(family: Family, training: TrainSettings) -> nn.Module:
    """The side network that all arms start from: one that was trained before, or a copy of the main network."""
    if not training.start:
        return family.new_side(training.seed)
    return family.load_side(training.start, dtype=torch.float32).requires_grad_(True)


class Trainer:
    """All arms of one run with their data; ``steps()`` trains them.

    Args:
        settings: the run's settings, already checked.
        family: the frozen main network.
        data: training samples.
        validation: held-out samples.
        accelerator: device, precision and processes.

    Attributes:
        sharded: whether main and side networks are spread over the processes, so that all must run them together.
    """

    def __init__(
        self,
        settings: TrainSettings,
        family: Family,
        data: TrainingData,
        validation: TrainingData,
        accelerator: Accelerator,
    ) -> None:
        self.settings, self.family, self.data, self.validation = settings, family, data, validation
        self.accelerator = accelerator
        self._encoded = {id(each): _encoded(family, each) for each in (data, validation)}
        self.sharded = accelerator.num_processes > 1 and fsdp.asked_for()
        self.arms = [
            Arm(arm, family, settings, accelerator.device, self.sharded)
            for arm in parse_arms(settings.arms, family.spec.default_lisa)
        ]
        if settings.gradient_checkpointing:
            family.main.enable_gradient_checkpointing()
        if self.sharded:
            fsdp.shard(family.main)
        for arm in self.arms:
            arm.optimizer = accelerator.prepare_optimizer(arm.optimizer)
        self.step = 0

    def learning_rate(self, step: int) -> float:
        """The rate of step 0, 1, ...: after a linear warm-up constant, or a cosine that ends at 0 (Loshchilov 2017)."""
        s = self.settings
        peak = s.learning_rate or self.family.spec.learning_rate
        if step < s.warmup_steps:
            return peak * (step + 1) / s.warmup_steps
        if s.rate_schedule == "constant":
            return peak
        return peak * 0.5 * (1 + math.cos(math.pi * (step - s.warmup_steps) / max(1, s.steps - s.warmup_steps)))

    def batch(self, step: int, micro: int) -> Batch:
        """This process's share of one micro-batch; the draw covers all processes, so their number changes nothing."""
        s, processes = self.settings, self.accelerator.num_processes
        rng = np.random.default_rng((s.seed, step, micro))
        total = s.batch_size * processes
        index = rng.integers(len(self.data), size=total)
        dropped = rng.random(total) < s.caption_dropout
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        noise = torch.randn((total, *self.data.latents.shape[1:]), generator=generator)
        t = self.family.path.sample_t(total, generator)
        mine = slice(self.accelerator.process_index * s.batch_size, (self.accelerator.process_index + 1) * s.batch_size)
        captions = ["" if drop else self.data.captions[i] for i, drop in zip(index[mine], dropped[mine], strict=True)]
        return self._to_device(self.data, index[mine], captions, noise[mine], t[mine])

    def _to_device(self, data: TrainingData, index: np.ndarray, captions: list[str], noise: Tensor, t: Tensor) -> Batch:
        device, encoded = self.accelerator.device, self._encoded[id(data)]
        condition = _condition(self.family, data, index) if encoded is None else encoded[index].to(device)
        text = data.text(self.family, captions, index)
        return Batch(data.latents[index].to(device), condition, text, noise.to(device), t.to(device))

    def steps(self) -> Iterator[StepRecord]:
        """Train to the last step of the settings, yielding after each optimizer step."""
        while self.step < self.settings.steps:
            begin = time.perf_counter()
            rate = self.learning_rate(self.step)
            sums: dict[str, list[LossBreakdown]] = {arm.name: [] for arm in self.arms}
            for arm in self.arms:
                arm.optimizer.zero_grad(set_to_none=True)
            for micro in range(self.settings.accumulation):
                self._accumulate(self.batch(self.step, micro), sums)
            losses = {
                arm.name: {**_mean(sums[arm.name]), "gradient_norm": self._update(arm, rate)} for arm in self.arms
            }
            self.step += 1
            yield StepRecord(self.step, self._across_processes(losses), rate, time.perf_counter() - begin)

    def _accumulate(self, batch: Batch, sums: dict[str, list[LossBreakdown]]) -> None:
        with self._sharing(), self.accelerator.autocast():
            free = prior(self.family, batch)
            for arm in self.arms:
                weight = arm.lisa.weight_at(self.step, self.settings.steps)
                loss = arm_loss(self.family, arm.side, arm.decoders, batch, arm.lisa, weight, free)
                self.accelerator.backward(loss.total / self.settings.accumulation)
                sums[arm.name].append(loss)

    def _sharing(self) -> contextlib.AbstractContextManager[None]:
        return self.family.shared() if self.settings.share else contextlib.nullcontext()

    def _update(self, arm: Arm, rate: float) -> float:
        """Average gradients over processes, clip side network and decoders apart, and step.

        Clipping them apart keeps the probe of a baseline from changing its side network's step.
        """
        for group in arm.optimizer.param_groups:
            group["lr"] = rate
        self.accelerator.unscale_gradients(arm.optimizer)
        norms = []
        for module in (arm.side, arm.decoders):
            parameters = [p for p in module.parameters() if p.grad is not None]
            if self.accelerator.num_processes > 1 and not fsdp.is_sharded(module):
                for p in parameters:
                    p.grad = self.accelerator.reduce(p.grad, "mean")
            limit = self.settings.clip_norm or float("inf")
            norms.append(fsdp.whole(nn.utils.clip_grad_norm_(parameters, limit)))
        arm.optimizer.step()
        return float(norms[0])

    def _across_processes(self, losses: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        """Means over processes; the ratio is weighed by its denominator, as over batches."""
        if self.accelerator.num_processes == 1:
            return losses
        rows = [{**arm, "ratio": arm["ratio"] * arm["prior"]} for arm in losses.values()]
        flat = torch.tensor([value for row in rows for value in row.values()], device=self.accelerator.device)
        means = iter(self.accelerator.reduce(flat, "mean").tolist())
        mean = {name: {key: next(means) for key in arm} for name, arm in losses.items()}
        return {name: {**arm, "ratio": arm["ratio"] / arm["prior"]} for name, arm in mean.items()}

    @torch.no_grad()
    def validate(self) -> dict[str, dict[str, float]]:
        """Losses per arm on held-out samples with noise and timesteps that never change.

        Timesteps are spread evenly over the range, because the loss depends on them more than on progress.
        """
        sums: dict[str, list[LossBreakdown]] = {arm.name: [] for arm in self.arms}
        for batch in self._validation_batches():
            with self._sharing(), self.accelerator.autocast():
                free = prior(self.family, batch)
                for arm in self.arms:
                    weight = arm.lisa.weight_at(max(0, self.step - 1), self.settings.steps)
                    sums[arm.name].append(
                        arm_loss(self.family, arm.side.eval(), arm.decoders, batch, arm.lisa, weight, free)
                    )
        for arm in self.arms:
            arm.side.train()
        first = next(iter(sums.values()))
        return {name: {**_mean(parts), **_difference(parts, first)} for name, parts in sums.items()}

    def _validation_batches(self) -> Iterator[Batch]:
        n, size = len(self.validation), self.settings.batch_size
        generator = torch.Generator().manual_seed(_VALIDATION_STREAM)
        noise = torch.randn(self.validation.latents.shape, generator=generator)
        t = self.family.path.spread_t(n)
        for start in range(0, n - n % size if n >= size else n, size):
            index = np.arange(start, min(start + size, n))
            yield self._to_device(
                self.validation, index, [self.validation.captions[i] for i in index], noise[index], t[index]
            )


def _condition(family: Family, data: TrainingData, index: np.ndarray | slice) -> Tensor:
    return family.encode_condition(data.conditions[index].to(family.device).float() / 255)


def _encoded(family: Family, data: TrainingData) -> Tensor | None:
    """All conditions as the side network reads them, on the CPU, where that takes more than it saves to do again."""
    if not family.latent_conditions:
        return None
    parts = [slice(i, i + _ENCODE_BATCH) for i in range(0, len(data), _ENCODE_BATCH)]
    return torch.cat([_condition(family, data, part).cpu() for part in parts])


def _mean(parts: list[LossBreakdown]) -> dict[str, float]:
    """Means over equal batches; the ratio is weighed by its denominator, so that it is a quotient of sums."""
    rows = [part.numbers() for part in parts]
    mean = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
    return {**mean, "ratio": sum(row["ratio"] * row["prior"] for row in rows) / sum(row["prior"] for row in rows)}


def _difference(parts: list[LossBreakdown], first: list[LossBreakdown]) -> dict[str, float]:
    """Paired difference of the control loss to the first arm, with its standard error over samples."""
    if parts is first:
        return {}
    gaps = torch.cat([part.controls - other.controls for part, other in zip(parts, first, strict=True)]).double()
    if len(gaps) < 2:
        return {}
    error = gaps.std().item() / len(gaps) ** 0.5
    return {"difference": gaps.mean().item(), "difference_error": error, "difference_samples": len(gaps)}
