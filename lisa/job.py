"""One training run from start to end in its folder: lock, resume, events, validation, previews, checkpoints, stop.

This is what ``python -m lisa train`` runs and what the app starts as a process of its own. Followers only read the
folder, so it makes no difference who started the run or whether anybody watches.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from PIL import Image

from lisa import fsdp
from lisa.attention import quick_attention
from lisa.checkpoint import (
    load_arm,
    load_tensors,
    optimizer_tensors,
    restore_optimizer,
    save_arm,
    save_tensors,
)
from lisa.data.samples import TrainingData, load_data
from lisa.errors import LisaError
from lisa.families.base import Family, load_family
from lisa.files import building
from lisa.generate import paired_images
from lisa.options import from_dict, to_dict
from lisa.processes import accelerator_for, first_decides
from lisa.report import Report, noted, tell_nobody
from lisa.runs import PREPARATION_NOTE, RunFolder
from lisa.settings import GenerateSettings, TrainSettings
from lisa.spawn import on_signals
from lisa.strips import strip
from lisa.train import StepRecord, Trainer

_OPTIMIZER_FILE = "optimizer.safetensors"


class Job:
    """A run that owns its folder while it trains.

    Args:
        settings: the run's settings, already checked.
        folder: the run folder; it is created, or resumed if it holds the same settings.
        report: called with (what is being done, done, in all) while the data are prepared.
    """

    def __init__(self, settings: TrainSettings, folder: Path, report: Report = tell_nobody) -> None:
        self.settings, self.report = settings, report
        self.accelerator = accelerator_for(settings)
        self.run = first_decides(self.accelerator, lambda: _open_or_create(settings, folder))
        self.stop_asked = False

    @property
    def writer(self) -> bool:
        """Whether this process writes the folder: the first of several."""
        return self.accelerator.is_main_process

    def ask_to_stop(self, *_: Any) -> None:
        """Finish the step, save and end; also a signal handler."""
        self.stop_asked = True

    def records(self) -> Iterator[StepRecord]:
        """Run to the end or to the next stop, yielding after every step."""
        with contextlib.ExitStack() as stack:
            first_decides(self.accelerator, lambda: self._own_folder(stack))
            stack.enter_context(on_signals(self.ask_to_stop))
            stack.enter_context(self._failure_recorded())
            with self._noted() as report:
                trainer = self._prepare(report)
                stack.enter_context(quick_attention(self.accelerator.device, trainer.data.latents))
                if trainer.step == 0:
                    report("measuring the untrained networks", 0, 1)
                    self._after_step(trainer)
            yield from self._loop(trainer)

    def _own_folder(self, stack: contextlib.ExitStack) -> None:
        stack.enter_context(self.run.lock())
        self.run.sweep()
        if self.run.read_state().get("status") != "starting":  # else they were left for this very process
            self.run.take_requests()
        self._check_processes()
        if self.run.settings() != to_dict(self.settings):
            self.run.write_settings(to_dict(self.settings))

    def _check_processes(self) -> None:
        """Refuse to go on with another number of processes, which would be another size of batch."""
        processes = self.accelerator.num_processes
        before = self.run.read_state().get("processes", processes)
        if before != processes and self.run.checkpoints():
            raise LisaError(f"{self.run.path} was trained by {before} processes, not {processes}: start as many.")

    @contextlib.contextmanager
    def _failure_recorded(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._state("failed", reason=str(error) if isinstance(error, LisaError) else type(error).__name__)
            raise

    def _noted(self) -> contextlib.AbstractContextManager[Report]:
        """Where the reports of the preparation go: followers read what the writer noted."""
        path = self.run.path / PREPARATION_NOTE
        return noted(path, self.report) if self.writer else contextlib.nullcontext(self.report)

    def _prepare(self, report: Report) -> Trainer:
        s = self.settings
        self._state("preparing")
        report("loading networks", 0, 1)
        family = family_for(s, self.accelerator)
        # The first process of each computer fills the cache that the others then read.
        with self.accelerator.local_main_process_first():
            data = load_data(family, s.data, s.condition, "train", s.samples, report)
            validation = load_data(family, s.data, s.condition, "validation", s.validation_samples, report)
        report("making side networks", 0, 1)
        if family.spec.drop_text_encoders:
            family.keep_text(["", *data.captions, *validation.captions])
        trainer = Trainer(s, family, data, validation, self.accelerator)
        self._resume(trainer)
        return trainer

    def _resume(self, trainer: Trainer) -> None:
        trainer.step = first_decides(self.accelerator, self._last_step)
        if not trainer.step:
            return
        folder = self.run.checkpoint_dir(trainer.step)
        groups = load_tensors(folder / _OPTIMIZER_FILE)
        for arm in trainer.arms:
            load_arm(folder / arm.name, arm.side, arm.decoders)
            restore_optimizer(arm.optimizer, groups.get(arm.name, {}))

    def _last_step(self) -> int:
        """Step of the last checkpoint, or 0; what was logged after it is forgotten."""
        steps = self.run.checkpoints()
        if steps:
            self.run.verify_checkpoint(steps[-1])
        self.run.truncate_events(steps[-1] if steps else -1)
        return steps[-1] if steps else 0

    def _loop(self, trainer: Trainer) -> Iterator[StepRecord]:
        self._state("running", trainer)
        before = time.perf_counter()
        for record in trainer.steps():
            now = time.perf_counter()
            self._log(record, now - before)
            before = now
            last = record.step == self.settings.steps
            self._after_step(trainer, last)
            yield record
            self._serve_requests(trainer)
            if self._stopping():
                self._save(trainer)
                self._state("stopped", trainer)
                return
        self._save(trainer)
        self._state("finished", trainer)

    def _serve_requests(self, trainer: Trainer) -> None:
        """Do what followers asked for: any process may ask, on this computer or another that sees the folder."""
        asked = first_decides(self.accelerator, self.run.take_requests)
        self.stop_asked = self.stop_asked or "stop" in asked
        if "sample" in asked:
            self._preview(trainer)
        if "save" in asked:
            self._save(trainer)

    def _stopping(self) -> bool:
        if self.accelerator.num_processes == 1:
            return self.stop_asked
        flag = self.accelerator.reduce(_flag(self.stop_asked, self.accelerator), "sum")
        return bool(flag.item())

    def _after_step(self, trainer: Trainer, last: bool = False) -> None:
        s, step = self.settings, trainer.step
        if _due(step, s.validate_every, last):
            self._log_validation(trainer)
        if _due(step, s.preview_every, last) and step:
            self._preview(trainer)
        if _due(step, s.checkpoint_every, last) and step:
            self._save(trainer)
            self._state("running", trainer)

    def _log(self, record: StepRecord, elapsed: float) -> None:
        """Log a step: its own seconds, and those since the step before, with all that was done between them."""
        if self.writer:
            more = {"learning_rate": record.learning_rate, "seconds": record.seconds, "elapsed": elapsed}
            for arm, losses in record.losses.items():
                self.run.append_event({"kind": "train", "step": record.step, "arm": arm, **losses, **more})

    def _takes_part(self, trainer: Trainer) -> bool:
        """Whether this process runs what only the first one writes down: spread networks need all to run them."""
        return self.writer or trainer.sharded

    def _log_validation(self, trainer: Trainer) -> None:
        if self._takes_part(trainer):
            for arm, losses in trainer.validate().items():
                if self.writer:
                    self.run.append_event({"kind": "validation", "step": trainer.step, "arm": arm, **losses})

    def _preview(self, trainer: Trainer) -> None:
        if not self._takes_part(trainer):
            return
        # Followers show a step's images once, so they must see all of them or none.
        place = self.run.samples / f"step-{trainer.step:06d}"
        if self.writer:
            shutil.rmtree(place, ignore_errors=True)  # of before a resume
        whole = building(place) if self.writer else contextlib.nullcontext()
        with whole as folder:
            for i in range(min(self.settings.previews, len(trainer.validation))):
                for arm, image in preview_images(trainer, i).items():
                    if self.writer:
                        image.save(folder / f"{i:02d}-{arm}.png")

    def _save(self, trainer: Trainer) -> None:
        saved = first_decides(self.accelerator, lambda: trainer.step in self.run.checkpoints())
        if saved or not self._takes_part(trainer):
            return
        with self.run.commit_checkpoint(trainer.step) if self.writer else contextlib.nullcontext() as folder:
            for arm in trainer.arms:
                side = fsdp.gathered(arm.side)
                if self.writer:
                    save_arm(folder / arm.name, side, arm.decoders)
            moments = {arm.name: optimizer_tensors(arm.optimizer) for arm in trainer.arms}
            if self.writer:
                save_tensors(folder / _OPTIMIZER_FILE, moments)

    def _state(self, status: str, trainer: Trainer | None = None, **more: Any) -> None:
        if self.writer:
            step = trainer.step if trainer else None
            about = {"steps": self.settings.steps, "processes": self.accelerator.num_processes, "time": time.time()}
            self.run.write_state({"status": status, "step": step, **about, **more})


def family_for(settings: TrainSettings, accelerator: Accelerator) -> Family:
    """Load a run's family on its device; on an accelerator the frozen networks have the precision of the run.

    On a CPU they stay float32, because their weights are small there and autocast computes in half precision anyhow.
    """
    halves = {"bf16": torch.bfloat16, "fp16": torch.float16}
    dtype = None if accelerator.device.type == "cpu" else halves.get(accelerator.mixed_precision)
    return load_family(settings.family, settings.source, settings.revision, str(accelerator.device), dtype)


def preview_images(trainer: Trainer, index: int) -> dict[str, Image.Image]:
    """Images of every arm for one validation sample, with the same noise, under the condition's name the condition.

    Clips come as strips of their frames.
    """
    validation: TrainingData = trainer.validation
    maps = validation.conditions[index].movedim(-3, -1).numpy()
    condition = strip([Image.fromarray(frame) for frame in maps]) if maps.ndim == 4 else Image.fromarray(maps)
    settings = GenerateSettings(family=trainer.settings.family, prompt=validation.captions[index], seed=index, steps=10)
    sides = {arm.name: arm.side.eval() for arm in trainer.arms}
    images = {
        "condition": condition,
        **{
            image.arm: strip(image.clip) if image.clip else image.image
            for image in paired_images(trainer.family, sides, condition, settings)
        },
    }
    for arm in trainer.arms:
        arm.side.train()
    return images


def _open_or_create(settings: TrainSettings, folder: Path) -> RunFolder:
    run = RunFolder(folder)
    if not run.exists():
        return RunFolder.create(folder, to_dict(settings))
    stored = from_dict(TrainSettings, run.settings())
    for name, value in to_dict(settings).items():
        before = to_dict(stored)[name]
        if value != before and name not in ("steps", "device"):
            raise LisaError(
                f"{folder} was started with {name} {before!r}, not {value!r}: use the same value or another folder."
            )
    return run


def _due(step: int, every: int, last: bool) -> bool:
    return last or (every > 0 and step % every == 0)


def _flag(value: bool, accelerator: Accelerator) -> Any:
    return torch.tensor(int(value), device=accelerator.device)
