"""Honest comparison of a run's arms on held-out scenes: test loss and condition fidelity per training step.

All arms see the same scenes, captions, noise and timesteps, so differences are paired; intervals come from a
bootstrap over scenes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from lisa.arms import in_order
from lisa.data.samples import (
    TrainingData,
    condition_pool,
    encode_images,
    folder_pictures,
    scene_pictures,
    training_data,
)
from lisa.data.source import resolve_data
from lisa.families.base import Family, load_family
from lisa.files import read_json, write_json
from lisa.generate import Control, initial_noise, sample
from lisa.measuring import RESULTS, owned, reference
from lisa.metrics.fidelity import Measure, Truth, measure_of
from lisa.metrics.judge import Judge, load_judge
from lisa.metrics.paired import paired_difference
from lisa.options import from_dict
from lisa.report import Report, Ticks, noted, tell_nobody
from lisa.runs import EVALUATION_NOTE, RunFolder
from lisa.settings import GenerateSettings, TrainSettings
from lisa.strips import strip

_BATCH = 32
OnPass = Callable[[int], None]


@dataclass(frozen=True)
class Held:
    """Held-out samples with everything that the measures need."""

    truth: Truth
    data: TrainingData


@dataclass(frozen=True)
class _Task:
    """What is the same for all checkpoints of a run; ``arms`` as in its settings."""

    arms: str
    family: Family
    held: Held
    measure: Measure
    judge: Judge
    sampling_steps: int
    on_pass: OnPass


def evaluate(
    folder: Path,
    count: int,
    sampling_steps: int,
    steps: tuple[int, ...] = (),
    judge_folder: Path | None = None,
    report: Report = tell_nobody,
) -> list[dict[str, Any]]:
    """Measure every arm of a run at every kept training step, and store the rows in ``evaluation.json``.

    Args:
        folder: the run.
        count: held-out scenes from the test split.
        sampling_steps: steps of the sampler for the fidelity measure.
        steps: training steps to measure; empty for all that were kept.
        judge_folder: where the judge lies; needed for depth, segmentation and pose.
        report: called with (what is being done, done, in all).

    Returns:
        Rows with step, arm, test loss, fidelity, and for all arms but the first the paired difference to it
        with a 95 % interval; see ``lisa.metrics.paired``.
    """
    run = RunFolder.open(folder)
    with owned(run), noted(run.path / EVALUATION_NOTE, report) as report:
        return _evaluate(run, count, sampling_steps, steps, judge_folder, report)


def _evaluate(
    run: RunFolder,
    count: int,
    sampling_steps: int,
    steps: tuple[int, ...],
    judge_folder: Path | None,
    report: Report,
) -> list[dict[str, Any]]:
    training = from_dict(TrainSettings, run.settings())
    report("loading networks", 0, 1)
    family = load_family(
        training.family, training.source, training.revision, "cuda" if torch.cuda.is_available() else "cpu"
    )
    measure = measure_of(training.condition, training.data == "scenes")
    judge = load_judge(judge_folder) if measure.needs_scenes and judge_folder else Judge()
    held = held_out(family, training.data, training.condition, count, report)
    rows: list[dict[str, Any]] = []
    todo = steps or tuple(run.checkpoints())
    arms = sum(len(_arms(run.verify_checkpoint(step), training.arms)) for step in todo)
    on_pass = Ticks("drawing and measuring", arms * passes(len(held.data), sampling_steps + 1), report)
    task = _Task(training.arms, family, held, measure, judge, sampling_steps, on_pass)
    for step in todo:
        rows += _measure_step(task, step, run.checkpoint_dir(step))
        _store(run.path, len(held.data), sampling_steps, rows, training.arms)
    return rows


def held_out(family: Family, data: str, condition: str, count: int, report: Report = tell_nobody) -> Held:
    """The first held-out samples of a run's data: scenes of the test split, or what a folder keeps back.

    Args:
        family: encodes the pictures and sets their size.
        data: "scenes", a folder, zip or hub data set, as in the run's settings.
        condition: that the run learned.
        count: how many at most.
        report: called with (what is being done, done, in all).
    """
    size, frames = family.resolution, family.frames
    pool = condition_pool(condition, "test", count, report, frames) if data == "scenes" else None
    pictures = (
        folder_pictures(resolve_data(data), condition, "test", count, size, frames, report)
        if pool is None
        else scene_pictures(pool, condition, size, report)
    )
    latents, maps = encode_images(family, pictures.images, report), pictures.conditions
    if frames:  # fidelity is measured frame by frame
        maps, pool = maps.reshape(-1, *maps.shape[2:]), pool and pool.frames()
    return Held(Truth(maps, pool), training_data(family, pictures, latents))


def _arms(checkpoint: Path, named: str) -> list[str]:
    """The arms of a checkpoint in the order of the run's settings, the first being the reference everywhere."""
    return in_order({path.name for path in checkpoint.iterdir() if path.is_dir()}, named)


def _measure_step(task: _Task, step: int, folder: Path) -> list[dict[str, Any]]:
    family, held, arms = task.family, task.held, _arms(folder, task.arms)
    per_scene: dict[str, dict[str, np.ndarray]] = {}
    for arm in arms:
        side = family.load_side(folder / arm)
        images = generate_held_out(family, side, held, GenerateSettings(steps=task.sampling_steps), task.on_pass)
        per_scene[arm] = {
            "loss": validation_losses(family, side, held, task.on_pass),
            "fidelity": per_clip(task.measure.values(images, held.truth, task.judge), family.frames),
        }
    return [_row(step, arm, per_scene, arms[0], task.measure.name) for arm in arms]


def per_clip(values: np.ndarray, frames: int) -> np.ndarray:
    """Means over the frames of each clip, without those where there is nothing to measure; of images the values."""
    if not frames:
        return values
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of clips with nothing to measure in any frame
        return np.nanmean(values.reshape(-1, frames), 1)


def _row(
    step: int, arm: str, per_scene: dict[str, dict[str, np.ndarray]], reference: str, measure: str
) -> dict[str, Any]:
    row: dict[str, Any] = {"step": step, "arm": arm, "measure": measure}
    for key, values in per_scene[arm].items():
        row[key] = float(np.nanmean(values))
        if arm != reference:
            row[f"{key}_difference"], interval = paired_difference(values, per_scene[reference][key])
            row |= {f"{key}_interval": interval} if interval else {}
    return row


@torch.no_grad()
def validation_losses(family: Family, side: nn.Module, held: Held, on_pass: OnPass = lambda _: None) -> np.ndarray:
    """Per-scene loss of the family's own objective (N,), with fixed noise and timesteps spread over the range."""
    data, losses = held.data, []
    noise = torch.randn(data.latents.shape, generator=torch.Generator().manual_seed(0))
    t = family.path.spread_t(len(data))
    for start in range(0, len(data), _BATCH):
        part = slice(start, start + _BATCH)
        x0, n, tt = data.latents[part].to(family.device), noise[part].to(family.device), t[part].to(family.device)
        condition = family.encode_condition(data.conditions[part].to(family.device).float() / 255)
        x_t = family.path.add_noise(x0, n, tt)
        text = data.text(family, data.captions[part], part)
        output = family.predict(x_t, tt, text, side, condition).value
        losses.append((output.float() - family.path.target(x0, n, tt)).square().flatten(1).mean(1).cpu())
        on_pass(start)
    return torch.cat(losses).numpy()


def passes(samples: int, per_batch: int) -> int:
    """How often ``on_pass`` is called for so many samples, with so many passes for a batch of them."""
    return math.ceil(samples / _BATCH) * per_batch


def generate_held_out(
    family: Family, side: nn.Module, held: Held, settings: GenerateSettings, on_pass: OnPass = lambda _: None
) -> np.ndarray:
    """One image per held-out scene (N, H, W, 3) uint8; scene i has its own caption and the noise of seed + i.

    Of clips all frames, (N F, H, W, 3). ``on_pass`` is called after every sampling step of a batch.
    """
    images: list[Image.Image] = []
    for start in range(0, len(held.data), _BATCH):
        part = range(start, min(start + _BATCH, len(held.data)))
        noise = torch.cat(
            [initial_noise(family, settings.seed + i, family.resolution, family.resolution) for i in part]
        )
        control = Control(side, [_map(held, i, family.frames) for i in part], settings.strength)
        drawn = sample(family, [control], [held.data.captions[i] for i in part], noise, settings, on_pass)
        images += [frame for clip in drawn for frame in clip] if family.frames else drawn
    return np.stack([np.asarray(image) for image in images])


def _map(held: Held, index: int, frames: int) -> Image.Image:
    """The condition of one sample, of clips as a strip."""
    if not frames:
        return Image.fromarray(held.truth.conditions[index])
    return strip([Image.fromarray(each) for each in held.truth.conditions[index * frames : (index + 1) * frames]])


def _store(folder: Path, count: int, sampling_steps: int, rows: list[dict[str, Any]], named: str) -> None:
    """Keep the rows of steps that were measured before on the same scenes against the same arm."""
    path = folder / RESULTS
    old = read_json(path) if path.exists() else {}
    head = {"scenes": count, "sampling_steps": sampling_steps}
    done = {(row["step"], row["arm"]) for row in rows}
    before = old.get("rows", [])
    same = {key: old.get(key) for key in head} == head and reference(before) == reference(rows)
    kept = [row for row in before if (row["step"], row["arm"]) not in done] if same else []
    order = in_order({row["arm"] for row in kept + rows}, named)
    write_json(path, {**head, "rows": sorted(kept + rows, key=lambda row: (row["step"], order.index(row["arm"])))})
