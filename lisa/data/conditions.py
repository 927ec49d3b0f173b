"""Condition maps of pictures that come without: an annotator makes them, and what took weights is kept on disk."""

from __future__ import annotations

import hashlib

import numpy as np
from PIL import Image

from lisa.annotators.base import ANNOTATORS, annotate, annotator_for
from lisa.files import replacing
from lisa.report import Report, tell_nobody
from lisa.scenes.pool import cache_folder

Array = np.ndarray


def annotated(images: list[Array], condition: str, report: Report = tell_nobody) -> list[Array]:
    """Make the condition map of every picture; a call that was cut short goes on where it stopped.

    Args:
        images: (H, W, 3) uint8 each, or (F, H, W, 3) the frames of a clip.
        condition: kind of map.
        report: called with (what is being done, done, in all).

    Returns:
        Maps of the same shapes and type.

    Raises:
        LisaError: if nothing can make this condition here.
    """
    if not images:
        return []
    name, maps = annotator_for(condition), []
    for done, image in enumerate(images, 1):
        maps.append(np.stack([_map(frame, name) for frame in image]) if image.ndim == 4 else _map(image, name))
        report("making condition maps", done, len(images))
    return maps


def _map(image: Array, name: str) -> Array:
    source = ANNOTATORS.get(name).default_source
    if not source:  # without weights it is done as soon as the file would be read
        return np.asarray(annotate(Image.fromarray(image), name))
    digest = hashlib.sha256(f"{name} {source} {image.shape}".encode())
    digest.update(np.ascontiguousarray(image))
    path = cache_folder() / "conditions" / f"{digest.hexdigest()[:32]}.png"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            annotate(Image.fromarray(image), name).save(temporary, "PNG")
    with Image.open(path) as kept:
        return np.asarray(kept.convert("RGB"))
