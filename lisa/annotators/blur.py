"""Loss of detail as a condition: the task is to invent it again (super-resolution)."""

from __future__ import annotations

from PIL import Image, ImageFilter

from lisa.annotators.base import ANNOTATORS, AnnotatorSpec, Knob


def degrade(image: Image.Image, factor: int, blur: float) -> Image.Image:
    """Blur an image, shrink it by averaging, and enlarge it again.

    Args:
        image: RGB.
        factor: How many times shorter each side becomes, at least one pixel remaining.
        blur: Standard deviation in pixels of a Gaussian applied first; 0 applies none.

    Returns:
        The blurred image, of the same size.
    """
    if blur > 0:
        image = image.filter(ImageFilter.GaussianBlur(blur))
    small = (max(1, image.width // factor), max(1, image.height // factor))
    return image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.BICUBIC)


ANNOTATORS.add(
    "blur",
    AnnotatorSpec(
        name="blur",
        title="Low resolution",
        condition="blur",
        help="The image at a lower resolution, for super-resolution.",
        load=lambda _: degrade,
        knobs=(
            Knob("factor", "Factor", 4, "How many times shorter each side becomes", 1, 32, 1, "times"),
            Knob("blur", "Blur", 0.0, "Smoothing before shrinking", 0, 20, 0.5, "pixels"),
        ),
    ),
)
