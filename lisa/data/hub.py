"""Data sets of the Hugging Face hub as folders of images, by way of the optional package ``datasets``."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from lisa.annotators.images import FORMATS, load_rgb
from lisa.data.imagefolder import CAPTION_COLUMNS, HELD_OUT, METADATA
from lisa.errors import LisaError
from lisa.files import building

_ENDINGS = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "BMP": ".bmp"}
_SPLITS = {"valid": "validation", "val": "validation", "dev": "validation"}


def hub_folder(name: str, cache: Path, most: int) -> Path:
    """Fetch a data set, unless an earlier call did.

    Args:
        name: "owner/name" or "owner/name@revision".
        cache: folder that receives the folder.
        most: bytes of pictures at most.

    Returns:
        A folder in the imagefolder layout.

    Raises:
        LisaError: if ``datasets`` is missing, the data set cannot be loaded, has no column of images, or is too large.
    """
    readable = name.partition("@")[0].replace("/", "--")
    target = cache / f"{readable[:60]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    if not target.is_dir():
        splits = _load(name)
        with building(target) as folder:
            write_imagefolder(splits, folder, name, most)
    return target


def _load(name: str) -> Mapping[str, Any]:
    data_id, _, revision = name.partition("@")
    try:
        import datasets
    except ImportError as error:
        raise LisaError(
            f"There is no folder or file {name!r} here, and to load the hub data set of that name the package datasets "
            "is missing: pip install datasets."
        ) from error
    try:
        return datasets.load_dataset(data_id, revision=revision or None)
    except Exception as error:  # the hub, its client, the network and the data set's files have errors of their own
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
        raise LisaError(
            f"There is no folder or file {name!r} here, and the hub data set of that name cannot be loaded ({why}): "
            "check its name and the connection."
        ) from error


def write_imagefolder(splits: Mapping[str, Any], folder: Path, name: str, most: int) -> None:
    """Write a loaded data set as images beside a metadata.jsonl.

    The column "image", else the first column of images, holds the pictures; each other column of images becomes a
    condition under its own name. Rows without a picture are left out. Splits are kept where there is one to train on
    and one held out.

    Args:
        splits: the ``datasets.Dataset`` of each split.
        folder: receives the files.
        name: of the data set, for messages.
        most: bytes of pictures at most.

    Raises:
        LisaError: if there is no column of images, or the pictures are larger than ``most``.
    """
    size = 0
    with (folder / METADATA).open("w", encoding="utf-8") as metadata:
        for number, (facts, pictures) in enumerate(_all_rows(splits, name)):
            size += sum(map(len, pictures.values()))
            if size > most:
                raise LisaError(f"{name} holds more than {most / 1e9:g} GB of pictures: use a smaller data set.")
            files = {
                key: _write_picture(folder, f"{number:07d}-{i}", content)
                for i, (key, content) in enumerate(pictures.items())
            }
            metadata.write(json.dumps({**files, **facts}) + "\n")


def _all_rows(splits: Mapping[str, Any], name: str) -> Iterator[tuple[dict[str, str], dict[str, bytes]]]:
    """Text and split of each row, and its encoded pictures, by the names that they have in a metadata.jsonl."""
    named = {split: _SPLITS.get(split, split) for split in splits}
    keep = "train" in named.values() and any(split in named.values() for split in HELD_OUT)
    for split, rows in splits.items():
        for facts, pictures in _rows(rows, name):
            yield {**facts, "split": named[split]} if keep else facts, pictures


def _rows(rows: Any, name: str) -> Iterator[tuple[dict[str, str], dict[str, bytes]]]:
    import datasets

    columns = [column for column, feature in rows.features.items() if isinstance(feature, datasets.Image)]
    if not columns:
        raise LisaError(f"{name} has no column of images, but {', '.join(rows.features)[:80]}: use another data set.")
    first = "image" if "image" in columns else columns[0]
    keys = {first: "file_name", **{column: f"{column}_file_name" for column in columns if column != first}}
    caption = next((column for column in CAPTION_COLUMNS if column in rows.features), None)
    for column in columns:
        rows = rows.cast_column(column, datasets.Image(decode=False))
    for row in rows:
        pictures = {key: _content(row[column]) for column, key in keys.items() if row[column]}
        if "file_name" in pictures:
            yield {"text": _text(row[caption])} if caption else {}, pictures


def _content(encoded: Mapping[str, Any]) -> bytes:
    return encoded["bytes"] if encoded["bytes"] is not None else Path(encoded["path"]).read_bytes()


def _text(value: Any) -> str:
    """A caption; the first of several."""
    if isinstance(value, (list, tuple)):
        value = value[0] if value else ""
    return str(value or "")


def _write_picture(folder: Path, stem: str, content: bytes) -> str:
    """Write a picture as it is encoded, or as PNG where an imagefolder knows no such ending; return its name."""
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            ending = _ENDINGS.get(image.format)
            if ending is None:
                load_rgb(image).save(folder / f"{stem}.png")
                return f"{stem}.png"
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        ending = ".png"  # kept, so that the check of the data names it
    (folder / f"{stem}{ending}").write_bytes(content)
    return f"{stem}{ending}"
