"""How long a run will take and how much memory it needs: a few of its real steps, on random samples."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lisa.attention import quick_attention
from lisa.data.samples import TrainingData
from lisa.errors import LisaError
from lisa.families.base import Family
from lisa.job import accelerator_for, family_for, preview_images
from lisa.plan import Estimate
from lisa.report import Report, tell_nobody
from lisa.settings import TrainSettings
from lisa.train import Trainer

_STEPS = 4  # the first one, which also allocates and plans, is not counted


def estimate(settings: TrainSettings, report: Report = tell_nobody) -> Estimate:
    """Measure a few optimizer steps, a validation and a preview of a run, with its networks on its device.

    Args:
        settings: the run's settings, already checked. Of its data only the number of samples matters.
        report: called with (what is being done, done, in all).

    Returns:
        The estimate.

    Raises:
        LisaError: if the family cannot be loaded or a batch does not fit into the memory of the device.
    """
    accelerator = accelerator_for(settings)
    device = accelerator.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    try:
        report("loading networks", 0, 1)
        family = family_for(settings, accelerator)
        held_out = random_samples(family, min(settings.batch_size, settings.validation_samples))
        trainer = Trainer(settings, family, random_samples(family, settings.batch_size), held_out, accelerator)
        with quick_attention(device, trainer.data.latents):  # as in lisa.job
            return _measure(trainer, report)
    except torch.OutOfMemoryError as error:
        raise LisaError(
            f"A batch of {settings.batch_size} samples does not fit into the memory of {device}: use a smaller batch "
            "size with more gradient accumulation, or a lower precision."
        ) from error


def random_samples(family: Family, count: int) -> TrainingData:
    """Noise in the shapes of a family's samples; as many as ``count``."""
    size, generator = family.resolution, torch.Generator().manual_seed(0)
    frames = (family.frames,) if family.frames else ()
    return TrainingData(
        torch.randn((count, *family.latent_shape(size, size)), generator=generator),
        torch.randint(0, 256, (count, *frames, 3, size, size), generator=generator, dtype=torch.uint8),
        tuple(f"sample {i}" for i in range(count)), tuple(map(str, range(count))),
    )  # fmt: skip


def _measure(trainer: Trainer, report: Report) -> Estimate:
    s, device = trainer.settings, trainer.accelerator.device
    step = _step_seconds(trainer, report)
    report("measuring a validation", 0, 1)
    batches = max(1, s.validation_samples // s.batch_size)
    validation = _seconds(trainer.validate) * batches
    report("measuring a preview", 0, 1)
    preview = _seconds(lambda: preview_images(trainer, 0))
    previews = min(s.previews, s.validation_samples) * times(s.steps, s.preview_every)
    validations = times(s.steps, s.validate_every) + (s.validate_every > 0)  # one more before the first step
    return Estimate(
        str(device), sum(p.numel() for p in trainer.arms[0].side.parameters()), step, validation, preview,
        s.steps * step + validations * validation + previews * preview, _peak_bytes(device),
        (s.samples + s.validation_samples) * _sample_bytes(trainer.data),
    )  # fmt: skip


def times(steps: int, every: int) -> int:
    """How often what is due every so many steps, and at the last one, happens after the first step."""
    return -(-steps // every) if every else 1


def _step_seconds(trainer: Trainer, report: Report) -> float:
    """The median of a few steps; their losses are read back, so the device is done when a step ends."""
    count = min(_STEPS, trainer.settings.steps)
    seconds = []
    for record in itertools.islice(trainer.steps(), count):
        report("measuring steps", record.step, count)
        seconds.append(record.seconds)
    return statistics.median(seconds[1:] or seconds)


def _seconds(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _sample_bytes(data: TrainingData) -> int:
    """Picture, condition map and latent of one sample."""
    return 2 * data.conditions[0].numel() + data.latents[0].numel() * data.latents.element_size()


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():  # on Linux getrusage also counts the parent, from before this program was loaded
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
