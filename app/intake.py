"""Images that come from outside: read safely, or refused with a sentence."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from io import BytesIO
from typing import Any, Self

import gradio as gr
import numpy as np
from gradio.components.image_editor import EditorData
from gradio.data_classes import FileData, GradioModel, ImageData
from gradio.events import Dependency
from PIL import Image, ImageColor
from pydantic import ModelWrapValidatorHandler, ValidationError, model_validator

from app.guard import guarded, plain_error
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


NO_FILE = "This is no image file: upload a PNG, JPEG or WebP."


class _Lenient(GradioModel):
    """Takes what is no upload at all as an empty one, which is refused with a sentence where it is wanted."""

    @model_validator(mode="wrap")
    @classmethod
    def _or_empty(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(value)
        except ValidationError:  # Gradio would answer a program without a word
            return cls()


class UploadData(_Lenient, ImageData):
    """What arrives from a picture's field."""


class DrawingData(_Lenient, EditorData):
    """What arrives from a canvas."""


class SafeImage(gr.Image):
    """gr.Image whose uploads are read by ``load_rgb``; Gradio's own reading clips and crashes."""

    is_template = True  # else the browser looks for a custom component of this name
    data_model = UploadData

    def preprocess(self, payload: ImageData | None) -> Image.Image | None:
        """Read the upload as 8-bit RGB, or fail with a sentence."""
        try:
            return _read_upload(payload)
        except LisaError as error:
            raise plain_error(error) from error


class OptionalImage(gr.Image):
    """A SafeImage for functions that may not want the picture: an unreadable one arrives as its LisaError."""

    is_template = True
    data_model = UploadData

    def preprocess(self, payload: ImageData | None) -> Image.Image | LisaError | None:
        """Read the upload as 8-bit RGB, or hand over why not."""
        try:
            return _read_upload(payload)
        except LisaError as error:
            return error


def _read_upload(payload: ImageData | None) -> Image.Image | None:
    if payload is None:
        return None
    if not payload.path:
        raise LisaError(NO_FILE)
    return load_rgb(payload.path)


def refuse_unreadable(field: SafeImage | OptionalImage) -> Dependency:
    """Refuse an unreadable file as soon as it is uploaded: one sentence, and the field is empty again.

    Whatever listens to ``field.upload`` from then on is called only after a file that could be read, so that nobody
    else tells of the same file.

    Args:
        field: the component, inside the page.

    Returns:
        The event of reading, for what else shall happen on its failure.
    """
    quiet = {"show_progress": "hidden", "api_visibility": "private"}
    read = field.upload(guarded(_require_picture), [field], None, **quiet)
    read.failure(lambda: None, None, [field], **quiet)
    field.upload = read.success
    return read


def _require_picture(picture: Image.Image | LisaError | None) -> None:
    if isinstance(picture, LisaError):
        raise picture


class Canvas(gr.ImageEditor):
    """A sheet of white paper with a black pen; its value is read by ``read_drawing``."""

    is_template = True
    data_model = DrawingData

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


def read_strokes(value: dict[str, Any] | None, size: tuple[int, int], colors: Sequence[str]) -> Image.Image:
    """Turn pen strokes over a map into a layer of the map's own resolution.

    Args:
        value: what the Canvas gives, drawn on the enlarged map.
        size: of the map.
        colors: of the pen.

    Returns:
        RGBA, of the map's size: one of the pen's colours where strokes cover at least half a pixel, and nothing
        everywhere else, so that a map of few colours keeps to them.

    Raises:
        LisaError: if nothing has been drawn.
    """
    drawn = np.zeros((size[1], size[0], 4), np.uint8)
    exact = np.array([ImageColor.getrgb(color)[:3] for color in colors])
    for layer in (value or {}).get("layers") or []:
        if layer is None:
            continue
        # "RGBa" holds colours times alpha: averaged so, transparent pixels do not tint the stroke.
        small = np.asarray(layer.convert("RGBA").convert("RGBa").resize(size, Image.Resampling.BOX), np.float64)
        covered = small[..., 3] >= 127.5
        stroke = small[covered, :3] * 255 / small[covered, 3:]
        drawn[covered, :3] = exact[np.abs(stroke[:, None] - exact).sum(2).argmin(1)]
        drawn[covered, 3] = 255
    if not drawn.any():
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
