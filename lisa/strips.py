"""Clips as strips: their frames beside each other in one picture, which anything that takes pictures can carry."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from lisa.errors import LisaError


def strip(frames: Sequence[Image.Image]) -> Image.Image:
    """Put the frames of a clip beside each other, from left to right."""
    width, height = frames[0].size
    made = Image.new("RGB", (width * len(frames), height))
    for i, frame in enumerate(frames):
        made.paste(frame, (i * width, 0))
    return made


def length_of(image: Image.Image) -> int:
    """Count the frames of a strip of square frames; 0 for any other image."""
    width, height = image.size
    return width // height if width > height and width % height == 0 else 0


def frames_of(condition: Image.Image, count: int) -> list[Image.Image]:
    """Take a strip of square frames apart; any other image is held still for all of them.

    Raises:
        LisaError: if it is a strip of another number of frames.
    """
    length, height = length_of(condition), condition.height
    if not length:
        return [condition] * count
    if length != count:
        raise LisaError(
            f"This strip has {length} frames, but the clip has {count}: give {count} square frames from left "
            "to right, or one image for all."
        )
    return [condition.crop((i * height, 0, (i + 1) * height, height)) for i in range(count)]
