"""For images that already are condition maps: annotating them again would spoil them."""

from __future__ import annotations

from PIL import Image, ImageOps

from lisa.annotators.base import ANNOTATORS, AnnotatorSpec, Knob


def keep(image: Image.Image, invert: bool) -> Image.Image:
    """Return a condition map as it is, or with light and dark swapped.

    Args:
        image: RGB.
        invert: Whether to swap, as for black lines drawn on white.

    Returns:
        The map, of the same size.
    """
    return ImageOps.invert(image) if invert else image


ANNOTATORS.add(
    "identity",
    AnnotatorSpec(
        name="identity",
        title="Already a condition map",
        condition="",
        help="Takes the image as the map that it is.",
        load=lambda _: keep,
        knobs=(Knob("invert", "Invert", False, "Swap light and dark, for black lines on white"),),
    ),
)
