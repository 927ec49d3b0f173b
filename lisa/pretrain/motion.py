"""Motion modules that turn the finished image model into one of clips; its own weights stay as they are."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AnimateDiffPipeline,
    DPMSolverMultistepScheduler,
    MotionAdapter,
    UNet2DConditionModel,
    UNetMotionModel,
)
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from lisa.checkpoint import SHARD_SIZE, kept_tensor
from lisa.fingerprint import hash_weights
from lisa.pretrain.architecture import new_motion_adapter, new_scheduler
from lisa.pretrain.flow import load_base
from lisa.pretrain.main import draw_timesteps, token_ids
from lisa.pretrain.stage import PretrainStep, Stage
from lisa.pretrain.vae import encode_pool
from lisa.recipes import PretrainSettings
from lisa.scenes.motion import ClipPool


class MotionStage(Stage):
    """Train the motion modules by v-prediction on clips (Guo et al. 2023, arXiv 2307.04725, section 4.2).

    Args:
        settings: already checked; ``base`` is the finished pipeline of the images.
        pool: training clips.
    """

    def __init__(self, settings: PretrainSettings, pool: ClipPool) -> None:
        torch.manual_seed(settings.seed)
        self.vae, self.text_encoder, self.tokenizer = load_base(settings.base)
        plain = UNet2DConditionModel.from_pretrained(settings.base, subfolder="unet", use_safetensors=True)
        self.adapter = new_motion_adapter(plain)
        self.unet = UNetMotionModel.from_unet2d(plain, self.adapter).requires_grad_(False)
        motion = [module for name, module in self.unet.named_modules() if name.endswith("motion_modules")]
        super().__init__(settings, {"motion": nn.ModuleList(motion).requires_grad_(True)}, len(pool))
        device = self.accelerator.device
        for module in (self.unet, self.text_encoder):
            module.to(device)
        self.scheduler = new_scheduler()
        self.ids, self.empty = token_ids(self.tokenizer, list(pool.captions)), token_ids(self.tokenizer, [""])
        self.latents = self._latents(pool)

    def _latents(self, pool: ClipPool) -> Tensor:
        """Encode the pool once per autoencoder, (N, C, F, h, w)."""
        count, frames = pool.images.shape[:2]
        path = self.folder / f"latents-{hash_weights(self.vae)[:16]}-{count}x{frames}.safetensors"
        flat = pool.images.reshape(-1, *pool.images.shape[2:])
        vae = self.vae.to(self.accelerator.device)
        latents = kept_tensor(path, lambda: encode_pool(vae, flat) * vae.config.scaling_factor)
        return latents.unflatten(0, (count, frames)).transpose(1, 2)

    def run_stage(self) -> Iterator[PretrainStep]:
        """Train; see ``Stage.run``."""
        return self.run(self._loss)

    def _loss(self, index: np.ndarray, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        device = self.accelerator.device
        x0 = self.latents[index]
        noise = torch.randn(x0.shape, generator=generator)
        count, power = self.scheduler.config.num_train_timesteps, self.settings.timestep_power
        t = draw_timesteps(len(index), count, power, generator)
        drop = torch.rand(len(index), generator=generator) < self.settings.caption_dropout
        ids = torch.where(drop[:, None], self.empty, self.ids[index]).to(device)
        x_t = self.scheduler.add_noise(x0, noise, t).to(device)
        target = self.scheduler.get_velocity(x0, noise, t).to(device)
        with torch.no_grad():
            states = self.text_encoder(ids).last_hidden_state.repeat_interleave(x0.shape[2], 0)
        output = self.unet(x_t, t.to(device), states).sample
        return functional.mse_loss(output.float(), target), {}

    def pipeline(self) -> AnimateDiffPipeline:
        """The averaged motion modules in a stock pipeline."""
        self.averaged()
        return AnimateDiffPipeline(
            vae=self.vae, text_encoder=self.text_encoder, tokenizer=self.tokenizer, unet=self.unet,
            motion_adapter=self.adapter,
            scheduler=DPMSolverMultistepScheduler.from_config(self.scheduler.config, algorithm_type="dpmsolver++"),
        )  # fmt: skip


def save_adapter(unet: UNetMotionModel, folder: Path) -> None:
    """Write the motion modules as diffusers does, float16, in shards of at most 9 MB."""
    with tempfile.TemporaryDirectory() as whole:
        unet.save_motion_modules(whole, safe_serialization=True)  # in float32, whatever the UNet is in
        adapter = MotionAdapter.from_pretrained(whole, use_safetensors=True)
    adapter.half().save_pretrained(folder, safe_serialization=True, max_shard_size=SHARD_SIZE)


@torch.no_grad()
def clip_sheet(pipeline: AnimateDiffPipeline, captions: tuple[str, ...], frames: int) -> Image.Image:
    """Clips of the captions with seeds 0, 1, ..., one in a row."""
    pipeline.set_progress_bar_config(disable=True)
    size = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    sheet = Image.new("RGB", (frames * size, len(captions) * size))
    for row, caption in enumerate(captions):
        generator = torch.Generator().manual_seed(row)
        clip = pipeline(
            caption, num_frames=frames, num_inference_steps=20, guidance_scale=3.0, height=size, width=size,
            generator=generator,
        ).frames[0]  # fmt: skip
        for column, frame in enumerate(clip):
            sheet.paste(frame, (column * size, row * size))
    return sheet
