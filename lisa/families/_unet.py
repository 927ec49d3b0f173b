"""The family of UNet2DConditionModel with ControlNetModel: Stable Diffusion 1.x and 2.x and kin."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from lisa.families._embedding import keep_variance
from lisa.families._fit import check_fit
from lisa.families._latent import LatentFamily, check_parts
from lisa.families._replay import replayed
from lisa.families._sources import load_part
from lisa.families.base import FamilySpec, Prediction, Sampling
from lisa.tap import Tap, tapped

_STATES = "states"


class UNetFamily(LatentFamily):
    """Latent diffusion with a UNet whose skip connections and middle take the side network's features.

    Args:
        spec: The family as data.
        parts: unet, vae, text_encoder, tokenizer and scheduler.

    Raises:
        LisaError: If the parts do not fit each other.
    """

    PARTS: ClassVar[dict[str, type]] = {
        "unet": UNet2DConditionModel,
        "vae": AutoencoderKL,
        "text_encoder": CLIPTextModel,
        "tokenizer": CLIPTokenizer,
        "scheduler": DDPMScheduler,
    }
    MAIN = "unet"

    def __init__(self, spec: FamilySpec, parts: Mapping[str, Any]) -> None:
        unet, latent = parts["unet"].config, parts["vae"].config.latent_channels
        check_parts(
            "unet",
            [
                ("in_channels", unet.in_channels, "vae's latent_channels", latent),
                ("out_channels", unet.out_channels, "vae's latent_channels", latent),
                ("cross_attention_dim", unet.cross_attention_dim, *self._text_width(parts)),
            ],
        )
        super().__init__(spec, parts)

    @staticmethod
    def _text_width(parts: Mapping[str, Any]) -> tuple[str, int]:
        return "text_encoder's hidden_size", parts["text_encoder"].config.hidden_size

    def taps(self, side: nn.Module) -> tuple[Tap, ...]:
        """List the taps down_0, down_1, ... and mid with their channels and strides."""
        config = side.config
        places = [(config.block_out_channels[0], 1)]
        stride = 1
        for channels, block in zip(config.block_out_channels, side.down_blocks, strict=True):
            places += [(channels, stride)] * len(block.resnets)
            if block.downsamplers is not None:
                stride *= 2
                places.append((channels, stride))
        downs = [Tap(f"down_{i}", f"controlnet_down_blocks.{i}", *place) for i, place in enumerate(places)]
        return (*downs, Tap("mid", "controlnet_mid_block", config.block_out_channels[-1], stride))

    def new_side(self, seed: int, **overrides: Any) -> ControlNetModel:
        """Make a ControlNet whose encoder is a copy of the main network's; as Family.new_side."""
        overrides.setdefault("conditioning_embedding_out_channels", self._embedding_channels())
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed, which would also seed the accelerators, whose state is not restored here.
            torch.default_generator.manual_seed(seed)
            side = ControlNetModel.from_unet(self._plain_unet(), **overrides)
        if self.spec.quick_embedding:
            keep_variance(side.controlnet_cond_embedding, torch.Generator().manual_seed(seed))
        return side.to(self.device).train()

    def load_side(self, source: str | Path, revision: str = "", dtype: torch.dtype | None = None) -> ControlNetModel:
        """Load a ControlNet; as Family.load_side."""
        side = load_part(ControlNetModel, str(source), revision, dtype=dtype or self.dtype)
        check_fit(side.config, self._main_config(), self.downscale, str(source), self.name)
        return side.to(self.device).requires_grad_(False).eval()

    def _plain_unet(self) -> UNet2DConditionModel:
        """The UNet to copy a side network from."""
        return self.main

    def _main_config(self) -> Mapping[str, Any]:
        """The config that side networks must fit."""
        return self.main.config

    def encode_condition(self, pixels: Tensor) -> Tensor:
        """Check condition images; a ControlNet embeds the pixels itself. As Family.encode_condition."""
        self._check_pixels(pixels, "condition", 0)
        return pixels.to(self.device)

    def _encode_text(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        """Encode prompts as the pipelines do: padded to full length, last hidden state, (B, L, D)."""
        tokenizer, encoder = self.parts["tokenizer"], self.parts["text_encoder"]
        tokens = tokenizer(
            list(prompts),
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        masked = getattr(encoder.config, "use_attention_mask", False)
        mask = tokens.attention_mask.to(self.device) if masked else None
        return {_STATES: encoder(tokens.input_ids.to(self.device), attention_mask=mask)[0]}

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
        """Run the UNet, with or without a ControlNet; as Family.predict."""
        residuals: dict[str, Any] = {}
        features: dict[str, Tensor] = {}
        if side is not None:
            (down, mid), features = self._run_side(x_t, t, text, side, condition, strength, taps)
            residuals["down_block_additional_residuals"] = [residual.to(self.dtype) for residual in down]
            residuals["mid_block_additional_residual"] = mid.to(self.dtype)
        states, added = text[_STATES].to(self.dtype), self._added(x_t, text, self.dtype)
        value = self.main(x_t.to(self.dtype), t, states, return_dict=False, **residuals, **added)[0]
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
    ) -> tuple[tuple[Sequence[Tensor], Tensor], dict[str, Tensor]]:
        self._check_condition(x_t, condition, self.downscale)
        with tapped(side, self._named(side, taps)) as features:
            outputs = side(
                x_t.to(side.dtype),
                t,
                text[_STATES].to(side.dtype),
                condition.to(side.dtype),
                conditioning_scale=strength,
                return_dict=False,
                **self._added(x_t, text, side.dtype),
            )
        return outputs, features

    def _added(self, x_t: Tensor, text: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Any]:  # noqa: ARG002
        """What both networks take besides sample, time and text states."""
        return {}

    def shared(self) -> contextlib.AbstractContextManager[None]:
        """Run the encoder and the middle once: control only enters at their outputs; as Family.shared."""
        main = self.main
        return replayed([main.time_embedding, main.conv_in, *main.down_blocks, main.mid_block])

    def steady_condition(self, *sides: nn.Module) -> contextlib.AbstractContextManager[None]:
        """Embed the conditions, which do not depend on t, once; as Family.steady_condition."""
        return replayed([side.controlnet_cond_embedding for side in sides])

    def pipeline(self, *sides: nn.Module) -> StableDiffusionControlNetPipeline | StableDiffusionPipeline:
        """Build the pipeline, which samples with DPM-Solver++ 2M (Lu et al. 2022); as Family.pipeline."""
        config = self.scheduler.config
        scheduler = DPMSolverMultistepScheduler.from_config(config, algorithm_type="dpmsolver++")
        kind = StableDiffusionControlNetPipeline if sides else StableDiffusionPipeline
        control = {"controlnet": sides[0] if len(sides) == 1 else list(sides)} if sides else {}
        pipeline = kind(
            **self.parts | {"scheduler": scheduler},
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
            **control,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def _arguments(self, sides: Sequence[nn.Module], sampling: Sampling) -> dict[str, Any]:
        texts = self._text_arguments(sampling)
        if not sides:
            return texts
        image = list(sampling.conditions[0]) if len(sides) == 1 else self._several(sampling)
        return {**texts, "image": image, **self._control(sampling)}

    def _several(self, sampling: Sampling) -> list[Any]:
        """Conditions of several controls as the pipeline takes them: sample by sample."""
        return [list(each) for each in zip(*sampling.conditions, strict=True)]

    def _embedding_channels(self) -> tuple[int, ...]:
        """Choose one entry for each factor 1, 2, 4, ... up to the autoencoder's."""
        count = self.downscale.bit_length()
        channels = self.spec.embedding_channels
        return (*channels[:count], *channels[-1:] * (count - len(channels)))

    def _text_arguments(self, sampling: Sampling) -> dict[str, Any]:
        return {
            "prompt_embeds": self.encode_text(sampling.prompts)[_STATES],
            "negative_prompt_embeds": self.encode_text([sampling.negative] * len(sampling.prompts))[_STATES],
        }
