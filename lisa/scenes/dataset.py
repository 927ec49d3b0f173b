"""Scenes as a data set on disk that Hugging Face ``datasets`` loads as it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from lisa.errors import LisaError
from lisa.files import write_atomically
from lisa.scenes.example import SceneExample, render_example
from lisa.scenes.motion import Clip, render_clip
from lisa.scenes.scene import split_seed


def write_dataset(
    folder: Path,
    split: str,
    count: int,
    start: int = 0,
    size: int = 128,
    people: bool | None = None,
    progress: Callable[[int, int], None] | None = None,
    frames: int = 0,
) -> None:
    """Write an imagefolder: ``images/``, ``conditions/<name>/`` and ``metadata.jsonl``.

    Each row has ``file_name``, ``text``, one ``<condition>_file_name`` per exact map, and the scene's factors. Pictures
    of moving scenes are strips of their frames from left to right, which training reads back as clips.

    Args:
        folder: receives the data set; must hold no other metadata.jsonl.
        split: "train", "validation" or "test".
        count: scenes to write.
        start: number of the first scene in its split.
        size: width and height in pixels, 32 to 1024.
        people: True for scenes with at least one mannequin, None for the world's own mix.
        progress: called with (scenes written, scenes in all).
        frames: of moving scenes, 2 to 32; 0 for still ones.

    Raises:
        LisaError: if the folder already holds a data set.
    """
    if (folder / "metadata.jsonl").exists():
        raise LisaError(f"{folder} already holds a data set: choose another folder or remove its metadata.jsonl.")
    rows = []
    for i in range(count):
        seed = split_seed(split, start + i)
        example = (
            render_clip(seed, frames, size, people=people) if frames else render_example(seed, size, people=people)
        )
        rows.append(_write_example(folder, example))
        if progress:
            progress(i + 1, count)
    # Last, so that an interrupted folder is not taken for a complete data set.
    write_atomically(folder / "metadata.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())


def _write_example(folder: Path, example: SceneExample | Clip) -> dict[str, object]:
    name = f"{example.factors['seed']:010d}.png"
    row: dict[str, object] = {"file_name": f"images/{name}", "text": example.caption}
    _write_png(folder / "images" / name, example.images if isinstance(example, Clip) else example.image)
    for condition, picture in example.conditions.items():
        _write_png(folder / "conditions" / condition / name, picture)
        row[f"{condition}_file_name"] = f"conditions/{condition}/{name}"
    return {**row, **example.factors}


def _write_png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    strip = np.concatenate(list(pixels), 1) if pixels.ndim == 4 else pixels
    Image.fromarray(strip).save(path)
