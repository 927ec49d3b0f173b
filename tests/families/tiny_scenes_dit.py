"""The embedded transformer's shape with random weights: no T5."""

from __future__ import annotations

from tests.families import tiny_sd3
from tests.families.tiny_sd3 import open_control

__all__ = ["NAME", "PIXELS", "build", "open_control"]
NAME, PIXELS = "scenes-dit", 32


def build():
    """The stock pipeline."""
    return tiny_sd3.build(t5=False)
