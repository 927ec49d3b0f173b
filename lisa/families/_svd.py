"""The family of UNetSpatioTemporalConditionModel with our SVDControlNet: Stable Video Diffusion (arXiv 2311.15127)."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import (
    AutoencoderKLTemporalDecoder,
    EulerDiscreteScheduler,
    StableVideoDiffusionPipeline,
    UNetSpatioTemporalConditionModel,
)
from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import _resize_with_antialiasing
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

from lisa.errors import LisaError
from lisa.families._embedding import keep_variance
from lisa.families._fit import check_fit
from lisa.families._latent import LatentFamily, check_parts
from lisa.families._replay import replayed
from lisa.families._sources import load_part
from lisa.families._svd_side import Residuals, SVDControlNet, controlled, injected
from lisa.families._unet import UNetFamily
from lisa.families.base import FamilySpec, Prediction, Sampling
from lisa.noise import EDMPath
from lisa.tap import tapped

_LATENTS, _STATES = "image_latents", "image_states"
# The pipeline's defaults; of the frames per second the network is told one less.
_FPS, _MOTION, _AUGMENTATION = 7, 127, 0.02
_CLIP_SIZE = (224, 224)
_GREY = (128, 128, 128)


class SVDFamily(LatentFamily):
    """Clips from their first frame; latents are (B, C, F, h, w), conditions (B, F, 3, H, W).

    The network reads no text but a first frame. encode_text() therefore gives the same for every prompt: no first
    frame, as the pipeline's guidance has it, which is all zeros. encode_first_frame() gives the entries of ``text``
    that replace it: ``text | family.encode_first_frame(pixels)``.

    Args:
        spec: The family as data.
        parts: unet, vae, image_encoder, feature_extractor and scheduler.

    Raises:
        LisaError: If the parts do not fit each other, or the scheduler is not the one of this kind of network.
    """

    PARTS: ClassVar[dict[str, type]] = {
        "unet": UNetSpatioTemporalConditionModel,
        "vae": AutoencoderKLTemporalDecoder,
        "image_encoder": CLIPVisionModelWithProjection,
        "feature_extractor": CLIPImageProcessor,
        "scheduler": EulerDiscreteScheduler,
    }
    MAIN = "unet"
    UPCASTS = True

    def __init__(self, spec: FamilySpec, parts: Mapping[str, Any]) -> None:
        unet, latent = parts["unet"].config, parts["vae"].config.latent_channels
        width = parts["image_encoder"].config.projection_dim
        check_parts(
            "unet",
            [
                ("in_channels", unet.in_channels, "double of the vae's latent_channels", 2 * latent),
                ("out_channels", unet.out_channels, "vae's latent_channels", latent),
                ("cross_attention_dim", unet.cross_attention_dim, "image_encoder's projection_dim", width),
            ],
        )
        super().__init__(spec, parts)
        if not isinstance(self.path, EDMPath):
            raise LisaError(
                f"The scheduler has timestep_type {self.scheduler.config.timestep_type!r} and prediction_type "
                f"{self.scheduler.config.prediction_type!r}, but must have 'continuous' and 'v_prediction': "
                "use Stable Video Diffusion's own."
            )
        self.frames = unet.num_frames

    # The side network has a ControlNet's parts under a ControlNet's names.
    taps, steady_condition = UNetFamily.taps, UNetFamily.steady_condition
    _embedding_channels = UNetFamily._embedding_channels

    def new_side(self, seed: int, **overrides: Any) -> SVDControlNet:
        """Make a side network whose encoder is a copy of the main network's; as Family.new_side."""
        overrides.setdefault("conditioning_embedding_out_channels", self._embedding_channels())
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            side = SVDControlNet.from_unet(self.main, **overrides)
        if self.spec.quick_embedding:
            keep_variance(side.controlnet_cond_embedding, torch.Generator().manual_seed(seed))
        return side.to(self.device).train()

    def load_side(self, source: str | Path, revision: str = "", dtype: torch.dtype | None = None) -> SVDControlNet:
        """Load a side network; as Family.load_side."""
        side = load_part(SVDControlNet, str(source), revision, dtype=dtype or self.dtype)
        check_fit(side.config, self.main.config, self.downscale, str(source), self.name)
        return side.to(self.device).requires_grad_(False).eval()

    def encode_image(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Encode clips (B, F, 3, H, W) to (B, C, F, h, w), each frame by itself; as Family.encode_image."""
        self._check_clip(pixels, "clip")
        latents = super().encode_image(pixels.flatten(0, 1), generator)
        return latents.unflatten(0, pixels.shape[:2]).transpose(1, 2)

    @torch.no_grad()
    def decode_latents(self, latents: Tensor) -> Tensor:
        """Decode clips (B, C, F, h, w) to (B, F, 3, H, W), all frames of one together; as Family.decode_latents."""
        with self._wide_vae():
            frames = latents.to(self.device, self.vae.dtype).transpose(1, 2) / self.vae.config.scaling_factor
            return torch.stack([self.vae.decode(clip, num_frames=len(clip)).sample for clip in frames]).clamp(-1, 1)

    def encode_condition(self, pixels: Tensor) -> Tensor:
        """Check condition clips (B, F, 3, H, W); the side network embeds the pixels itself."""
        self._check_clip(pixels, "condition")
        self._check_pixels(pixels.flatten(0, 1), "condition", 0)
        return pixels.to(self.device)

    @torch.no_grad()
    def encode_first_frame(self, pixels: Tensor, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Encode the first frames of clips as the pipeline does.

        Args:
            pixels: (B, 3, H, W) in [-1, 1].
            generator: Source of the slight noise that the network is told of; none is added when None.

        Returns:
            ``image_latents`` (B, C, h, w), which unlike those of clips are not scaled, and ``image_states``
            (B, 1, D), for predict().

        Raises:
            LisaError: If the shape or the range of pixels is another.
        """
        self._check_pixels(pixels, "first frame", -1)
        small = (_resize_with_antialiasing(pixels.float(), _CLIP_SIZE) + 1) / 2
        keep = dict.fromkeys(("do_center_crop", "do_resize", "do_rescale"), False)
        seen = self.parts["feature_extractor"](images=small.cpu(), do_normalize=True, return_tensors="pt", **keep)
        states = self.parts["image_encoder"](seen.pixel_values.to(self.device, self.dtype)).image_embeds[:, None]
        if generator is not None:
            pixels = pixels + _AUGMENTATION * torch.randn(pixels.shape, generator=generator).to(pixels)
        with self._wide_vae():
            posterior = self.vae.encode(pixels.to(self.device, self.vae.dtype)).latent_dist
        return {_LATENTS: posterior.mode(), _STATES: states}

    def _encode_text(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        """Give the image embedding of no first frame, (B, 1, D), whatever the prompts."""
        width = self.parts["image_encoder"].config.projection_dim
        return {_STATES: torch.zeros(len(prompts), 1, width, dtype=self.dtype, device=self.device)}

    def keep_text(self, prompts: Sequence[str]) -> None:
        """Keep nothing: there is no text encoder to free."""

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
        """Run the UNet on clips, with or without a side network; as Family.predict.

        x_t is the unscaled sample of EDMPath; text may have ``image_latents``, which are zeros otherwise.
        """
        features: dict[str, Tensor] = {}
        with contextlib.ExitStack() as stack:
            if side is not None:
                (down, mid), features = self._run_side(x_t, t, text, side, condition, strength, taps)
                stack.enter_context(injected(self.main, down, mid))
            value = self.main(**self._inputs(x_t, t, text, self.dtype), return_dict=False)[0]
        return Prediction(value.transpose(1, 2), features)

    def side_features(
        self,
        x_t: Tensor,
        t: Tensor,
        text: Mapping[str, Tensor],
        side: nn.Module,
        condition: Tensor,
        taps: Sequence[str],
    ) -> dict[str, Tensor]:
        """Run a side network alone; as Family.side_features."""
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
    ) -> tuple[Residuals, dict[str, Tensor]]:
        self._check_condition(x_t, condition, self.downscale)
        if condition.shape[1] != x_t.shape[2]:
            raise LisaError(f"The condition has {condition.shape[1]} frames, but these latents need {x_t.shape[2]}.")
        with tapped(side, self._named(side, taps)) as features:
            residuals = self._residuals(side, condition, strength, **self._inputs(x_t, t, text, side.dtype))
        return residuals, features

    def _residuals(
        self, side: nn.Module, condition: Tensor, strength: float, timestep: Tensor, **inputs: Tensor
    ) -> Residuals:
        """Run a side network, in its own precision, on what the UNet takes."""
        inputs = {name: value.to(side.dtype) for name, value in inputs.items()}
        down, mid = side(
            **inputs, timestep=timestep, controlnet_cond=condition.to(side.dtype), conditioning_scale=strength
        )
        return [residual.to(self.dtype) for residual in down], mid.to(self.dtype)

    def _inputs(self, x_t: Tensor, t: Tensor, text: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
        """What UNet and side network take alike: frames before channels, the first frame's latent beside each."""
        scaled = x_t * self.path.input_scale(t).reshape(-1, 1, 1, 1, 1)
        first = text[_LATENTS][:, :, None].to(scaled) if _LATENTS in text else torch.zeros_like(scaled[:, :, :1])
        sample = torch.cat([scaled, first.expand_as(scaled)], 1).transpose(1, 2)
        ids = torch.tensor([_FPS - 1, _MOTION, _AUGMENTATION], dtype=dtype, device=x_t.device)
        return {
            "sample": sample.to(dtype),
            "timestep": t,
            "encoder_hidden_states": text[_STATES].to(dtype),
            "added_time_ids": ids.repeat(len(t), 1),
        }

    def shared(self) -> contextlib.AbstractContextManager[None]:
        """Run the encoder and the middle once: control only enters at their outputs; as Family.shared."""
        main = self.main
        return replayed([main.conv_in, main.time_embedding, main.add_embedding, *main.down_blocks, main.mid_block])

    def pipeline(self, *sides: nn.Module) -> StableVideoDiffusionPipeline:  # noqa: ARG002
        """Build the pipeline with its own Euler sampler; it has no place for control, which sample() brings in."""
        # A sampler writes its steps into the scheduler, so it gets one of its own.
        scheduler = EulerDiscreteScheduler.from_config(self.scheduler.config)
        pipeline = StableVideoDiffusionPipeline(**self.parts | {"scheduler": scheduler})
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def sample(self, sides: Sequence[nn.Module], sampling: Sampling) -> list[Any]:
        """Run the stock pipeline once, from sampling.images or else from a grey picture; as Family.sample.

        Guidance rises from 1 in the first frame to sampling.guidance in the last; prompts are not read.

        Raises:
            LisaError: If there is not one first frame for each sample.
        """
        with self._controlled(sides, sampling):
            return super().sample(sides, sampling)

    def _controlled(self, sides: Sequence[nn.Module], sampling: Sampling) -> contextlib.AbstractContextManager[None]:
        conditions = [torch.stack([_pixels(clip) for clip in clips]).to(self.device) for clips in sampling.conditions]

        def residuals(step: int, sample: Tensor, timestep: Tensor, **inputs: Any) -> list[Residuals]:
            if step / sampling.steps < sampling.start or (step + 1) / sampling.steps > sampling.end:
                return []
            del inputs["return_dict"]
            copies = (len(sample) // len(conditions[0]), 1, 1, 1, 1)  # guidance doubles the batch
            return [
                self._residuals(side, condition.repeat(copies), strength, timestep, sample=sample, **inputs)
                for side, condition, strength in zip(sides, conditions, sampling.strengths, strict=True)
            ]

        return controlled(self.main, residuals) if sides else contextlib.nullcontext()

    def _common(self, sampling: Sampling) -> dict[str, Any]:
        common = super()._common(sampling)
        common["max_guidance_scale"] = common.pop("guidance_scale")
        return {**common, "latents": common["latents"].transpose(1, 2), "num_frames": sampling.noise.shape[2]}

    def _arguments(self, sides: Sequence[nn.Module], sampling: Sampling) -> dict[str, Any]:  # noqa: ARG002
        size = (sampling.noise.shape[-1] * self.downscale, sampling.noise.shape[-2] * self.downscale)
        count = len(sampling.noise)
        images = list(sampling.images) or [Image.new("RGB", size, _GREY)] * count
        if len(images) != count:
            raise LisaError(f"There are {len(images)} first frames for {count} clips: give one for each, or none.")
        return {
            "image": images,
            "fps": _FPS,
            "motion_bucket_id": _MOTION,
            "noise_aug_strength": _AUGMENTATION,
            # One for each clip, so that a clip does not depend on the others of its batch.
            "generator": [torch.Generator().manual_seed(0) for _ in images],
        }

    def _check_clip(self, pixels: Tensor, what: str) -> None:
        if pixels.ndim != 5:
            raise LisaError(f"The {what} has shape {tuple(pixels.shape)}, but must be (B, F, 3, H, W).")


def _pixels(clip: Sequence[Image.Image]) -> Tensor:
    """Turn the pictures of a clip into (F, 3, H, W) in [0, 1]."""
    frames = np.stack([np.asarray(picture.convert("RGB")) for picture in clip])
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
