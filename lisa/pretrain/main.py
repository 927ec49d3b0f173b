"""Second stage: the main network and its text encoder, trained together on latents of rendered scenes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, StableDiffusionPipeline
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTokenizer

from lisa.checkpoint import SHARD_SIZE, kept_tensor
from lisa.files import read_json, write_json
from lisa.fingerprint import hash_weights
from lisa.pretrain.architecture import new_scheduler, new_text_encoder, new_tokenizer, new_unet
from lisa.pretrain.stage import PretrainStep, Stage
from lisa.pretrain.vae import encode_pool
from lisa.recipes import PretrainSettings
from lisa.scenes.pool import Pool


def token_ids(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Captions -> (N, L) int64, padded and cut to the tokenizer's length."""
    return tokenizer(
        captions, padding="max_length", truncation=True, max_length=tokenizer.model_max_length, return_tensors="pt"
    ).input_ids


def draw_timesteps(batch: int, count: int, power: float, generator: torch.Generator) -> Tensor:
    """Timesteps (B,) int64 in [0, count), rising: count u^power, one u from each equal slice of [0, 1).

    Slices lower the variance of the gradient (stratified sampling).
    """
    u = (torch.arange(batch) + torch.rand(batch, generator=generator)) / batch
    return (u**power * count).long().clamp(max=count - 1)  # u may round up to 1


class MainStage(Stage):
    """Train UNet and text encoder by v-prediction with random caption dropout."""

    def __init__(self, settings: PretrainSettings, pool: Pool, vae: AutoencoderKL) -> None:
        torch.manual_seed(settings.seed)
        self.tokenizer = new_tokenizer(sorted(pool.captions))
        modules = {"unet": new_unet(), "text_encoder": new_text_encoder(self.tokenizer)}
        super().__init__(settings, modules, len(pool))
        if self.accelerator.device.type == "cpu":
            # Over so few tokens torch's fused attention takes longer on a CPU, backwards above all.
            modules["unet"].set_attn_processor(AttnProcessor())
        self.scheduler = new_scheduler()
        self.vae = vae
        self.ids = token_ids(self.tokenizer, list(pool.captions))
        self.empty = token_ids(self.tokenizer, [""])
        self.latents = pool_latents(vae, pool, self.folder, self.accelerator.device)

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
        ids = torch.where(drop[:, None], self.empty, self.ids[index])
        x_t = self.scheduler.add_noise(x0, noise, t).to(device)
        target = self.scheduler.get_velocity(x0, noise, t).to(device)
        text = self.together["text_encoder"](ids.to(device)).last_hidden_state
        output = self.together["unet"](x_t, t.to(device), text).sample
        return functional.mse_loss(output.float(), target), {}

    def pipeline(self) -> StableDiffusionPipeline:
        """The averaged networks as a stock pipeline."""
        parts = self.averaged()
        return StableDiffusionPipeline(
            vae=self.vae, text_encoder=parts["text_encoder"], tokenizer=self.tokenizer, unet=parts["unet"],
            scheduler=self.scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        )  # fmt: skip


def pool_latents(vae: AutoencoderKL, pool: Pool, folder: Path, device: torch.device) -> Tensor:
    """Encode a pool once per autoencoder, (N, C, h, w) scaled: a resumed run reads them from its work folder."""
    path = folder / f"latents-{hash_weights(vae)[:16]}-{len(pool)}.safetensors"
    return kept_tensor(path, lambda: encode_pool(vae.to(device), pool.images) * vae.config.scaling_factor)


def save_pipeline(pipeline: DiffusionPipeline, folder: Path) -> None:
    """Write a pipeline as diffusers does, float16, in shards of at most 9 MB."""
    networks = {name: part for name, part in pipeline.components.items() if isinstance(part, nn.Module)}
    for module in networks.values():
        module.half()
    pipeline.save_pretrained(folder, safe_serialization=True, max_shard_size=SHARD_SIZE)
    # transformers loads in the dtype that the config names, diffusers in float32: without this a plain
    # from_pretrained() would mix the two.
    for name in networks:
        if name.startswith("text_encoder"):
            config = folder / name / "config.json"
            write_json(config, {**read_json(config), "dtype": "float32"})
