"""The contract of a family: a frozen main network, side networks that steer it, and how both are trained and sampled.

Residuals that pass from side to main network are opaque to everything outside a family.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lisa.registry import Registry
from lisa.score import Path as NoisePath
from lisa.settings import LisaSettings
from lisa.tap import Tap


@dataclass
class Prediction:
    """What one pass gives.

    Attributes:
        value: the main network's output, shaped like x_t.
        features: tap name -> feature map (B, C, h, w) with its gradient; (B * F, C, h, w) for clips.
    """

    value: Tensor
    features: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class FamilySpec:
    """A family as data; nothing heavy happens before ``load``.

    Attributes:
        name: name in the registry.
        title: name for people.
        source: hub id or folder of the main network.
        resolution: width and height in pixels that the family was trained for.
        load: from (spec, source, revision, device, dtype) to the family.
        default_lisa: lambda, taps and the rest as measured or published for this family.
        learning_rate: default for AdamW.
        missing: says in one sentence what is not here for a source; empty when all is here.
    """

    name: str
    title: str
    source: str
    resolution: int
    load: Callable[[FamilySpec, str, str, str, torch.dtype], Family]
    default_lisa: LisaSettings = LisaSettings()
    learning_rate: float = 1e-5
    missing: Callable[[str], str] = lambda source: ""

    def installed(self) -> str:
        """Why the family cannot be used here, in one sentence; empty when it can."""
        return self.missing(self.source)


FAMILIES: Registry[FamilySpec] = Registry("family", "lisa.families")


class Family(ABC):
    """A frozen main network with everything around it.

    Attributes:
        spec: what it was loaded as.
        main: the frozen main network.
        path: noise path, timesteps, target.
        device: where it runs.
        dtype: of the frozen parts.
        latent_channels: channels of x_t.
        downscale: pixels per latent pixel along one axis.
        resolution: width and height in pixels.
    """

    spec: FamilySpec
    main: nn.Module
    path: NoisePath
    device: torch.device
    dtype: torch.dtype
    latent_channels: int
    downscale: int
    resolution: int

    @abstractmethod
    def taps(self, side: nn.Module) -> tuple[Tap, ...]:
        """Every place where a side feature can be read, from input to output."""

    def default_taps(self, side: nn.Module) -> tuple[Tap, ...]:
        """The family's measured taps, else the middle one of the side network."""
        taps = self.taps(side)
        chosen = tuple(tap for tap in taps if tap.name in self.spec.default_lisa.taps)
        return chosen or (taps[len(taps) // 2],)

    @abstractmethod
    def new_side(self, seed: int, **overrides: Any) -> nn.Module:
        """A side network as training starts: copied from the main network, output layers zero, the rest from ``seed``."""

    @abstractmethod
    def load_side(self, folder: Path) -> nn.Module:
        """Load a trained side network for inference, on the family's device.

        Raises:
            LisaError: if the folder holds none, or one that does not fit.
        """

    @abstractmethod
    def encode_image(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> latents (B, C, h, w), scaled; a posterior sample if a generator is given, else the mean."""

    @abstractmethod
    def decode_latents(self, latents: Tensor) -> Tensor:
        """Scaled latents (B, C, h, w) -> pixels (B, 3, H, W) in [-1, 1]."""

    @abstractmethod
    def encode_condition(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> what the side network takes."""

    @abstractmethod
    def encode_text(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        """B prompts -> whatever the networks need of the text, batch first."""

    @abstractmethod
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
        """One pass through both branches, or through the main network alone where ``side`` is None.

        Args:
            x_t: noisy latents (B, C, h, w).
            t: timesteps (B,).
            text: what ``encode_text`` gave.
            side: side network.
            condition: what ``encode_condition`` gave.
            strength: factor on what the side network adds.
            taps: names of the features to return.
        """

    @abstractmethod
    def shared(self) -> AbstractContextManager[None]:
        """Inside, what control cannot change is computed once; valid for one (x_t, t, text)."""

    @abstractmethod
    def pipeline(self, side: nn.Module | None) -> Any:
        """The stock diffusers pipeline around our networks; without control where ``side`` is None."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Changes when the latents of an image would."""


def load_family(
    name: str, source: str = "", revision: str = "", device: str = "cpu", dtype: torch.dtype = torch.float32
) -> Family:
    """Load a main network, frozen.

    Args:
        name: name in the registry, such as "scenes-unet".
        source: hub id or local folder; empty takes the family's own.
        revision: commit, tag or branch of the hub repository; empty takes the newest.
        device: such as "cpu" or "cuda".
        dtype: of the frozen networks.

    Raises:
        LisaError: if the name is unknown, or the source cannot be had or does not fit.
    """
    spec = FAMILIES.get(name)
    return spec.load(spec, source or spec.source, revision, device, dtype)


def hash_weights(module: nn.Module) -> str:
    """SHA-256 over a module's parameters and buffers, in hexadecimal."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


@contextmanager
def computed_once(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Inside, each module runs at its first call, without gradient; later calls get the same output again.

    For modules whose inputs are the same in every call: the frozen part of the main network that control does not
    reach. Their ``forward`` is put back afterwards, whatever happens.
    """
    outputs: dict[int, Any] = {}

    def replaying(index: int, forward: Callable[..., Any]) -> Callable[..., Any]:
        def once(*args: Any, **kwargs: Any) -> Any:
            if index not in outputs:
                with torch.no_grad():
                    outputs[index] = forward(*args, **kwargs)
            return outputs[index]

        return once

    own = [module.__dict__.get("forward") for module in modules]
    try:
        for index, module in enumerate(modules):
            module.forward = replaying(index, module.forward)
        yield
    finally:
        for module, forward in zip(modules, own, strict=True):
            module.__dict__.pop("forward", None)
            if forward is not None:
                module.forward = forward
