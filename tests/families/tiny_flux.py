"""FLUX.1 with random weights: CLIP and T5, packed latents, guidance as an input."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from torch import nn
from transformers import CLIPTextModel

from tests import tiny
from tests.families.tiny_sd3 import t5_encoder, t5_tokenizer

NAME, PIXELS = "flux", 32
_T5_WIDTH = 32


def build() -> FluxPipeline:
    """The stock pipeline."""
    tokens, pieces = tiny.tokenizer(), t5_tokenizer()
    encoder = CLIPTextModel(tiny.text_encoder(tokens).config)
    return FluxPipeline(
        transformer=FluxTransformer2DModel(
            patch_size=1, in_channels=16, num_layers=3, num_single_layers=2, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=_T5_WIDTH, pooled_projection_dim=encoder.config.hidden_size,
            axes_dims_rope=[4, 4, 8], guidance_embeds=True,
        ),
        vae=AutoencoderKL(
            block_out_channels=(4, 8), latent_channels=4, norm_num_groups=4, layers_per_block=1, sample_size=PIXELS,
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
            shift_factor=0.06, scaling_factor=1.5, use_quant_conv=False, use_post_quant_conv=False,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        text_encoder=encoder, tokenizer=tokens, text_encoder_2=t5_encoder(pieces, _T5_WIDTH), tokenizer_2=pieces,
    )  # fmt: skip


def open_control(side: nn.Module, std: float = 0.2, seed: int = 1) -> nn.Module:
    """Give the zero-initialised layers values, as training would, so that control acts."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in side.named_parameters():
            if name.startswith("controlnet_"):
                value.copy_(torch.randn(value.shape, generator=generator) * std)
    return side
