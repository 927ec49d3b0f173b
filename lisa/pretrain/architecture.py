"""The embedded architectures: ordinary diffusers and transformers classes in small sizes."""

from __future__ import annotations

import json
from collections.abc import Iterable

from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    FlowMatchEulerDiscreteScheduler,
    MotionAdapter,
    SD3Transformer2DModel,
    UNet2DConditionModel,
)
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

LATENT_CHANNELS = 16
MAX_TOKENS = 40
TEXT_WIDTH = 128
_MAIN_WIDTHS = (64, 96, 128)
_VAE_WIDTHS = (16, 32, 64, 128)
_HEADS, _HEAD_WIDTH, _LAYERS = 5, 32, 6
_END_OF_WORD = "</w>"


def new_vae() -> AutoencoderKL:
    """An autoencoder of factor 8 with 16 latent channels, 2.6 M parameters: (B, 3, 128, 128) <-> (B, 16, 16, 16)."""
    levels = len(_VAE_WIDTHS)
    return AutoencoderKL(
        block_out_channels=_VAE_WIDTHS,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1,
        sample_size=128,
        mid_block_add_attention=False,
    )


def new_unet() -> UNet2DConditionModel:
    """Stable Diffusion's UNet class at 16 x 16 latents, 5.6 M parameters; its ControlNet has 2.6 M."""
    return UNet2DConditionModel(
        block_out_channels=_MAIN_WIDTHS,
        layers_per_block=1,
        sample_size=16,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        norm_num_groups=16,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    )


def new_transformer() -> SD3Transformer2DModel:
    """SD3's transformer class over 8 x 8 patches of 16 x 16 latents, 5.5 M parameters.

    Every block starts as the identity and the output at zero, from where it learns much faster (adaLN-Zero, Peebles &
    Xie 2023, arXiv 2212.09748, section 3.2); the class itself draws its modulations at random.
    """
    made = SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_layers=_LAYERS,
        attention_head_dim=_HEAD_WIDTH,
        num_attention_heads=_HEADS,
        caption_projection_dim=_HEADS * _HEAD_WIDTH,
        joint_attention_dim=2 * TEXT_WIDTH,
        pooled_projection_dim=2 * TEXT_WIDTH,
        pos_embed_max_size=16,
        qk_norm="rms_norm",
    )
    modulations = [norm.linear for block in made.transformer_blocks for norm in (block.norm1, block.norm1_context)]
    for layer in (*modulations, made.norm_out.linear, made.proj_out):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return made


def new_motion_adapter(unet: UNet2DConditionModel) -> MotionAdapter:
    """AnimateDiff's motion modules for the embedded UNet, 2.3 M parameters; they change nothing yet."""
    adapter = MotionAdapter(
        block_out_channels=unet.config.block_out_channels,
        motion_layers_per_block=unet.config.layers_per_block,
        motion_norm_num_groups=unet.config.norm_num_groups,
        motion_num_attention_heads=4,
        motion_max_seq_length=16,
    )
    for name, value in adapter.named_parameters():
        if ".proj_out." in name:
            nn.init.zeros_(value)
    return adapter


def new_flow_scheduler() -> FlowMatchEulerDiscreteScheduler:
    """Rectified flow whose times are shifted towards noise, where caption and shapes are decided (SD3 shifts by 3)."""
    return FlowMatchEulerDiscreteScheduler(shift=2.0)


def projecting(encoder: CLIPTextModel) -> CLIPTextModelWithProjection:
    """The same text encoder in the class that Stable Diffusion 3 takes; its pooled output passes unchanged."""
    made = CLIPTextModelWithProjection(encoder.config)
    # Some versions of transformers keep the text model inside CLIPTextModel, others are it.
    made.text_model.load_state_dict(getattr(encoder, "text_model", encoder).state_dict())
    nn.init.eye_(made.text_projection.weight)
    return made


def new_scheduler() -> DDPMScheduler:
    """Cosine noise schedule with v-prediction.

    Latents of 16 x 16 lose their content at less noise than Stable Diffusion's 64 x 64, so its own schedule would
    spend most timesteps on pure noise; v-prediction stays well defined where the signal vanishes.
    """
    return DDPMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        clip_sample=False,
        timestep_spacing="trailing",
        steps_offset=1,
    )


def new_tokenizer(captions: Iterable[str], vocabulary: int = 1000) -> CLIPTokenizer:
    """Train CLIP's byte-pair tokenizer on captions.

    Args:
        captions: the training text.
        vocabulary: upper limit of merged tokens; with the world's few words nearly every word becomes one token.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trained = Tokenizer(models.BPE(end_of_word_suffix=_END_OF_WORD, unk_token=None))
    trained.normalizer = normalizers.Lowercase()
    # CLIP's own splitting: words, single digits and runs of punctuation, the spaces between them dropped.
    words = pre_tokenizers.Split(Regex(r"[a-z]+|[0-9]|[^\sa-z0-9]+"), "removed", invert=True)
    trained.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    trained.train_from_iterator(
        captions,
        trainers.BpeTrainer(
            vocab_size=vocabulary, initial_alphabet=alphabet, end_of_word_suffix=_END_OF_WORD, show_progress=False
        ),
    )
    merges = [tuple(merge) for merge in json.loads(trained.to_str())["model"]["merges"]]
    tokens = [*alphabet, *(c + _END_OF_WORD for c in alphabet), *("".join(merge) for merge in merges)]
    # The special tokens come last: transformers finds the end of text as the largest id in some versions.
    tokens = [*dict.fromkeys(tokens), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=merges, model_max_length=MAX_TOKENS)


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """CLIP's text transformer, 128 wide, 3 layers; trained together with the main network."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            projection_dim=TEXT_WIDTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
