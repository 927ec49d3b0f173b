"""Any image a person may bring becomes plain 8-bit RGB, or one sentence says why not."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from lisa.errors import LisaError

MAX_PIXELS = 40_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
_UNREADABLE = (UnidentifiedImageError, OSError, ValueError, SyntaxError, TypeError, IndexError, EOFError)


def load_rgb(source: str | Path | Image.Image) -> Image.Image:
    """Read an image as 8-bit RGB, upright and opaque.

    The first frame of an animation is taken, EXIF rotation is applied, transparency is laid on white, and
    16-bit, 32-bit and floating-point grey values are scaled to 0..255 rather than clipped.

    Args:
        source: A file, or an image of any mode.

    Returns:
        The image in mode RGB.

    Raises:
        LisaError: If the file is missing, is no image, is damaged, or has more than 40 million pixels.
    """
    given = isinstance(source, Image.Image)
    name = "The image" if given else f"{Path(source).name[:80]!r}"
    try:
        with nullcontext(source) if given else Image.open(source, formats=FORMATS) as image:
            return _convert(image, name)
    except LisaError:
        raise
    except FileNotFoundError as error:
        raise LisaError(f"There is no file {name}: check its name.") from error
    except Image.DecompressionBombError as error:
        raise _too_large(name, "far more") from error
    except _UNREADABLE as error:
        raise LisaError(f"{name} cannot be read as an image: use PNG, JPEG or WebP.") from error


def _convert(image: Image.Image, name: str) -> Image.Image:
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:  # known from the header: nothing is decoded yet
        raise _too_large(name, f"{pixels / 1e6:.0f} million")
    image.seek(0)
    image = ImageOps.exif_transpose(image)
    if image.mode == "F" or image.mode.startswith("I"):
        return _scale_grey(image)
    if image.mode == "La":  # Pillow only knows the way back to LA
        image = image.convert("LA")
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _scale_grey(image: Image.Image) -> Image.Image:
    """Map whole numbers from 0..65535, and other numbers from 0..maximum (or minimum..maximum), to 0..255."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = min(0.0, values.min()), values.max()
    if image.mode != "F" and low == 0 and high <= 65535:
        high = 65535.0
    scaled = (values - low) / ((high - low) or 1.0) * 255
    return Image.fromarray(np.rint(scaled).astype(np.uint8)).convert("RGB")


def _too_large(name: str, pixels: str) -> LisaError:
    limit = MAX_PIXELS // 10**6
    return LisaError(f"{name} has {pixels} pixels, but the limit is {limit} million: make it smaller first.")
