"""What all families that work in the latents of an AutoencoderKL have in common: parts, pixels, captions, checks."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from transformers import CLIPTokenizer

from lisa.errors import LisaError, unknown_name
from lisa.families._sources import has_part, load_part
from lisa.families.base import Family, FamilySpec, Sampling
from lisa.fingerprint import hash_weights
from lisa.noise import from_scheduler
from lisa.tap import Tap

_TEXT_BATCH = 16


class LatentFamily(Family):
    """A frozen diffusers pipeline taken apart.

    Args:
        spec: The family as data.
        parts: Name in the pipeline -> part, for every name in PARTS; a part that the pipeline lacks is None.
    """

    PARTS: ClassVar[dict[str, type]]
    """Name in the pipeline -> class."""
    OPTIONAL: ClassVar[frozenset[str]] = frozenset()
    """Names of parts that a pipeline may lack."""
    MAIN: ClassVar[str]
    """Name of the main network."""
    UPCASTS: ClassVar[bool] = False
    """Whether the pipeline runs a float16 autoencoder in float32 where its config asks for it."""

    def __init__(self, spec: FamilySpec, parts: Mapping[str, Any]) -> None:
        self.spec, self.parts = spec, dict(parts)
        for part in self.parts.values():
            if isinstance(part, nn.Module):
                part.requires_grad_(False).eval()
        self.main, self.vae, self.scheduler = self.parts[self.MAIN], self.parts["vae"], self.parts["scheduler"]
        self.path = from_scheduler(self.scheduler)
        self.latent_channels = self.vae.config.latent_channels
        self.downscale = 2 ** (len(self.vae.config.block_out_channels) - 1)
        size = getattr(self.main.config, "sample_size", None)
        self.resolution = size * self.downscale if isinstance(size, int) else spec.resolution
        self.frames = spec.frames
        self._texts: dict[str, dict[str, Tensor]] | None = None
        self._fingerprint = ""

    @classmethod
    def load(
        cls,
        spec: FamilySpec,
        source: str,
        revision: str,
        device: str | torch.device,
        dtype: torch.dtype | None,
    ) -> Self:
        """Load a pipeline's parts, without its safety checker; as load_family()."""
        return cls(spec, cls._load_parts(cls.PARTS, source, revision, device, dtype))

    @classmethod
    def _load_parts(
        cls,
        kinds: Mapping[str, type],
        source: str,
        revision: str,
        device: str | torch.device,
        dtype: torch.dtype | None,
    ) -> dict[str, Any]:
        parts = {}
        for name, kind in kinds.items():
            if name in cls.OPTIONAL and not has_part(source, revision, name):
                parts[name] = None
                continue
            network = issubclass(kind, nn.Module)
            part = load_part(kind, source, revision, name, (dtype or torch.float32) if network else None)
            parts[name] = part.to(device) if network else part
        return parts

    @torch.no_grad()
    def encode_image(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Encode images; as Family.encode_image."""
        self._check_pixels(pixels, "image", -1)
        with self._wide_vae():
            posterior = self.vae.encode(pixels.to(self.device, self.vae.dtype)).latent_dist
        latents = posterior.mode() if generator is None else posterior.sample(generator)
        return (latents - self._shift) * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode_latents(self, latents: Tensor) -> Tensor:
        """Decode latents; as Family.decode_latents."""
        with self._wide_vae():
            latents = latents.to(self.device, self.vae.dtype) / self.vae.config.scaling_factor + self._shift
            return self.vae.decode(latents).sample.clamp(-1, 1)

    @contextlib.contextmanager
    def _wide_vae(self) -> Iterator[None]:
        """Run an autoencoder that overflows in float16 in float32, as the pipelines that say so do."""
        narrow = self.UPCASTS and self.vae.dtype == torch.float16 and self.vae.config.force_upcast
        if narrow:
            self.vae.float()
        try:
            yield
        finally:
            if narrow:
                self.vae.half()

    def count_tokens(self, text: str) -> tuple[int, int] | None:
        """Count a prompt's tokens where all text encoders are CLIP's, which read equally many; as Family.count_tokens.

        What CLIP leaves out beside a T5 is still read by that one.
        """
        tokenizers = [part for name, part in self.parts.items() if name.startswith("tokenizer") and part is not None]
        if not tokenizers or not all(isinstance(tokenizer, CLIPTokenizer) for tokenizer in tokenizers):
            return None
        given = len(tokenizers[0](text, add_special_tokens=False, verbose=False).input_ids)
        return given, min(given, tokenizers[0].model_max_length - tokenizers[0].num_special_tokens_to_add())

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        """Encode prompts as the pipelines do; as Family.encode_text.

        Raises:
            LisaError: If the text encoders were freed and a prompt is not among those kept.
        """
        if self._texts is None:
            return self._encode_text(prompts)
        for prompt in prompts:
            if prompt not in self._texts:
                raise LisaError(f"The text encoders were freed, and {prompt[:80]!r} is not among the texts kept.")
        rows = [self._texts[prompt] for prompt in prompts]
        return {name: torch.stack([row[name] for row in rows]).to(self.device) for name in rows[0]}

    @torch.no_grad()
    def keep_text(self, prompts: Sequence[str]) -> None:
        """Encode prompts once for all and free the text encoders; as Family.keep_text."""
        kept: dict[str, dict[str, Tensor]] = {}
        distinct = list(dict.fromkeys(prompts))
        for i in range(0, len(distinct), _TEXT_BATCH):
            some = distinct[i : i + _TEXT_BATCH]
            text = {name: value.cpu() for name, value in self.encode_text(some).items()}
            kept |= {prompt: {name: value[j] for name, value in text.items()} for j, prompt in enumerate(some)}
        self._texts = kept
        for name in self.parts:
            if name.startswith(("text_encoder", "image_encoder")):
                self.parts[name] = None

    def sample(self, sides: Sequence[nn.Module], sampling: Sampling) -> list[Any]:
        """Run the stock pipeline once; as Family.sample."""
        with self.steady_condition(*sides):
            output = self.pipeline(*sides)(**self._common(sampling), **self._arguments(sides, sampling))
        return output.frames if self.frames else output.images

    def _common(self, sampling: Sampling) -> dict[str, Any]:
        """What all pipelines call by the same name."""

        def after(pipe: Any, step: int, t: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
            sampling.on_step(step + 1)
            return kwargs

        return {
            "height": sampling.noise.shape[-2] * self.downscale,
            "width": sampling.noise.shape[-1] * self.downscale,
            "num_inference_steps": sampling.steps,
            "guidance_scale": sampling.guidance,
            "latents": sampling.noise.to(self.device, self.dtype),
            "callback_on_step_end": after,
        }

    def _control(self, sampling: Sampling) -> dict[str, Any]:
        """Strengths and range of control, as ControlNet pipelines take them."""
        one = len(sampling.strengths) == 1
        return {
            "controlnet_conditioning_scale": sampling.strengths[0] if one else list(sampling.strengths),
            "control_guidance_start": sampling.start,
            "control_guidance_end": sampling.end,
        }

    @abstractmethod
    def _arguments(self, sides: Sequence[nn.Module], sampling: Sampling) -> dict[str, Any]:
        """What the family's own pipeline takes besides: texts and conditions."""

    @abstractmethod
    def _encode_text(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        """Encode prompts with the text encoders."""

    def fingerprint(self) -> str:
        """Hash the autoencoder; as Family.fingerprint."""
        if not self._fingerprint:
            shift = f" {self._shift}" if self._shift else ""
            self._fingerprint = f"{hash_weights(self.vae)} {self.vae.config.scaling_factor}{shift}"
        return self._fingerprint

    @property
    def _shift(self) -> float:
        """Mean that is taken from the autoencoder's latents."""
        return getattr(self.vae.config, "shift_factor", None) or 0.0

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

    def _check_condition(self, x_t: Tensor, condition: Tensor | None, factor: int) -> None:
        """Check that a condition is there and ``factor`` times the latents' size."""
        if condition is None:
            raise LisaError("A side network needs a condition: give the condition image.")
        wanted = (x_t.shape[0], *(size * factor for size in x_t.shape[-2:]))
        seen = (condition.shape[0], *condition.shape[-2:])
        if seen != wanted:
            raise LisaError(f"The condition is (batch, height, width) = {seen}, but these latents need {wanted}.")


@contextlib.contextmanager
def seeded(device: torch.device, seed: int) -> Iterator[None]:
    """Seed the global random states that a pipeline on this device draws from; they are put back at the end."""
    # Not torch.manual_seed, which would also seed accelerators whose state is not restored here.
    index = [torch.cuda.current_device() if device.index is None else device.index] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=index):
        for generator in (torch.default_generator, *(torch.cuda.default_generators[i] for i in index)):
            generator.manual_seed(seed)
        yield


def check_parts(main: str, pairs: Sequence[tuple[str, Any, str, Any]]) -> None:
    """Check that the parts of a pipeline fit each other.

    Args:
        main: What the main network is called.
        pairs: (name of its number, the number, name of the other number, that number).

    Raises:
        LisaError: For the first pair that differs.
    """
    for name, seen, other, wanted in pairs:
        if seen != wanted:
            raise LisaError(
                f"This pipeline does not fit itself: the {main}'s {name} is {seen}, but the {other} is {wanted}."
            )


def copy_first(side: nn.Module, main: nn.Module, parts: Sequence[str], lists: Sequence[str]) -> None:
    """Copy weights of a transformer into a new side network.

    Args:
        side: Changed in place.
        main: The transformer.
        parts: Names of modules that are copied whole.
        lists: Names of lists of blocks, of which the side network has the first ones.
    """
    for name in parts:
        getattr(side, name).load_state_dict(getattr(main, name).state_dict())
    for name in lists:
        for own, block in zip(getattr(side, name), getattr(main, name), strict=False):
            own.load_state_dict(block.state_dict())
