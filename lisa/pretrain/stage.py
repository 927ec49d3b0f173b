"""The loop that both stages of pretraining share: seeded, averaged and resumable."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from lisa.checkpoint import load_tensors, restore_training_state, save_tensors, training_state
from lisa.errors import LisaError
from lisa.files import read_json, write_json
from lisa.options import to_dict
from lisa.recipes import PretrainSettings

LossFunction = Callable[[np.ndarray, torch.Generator], tuple[Tensor, dict[str, float]]]


@dataclass(frozen=True)
class PretrainStep:
    """One finished step: its number, losses by name, learning rate and the seconds it took."""

    step: int
    losses: dict[str, float]
    learning_rate: float
    seconds: float


def learning_rate(settings: PretrainSettings, step: int) -> float:
    """Linear warm-up, then a cosine down to a hundredth of the peak."""
    warm = min(1.0, (step + 1) / max(1, settings.warmup))
    progress = step / settings.steps
    return settings.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def step_seed(seed: int, step: int) -> int:
    """A seed for everything random in one step, so that a resumed run draws what an uninterrupted one would."""
    return int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0] >> 1)


class Stage:
    """One network, or several that are trained together, with optimizer, averaged weights and state folder."""

    def __init__(self, settings: PretrainSettings, modules: dict[str, nn.Module], size: int) -> None:
        self.settings, self.modules, self.size = settings, modules, size
        if settings.threads:
            torch.set_num_threads(settings.threads)
        self.accelerator = Accelerator(mixed_precision=settings.precision)
        self.together = nn.ModuleDict(modules).to(self.accelerator.device)
        if settings.start:
            self._start_from(Path(settings.start))
        self.optimizer = torch.optim.AdamW(
            self.together.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99), fused=True
        )
        self.ema = EMAModel(self.together.parameters(), decay=settings.ema, use_ema_warmup=True, power=0.75)
        self.folder = Path(settings.work) / settings.stage
        self.step = 0
        if settings.resume and (self.folder / "state.json").exists():
            self._resume()

    def _start_from(self, folder: Path) -> None:
        """Take the averaged weights of another state, the ones that were kept, wherever their shapes fit."""
        averaged = load_tensors(folder / "state.safetensors")["ema"]
        fitting = 0
        with torch.no_grad():
            for i, parameter in enumerate(self.together.parameters()):
                value = averaged.get(str(i))
                if value is not None and value.shape == parameter.shape:
                    parameter.copy_(value)
                    fitting += 1
        if not fitting:
            raise LisaError(f"{folder} holds no weights of this stage: give the state folder of the same stage.")

    def _resume(self) -> None:
        state = read_json(self.folder / "state.json")
        ours, theirs = to_dict(self.settings), {**to_dict(PretrainSettings()), **state["settings"]}
        for name in ("seed", "batch_size", "scenes", "caption_dropout", "timestep_power"):
            if ours[name] != theirs[name]:
                raise LisaError(
                    f"The state in {self.folder} was trained with {name} {theirs[name]}, not {ours[name]}: "
                    "use the same value, another work folder, or --no-resume."
                )
        groups = load_tensors(self.folder / "state.safetensors")
        restore_training_state({"together": self.together}, self.optimizer, groups)
        self.ema.shadow_params = [
            groups["ema"][str(i)].to(self.accelerator.device) for i in range(len(self.ema.shadow_params))
        ]
        self.step = self.ema.optimization_step = state["step"]

    def save(self) -> None:
        """Write the state to resume from."""
        self.folder.mkdir(parents=True, exist_ok=True)
        groups = training_state({"together": self.together}, self.optimizer)
        groups["ema"] = {str(i): p for i, p in enumerate(self.ema.shadow_params)}
        save_tensors(self.folder / "state.safetensors", groups)
        write_json(self.folder / "state.json", {"step": self.step, "settings": to_dict(self.settings)})

    def run_stage(self) -> Iterator[PretrainStep]:
        """Train to the last step of the settings."""
        raise NotImplementedError

    def run(self, loss_of: LossFunction) -> Iterator[PretrainStep]:
        """Train to the last step, yielding after each; saves every ``save_every`` steps and at the end.

        Args:
            loss_of: from sample numbers (B,) and a generator to the loss and figures for the log.
        """
        self.together.train()
        while self.step < self.settings.steps:
            begin = time.perf_counter()
            seed = step_seed(self.settings.seed, self.step)
            index = np.random.default_rng(seed).integers(self.size, size=self.settings.batch_size)
            rate = learning_rate(self.settings, self.step)
            losses = self._update(loss_of, index, torch.Generator().manual_seed(seed), rate)
            self.step += 1
            if self.step % self.settings.save_every == 0 or self.step == self.settings.steps:
                self.save()
            yield PretrainStep(self.step, losses, rate, time.perf_counter() - begin)

    def _update(
        self, loss_of: LossFunction, index: np.ndarray, generator: torch.Generator, rate: float
    ) -> dict[str, float]:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with self.accelerator.autocast():
            loss, losses = loss_of(index, generator)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.together.parameters(), 1.0)
        self.optimizer.step()
        self.ema.step(self.together.parameters())
        return {"loss": float(loss.detach()), **losses}

    def averaged(self) -> nn.ModuleDict:
        """Put the averaged weights into the modules, for good, and return them in evaluation mode."""
        self.ema.copy_to(self.together.parameters())
        return self.together.eval().requires_grad_(False)
