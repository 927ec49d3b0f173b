"""The family of SDXL's UNet2DConditionModel with ControlNetModel (Podell et al. 2023, arXiv 2307.01952)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLPipeline,
)
from torch import Tensor, nn
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from lisa.families._unet import UNetFamily
from lisa.families.base import Sampling

_STATES, _POOLED = "states", "pooled"


class SDXLFamily(UNetFamily):
    """Latent diffusion whose UNet also reads a pooled text and the picture's size.

    Sizes are those of pictures that were neither scaled nor cropped: (H, W, 0, 0, H, W), as the pipelines give them.
    """

    PARTS: ClassVar[dict[str, type]] = {
        **UNetFamily.PARTS,
        "text_encoder_2": CLIPTextModelWithProjection,
        "tokenizer_2": CLIPTokenizer,
    }
    UPCASTS = True

    @staticmethod
    def _text_width(parts: Mapping[str, Any]) -> tuple[str, int]:
        widths = (parts[name].config.hidden_size for name in ("text_encoder", "text_encoder_2"))
        return "text encoders' hidden_size in all", sum(widths)

    def _encode_text(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        """Encode prompts as the pipeline does: states (B, L, D) of both encoders and pooled (B, P) of the second."""
        states, _, pooled, _ = self.pipeline().encode_prompt(
            list(prompts), device=self.device, do_classifier_free_guidance=False
        )
        return {_STATES: states, _POOLED: pooled}

    def _added(self, x_t: Tensor, text: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Any]:
        height, width = (size * self.downscale for size in x_t.shape[-2:])
        ids = torch.tensor([height, width, 0, 0, height, width], device=x_t.device, dtype=dtype)
        return {"added_cond_kwargs": {"text_embeds": text[_POOLED].to(dtype), "time_ids": ids.expand(len(x_t), -1)}}

    def pipeline(self, *sides: nn.Module) -> StableDiffusionXLControlNetPipeline | StableDiffusionXLPipeline:
        """Build the pipeline, which samples with DPM-Solver++ 2M (Lu et al. 2022); as Family.pipeline."""
        parts = self.parts | {
            "scheduler": DPMSolverMultistepScheduler.from_config(
                self.scheduler.config, algorithm_type="dpmsolver++", use_karras_sigmas=True
            )
        }
        if sides:
            parts["controlnet"] = sides[0] if len(sides) == 1 else list(sides)
        kind = StableDiffusionXLControlNetPipeline if sides else StableDiffusionXLPipeline
        pipeline = kind(**parts, force_zeros_for_empty_prompt=False, add_watermarker=False)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def _text_arguments(self, sampling: Sampling) -> dict[str, Any]:
        text, negative = self.encode_text(sampling.prompts), self.encode_text([sampling.negative])
        count = len(sampling.prompts)
        return {
            "prompt_embeds": text[_STATES],
            "pooled_prompt_embeds": text[_POOLED],
            "negative_prompt_embeds": negative[_STATES].repeat(count, 1, 1),
            "negative_pooled_prompt_embeds": negative[_POOLED].repeat(count, 1),
        }

    def sample(self, sides: Sequence[nn.Module], sampling: Sampling) -> list[Any]:
        """Run the stock pipeline, which takes several controls for one sample at a time; as Family.sample."""
        batches = sampling.singly() if len(sides) > 1 else [sampling]
        return [image for one in batches for image in super(SDXLFamily, self).sample(sides, one)]

    def _several(self, sampling: Sampling) -> list[Any]:
        return [condition for (condition,) in sampling.conditions]
