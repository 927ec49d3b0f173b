"""Pipelines with random weights and the shapes of real ones, saved to disk and loaded from there."""

from __future__ import annotations

import atexit
import functools
import tempfile
from pathlib import Path

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    DDPMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from tokenizers import pre_tokenizers
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from lisa.decoder import ScoreDecoder
from lisa.families.base import FAMILIES, load_family
from lisa.objective import Batch

KINDS = ("sd15", "sd21", "scenes-unet")
EMBEDDED = "embedded"
PIXELS = 64
_TEXT = 16


def folder(kind: str) -> Path:
    """A pipeline folder as save_pretrained writes it; made once per process, so tests must not change it."""
    return _saved(kind)


def family(kind: str, **options):
    """A fresh family around the pipeline of that kind."""
    return load_family(kind, str(folder(kind)), **options)


@functools.cache
def cached_family(kind: str):
    """A family that no test may change; also the embedded one, where its checkpoint is."""
    if kind != EMBEDDED:
        return family(kind)
    if reason := FAMILIES.get("scenes-unet").installed():
        pytest.skip(reason)
    return load_family("scenes-unet")


def pipeline(kind: str) -> StableDiffusionPipeline:
    """Random weights in the shape of sd15 (epsilon), sd21 (v) or scenes-unet (v, 8 latent channels)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(sum(map(ord, kind)))
        tokens = tokenizer()
        return StableDiffusionPipeline(
            unet=_unet(kind),
            vae=_vae(8 if kind == "scenes-unet" else 4),
            text_encoder=text_encoder(tokens),
            tokenizer=tokens,
            scheduler=_scheduler(kind),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )


def tokenizer(length: int = 12) -> CLIPTokenizer:
    """CLIP's tokenizer with letters only; the end of text has the largest id, as in CLIP."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: i for i, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=length)


def open_control(side: ControlNetModel, std: float = 0.2, seed: int = 1) -> ControlNetModel:
    """Give the zero-initialised layers values, as training would, so that control acts."""
    generator = torch.Generator().manual_seed(seed)
    closed = ("controlnet_down_blocks", "controlnet_mid_block", "controlnet_cond_embedding.conv_out")
    with torch.no_grad():
        for name, value in side.named_parameters():
            if name.startswith(closed):
                value.copy_(torch.randn(value.shape, generator=generator) * std)
    return side


def decoders(made, side, names, width: int = 8, trained: bool = True) -> nn.ModuleDict:
    """Score decoders for some taps; the trained ones do not start at zero."""
    taps = {tap.name: tap for tap in made.taps(side)}
    result = nn.ModuleDict()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        for name in names:
            tap = taps[name]
            result[name] = ScoreDecoder(tap.channels, tap.stride, made.latent_channels, width)
            if trained:
                nn.init.normal_(result[name].out.weight, std=0.1)
                nn.init.normal_(result[name].out.bias, std=0.1)
    return result


def gradients(module: nn.Module) -> dict[str, torch.Tensor]:
    """Copies of the gradients that a network has."""
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def batch(made, size: int = 2, seed: int = 0) -> Batch:
    """Random latents, condition, text, noise and times for a family."""
    generator = torch.Generator().manual_seed(seed)
    shape = (size, made.latent_channels, PIXELS // made.downscale, PIXELS // made.downscale)
    latents, noise = torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)
    pixels = torch.rand((size, 3, PIXELS, PIXELS), generator=generator)
    text = made.encode_text([f"a red cube {i}" for i in range(size)])
    times = made.path.sample_t(size, generator)
    return Batch(latents, made.encode_condition(pixels), text, noise, times)


_folders = tempfile.TemporaryDirectory()
atexit.register(_folders.cleanup)


@functools.cache
def _saved(kind: str) -> Path:
    path = Path(_folders.name) / kind
    pipeline(kind).save_pretrained(path, safe_serialization=True)
    return path


def _unet(kind: str) -> UNet2DConditionModel:
    common = {"sample_size": 8, "norm_num_groups": 4, "cross_attention_dim": _TEXT}
    if kind == "scenes-unet":
        return UNet2DConditionModel(
            in_channels=8,
            out_channels=8,
            block_out_channels=(8, 16, 16),
            layers_per_block=1,
            attention_head_dim=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            **common,
        )
    newer = {"attention_head_dim": (1, 2, 2, 2), "use_linear_projection": True} if kind == "sd21" else {}
    return UNet2DConditionModel(
        block_out_channels=(8, 16, 16, 16), layers_per_block=2, **{"attention_head_dim": 4, **newer}, **common
    )


def _vae(latent_channels: int) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(4, 8, 8, 8),
        latent_channels=latent_channels,
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        sample_size=PIXELS,
    )


def text_encoder(tokens: CLIPTokenizer) -> CLIPTextModel:
    """CLIP's text encoder with random weights."""
    config = CLIPTextConfig(
        vocab_size=len(tokens),
        hidden_size=_TEXT,
        projection_dim=_TEXT,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=tokens.model_max_length,
        bos_token_id=tokens.bos_token_id,
        eos_token_id=tokens.eos_token_id,
        pad_token_id=tokens.pad_token_id,
    )
    return CLIPTextModel(config)


def _scheduler(kind: str) -> DDIMScheduler | DDPMScheduler:
    if kind == "scenes-unet":
        return DDPMScheduler(
            beta_schedule="squaredcos_cap_v2",
            prediction_type="v_prediction",
            clip_sample=False,
            timestep_spacing="trailing",
            steps_offset=1,
        )
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction" if kind == "sd21" else "epsilon",
    )
