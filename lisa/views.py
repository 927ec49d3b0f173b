"""What the lab hands out: families, annotators, scenes and the first example as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from lisa.annotators.base import Knob
from lisa.settings import GenerateSettings, LisaSettings


@dataclass(frozen=True)
class FamilyView:
    """One kind of main network: whether it can be used here, its conditions with side networks, how LISA aligns.

    ``frames`` is the length of the clips it makes, 0 for images; ``starts_from_picture`` tells whether these go on from
    a first frame.
    """

    name: str
    title: str
    installed: bool
    reason: str
    conditions: tuple[str, ...]
    resolution: int
    lisa: LisaSettings = field(default_factory=LisaSettings)
    frames: int = 0
    starts_from_picture: bool = False


@dataclass(frozen=True)
class AnnotatorView:
    """One annotator and its knobs; ``reason`` says what is missing where it is not available.

    ``installed`` tells whether its packages are here, so that nothing but weights can be missing.
    """

    name: str
    title: str
    condition: str
    help: str
    knobs: tuple[Knob, ...]
    available: bool
    reason: str
    installed: bool = True


@dataclass(frozen=True)
class SceneView:
    """One rendered scene: picture, caption, exact maps by condition name, and the factors behind it.

    The picture and the maps of a moving scene are strips of its frames.
    """

    seed: int
    image: Image.Image
    caption: str
    maps: dict[str, Image.Image]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Example:
    """The finished comparison on the first screen."""

    condition: Image.Image
    images: dict[str, Image.Image]
    settings: GenerateSettings
