"""Stable Diffusion 3 with random weights: two CLIP encoders and T5, 4 layers, patches of 2."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, T5Config, T5EncoderModel, T5Tokenizer

from tests import tiny

NAME, PIXELS = "sd3", 32
_WIDTH, _T5_WIDTH = 16, 32


def build(t5: bool = True) -> StableDiffusion3Pipeline:
    """The stock pipeline."""
    tokens, pieces = tiny.tokenizer(), t5_tokenizer()
    encoders = {name: _clip(tokens) for name in ("text_encoder", "text_encoder_2")}
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=16, patch_size=2, in_channels=4, out_channels=4, num_layers=4, attention_head_dim=8,
            num_attention_heads=2, joint_attention_dim=_T5_WIDTH, caption_projection_dim=16,
            pooled_projection_dim=2 * _WIDTH, pos_embed_max_size=16, qk_norm="rms_norm",
        ),
        vae=AutoencoderKL(
            block_out_channels=(4, 8), latent_channels=4, norm_num_groups=4, layers_per_block=1, sample_size=PIXELS,
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
            shift_factor=0.06, scaling_factor=1.5, use_quant_conv=False, use_post_quant_conv=False,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0), tokenizer=tokens, tokenizer_2=tokens,
        text_encoder_3=t5_encoder(pieces, _T5_WIDTH) if t5 else None, tokenizer_3=pieces if t5 else None, **encoders,
    )  # fmt: skip


def _clip(tokens) -> CLIPTextModelWithProjection:
    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=len(tokens), hidden_size=_WIDTH, intermediate_size=32, num_hidden_layers=2,
            num_attention_heads=2, max_position_embeddings=tokens.model_max_length, projection_dim=_WIDTH,
            bos_token_id=tokens.bos_token_id, eos_token_id=tokens.eos_token_id, pad_token_id=tokens.pad_token_id,
        )
    )  # fmt: skip


def t5_tokenizer() -> T5Tokenizer:
    """T5's tokenizer with single letters as pieces."""
    alphabet = ["▁", *map(chr, range(33, 127))]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((piece, -1.0) for piece in alphabet)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=77)


def t5_encoder(pieces: T5Tokenizer, width: int) -> T5EncoderModel:
    """T5's encoder with random weights."""
    return T5EncoderModel(
        T5Config(
            vocab_size=len(pieces), d_model=width, d_kv=8, d_ff=32, num_layers=1, num_heads=2, pad_token_id=0,
            eos_token_id=1, decoder_start_token_id=0,
        )
    )  # fmt: skip


def open_control(side: nn.Module, std: float = 0.2, seed: int = 1) -> nn.Module:
    """Give the zero-initialised layers values, as training would, so that control acts."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in side.named_parameters():
            if name.startswith(("controlnet_", "pos_embed_input")):
                value.copy_(torch.randn(value.shape, generator=generator) * std)
    return side
