"""A rectified-flow transformer over the autoencoder and text encoder of a finished pipeline, which stay as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel, StableDiffusion3Pipeline
from torch import Tensor
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from lisa.attention import quick_attention
from lisa.errors import LisaError
from lisa.noise import from_scheduler
from lisa.pretrain.architecture import new_flow_scheduler, new_transformer, projecting
from lisa.pretrain.main import pool_latents
from lisa.pretrain.stage import PretrainStep, Stage
from lisa.recipes import PretrainSettings
from lisa.scenes.pool import Pool


class FlowStage(Stage):
    """Train SD3's transformer by rectified flow with random caption dropout (Esser et al. 2024, arXiv 2403.03206).

    Args:
        settings: already checked; ``base`` is the finished pipeline.
        pool: training scenes.

    Raises:
        LisaError: if the base pipeline is not there.
    """

    def __init__(self, settings: PretrainSettings, pool: Pool) -> None:
        torch.manual_seed(settings.seed)
        self.vae, text_encoder, tokenizer = load_base(settings.base)
        super().__init__(settings, {"transformer": new_transformer()}, len(pool))
        self.pipe = flow_pipeline(self.together["transformer"], self.vae, text_encoder, tokenizer)
        self.pipe.to(self.accelerator.device)
        self.path = from_scheduler(self.pipe.scheduler)
        self.captions = pool.captions
        self.latents = pool_latents(self.vae, pool, self.folder, self.accelerator.device)

    def run_stage(self) -> Iterator[PretrainStep]:
        """Train; see ``Stage.run``."""
        return self.run(self._loss)

    def _loss(self, index: np.ndarray, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        device = self.accelerator.device
        x0 = self.latents[index]
        noise = torch.randn(x0.shape, generator=generator)
        t = self.path.sample_t(len(index), generator)
        drop = torch.rand(len(index), generator=generator) < self.settings.caption_dropout
        states, pooled = self._text(["" if gone else self.captions[i] for i, gone in zip(index, drop, strict=True)])
        x_t, target = self.path.add_noise(x0, noise, t).to(device), self.path.target(x0, noise, t).to(device)
        with quick_attention(device, x_t):
            output = self.together["transformer"](x_t, states, pooled, t.to(device)).sample
        return functional.mse_loss(output.float(), target), {}

    @torch.no_grad()
    def _text(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        states, _, pooled, _ = self.pipe.encode_prompt(
            list(captions), None, None, do_classifier_free_guidance=False, max_sequence_length=0
        )
        return states, pooled

    def pipeline(self) -> StableDiffusion3Pipeline:
        """The averaged transformer as a stock pipeline."""
        self.averaged()
        return self.pipe


def load_base(folder: str) -> tuple[AutoencoderKL, CLIPTextModel, CLIPTokenizer]:
    """Read the frozen autoencoder, text encoder and tokenizer of a finished pipeline."""
    if not (Path(folder) / "text_encoder" / "config.json").exists():
        raise LisaError(f"{folder} holds no text encoder: give a finished pipeline folder, or run the stage 'main'.")
    vae = AutoencoderKL.from_pretrained(folder, subfolder="vae", use_safetensors=True)
    text_encoder = CLIPTextModel.from_pretrained(folder, subfolder="text_encoder", use_safetensors=True)
    tokenizer = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer")
    return vae.eval().requires_grad_(False), text_encoder.eval().requires_grad_(False), tokenizer


def flow_pipeline(
    transformer: SD3Transformer2DModel, vae: AutoencoderKL, text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer
) -> StableDiffusion3Pipeline:
    """Stable Diffusion 3's pipeline without T5; both of its CLIP encoders are the one there is."""
    vae.register_to_config(shift_factor=0.0)
    first, second = (projecting(text_encoder).eval().requires_grad_(False) for _ in range(2))
    return StableDiffusion3Pipeline(
        transformer=transformer, scheduler=new_flow_scheduler(), vae=vae, text_encoder=first, tokenizer=tokenizer,
        text_encoder_2=second, tokenizer_2=tokenizer, text_encoder_3=None, tokenizer_3=None,
    )  # fmt: skip
