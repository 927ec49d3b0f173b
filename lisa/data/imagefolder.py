"""Reading and writing data sets in Hugging Face's imagefolder layout: images beside a ``metadata.jsonl``."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from lisa.annotators.images import load_rgb
from lisa.errors import LisaError
from lisa.unzip import stays_inside

METADATA = "metadata.jsonl"
IMAGE_ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
CAPTION_COLUMNS = ("text", "caption", "prompt")
HELD_OUT = ("validation", "test")
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
        if not stays_inside(name):
            raise LisaError(f"{self.folder} names {name[:80]!r}, which lies outside: name files inside the folder.")
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

    Returns:
        The rows; where only one of "validation" and "test" is named, it serves as the other too.

    Raises:
        LisaError: if the folder or its metadata cannot be read.
    """
    return split_rows(read_rows(folder), split)


def read_rows(folder: Path) -> list[Row]:
    """List all rows of a folder in a fixed order.

    Args:
        folder: as for ``read_imagefolder``.

    Returns:
        The rows of all splits.

    Raises:
        LisaError: if the folder or its metadata cannot be read.
    """
    if not folder.is_dir():
        raise LisaError(f"The data folder {folder} does not exist: give a folder of images, or 'scenes'.")
    metadata = folder / METADATA
    return _described_rows(metadata) if metadata.exists() else _plain_rows(folder)


def split_rows(rows: list[Row], split: str) -> list[Row]:
    """Take the rows of one split; see ``read_imagefolder``."""
    held_out = split != "train"
    if any(row.split for row in rows):
        named = [row for row in rows if row.split == split]
        return named or [row for row in rows if held_out and row.split in HELD_OUT]
    return [row for i, row in enumerate(rows) if (i % _HELD_OUT_EVERY == _HELD_OUT_EVERY - 1) == held_out]


def _plain_rows(folder: Path) -> list[Row]:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_ENDINGS)
    return [Row(folder, str(path.relative_to(folder))) for path in files]


def _described_rows(metadata: Path) -> list[Row]:
    try:
        lines = metadata.read_text(encoding="utf-8").split("\n")  # a caption may hold other line breaks
    except (OSError, UnicodeError) as error:
        raise LisaError(f"{metadata} cannot be read as UTF-8 text: save it as such.") from error
    return [_parse_row(metadata, number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _parse_row(metadata: Path, number: int, line: str) -> Row:
    try:
        entry = json.loads(line)
        name = entry["file_name"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise LisaError(
            f"{metadata}, line {number}, is not a JSON object with a file_name: mend or remove it."
        ) from error
    caption = next((str(entry[c]) for c in CAPTION_COLUMNS if entry.get(c)), "")
    columns = {
        key.removesuffix("_file_name"): value for key, value in entry.items() if key != "file_name" and _is_image(value)
    }
    return Row(metadata.parent, str(name), caption, str(entry.get("split") or ""), columns)


def _is_image(value: object) -> bool:
    return isinstance(value, str) and Path(value).suffix.lower() in IMAGE_ENDINGS
