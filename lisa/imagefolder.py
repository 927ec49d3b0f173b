"""Reading and writing data sets in Hugging Face's imagefolder layout: images beside a ``metadata.jsonl``."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from lisa.annotators.images import load_rgb
from lisa.errors import LisaError

_IMAGE_ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
_CAPTION_COLUMNS = ("text", "caption", "prompt")
_HELD_OUT_EVERY = 10


@dataclass(frozen=True)
class Row:
    """One image of a folder: its name, caption, and the files of its condition columns."""

    folder: Path
    name: str
    caption: str = ""
    split: str = ""
    columns: dict[str, str] = field(default_factory=dict)

    def load_image(self) -> Image.Image:
        """Read the picture as RGB; a LisaError names the row."""
        return self._load(self.name)

    def load_condition(self, condition: str) -> Image.Image | None:
        """Read the condition column of that name, or None if the row has none."""
        return self._load(self.columns[condition]) if condition in self.columns else None

    def _load(self, name: str) -> Image.Image:
        try:
            return load_rgb(self.folder / name)
        except LisaError as error:
            raise LisaError(f"{self.folder / name}: {error}") from error


def read_imagefolder(folder: Path, split: str) -> list[Row]:
    """List the rows of one split in a fixed order.

    Args:
        folder: holds images, or images and a metadata.jsonl with ``file_name``, ``text`` and, for each condition,
            a column ``<condition>`` or ``<condition>_file_name`` with a file.
        split: rows with a ``split`` column are taken by it; otherwise every tenth row is held out, for
            "validation" and "test" alike.

    Raises:
        LisaError: if the folder or its metadata cannot be read.
    """
    if not folder.is_dir():
        raise LisaError(f"The data folder {folder} does not exist: give a folder of images, or 'scenes'.")
    metadata = folder / "metadata.jsonl"
    rows = _described_rows(metadata) if metadata.exists() else _plain_rows(folder)
    if any(row.split for row in rows):
        return [row for row in rows if row.split == split]
    held_out = split != "train"
    return [row for i, row in enumerate(rows) if (i % _HELD_OUT_EVERY == _HELD_OUT_EVERY - 1) == held_out]


def _plain_rows(folder: Path) -> list[Row]:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _IMAGE_ENDINGS)
    return [Row(folder, str(path.relative_to(folder))) for path in files]


def _described_rows(metadata: Path) -> list[Row]:
    rows = []
    for number, line in enumerate(metadata.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            rows.append(_parse_row(metadata, number, line))
    return rows


def _parse_row(metadata: Path, number: int, line: str) -> Row:
    try:
        entry = json.loads(line)
        name = entry["file_name"]
    except (ValueError, KeyError, TypeError) as error:
        raise LisaError(
            f"{metadata}, line {number}, is not a JSON object with a file_name: mend or remove it."
        ) from error
    caption = next((str(entry[c]) for c in _CAPTION_COLUMNS if entry.get(c)), "")
    columns = {
        key.removesuffix("_file_name"): value for key, value in entry.items() if key != "file_name" and _is_image(value)
    }
    return Row(metadata.parent, str(name), caption, str(entry.get("split", "")), columns)


def _is_image(value: object) -> bool:
    return isinstance(value, str) and Path(value).suffix.lower() in _IMAGE_ENDINGS
