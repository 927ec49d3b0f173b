"""Stable Diffusion XL with random weights: two text encoders, sizes and pooled text as added conditions."""

from __future__ import annotations

from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from tests import tiny

NAME, PIXELS = "sdxl", 64


def build() -> StableDiffusionXLPipeline:
    """The stock pipeline."""
    tokens = tiny.tokenizer()
    first = tiny.text_encoder(tokens)
    return StableDiffusionXLPipeline(
        unet=UNet2DConditionModel(
            block_out_channels=(8, 16, 16), layers_per_block=2, sample_size=16, norm_num_groups=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 1, 2), attention_head_dim=(1, 2, 2), cross_attention_dim=32,
            use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 16,
        ),
        vae=AutoencoderKL(
            block_out_channels=(4, 8, 8), latent_channels=4, norm_num_groups=4, layers_per_block=1, sample_size=PIXELS,
            down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        ),
        text_encoder=CLIPTextModel(first.config), tokenizer=tokens,
        text_encoder_2=CLIPTextModelWithProjection(first.config), tokenizer_2=tokens,
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1,
            timestep_spacing="leading",
        ),
        add_watermarker=False,
    )  # fmt: skip


def open_control(side: nn.Module) -> nn.Module:
    """Give the zero-initialised layers values, as training would, so that control acts."""
    return tiny.open_control(side)
