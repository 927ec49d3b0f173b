"""Stable Video Diffusion with random weights: 4 frames, two levels, an image encoder of 224 pixels as the real one."""

from __future__ import annotations

from diffusers import (
    AutoencoderKLTemporalDecoder,
    EulerDiscreteScheduler,
    StableVideoDiffusionPipeline,
    UNetSpatioTemporalConditionModel,
)
from torch import nn
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from tests import tiny

NAME, PIXELS = "svd", 32
_WIDTH, _FRAMES = 16, 4
# The published pipeline's.
_SCHEDULER = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000,
    "prediction_type": "v_prediction", "timestep_type": "continuous", "timestep_spacing": "leading",
    "use_karras_sigmas": True, "sigma_min": 0.002, "sigma_max": 700.0, "steps_offset": 1,
}  # fmt: skip


def build() -> StableVideoDiffusionPipeline:
    """The stock pipeline."""
    return StableVideoDiffusionPipeline(
        unet=unet(), vae=_vae(), image_encoder=_image_encoder(), scheduler=EulerDiscreteScheduler(**_SCHEDULER),
        feature_extractor=CLIPImageProcessor(crop_size=224, size=224),
    )  # fmt: skip


def unet(**options) -> UNetSpatioTemporalConditionModel:
    """The main network; its norms have 32 groups, so that it cannot be narrower."""
    sizes = {
        "in_channels": 8, "out_channels": 4, "block_out_channels": (32, 64), "num_attention_heads": (2, 4),
        "layers_per_block": 1, "cross_attention_dim": _WIDTH, "sample_size": 16, "num_frames": _FRAMES,
        "addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 24,
        "down_block_types": ("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        "up_block_types": ("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
    }  # fmt: skip
    return UNetSpatioTemporalConditionModel(**sizes | options)


def _vae() -> AutoencoderKLTemporalDecoder:
    return AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32), down_block_types=("DownEncoderBlock2D",) * 2, latent_channels=4,
        layers_per_block=1, sample_size=PIXELS,
    )  # fmt: skip


def _image_encoder() -> CLIPVisionModelWithProjection:
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=224,
            patch_size=56, projection_dim=_WIDTH,
        )
    )  # fmt: skip


def open_control(side: nn.Module) -> nn.Module:
    """Give the zero-initialised layers values, as training would, so that control acts."""
    return tiny.open_control(side)
