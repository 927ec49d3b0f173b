"""One stage of pretraining from start to end: data, loop, log, samples, and the finished parts with their card."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
)
from PIL import Image

from lisa.checkpoint import SHARD_SIZE
from lisa.errors import LisaError
from lisa.files import read_json, write_json
from lisa.options import to_dict
from lisa.pretrain.flow import FlowStage
from lisa.pretrain.judge import JudgeStage, judge_floor
from lisa.pretrain.main import MainStage, save_pipeline
from lisa.pretrain.motion import MotionStage, clip_sheet, save_adapter
from lisa.pretrain.stage import PretrainStep, Stage
from lisa.pretrain.vae import VaeStage, encode_pool, reconstruction_psnr
from lisa.recipes import PretrainSettings
from lisa.report import Report
from lisa.scenes.motion import ClipPool, load_clips
from lisa.scenes.pool import Pool, load_pool

_HELD_OUT = 512
_LOG_EVERY = 10
_CARD = "training.json"


def pretrain(settings: PretrainSettings, report: Report, on_step: Callable[[PretrainStep], None]) -> dict[str, Any]:
    """Train one stage and write its part of the pipeline folder.

    Args:
        settings: already checked.
        report: called with (what is being done, done, in all) while scenes are rendered.
        on_step: called after every step.

    Returns:
        What the card records of the stage: data, steps, seed, hardware, time, final losses, quality.
    """
    out, progress = Path(settings.out), lambda done, total: report("rendering scenes", done, total)
    if settings.stage == "motion":
        return _pretrain_motion(settings, load_clips("train", settings.scenes, progress=progress), out, on_step)
    pool = load_pool("train", settings.scenes, progress=progress)
    held_out = load_pool("validation", _HELD_OUT)
    stage = _new_stage(settings, pool, out)
    figures = _train(stage, on_step)
    if isinstance(stage, VaeStage):
        figures |= _finish_vae(stage, out, pool.images, held_out.images)
    elif isinstance(stage, (MainStage, FlowStage)):
        _finish_main(stage, out, held_out.captions)
    elif isinstance(stage, JudgeStage):
        judge = stage.averaged()["judge"]
        judge.save(out)
        figures["on_renders"] = judge_floor(judge, held_out, load_pool("validation", _HELD_OUT, people=True))
    _record(out, settings, figures)
    return figures


def _pretrain_motion(
    settings: PretrainSettings, pool: ClipPool, out: Path, on_step: Callable[[PretrainStep], None]
) -> dict[str, Any]:
    """Train motion modules and write them; samples are clips of training captions."""
    stage = MotionStage(settings, pool)
    figures = _train(stage, on_step)
    clip_sheet(stage.pipeline(), pool.captions[:8], pool.images.shape[1]).save(stage.folder / "samples.png")
    save_adapter(stage.unet, out / "motion_adapter")
    _record(out, settings, figures)
    return figures


def _new_stage(settings: PretrainSettings, pool: Pool, out: Path) -> Stage:
    if settings.stage == "vae":
        return VaeStage(settings, pool)
    if settings.stage == "main":
        return MainStage(settings, pool, _load_vae(out))
    return FlowStage(settings, pool) if settings.stage == "flow" else JudgeStage(settings, pool)


def _train(stage: Stage, on_step: Callable[[PretrainStep], None]) -> dict[str, Any]:
    log = stage.folder / "events.jsonl"
    stage.folder.mkdir(parents=True, exist_ok=True)
    losses: list[dict[str, float]] = []
    before = _seconds_so_far(log, stage.step)
    begin = time.time()
    with log.open("a", encoding="utf-8") as file:
        for record in stage.run_stage():
            losses.append(record.losses)
            if record.step % _LOG_EVERY == 0:
                row = {"step": record.step, **_mean(losses[-_LOG_EVERY:]), "learning_rate": record.learning_rate}
                file.write(json.dumps({**row, "elapsed": before + time.time() - begin}) + "\n")
                file.flush()
            on_step(record)
    return {"final": _mean(losses[-200:]), "hours": round((before + time.time() - begin) / 3600, 3)}


def _seconds_so_far(log: Path, step: int) -> float:
    if not log.exists():
        return 0.0
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return max((row["elapsed"] for row in rows if row["step"] <= step), default=0.0)


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([row[key] for row in rows])) for key in (rows[0] if rows else {})}


def _load_vae(out: Path) -> AutoencoderKL:
    if not (out / "vae" / "config.json").exists():
        raise LisaError(f"{out} holds no autoencoder yet: run the stage 'vae' first.")
    return AutoencoderKL.from_pretrained(out / "vae", use_safetensors=True).eval().requires_grad_(False)


def _finish_vae(stage: VaeStage, out: Path, images: np.ndarray, held_out: np.ndarray) -> dict[str, Any]:
    vae = stage.averaged()["vae"].to(memory_format=torch.contiguous_format)
    # The main network wants latents of unit variance.
    vae.register_to_config(scaling_factor=round(1 / float(encode_pool(vae, images[:2048]).std()), 5))
    psnr = reconstruction_psnr(vae, held_out)
    vae.half().save_pretrained(out / "vae", safe_serialization=True, max_shard_size=SHARD_SIZE)
    return {"psnr_db": round(psnr, 2), "held_out_scenes": len(held_out)}


def _finish_main(stage: MainStage | FlowStage, out: Path, captions: tuple[str, ...]) -> None:
    pipeline = stage.pipeline()
    if isinstance(stage, MainStage):
        pipeline.scheduler = DPMSolverMultistepScheduler.from_config(
            pipeline.scheduler.config, algorithm_type="dpmsolver++"
        )
    sample_sheet(pipeline, captions[:16]).save(stage.folder / "samples.png")
    save_pipeline(pipeline, out)


@torch.no_grad()
def sample_sheet(
    pipeline: StableDiffusionPipeline | StableDiffusion3Pipeline, captions: tuple[str, ...], columns: int = 4
) -> Image.Image:
    """Images of the captions with seeds 0, 1, ... in a grid of square cells."""
    pipeline.set_progress_bar_config(disable=True)
    flow = hasattr(pipeline, "transformer")
    network, more = (pipeline.transformer, {"max_sequence_length": 0}) if flow else (pipeline.unet, {})
    size = network.config.sample_size * pipeline.vae_scale_factor
    sheet = Image.new("RGB", (columns * size, -(-len(captions) // columns) * size))
    for i, caption in enumerate(captions):
        generator = torch.Generator().manual_seed(i)
        image = pipeline(
            caption, num_inference_steps=20, guidance_scale=3.0, height=size, width=size, generator=generator, **more
        ).images[0]
        sheet.paste(image, (i % columns * size, i // columns * size))
    return sheet


def _record(out: Path, settings: PretrainSettings, figures: dict[str, Any]) -> None:
    path = out / _CARD
    card = read_json(path) if path.exists() else {}
    card[settings.stage] = {"settings": to_dict(settings), "hardware": hardware(), **_before(settings.start), **figures}
    write_json(path, card)


def _before(start: str) -> dict[str, Any]:
    """The trainings that a state goes back to, the last first."""
    states = []
    while start:
        states.append(read_json(Path(start) / "state.json"))
        start = states[-1]["settings"]["start"]
    return {"started_from": states} if states else {}


def hardware() -> str:
    """The device and library version that figures were measured with."""
    device = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    )
    return f"{device}, torch {torch.__version__}"
