"""Images that come from outside: read safely, or refused with a sentence."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import gradio as gr
import numpy as np
from gradio.data_classes import FileData, ImageData
from PIL import Image, ImageColor

from app.guard import plain_error
from lisa.annotators.images import MAX_PIXELS, load_rgb
from lisa.errors import LisaError

CANVAS = 512
_UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
GREYS = (255, 204, 153, 102, 51, 0)
PEN = 4  # radius in pixels of the canvas: a line of 2 pixels at 128 x 128


class SafeImage(gr.Image):
    """gr.Image whose uploads are read by ``load_rgb``; Gradio's own reading clips and crashes."""

    is_template = True  # else the browser looks for a custom component of this name

    def preprocess(self, payload: ImageData | None) -> Image.Image | None:
        """Read the upload as 8-bit RGB."""
        if payload is None:
            return None
        if not payload.path:
            raise plain_error("This is no image file: upload a PNG, JPEG or WebP.")
        try:
            return load_rgb(payload.path)
        except LisaError as error:
            raise plain_error(error) from error


class Canvas(gr.ImageEditor):
    """A sheet of white paper with a black pen; its value is read by ``read_drawing``."""

    is_template = True

    def convert_and_format_image(self, file: FileData | bytes | None, flatten_on_white: bool = False) -> Any:  # noqa: ARG002
        """Read one layer, but only after its header promised a sensible size."""
        if file is None:
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with Image.open(BytesIO(file) if isinstance(file, bytes) else file.path) as image:
                    if image.width * image.height > MAX_PIXELS:
                        raise plain_error(f"The drawing is larger than {MAX_PIXELS // 10**6} million pixels.")
                    return image.convert("RGBA")
        except _UNREADABLE as error:
            raise plain_error("The drawing cannot be read: clear it and draw again.") from error


def canvas(paper: Image.Image | None = None, colors: tuple[str, ...] = ("#000000",), **details: Any) -> Canvas:
    """Make the sheet to draw on.

    Args:
        paper: RGB picture that lies on it; white paper if None.
        colors: of the pen, such as "#000000".
        **details: further arguments of gr.ImageEditor.

    Returns:
        The component; inside an event it is the update of one.
    """
    paper = paper or Image.new("RGB", (CANVAS, CANVAS), "white")  # with a picture on it the pen is ready at once
    return Canvas(
        {"background": paper, "layers": [], "composite": None},
        type="pil",
        format="png",
        canvas_size=paper.size,
        fixed_canvas=True,
        brush=gr.Brush(colors=list(colors), default_color=colors[0], default_size=PEN, color_mode="fixed"),
        eraser=gr.Eraser(default_size=5 * PEN),
        layers=False,
        sources=[],
        transforms=(),
        **details,
    )


def read_drawing(value: dict[str, Any] | None) -> Image.Image:
    """Turn pen strokes into the look of an edge map: white lines on black.

    Args:
        value: what the Canvas gives: "layers" of RGBA images whose alpha is above 0 on strokes only.

    Returns:
        RGB, of the canvas' size.

    Raises:
        LisaError: if nothing has been drawn.
    """
    layers = (value or {}).get("layers") or []
    strokes = [np.asarray(layer.convert("RGBA"))[..., 3] for layer in layers if layer is not None]
    ink = np.maximum.reduce([alpha for alpha in strokes if alpha.shape == strokes[0].shape]) if strokes else None
    if ink is None or not ink.any():
        raise LisaError("The drawing is empty: draw a few lines first.")
    return Image.fromarray(np.repeat(ink[..., None], 3, axis=2))


def enlarge(image: Image.Image) -> Image.Image:
    """A picture as large as the canvas allows, its pixels kept as squares."""
    factor = max(1, CANVAS // max(image.size))
    return image.convert("RGB").resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def pens(image: Image.Image) -> tuple[str, ...]:
    """Colours to draw over a map with: greys on a grey one, else its own most frequent ones.

    Args:
        image: RGB.

    Returns:
        Two for a map of black and white, else up to eight, such as "#ff8000".
    """
    pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    colors, counts = np.unique(pixels, axis=0, return_counts=True)
    if (colors == colors[:, :1]).all():
        return tuple(f"#{level:02x}{level:02x}{level:02x}" for level in ((255, 0) if len(colors) <= 2 else GREYS))
    most = colors[np.argsort(-counts, kind="stable")[:8]]
    return tuple("#" + bytes(color).hex() for color in most)


def draw_over(image: Image.Image, value: dict[str, Any] | None, colors: Sequence[str]) -> Image.Image:
    """Put pen strokes on a map, at the map's own resolution.

    Args:
        image: the map.
        value: what the Canvas gives, drawn on ``enlarge(image)``.
        colors: of the pen.

    Returns:
        RGB, of the map's size: one of the pen's colours where strokes cover at least half a pixel, and the map
        everywhere else, so that a map of few colours keeps to them.

    Raises:
        LisaError: if nothing has been drawn.
    """
    drawn = np.array(image.convert("RGB"))
    exact = np.array([ImageColor.getrgb(color)[:3] for color in colors])
    touched = False
    for layer in (value or {}).get("layers") or []:
        if layer is None:
            continue
        # "RGBa" holds colours times alpha: averaged so, transparent pixels do not tint the stroke.
        small = np.asarray(layer.convert("RGBA").convert("RGBa").resize(image.size, Image.Resampling.BOX), np.float64)
        covered = small[..., 3] >= 127.5
        stroke = small[covered, :3] * 255 / small[covered, 3:]
        drawn[covered] = exact[np.abs(stroke[:, None] - exact).sum(2).argmin(1)]
        touched |= bool(covered.any())
    if not touched:
        raise LisaError("Nothing has been drawn over the map: draw on it first, with a pen of a pixel or more.")
    return Image.fromarray(drawn)


def looks_like_map(image: Image.Image) -> bool:
    """Guess whether a picture is a condition map already: edges, depth, a skeleton, flat regions or normals.

    Args:
        image: RGB.

    Returns:
        A guess for a hint; never a reason to refuse the picture.
    """
    if min(image.size) < 16:
        return False
    pixels = np.asarray(image.resize((128, 128), Image.Resampling.NEAREST).convert("RGB"), dtype=np.int16)
    bright = pixels.max(axis=2)
    grey = (bright - pixels.min(axis=2) <= 8).mean() > 0.99
    mostly_black = (bright <= 16).mean() > 0.7
    return bool(grey or mostly_black or _is_flat(pixels) or _is_normal_map(pixels))


def _is_flat(pixels: np.ndarray) -> bool:
    """Whether a dozen exact colours make up nearly the whole picture, as in a segmentation."""
    counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)[1]
    return np.sort(counts)[-12:].sum() > 0.97 * counts.sum()


def _is_normal_map(pixels: np.ndarray) -> bool:
    """Whether nearly every colour is a unit vector, as (normal + 1) / 2; mid-grey is where no surface is."""
    length = np.linalg.norm(pixels / 127.5 - 1.0, axis=2)
    surface = length > 0.05
    return surface.mean() > 0.1 and (np.abs(length[surface] - 1.0) < 0.1).mean() > 0.9
