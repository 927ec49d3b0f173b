"""Canny edges: the one annotator that needs neither weights nor a neural network."""

from __future__ import annotations

import numpy as np
from PIL import Image

from lisa.annotators.base import ANNOTATORS, AnnotatorSpec, Knob
from lisa.errors import LisaError


def detect(image: Image.Image, low_threshold: int, high_threshold: int, blur: float) -> Image.Image:
    """Draw the edges of an image, white on black (Canny 1986, as in OpenCV, on all three channels).

    Args:
        image: RGB.
        low_threshold: Gradient above which a pixel continues an edge.
        high_threshold: Gradient above which a pixel starts an edge.
        blur: Standard deviation in pixels of a Gaussian applied first; 0 applies none.

    Returns:
        Edges of the image's size, in mode L.

    Raises:
        LisaError: If the low threshold is above the high one.
    """
    import cv2

    if low_threshold > high_threshold:
        raise LisaError(f"low_threshold is {low_threshold}, but must not be above high_threshold, {high_threshold}.")
    pixels = np.asarray(image)
    if blur > 0:
        pixels = cv2.GaussianBlur(pixels, (0, 0), blur)
    return Image.fromarray(cv2.Canny(pixels, low_threshold, high_threshold))


ANNOTATORS.add(
    "canny",
    AnnotatorSpec(
        name="canny",
        title="Canny edges",
        condition="canny",
        help="Thin white edges where brightness or colour changes sharply.",
        load=lambda _: detect,
        knobs=(
            Knob("low_threshold", "Low threshold", 100, "Gradient that continues an edge", 0, 255),
            Knob("high_threshold", "High threshold", 200, "Gradient that starts an edge", 0, 255),
            Knob("blur", "Blur", 0.0, "Smoothing before the edges are sought", 0, 10, 0.1, "pixels"),
        ),
    ),
)
