"""What every family must keep, checked on a pipeline with random weights that was saved and loaded again.

A module ``tiny_<family>.py`` beside this file describes one: NAME (in the registry), PIXELS (a square),
``build()`` (the stock pipeline without control) and ``open_control(side)`` (gives the zero-initialised layers values).
"""

from __future__ import annotations

import atexit
import functools
import importlib
import tempfile
from pathlib import Path
from types import ModuleType

import torch

from lisa.families.base import Family, load_family
from lisa.objective import Batch

KINDS = tuple(sorted(path.stem.removeprefix("tiny_") for path in Path(__file__).parent.glob("tiny_*.py")))
_folders = tempfile.TemporaryDirectory()
atexit.register(_folders.cleanup)


def kind(name: str) -> ModuleType:
    """The module that describes a tiny pipeline."""
    return importlib.import_module(f"tests.families.tiny_{name}")


@functools.cache
def folder(name: str) -> Path:
    """Its folder as save_pretrained writes it; tests must not change it."""
    path = Path(_folders.name) / name
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(sum(map(ord, name)))
        kind(name).build().save_pretrained(path, safe_serialization=True)
    return path


@functools.cache
def family(name: str) -> Family:
    """The family around it, which no test may change."""
    return loaded(name)


def loaded(name: str, **options) -> Family:
    """A fresh family around it."""
    return load_family(kind(name).NAME, str(folder(name)), **options)


def batch(made: Family, pixels: int, size: int = 2, seed: int = 0) -> Batch:
    """Random latents, condition, text, noise and times."""
    generator = torch.Generator().manual_seed(seed)
    shape = (size, *made.latent_shape(pixels, pixels))
    latents, noise = torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)
    frames = (made.frames,) if made.frames else ()
    condition = torch.rand((size, *frames, 3, pixels, pixels), generator=generator)
    text = made.encode_text([f"a red cube {i}" for i in range(size)])
    return Batch(latents, made.encode_condition(condition), text, noise, made.path.sample_t(size, generator))
