"""The family of UNet2DConditionModel with ControlNetModel: Stable Diffusion 1.x and 2.x and kin."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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

from lisa.errors import LisaError, unknown_name
from lisa.families._embedding import keep_variance
from lisa.families._fit import check_fit
from lisa.families._replay import replayed
from lisa.families._sources import load_part
from lisa.families.base import Family, FamilySpec, Prediction
from lisa.fingerprint import hash_weights
from lisa.noise import from_scheduler
from lisa.tap import Tap, tapped

_PARTS = {
    "unet": UNet2DConditionModel,
    "vae": AutoencoderKL,
    "text_encoder": CLIPTextModel,
    "tokenizer": CLIPTokenizer,
    "scheduler": DDPMScheduler,
}
_STATES = "states"


class UNetFamily(Family):
    """Latent diffusion with a UNet whose skip connections and middle take the side network's features.

    Args:
        spec: The family as data.
        unet: The main network.
        vae: The autoencoder.
        text_encoder: The text encoder.
        tokenizer: Its tokenizer.
        scheduler: The scheduler of training.

    Raises:
        LisaError: If the parts do not fit each other.
    """

    def __init__(
        self,
        spec: FamilySpec,
        unet: UNet2DConditionModel,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        scheduler: DDPMScheduler,
    ) -> None:
        _check_parts(unet, vae, text_encoder)
        self.spec, self.main, self.vae, self.text_encoder = spec, unet, vae, text_encoder
        self.tokenizer, self.scheduler = tokenizer, scheduler
        for module in (unet, vae, text_encoder):
            module.requires_grad_(False).eval()
        self.path = from_scheduler(scheduler)
        self.latent_channels = unet.config.in_channels
        self.downscale = 2 ** (len(vae.config.block_out_channels) - 1)
        size = unet.config.sample_size
        self.resolution = size * self.downscale if isinstance(size, int) else spec.resolution
        self._fingerprint = ""

    @classmethod
    def load(
        cls,
        spec: FamilySpec,
        source: str,
        revision: str,
        device: str | torch.device,
        dtype: torch.dtype | None,
    ) -> UNetFamily:
        """Load a Stable Diffusion pipeline's parts, without its safety checker; as load_family()."""
        parts = {}
        for name, kind in _PARTS.items():
            network = issubclass(kind, nn.Module)
            part = load_part(kind, source, revision, name, (dtype or torch.float32) if network else None)
            parts[name] = part.to(device) if network else part
        return cls(spec, **parts)

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
            side = ControlNetModel.from_unet(self.main, **overrides)
        if self.spec.quick_embedding:
            keep_variance(side.controlnet_cond_embedding, torch.Generator().manual_seed(seed))
        return side.to(self.device).train()

    def load_side(self, source: str | Path, revision: str = "") -> ControlNetModel:
        """Load a ControlNet; as Family.load_side."""
        side = load_part(ControlNetModel, str(source), revision, dtype=self.dtype)
        check_fit(side.config, self.main.config, self.downscale, str(source), self.name)
        return side.to(self.device).requires_grad_(False).eval()

    @torch.no_grad()
    def encode_image(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Encode images; as Family.encode_image."""
        self._check_pixels(pixels, "image", -1)
        posterior = self.vae.encode(pixels.to(self.device, self.vae.dtype)).latent_dist
        latents = posterior.mode() if generator is None else posterior.sample(generator)
        return latents * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode_latents(self, latents: Tensor) -> Tensor:
        """Decode latents; as Family.decode_latents."""
        latents = latents.to(self.device, self.vae.dtype) / self.vae.config.scaling_factor
        return self.vae.decode(latents).sample.clamp(-1, 1)

    def encode_condition(self, pixels: Tensor) -> Tensor:
        """Check condition images; a ControlNet embeds the pixels itself. As Family.encode_condition."""
        self._check_pixels(pixels, "condition", 0)
        return pixels.to(self.device)

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        """Encode prompts as the pipelines do: padded to full length, last hidden state, (B, L, D)."""
        tokens = self.tokenizer(
            list(prompts),
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        masked = getattr(self.text_encoder.config, "use_attention_mask", False)
        mask = tokens.attention_mask.to(self.device) if masked else None
        return {_STATES: self.text_encoder(tokens.input_ids.to(self.device), attention_mask=mask)[0]}

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
        states = text[_STATES].to(self.dtype)
        value = self.main(x_t.to(self.dtype), t, states, return_dict=False, **residuals)[0]
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
        self._check_condition(x_t, condition)
        with tapped(side, self._named(side, taps)) as features:
            outputs = side(
                x_t.to(side.dtype),
                t,
                text[_STATES].to(side.dtype),
                condition.to(side.dtype),
                conditioning_scale=strength,
                return_dict=False,
            )
        return outputs, features

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
            unet=self.main,
            vae=self.vae,
            text_encoder=self.text_encoder,
            tokenizer=self.tokenizer,
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
            **control,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def fingerprint(self) -> str:
        """Hash the autoencoder; as Family.fingerprint."""
        if not self._fingerprint:
            self._fingerprint = f"{hash_weights(self.vae)} {self.vae.config.scaling_factor}"
        return self._fingerprint

    def _embedding_channels(self) -> tuple[int, ...]:
        """Choose one entry for each factor 1, 2, 4, ... up to the autoencoder's."""
        count = self.downscale.bit_length()
        channels = self.spec.embedding_channels
        return (*channels[:count], *channels[-1:] * (count - len(channels)))

    def _named(self, side: nn.Module, names: Sequence[str]) -> list[Tap]:
        taps = {tap.name: tap for tap in self.taps(side)} if names else {}
        for name in names:
            if name not in taps:
                raise unknown_name("tap", name, taps)
        return [taps[name] for name in names]

    def _check_pixels(self, pixels: Tensor, what: str, low: int) -> None:
        shape = tuple(pixels.shape)
        if len(shape) != 4 or shape[1] != 3 or shape[2] % self.downscale or shape[3] % self.downscale:
            raise LisaError(
                f"The {what} has shape {shape}, but must be (B, 3, H, W) with H and W multiples of {self.downscale}."
            )
        if not (pixels.min() >= low and pixels.max() <= 1):  # so written, it also refuses NaN
            raise LisaError(
                f"The {what} has values from {pixels.min():g} to {pixels.max():g}, but must be in [{low}, 1]."
            )

    def _check_condition(self, x_t: Tensor, condition: Tensor | None) -> None:
        if condition is None:
            raise LisaError("A side network needs a condition: give the condition image.")
        wanted = (x_t.shape[0], *(size * self.downscale for size in x_t.shape[-2:]))
        seen = (condition.shape[0], *condition.shape[-2:])
        if seen != wanted:
            raise LisaError(f"The condition is (batch, height, width) = {seen}, but these latents need {wanted}.")


def _check_parts(unet: UNet2DConditionModel, vae: AutoencoderKL, text_encoder: CLIPTextModel) -> None:
    latent, text = vae.config.latent_channels, text_encoder.config.hidden_size
    for name, wanted, other in (
        ("in_channels", latent, "vae's latent_channels"),
        ("out_channels", latent, "vae's latent_channels"),
        ("cross_attention_dim", text, "text_encoder's hidden_size"),
    ):
        if unet.config[name] != wanted:
            raise LisaError(
                f"This pipeline does not fit itself: the unet's {name} is {unet.config[name]}, "
                f"but the {other} is {wanted}."
            )
