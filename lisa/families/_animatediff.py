"""The family of UNetMotionModel with an image ControlNet applied frame by frame: AnimateDiff (arXiv 2307.04725)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from diffusers import (
    AnimateDiffControlNetPipeline,
    AnimateDiffPipeline,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    MotionAdapter,
    UNet2DConditionModel,
    UNetMotionModel,
)
from torch import Tensor, nn

from lisa.errors import LisaError
from lisa.families._sources import has_part, load_part
from lisa.families._unet import UNetFamily
from lisa.families.base import FamilySpec, Prediction, Sampling

ADAPTER = "motion_adapter"
_MOTION = "motion_modules"


class AnimateDiffFamily(UNetFamily):
    """A Stable Diffusion UNet with motion modules; latents are (B, C, F, h, w), conditions (B, F, 3, H, W).

    Args:
        spec: The family as data; its scheduler options are those that the motion modules were trained with.
        parts: unet (without motion modules), vae, text_encoder, tokenizer, scheduler and motion_adapter.

    Raises:
        LisaError: If the parts do not fit each other.
    """

    PARTS: ClassVar[dict[str, type]] = {**UNetFamily.PARTS, ADAPTER: MotionAdapter}

    def __init__(self, spec: FamilySpec, parts: Mapping[str, Any]) -> None:
        plain, adapter = parts["unet"], parts[ADAPTER]
        self._plain_config = plain.config
        if spec.frames > adapter.config.motion_max_seq_length:
            raise LisaError(
                f"Clips of {spec.frames} frames do not fit this motion adapter: it takes at most "
                f"{adapter.config.motion_max_seq_length}."
            )
        try:
            unet = UNetMotionModel.from_unet2d(plain, adapter)
        except (ValueError, RuntimeError) as error:
            raise LisaError(
                "The motion adapter does not fit this UNet: use one that was made for the same base model."
            ) from error
        scheduler = DDPMScheduler.from_config(parts["scheduler"].config, **spec.scheduler)
        super().__init__(spec, {**parts, "unet": unet.to(plain.device, plain.dtype), "scheduler": scheduler})

    @classmethod
    def load(
        cls,
        spec: FamilySpec,
        source: str,
        revision: str,
        device: str | torch.device,
        dtype: torch.dtype | None,
    ) -> Self:
        """Load a Stable Diffusion pipeline and a motion adapter, its own or the family's; as load_family()."""
        parts = cls._load_parts(UNetFamily.PARTS, source, revision, device, dtype)
        own = has_part(source, revision, ADAPTER)
        where = (source, revision, ADAPTER) if own else (spec.motion_adapter, "", "")
        parts[ADAPTER] = load_part(MotionAdapter, *where, dtype=dtype or torch.float32).to(device)
        return cls(spec, parts)

    def encode_image(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Encode clips (B, F, 3, H, W) to (B, C, F, h, w); as Family.encode_image."""
        self._check_frames(pixels, "clip")
        latents = super().encode_image(pixels.flatten(0, 1), generator)
        return latents.unflatten(0, (-1, self.frames)).transpose(1, 2)

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Decode clips (B, C, F, h, w) to (B, F, 3, H, W); as Family.decode_latents."""
        return super().decode_latents(folded(latents)).unflatten(0, (-1, latents.shape[2]))

    def encode_condition(self, pixels: Tensor) -> Tensor:
        """Check condition clips (B, F, 3, H, W); as Family.encode_condition."""
        self._check_frames(pixels, "condition")
        return super().encode_condition(pixels.flatten(0, 1)).unflatten(0, (-1, self.frames))

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
        """Run the UNet on clips, with or without a ControlNet; as Family.predict."""
        return super().predict(x_t, t, per_frame(text, x_t.shape[2]), side, condition, strength=strength, taps=taps)

    def side_features(
        self,
        x_t: Tensor,
        t: Tensor,
        text: Mapping[str, Tensor],
        side: nn.Module,
        condition: Tensor,
        taps: Sequence[str],
    ) -> dict[str, Tensor]:
        """Run a ControlNet alone on every frame; as Family.side_features."""
        return super().side_features(x_t, t, per_frame(text, x_t.shape[2]), side, condition, taps)

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
        frames = x_t.shape[2]
        flat = None if condition is None else condition.flatten(0, 1)
        return super()._run_side(folded(x_t), t.repeat_interleave(frames), text, side, flat, strength, taps)

    def _plain_unet(self) -> UNet2DConditionModel:
        """The UNet without its motion modules, to copy a side network from."""
        plain = UNet2DConditionModel.from_config(self._plain_config)
        plain.load_state_dict({name: v for name, v in self.main.state_dict().items() if _MOTION not in name})
        return plain

    def _main_config(self) -> Mapping[str, Any]:
        return self._plain_config

    def pipeline(self, *sides: nn.Module) -> AnimateDiffControlNetPipeline | AnimateDiffPipeline:
        """Build the pipeline, which samples with DPM-Solver++ 2M (Lu et al. 2022); as Family.pipeline."""
        scheduler = DPMSolverMultistepScheduler.from_config(self.scheduler.config, algorithm_type="dpmsolver++")
        parts = self.parts | {"scheduler": scheduler}
        if sides:
            parts["controlnet"] = sides[0] if len(sides) == 1 else list(sides)
        pipeline = (AnimateDiffControlNetPipeline if sides else AnimateDiffPipeline)(**parts)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def sample(self, sides: Sequence[nn.Module], sampling: Sampling) -> list[Any]:
        """Run the stock pipeline, which takes one clip at a time; as Family.sample."""
        return [super(AnimateDiffFamily, self).sample(sides, one)[0] for one in sampling.singly()]

    def _arguments(self, sides: Sequence[nn.Module], sampling: Sampling) -> dict[str, Any]:
        texts = self._text_arguments(sampling)
        if not sides:
            return {**texts, "num_frames": self.frames}
        clips = [list(clip) for (clip,) in sampling.conditions]
        frames = clips[0] if len(sides) == 1 else clips
        return {**texts, "num_frames": self.frames, "conditioning_frames": frames, **self._control(sampling)}

    def _check_frames(self, pixels: Tensor, what: str) -> None:
        shape = tuple(pixels.shape)
        if len(shape) != 5 or shape[1] != self.frames:
            raise LisaError(f"The {what} has shape {shape}, but must be (B, {self.frames}, 3, H, W).")


def folded(latents: Tensor) -> Tensor:
    """Put the frames of clips (B, C, F, h, w) into the batch, (B F, C, h, w)."""
    return latents.transpose(1, 2).flatten(0, 1)


def per_frame(text: Mapping[str, Tensor], frames: int) -> dict[str, Tensor]:
    """Repeat each text for every frame of its clip."""
    return {name: value.repeat_interleave(frames, 0) for name, value in text.items()}
