"""The family of FluxTransformer2DModel with FluxControlNetModel: FLUX.1, rectified flow over packed latents."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxControlNetModel,
    FluxControlNetPipeline,
    FluxMultiControlNetModel,
    FluxPipeline,
    FluxTransformer2DModel,
)
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5Tokenizer

from lisa.errors import LisaError
from lisa.families._fit import check_common
from lisa.families._latent import LatentFamily, check_parts, copy_first, seeded
from lisa.families._replay import replayed
from lisa.families._sources import load_part
from lisa.families.base import FamilySpec, Prediction, Sampling
from lisa.tap import Tap, as_map, tapped

_STATES, _POOLED = "states", "pooled"
# The guidance that the network is told in training, as diffusers' training script for this ControlNet has it.
_GUIDANCE = 3.5
_PATCH = 2
# What a side network must have in common with the transformer for its features to be added.
COMMON = ("in_channels", "attention_head_dim", "num_attention_heads", "joint_attention_dim", "pooled_projection_dim")
# Copied from the transformer into a new side network, before its blocks.
_COPIED = ("time_text_embed", "context_embedder", "x_embedder")


class FluxFamily(LatentFamily):
    """Rectified flow with a transformer of double and single blocks; outside of it latents are never packed.

    Args:
        spec: The family as data.
        parts: The pipeline's parts.

    Raises:
        LisaError: If the parts do not fit each other.
    """

    PARTS: ClassVar[dict[str, type]] = {
        "transformer": FluxTransformer2DModel,
        "vae": AutoencoderKL,
        "text_encoder": CLIPTextModel,
        "tokenizer": CLIPTokenizer,
        "text_encoder_2": T5EncoderModel,
        "tokenizer_2": T5Tokenizer,
        "scheduler": FlowMatchEulerDiscreteScheduler,
    }
    MAIN = "transformer"
    latent_conditions = True

    def __init__(self, spec: FamilySpec, parts: Mapping[str, Any]) -> None:
        config, encoders = parts["transformer"].config, (parts["text_encoder"].config, parts["text_encoder_2"].config)
        packed = _PATCH**2 * parts["vae"].config.latent_channels
        check_parts(
            "transformer",
            [
                ("in_channels", config.in_channels, "vae's latent_channels times 4", packed),
                ("pooled_projection_dim", config.pooled_projection_dim, "text_encoder's hidden_size",
                 encoders[0].hidden_size),
                ("joint_attention_dim", config.joint_attention_dim, "text_encoder_2's d_model", encoders[1].d_model),
            ],
        )  # fmt: skip
        super().__init__(spec, parts)

    def taps(self, side: nn.Module) -> tuple[Tap, ...]:
        """List the taps block_0, ... of the double blocks and single_0, ... of the single ones."""
        width = side.inner_dim
        double = (("block", "controlnet_blocks", i) for i in range(len(side.controlnet_blocks)))
        single = (("single", "controlnet_single_blocks", i) for i in range(len(side.controlnet_single_blocks)))
        return tuple(
            Tap(f"{name}_{i}", f"{place}.{i}", width, _PATCH, "tokens") for name, place, i in (*double, *single)
        )

    def default_taps(self, side: nn.Module) -> tuple[Tap, ...]:
        """List the taps of the family's defaults, or else the block in the middle."""
        taps = self.taps(side)
        named = tuple(tap for tap in taps if tap.name in self.spec.default_lisa.taps)
        return named or (taps[len(taps) // 2],)

    def new_side(self, seed: int, **overrides: Any) -> FluxControlNetModel:
        """Make a ControlNet whose blocks are copies of the transformer's first ones; as Family.new_side.

        Not by FluxControlNetModel.from_transformer, whose heads do not follow the transformer's and which ignores the
        numbers of layers for a transformer with default ones.
        """
        main = {name: value for name, value in self.main.config.items() if not name.startswith("_")}
        asked = {**self.spec.side, **overrides}
        for name in ("num_layers", "num_single_layers"):
            asked[name] = min(asked.get(name, 4), main[name])
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            side = FluxControlNetModel.from_config({**main, **asked})
        copy_first(side, self.main, _COPIED, ("transformer_blocks", "single_transformer_blocks"))
        nn.init.zeros_(side.controlnet_x_embedder.weight)
        nn.init.zeros_(side.controlnet_x_embedder.bias)
        return side.float().to(self.device).train()

    def load_side(
        self, source: str | Path, revision: str = "", dtype: torch.dtype | None = None
    ) -> FluxControlNetModel:
        """Load a ControlNet; as Family.load_side."""
        side = load_part(FluxControlNetModel, str(source), revision, dtype=dtype or self.dtype)
        check_common(side.config, self.main.config, COMMON, str(source), self.name)
        return side.to(self.device).requires_grad_(False).eval()

    @torch.no_grad()
    def encode_condition(self, pixels: Tensor) -> Tensor:
        """Encode condition images like images, (B, C, h, w); as Family.encode_condition."""
        self._check_pixels(pixels, "condition", 0)
        return self.encode_image(pixels * 2 - 1)

    def _encode_text(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        """Encode prompts as the pipeline does: T5's states (B, L, D) and CLIP's pooled (B, P)."""
        length = min(512, self.parts["tokenizer_2"].model_max_length)
        states, pooled, _ = self.pipeline().encode_prompt(
            list(prompts), None, device=self.device, max_sequence_length=length
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
        residuals: dict[str, Any] = {}
        features: dict[str, Tensor] = {}
        if side is not None:
            (double, single), features = self._run_side(x_t, t, text, side, condition, strength, taps)
            for name, blocks in (("controlnet_block_samples", double), ("controlnet_single_block_samples", single)):
                residuals[name] = None if blocks is None else [block.to(self.dtype) for block in blocks]
        value = self.main(**self._inputs(x_t, t, text, self.main), **residuals)[0]
        return Prediction(unpack(value, *x_t.shape[-2:]), features)

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
    ) -> tuple[tuple[Sequence[Tensor] | None, Sequence[Tensor] | None], dict[str, Tensor]]:
        self._check_condition(x_t, condition, 1)
        with tapped(side, self._named(side, taps)) as features:
            blocks = side(
                **self._inputs(x_t, t, text, side),
                controlnet_cond=pack(condition.to(side.dtype)),
                conditioning_scale=strength,
            )
        height, width = (size // _PATCH for size in x_t.shape[-2:])
        return blocks, {name: as_map(tokens, height, width) for name, tokens in features.items()}

    def _inputs(self, x_t: Tensor, t: Tensor, text: Mapping[str, Tensor], network: nn.Module) -> dict[str, Any]:
        """What transformer and side network take alike."""
        dtype, (height, width) = network.dtype, x_t.shape[-2:]
        told = torch.full((len(x_t),), _GUIDANCE, device=x_t.device) if network.config.guidance_embeds else None
        return {
            "hidden_states": pack(x_t.to(dtype)),
            "timestep": t / self.path.scale,
            "guidance": told,
            "encoder_hidden_states": text[_STATES].to(dtype),
            "pooled_projections": text[_POOLED].to(dtype),
            "img_ids": _image_ids(height // _PATCH, width // _PATCH).to(x_t.device),
            "txt_ids": torch.zeros(text[_STATES].shape[1], 3, device=x_t.device),
            "return_dict": False,
        }

    def shared(self) -> contextlib.AbstractContextManager[None]:
        """Run the embedders and the first block once: control only enters after it; as Family.shared."""
        main = self.main
        return replayed([main.x_embedder, main.time_text_embed, main.context_embedder, main.transformer_blocks[0]])

    def pipeline(self, *sides: nn.Module) -> FluxControlNetPipeline | FluxPipeline:
        """Build the pipeline with its own Euler sampler; as Family.pipeline."""
        # A sampler writes its steps into the scheduler, so it gets one of its own.
        parts = self.parts | {"scheduler": FlowMatchEulerDiscreteScheduler.from_config(self.scheduler.config)}
        if sides:
            parts["controlnet"] = sides[0] if len(sides) == 1 else FluxMultiControlNetModel(list(sides))
        pipeline = (FluxControlNetPipeline if sides else FluxPipeline)(**parts)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def sample(self, sides: Sequence[nn.Module], sampling: Sampling) -> list[Any]:
        """Run the stock pipeline once; as Family.sample."""
        # The pipeline draws the condition's latent from the posterior with the global random state.
        with seeded(self.device, 0):
            return super().sample(sides, sampling)

    def _arguments(self, sides: Sequence[nn.Module], sampling: Sampling) -> dict[str, Any]:
        text = self.encode_text(sampling.prompts)
        arguments = {"prompt_embeds": text[_STATES], "pooled_prompt_embeds": text[_POOLED]}
        if not self.main.config.guidance_embeds and sampling.guidance > 1:  # guidance by a second, negative pass
            negative = self.encode_text([sampling.negative] * len(sampling.prompts))
            arguments |= {
                "true_cfg_scale": sampling.guidance,
                "negative_prompt_embeds": negative[_STATES],
                "negative_pooled_prompt_embeds": negative[_POOLED],
            }
        if sides:
            images = [list(each) for each in sampling.conditions]
            arguments |= {"control_image": images[0] if len(sides) == 1 else images, **self._control(sampling)}
        return arguments

    def _common(self, sampling: Sampling) -> dict[str, Any]:
        common = super()._common(sampling)
        return common | {"latents": pack(common["latents"])}

    def _check_pixels(self, pixels: Tensor, what: str, low: int) -> None:
        super()._check_pixels(pixels, what, low)
        unit = self.downscale * _PATCH
        if pixels.shape[2] % unit or pixels.shape[3] % unit:
            raise LisaError(f"The {what} has {tuple(pixels.shape[2:])} pixels, but both must be multiples of {unit}.")


def pack(latents: Tensor) -> Tensor:
    """Turn squares of 2 x 2 latent pixels into tokens: (B, C, h, w) to (B, h w / 4, 4 C)."""
    squares = latents.unflatten(3, (-1, _PATCH)).unflatten(2, (-1, _PATCH))  # B, C, h / 2, 2, w / 2, 2
    return squares.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def unpack(tokens: Tensor, height: int, width: int) -> Tensor:
    """Undo pack(): (B, h w / 4, 4 C) to (B, C, h, w)."""
    squares = tokens.unflatten(2, (-1, _PATCH, _PATCH)).unflatten(1, (height // _PATCH, width // _PATCH))
    return squares.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)


def _image_ids(height: int, width: int) -> Tensor:
    """Row and column of every token, (height * width, 3); the first column is unused."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], -1).reshape(-1, 3).float()
