"""Clips on the page: strips of frames in the place of pictures, which the browser shows one frame after the other."""

from __future__ import annotations

from typing import Any

from PIL import Image

from lisa.strips import frames_of, strip

# Gradio rewrites style.css and loses rules of this kind: without it the number would jump instead of run.
_NUMBER = '@property --frame { syntax: "<number>"; inherits: true; initial-value: 0; }'


def picture_of(result: Any) -> Image.Image:
    """What is shown of a generated image: itself, or of a clip the strip of its frames."""
    return strip(result.clip) if result.clip else result.image


def map_under(condition: Image.Image, frames: int) -> Image.Image:
    """A condition map as it lies under a picture of ``picture_of``: one map that holds for a whole clip is repeated."""
    return strip(frames_of(condition, frames)) if frames else condition


def player(frames: int, words: str = "") -> str:
    """What makes style.css play strips of that many frames, with a box that holds them still; empty for images.

    Args:
        frames: of the strips; 0 for images.
        words: what plays; all pictures if empty.
    """
    if not frames:
        return ""
    words = words or f"All {frames} frames play in step; full screen shows them side by side."
    return (
        f"<style>{_NUMBER} .gradio-container {{ --frames: {frames}; }}</style>"
        '<label class="player"><input type="checkbox"> Hold the clips still</label>'
        f"<span>{words}</span>"
    )
