"""What an annotator is, where annotators are found, and the one function that runs them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from lisa.annotators.images import load_rgb
from lisa.errors import LisaError, unknown_name
from lisa.options import Option, check_value
from lisa.registry import Registry

Detector = Callable[..., Image.Image]


@dataclass(frozen=True)
class Knob:
    """One number, or one switch, that changes what an annotator sees.

    Attributes:
        name: Keyword of the detector.
        label: Short name for a form.
        default: A float, an int, or a bool for a switch.
        help: One phrase that explains it.
        low: Smallest value, inclusive; 0 for a switch.
        high: Largest value, inclusive; 1 for a switch.
        step: Step of a slider.
        unit: Unit of the number, such as "pixels".
    """

    name: str
    label: str
    default: float | int | bool
    help: str
    low: float = 0
    high: float = 1
    step: float = 1
    unit: str = ""

    def read(self, value: Any) -> float | int | bool:
        """Check a value and give it the type of the default.

        Args:
            value: What a form or a command line sent; a switch also takes 0 and 1.

        Returns:
            The value as bool, int or float.

        Raises:
            LisaError: If it is no such number or out of range.
        """
        kind = type(self.default)
        if kind is bool and value in (0, 1):
            return bool(value)
        if kind is int and isinstance(value, float) and value.is_integer():
            value = int(value)
        check_value(self.name, value, kind, Option(self.help, unit=self.unit, low=self.low, high=self.high))
        return kind(value)


@dataclass(frozen=True)
class AnnotatorSpec:
    """One annotator as data; nothing is imported or loaded before it is chosen.

    Attributes:
        name: Name in the registry.
        title: Name for people.
        condition: Kind of map it makes; empty when the person knows.
        help: One sentence on what it does.
        load: Makes the detector from a hub id or local folder; raises LisaError when something is missing.
        knobs: What can be turned.
        needs: What must be installed or downloaded, in words; empty for nothing.
        default_source: Hub id of the weights; empty for annotators without weights.
        missing_packages: Says in one sentence what must be installed first; empty when all is here.
        missing_weights: Says in one sentence what is not here of a source's weights; empty when all is here.
    """

    name: str
    title: str
    condition: str
    help: str
    load: Callable[[str], Detector]
    knobs: tuple[Knob, ...] = ()
    needs: str = ""
    default_source: str = ""
    missing_packages: Callable[[], str] = lambda: ""
    missing_weights: Callable[[str], str] = lambda _: ""

    def read_knobs(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Check knob values and fill in the defaults.

        Args:
            values: Values by knob name.

        Returns:
            One value for each knob.

        Raises:
            LisaError: If a name is unknown or a value is out of range.
        """
        known = {knob.name: knob for knob in self.knobs}
        for name in values:
            if name not in known:
                raise unknown_name(f"knob of {self.name}", name, known)
        return {name: knob.read(values.get(name, knob.default)) for name, knob in known.items()}


ANNOTATORS: Registry[AnnotatorSpec] = Registry("annotator", "lisa.annotators")


def annotate(
    image: str | Path | Image.Image, name: str, knobs: Mapping[str, Any] | None = None, source: str = ""
) -> Image.Image:
    """Turn an image into a condition map.

    Args:
        image: A file, or an image of any mode.
        name: The annotator.
        knobs: Values by knob name; absent ones take their defaults.
        source: Hub id or local folder of the weights; empty takes the annotator's own.

    Returns:
        The map in mode RGB, of the image's size.

    Raises:
        LisaError: If the image cannot be read, a name or value is wrong, or weights or packages are missing.
    """
    spec = ANNOTATORS.get(name)
    values = spec.read_knobs(knobs or {})
    if source and not spec.default_source:
        raise LisaError(f"{spec.title} has no weights to load from {source[:80]!r}: leave the source empty.")
    picture = load_rgb(image)
    result = _loaded(name, source)(picture, **values).convert("RGB")
    return result if result.size == picture.size else result.resize(picture.size, Image.Resampling.BILINEAR)


def availability(name: str, source: str = "") -> str:
    """Tell whether an annotator can run here and now, without loading or downloading anything.

    Args:
        name: The annotator.
        source: Hub id or local folder of the weights; empty takes the annotator's own.

    Returns:
        Empty if it can, else one sentence on the package or the weights that are not here.
    """
    spec = ANNOTATORS.get(name)
    return spec.missing_packages() or spec.missing_weights(source or spec.default_source)


@functools.lru_cache(maxsize=2)  # the largest detectors take gigabytes
def _loaded(name: str, source: str) -> Detector:
    spec = ANNOTATORS.get(name)
    return spec.load(source or spec.default_source)


def annotator_for(condition: str) -> str:
    """Find the annotator that makes a condition: the one of that name, else the first that can run here.

    Args:
        condition: Name of the condition, such as "canny" or "depth".

    Returns:
        The annotator's name.

    Raises:
        LisaError: If none makes it, or none of those can run here.
    """
    makers = [spec.name for spec in ANNOTATORS.values() if condition in (spec.name, spec.condition)]
    if not makers:
        known = {spec.condition for spec in ANNOTATORS.values() if spec.condition}
        raise unknown_name("condition", condition, known)
    ready = [name for name in sorted(makers, key=lambda name: name != condition) if not availability(name)]
    if not ready:
        raise LisaError(availability(makers[0]))
    return ready[0]
