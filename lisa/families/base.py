"""What a family is: a frozen main network, its side networks, and everything between pixels and latents.

What passes from side to main network is opaque to everything outside a family. Nothing heavy is imported
here: the list of families can be shown without loading torch.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lisa.arms import LisaSettings
from lisa.errors import LisaError
from lisa.registry import Registry

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor, nn

    from lisa.noise import NoisePath
    from lisa.tap import Tap


_ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Prediction:
    """What one pass through main and side network gives.

    Attributes:
        value: The main network's output, like x_t.
        features: Tap name -> (B, channels, h / stride, w / stride), with gradient history; of clips (B F, ...).
    """

    value: Tensor
    features: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Sampling:
    """One batch of B samples to draw with a family's stock pipeline.

    Attributes:
        prompts: B texts.
        negative: The text that guidance leads away from.
        noise: Starting latents, (B, C, h, w), or (B, C, F, h, w) of clips.
        conditions: For each side network B condition images of the output's size; of clips, B lists of F images.
        strengths: For each side network the factor on what it adds.
        steps: Sampling steps.
        guidance: Scale of classifier-free guidance.
        start: Share of the steps after which control begins.
        end: Share of the steps after which control ends.
        on_step: Called with the number of steps done.
        images: B first frames of the output's size, for families whose clips begin with one; empty for none.
    """

    prompts: Sequence[str]
    negative: str
    noise: Tensor
    conditions: Sequence[Sequence[Image.Image]]
    strengths: Sequence[float]
    steps: int
    guidance: float
    start: float = 0.0
    end: float = 1.0
    on_step: Callable[[int], None] = lambda step: None
    images: Sequence[Image.Image] = ()

    def singly(self) -> list[Sampling]:
        """The same as one batch for each sample."""
        return [
            replace(
                self,
                prompts=[prompt],
                noise=self.noise[i : i + 1],
                conditions=[[condition[i]] for condition in self.conditions],
                images=self.images[i : i + 1],
            )
            for i, prompt in enumerate(self.prompts)
        ]


@dataclass(frozen=True)
class FamilySpec:
    """One family as data.

    Attributes:
        name: Name in the registry.
        title: Name for people.
        objective: What its main network predicts, in words.
        source: Hub id or folder of the main network.
        resolution: Pixels along a side of the images it was trained on.
        load: Makes the family from (spec, source, revision, device, dtype).
        missing: Says in one sentence what is not here for (source, revision); empty when all is here.
        obtain: How to get the source, in words.
        default_lisa: How the arm "lisa" is aligned unless settings say otherwise.
        learning_rate: Usual learning rate of side network and score decoder.
        embedding_channels: Channels of a new side network's condition embedding, at factors 1, 2, 4, 8.
        quick_embedding: Whether a new side network's condition embedding keeps its map's variance, for short runs,
            rather than starting as diffusers does.
        side_class: Class of its side network.
        shares: What control cannot change, and is computed once for all passes of a step, in words.
        composes: Whether several side networks can act at once.
        side: How a new side network differs from the family's usual one, by the name of the diffusers argument.
        drop_text_encoders: Whether training encodes all captions once and then frees the text encoders.
        frames: Frames of the clips it makes; 0 for images.
        starts_from_picture: Whether its clips go on from a first frame.
        motion_adapter: Folder or hub id of the motion modules, for a source that has none of its own.
        scheduler: Options of the scheduler that differ from the source's.
        check_side: Checks, without the main network's weights, that a folder holds a side network that fits the main
            network at (spec, source, revision); a LisaError says what does not. None where only load_side() can tell.
    """

    name: str
    title: str
    objective: str
    source: str
    resolution: int
    load: Callable[[FamilySpec, str, str, str | torch.device, torch.dtype | None], Family]
    missing: Callable[[str, str], str]
    obtain: str
    default_lisa: LisaSettings = field(default_factory=LisaSettings)
    learning_rate: float = 1e-5
    embedding_channels: tuple[int, ...] = (16, 32, 96, 256)
    quick_embedding: bool = False
    side_class: str = "ControlNetModel"
    shares: str = "the UNet's encoder and middle"
    composes: bool = True
    side: Mapping[str, Any] = field(default_factory=dict)
    drop_text_encoders: bool = False
    frames: int = 0
    starts_from_picture: bool = False
    motion_adapter: str = ""
    scheduler: Mapping[str, Any] = field(default_factory=dict)
    check_side: Callable[[FamilySpec, str, str, Path], None] | None = None

    def installed(self) -> str:
        """Say why the family cannot be used without a network here, in one sentence; empty when it can."""
        # The lab's own folders are told from its root: the way to it is nobody's business.
        reason = self.missing(self.source, "").rstrip(".").replace(f"{_ROOT}/", "")
        return f"{reason}: {self.obtain}." if reason else ""


class Family(ABC):
    """A frozen main network with everything that training and generation need around it.

    Attributes:
        spec: The family as data.
        main: The main network, frozen and in evaluation mode.
        path: How samples are noised and what main predicts.
        latent_channels: Channels C of a latent.
        downscale: Pixels per latent pixel along each side.
        resolution: Pixels along a side of the images the main network was trained on.
        frames: Frames of a clip; 0 for images.
        latent_conditions: Whether encode_condition() is costly, so that training does it once for each sample.
    """

    spec: FamilySpec
    main: nn.Module
    path: NoisePath
    latent_channels: int
    downscale: int
    resolution: int
    frames: int = 0
    latent_conditions: bool = False

    @property
    def name(self) -> str:
        """Name in the registry."""
        return self.spec.name

    @property
    def device(self) -> torch.device:
        """Device of the main network."""
        return next(self.main.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the main network."""
        return next(self.main.parameters()).dtype

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        """Tell the shape of one sample's latents for pixels of that size: (C, h, w), or (C, F, h, w) of a clip."""
        plane = (height // self.downscale, width // self.downscale)
        return (self.latent_channels, *((self.frames,) if self.frames else ()), *plane)

    def refuse_clips(self, what: str) -> None:
        """Raise LisaError where clips are not served.

        Args:
            what: What it is that shows images only, with a capital letter.
        """
        if self.frames:
            raise LisaError(f"{what} are for families that make images, but {self.name} makes clips: choose another.")

    @abstractmethod
    def taps(self, side: nn.Module) -> tuple[Tap, ...]:
        """List where the features of a side network can be read, from its input to its middle."""

    def default_taps(self, side: nn.Module) -> tuple[Tap, ...]:
        """List the taps of the family's defaults, or else the one half-way to mid (down_5 of 0..11)."""
        taps = self.taps(side)
        named = tuple(tap for tap in taps if tap.name in self.spec.default_lisa.taps)
        return named or (taps[(len(taps) - 2) // 2],)

    @abstractmethod
    def new_side(self, seed: int, **overrides: Any) -> nn.Module:
        """Make a side network that changes nothing yet.

        Args:
            seed: Seed of what is not copied from the main network; the global random state is left alone.
            **overrides: Changes of its architecture, by the name of the diffusers argument.

        Returns:
            The side network in float32, trainable, on the family's device.
        """

    @abstractmethod
    def load_side(self, source: str | Path, revision: str = "", dtype: torch.dtype | None = None) -> nn.Module:
        """Load a side network.

        Args:
            source: Folder written by save_pretrained, or hub id.
            revision: Revision of a hub repository.
            dtype: Of its weights; the main network's when None.

        Returns:
            The side network, frozen and on the main network's device.

        Raises:
            LisaError: If it is missing, damaged or does not fit the main network.
        """

    @abstractmethod
    def encode_image(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Encode images.

        Args:
            pixels: (B, 3, H, W) in [-1, 1]; clips are (B, F, 3, H, W).
            generator: Source of a random draw from the posterior; its mode is taken when None.

        Returns:
            Latents (B, C, h, w), or of clips (B, C, F, h, w), scaled as the main network expects.
        """

    @abstractmethod
    def decode_latents(self, latents: Tensor) -> Tensor:
        """Decode latents (B, C, h, w) to pixels (B, 3, H, W) in [-1, 1]; clips as encode_image() takes them."""

    @abstractmethod
    def encode_condition(self, pixels: Tensor) -> Tensor:
        """Turn condition images (B, 3, H, W) in [0, 1], or clips (B, F, 3, H, W), into what the side network reads."""

    @abstractmethod
    def encode_text(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        """Encode B prompts; each tensor has B rows."""

    def count_tokens(self, text: str) -> tuple[int, int] | None:  # noqa: ARG002
        """Count a prompt's tokens without the marks of its start and end.

        Returns:
            All of them, and as many as are read of them; None where that is not known.
        """
        return None

    def encode_first_frame(self, pixels: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """Encode what a clip starts from, for families that go on from a picture.

        Args:
            pixels: (B, 3, H, W) in [-1, 1].

        Returns:
            Entries to add to those of encode_text(), B rows each; none where a clip starts from noise alone.
        """
        return {}

    def keep_text(self, prompts: Sequence[str]) -> None:  # noqa: B027  (nothing to keep is an answer)
        """Encode prompts once for all and free the text encoders; encode_text() then knows these alone."""

    @abstractmethod
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
        """Run the main network, with or without control.

        Args:
            x_t: Noisy latents, (B, C, h, w).
            t: Times in the network's unit, (B,).
            text: From encode_text().
            side: The side network; None is the no-control pass.
            condition: From encode_condition(); needed with a side network.
            strength: Factor on what the side network adds.
            taps: Names of the features to return.

        Returns:
            The output and the features.

        Raises:
            LisaError: If the condition is missing or of another size, or a tap is unknown.
        """

    @abstractmethod
    def side_features(
        self,
        x_t: Tensor,
        t: Tensor,
        text: Mapping[str, Tensor],
        side: nn.Module,
        condition: Tensor,
        taps: Sequence[str],
    ) -> dict[str, Tensor]:
        """Run a side network alone and read its features; arguments and errors as predict().

        Returns:
            Tap name -> (B, channels, h / stride, w / stride).
        """

    @abstractmethod
    def shared(self) -> contextlib.AbstractContextManager[None]:
        """Compute what control cannot change once for passes with equal (x_t, t, text); results are equal."""

    def steady_condition(self, *sides: nn.Module) -> contextlib.AbstractContextManager[None]:  # noqa: ARG002
        """Let side networks embed their conditions once for all sampling steps if they can; results are equal."""
        return contextlib.nullcontext()

    @abstractmethod
    def pipeline(self, *sides: nn.Module) -> Any:
        """Build the diffusers pipeline around the family's own modules; several side networks add their features."""

    @abstractmethod
    def sample(self, sides: Sequence[nn.Module], sampling: Sampling) -> list[Any]:
        """Run the stock pipeline once.

        Args:
            sides: The side networks of sampling.conditions; several add their features.
            sampling: What to draw.

        Returns:
            B PIL images, or of clips B lists of F PIL images.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Identify what encode_image() computes: different for other weights, dtype or scale."""


FAMILIES: Registry[FamilySpec] = Registry("family", "lisa.families")


def family_spec(name: str) -> FamilySpec:
    """Look a family up.

    Raises:
        LisaError: If the name is unknown; for T2I-Adapter and SparseCtrl it says why they are none.
    """
    from lisa.families._sources import refuse_blind

    refuse_blind(name)
    return FAMILIES.get(name)


def load_family(
    name: str,
    source: str = "",
    revision: str = "",
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> Family:
    """Load a family.

    Args:
        name: Its name in the registry.
        source: Hub id or folder of the main network; empty takes the family's own.
        revision: Revision of a hub repository.
        device: Where the networks go.
        dtype: Floating-point type of the frozen networks; None is float32.

    Returns:
        The family, frozen.

    Raises:
        LisaError: If the name is unknown, or the source is missing, damaged or of another kind.
    """
    spec = family_spec(name)
    return spec.load(spec, source or spec.source, revision, device, dtype)
