"""The family of SD3Transformer2DModel with SD3ControlNetModel: Stable Diffusion 3 and 3.5, rectified flow."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3ControlNetModel,
    SD3MultiControlNetModel,
    SD3Transformer2DModel,
    StableDiffusion3ControlNetPipeline,
    StableDiffusion3Pipeline,
)
from torch import Tensor, nn
from transformers import CLIPTextModelWithProjection, CLIPTokenizer, T5EncoderModel, T5Tokenizer

from lisa.errors import LisaError
from lisa.families._fit import check_common
from lisa.families._latent import LatentFamily, check_parts, copy_first, seeded
from lisa.families._replay import replayed
from lisa.families._sources import load_part
from lisa.families.base import FamilySpec, Prediction, Sampling
from lisa.tap import Tap, as_map, tapped

_STATES, _POOLED = "states", "pooled"
# Tokens of T5, as diffusers' training script for this ControlNet has them.
_T5_TOKENS = 77
# What a side network must have in common with the transformer for its features to be added.
COMMON = (
    "in_channels",
    "patch_size",
    "attention_head_dim",
    "num_attention_heads",
    "pooled_projection_dim",
    "joint_attention_dim",
)
# Copied from the transformer into a new side network; all that its first blocks need.
_COPIED = ("pos_embed", "time_text_embed", "context_embedder")


class SD3Family(LatentFamily):
    """Latent rectified flow with a transformer; the side network's features are added after its blocks.

    Args:
        spec: The family as data.
        parts: The pipeline's parts; T5 may be missing, and its states are then left out.

    Raises:
        LisaError: If the parts do not fit each other.
    """

    PARTS: ClassVar[dict[str, type]] = {
        "transformer": SD3Transformer2DModel,
        "vae": AutoencoderKL,
        "text_encoder": CLIPTextModelWithProjection,
        "tokenizer": CLIPTokenizer,
        "text_encoder_2": CLIPTextModelWithProjection,
        "tokenizer_2": CLIPTokenizer,
        "text_encoder_3": T5EncoderModel,
        "tokenizer_3": T5Tokenizer,
        "scheduler": FlowMatchEulerDiscreteScheduler,
    }
    OPTIONAL = frozenset({"text_encoder_3", "tokenizer_3"})
    MAIN = "transformer"
    latent_conditions = True

    def __init__(self, spec: FamilySpec, parts: Mapping[str, Any]) -> None:
        config = parts["transformer"].config
        pooled = sum(parts[name].config.projection_dim for name in ("text_encoder", "text_encoder_2"))
        check_parts(
            "transformer",
            [
                ("in_channels", config.in_channels, "vae's latent_channels", parts["vae"].config.latent_channels),
                ("pooled_projection_dim", config.pooled_projection_dim, "text encoders' projection_dim in all", pooled),
            ],
        )
        if (parts["text_encoder_3"] is None) != (parts["tokenizer_3"] is None):
            raise LisaError("This pipeline has one of text_encoder_3 and tokenizer_3: give both, or none.")
        super().__init__(spec, parts)
        self._tokens = 0 if parts["text_encoder_3"] is None else _T5_TOKENS

    def taps(self, side: nn.Module) -> tuple[Tap, ...]:
        """List the taps block_0, block_1, ...: what each block of the side network gives."""
        return tuple(
            Tap(f"block_{i}", f"controlnet_blocks.{i}", side.inner_dim, side.config.patch_size, "tokens")
            for i in range(len(side.controlnet_blocks))
        )

    def default_taps(self, side: nn.Module) -> tuple[Tap, ...]:
        """List the taps of the family's defaults, or else the block in the middle."""
        taps = self.taps(side)
        named = tuple(tap for tap in taps if tap.name in self.spec.default_lisa.taps)
        return named or (taps[len(taps) // 2],)

    def new_side(self, seed: int, **overrides: Any) -> SD3ControlNetModel:
        """Make a ControlNet whose blocks are copies of the transformer's first ones; as Family.new_side.

        Half as many as the transformer has, unless the family or ``num_layers`` says otherwise. Not by
        SD3ControlNetModel.from_transformer, which writes the number of layers into the transformer's own config.
        """
        main = {name: value for name, value in self.main.config.items() if not name.startswith("_")}
        asked = {"num_layers": max(1, self.main.config.num_layers // 2), **self.spec.side, **overrides}
        # The last block of the transformer has no text stream to copy; and without zeroed pooled text the side
        # network reads what the transformer reads, in training and in the pipeline.
        config = {**main, "force_zeros_for_pooled_projection": False, **asked}
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            side = SD3ControlNetModel.from_config(config)
        copy_first(side, self.main, _COPIED, ("transformer_blocks",))
        return side.float().to(self.device).train()

    def load_side(self, source: str | Path, revision: str = "", dtype: torch.dtype | None = None) -> SD3ControlNetModel:
        """Load a ControlNet; as Family.load_side."""
        side = load_part(SD3ControlNetModel, str(source), revision, dtype=dtype or self.dtype)
        check_common(side.config, self.main.config, COMMON, str(source), self.name)
        return side.to(self.device).requires_grad_(False).eval()

    @torch.no_grad()
    def encode_condition(self, pixels: Tensor) -> Tensor:
        """Encode condition images like images, (B, C, h, w); as Family.encode_condition."""
        self._check_pixels(pixels, "condition", 0)
        return self.encode_image(pixels * 2 - 1)

    def _encode_text(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        """Encode prompts as the pipeline does: states (B, L, D) and pooled (B, P)."""
        states, _, pooled, _ = self.pipeline().encode_prompt(
            list(prompts), None, None, self.device, 1, False, max_sequence_length=self._tokens
        )
        return {_STATES: states, _POOLED: pooled}

    def predict(
        self,
        x_t: Tensor,
        t: Tensor,
        text: Mapping[str, Tensor],
        side: nn.Module | None = None,
        condition: Tensor | None = None,
        *,
        strength: float = 1.0,
        taps: Sequence[str] = (),
    ) -> Prediction:
        """Run the transformer, with or without a ControlNet; as Family.predict."""
        blocks, features = None, {}
        if side is not None:
            blocks, features = self._run_side(x_t, t, text, side, condition, strength, taps)
            blocks = [block.to(self.dtype) for block in blocks]
        value = self.main(**self._inputs(x_t, t, text, self.dtype), block_controlnet_hidden_states=blocks)[0]
        return Prediction(value, features)

    def side_features(
        self,
        x_t: Tensor,
        t: Tensor,
        text: Mapping[str, Tensor],
        side: nn.Module,
        condition: Tensor,
        taps: Sequence[str],
    ) -> dict[str, Tensor]:
        """Run a ControlNet alone; as Family.side_features."""
        return self._run_side(x_t, t, text, side, condition, 1.0, taps)[1]

    def _run_side(
        self,
        x_t: Tensor,
        t: Tensor,
        text: Mapping[str, Tensor],
        side: nn.Module,
        condition: Tensor | None,
        strength: float,
        taps: Sequence[str],
    ) -> tuple[Sequence[Tensor], dict[str, Tensor]]:
        self._check_condition(x_t, condition, 1)
        if side.config.force_zeros_for_pooled_projection:  # so published ones were trained, and the pipeline runs them
            condition = condition + self._shift * self.vae.config.scaling_factor
            text = {**text, _POOLED: torch.zeros_like(text[_POOLED])}
        with tapped(side, self._named(side, taps)) as features:
            blocks = side(
                **self._inputs(x_t, t, text, side.dtype),
                controlnet_cond=condition.to(side.dtype),
                conditioning_scale=strength,
            )[0]
        height, width = (size // side.config.patch_size for size in x_t.shape[-2:])
        return blocks, {name: as_map(tokens, height, width) for name, tokens in features.items()}

    @staticmethod
    def _inputs(x_t: Tensor, t: Tensor, text: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Any]:
        """What transformer and side network take alike."""
        return {
            "hidden_states": x_t.to(dtype),
            "timestep": t,
            "encoder_hidden_states": text[_STATES].to(dtype),
            "pooled_projections": text[_POOLED].to(dtype),
            "return_dict": False,
        }

    def shared(self) -> contextlib.AbstractContextManager[None]:
        """Run the embedders and the first block once: control only enters after it; as Family.shared."""
        main = self.main
        return replayed([main.pos_embed, main.time_text_embed, main.context_embedder, main.transformer_blocks[0]])

    def pipeline(self, *sides: nn.Module) -> StableDiffusion3ControlNetPipeline | StableDiffusion3Pipeline:
        """Build the pipeline with its own Euler sampler; as Family.pipeline."""
        # A sampler writes its steps into the scheduler, so it gets one of its own.
        parts = self.parts | {"scheduler": FlowMatchEulerDiscreteScheduler.from_config(self.scheduler.config)}
        if sides:
            parts["controlnet"] = sides[0] if len(sides) == 1 else SD3MultiControlNetModel(list(sides))
        kind = StableDiffusion3ControlNetPipeline if sides else StableDiffusion3Pipeline
        pipeline = kind(**parts)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def sample(self, sides: Sequence[nn.Module], sampling: Sampling) -> list[Any]:
        """Run the stock pipeline once; as Family.sample."""
        # The pipeline draws the condition's latent from the posterior with the global random state.
        with seeded(self.device, 0):
            return super().sample(sides, sampling)

    def _arguments(self, sides: Sequence[nn.Module], sampling: Sampling) -> dict[str, Any]:
        text = self.encode_text(sampling.prompts)
        negative = self.encode_text([sampling.negative] * len(sampling.prompts))
        texts = {
            "prompt_embeds": text[_STATES],
            "pooled_prompt_embeds": text[_POOLED],
            "negative_prompt_embeds": negative[_STATES],
            "negative_pooled_prompt_embeds": negative[_POOLED],
        }
        if not sides:
            return texts
        images = [list(each) for each in sampling.conditions]
        return {**texts, "control_image": images[0] if len(sides) == 1 else images, **self._control(sampling)}
