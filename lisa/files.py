"""Files and folders that survive a kill: written whole or not at all, proved by a manifest."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lisa.errors import LisaError

MANIFEST = "manifest.json"
TEMP_PREFIX = ".tmp-"


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Write a file so that readers, even after a crash, see the old content or the new one.

    Args:
        path: The file; its folder must exist.

    Yields:
        A temporary path beside it to write to; it takes the file's name at the end, or is removed on any error.
    """
    path = Path(path)
    temporary = path.with_name(f"{TEMP_PREFIX}{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


@contextmanager
def building(folder: Path) -> Iterator[Path]:
    """Fill a folder so that it is seen whole or not at all, also by a second process that fills it at the same time.

    Args:
        folder: The folder; its parents are made if they do not exist.

    Yields:
        A temporary folder beside it to write to; it takes the folder's name at the end, or is removed on any error.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f"{TEMP_PREFIX}{folder.name[:80]}-{uuid.uuid4().hex[:8]}")
    temporary.mkdir()
    try:
        yield temporary
        try:
            os.rename(temporary, folder)
        except OSError:
            if not folder.is_dir():  # else another process was first, and its work is as good
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sync(folder.parent)


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write a file's whole content; see replacing().

    Args:
        path: The file; its folder must exist.
        data: Its whole content.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as indented JSON, atomically.

    Args:
        path: The file; its folder must exist.
        value: Dicts, lists, texts, finite numbers, booleans and None.

    Raises:
        LisaError: If the value holds something that JSON cannot, such as NaN.
    """
    try:
        text = json.dumps(value, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise LisaError(f"{Path(path).name} cannot be written as JSON: {error}.") from error
    write_atomically(path, (text + "\n").encode())


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Args:
        path: The file.

    Returns:
        Its content.

    Raises:
        LisaError: If it is missing or damaged.
    """
    try:
        return json.loads(Path(path).read_bytes())
    except OSError as error:
        raise LisaError(f"{path} cannot be read ({error.strerror}): check the folder's name.") from error
    except ValueError as error:
        raise LisaError(f"{path} is not valid JSON ({error}): restore it or start a new run.") from error


def sync(path: Path) -> None:
    """Flush a file, or the list of names in a folder, to the disk.

    Args:
        path: The file or folder.
    """
    folder = path.is_dir()
    if folder and os.name == "nt":  # Windows cannot open a folder to flush it.
        return
    # Windows flushes only what is open for writing; folders can only be opened for reading.
    handle = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def seal(folder: Path) -> None:
    """Flush every file and then write the manifest, so that a manifest proves its files.

    Args:
        folder: A folder whose files are final.
    """
    manifest = {}
    for path in sorted(folder.rglob("*")):
        sync(path)
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            manifest[name] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
    write_json(folder / MANIFEST, manifest)


def read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """Read the "bytes" and "sha256" of every file of a sealed folder.

    Args:
        folder: A folder that seal() went over.

    Returns:
        One entry for each file, by its path relative to the folder.
    """
    return read_json(folder / MANIFEST)


def is_complete(folder: Path) -> bool:
    """Tell whether a folder is sealed and every file has the size its manifest names.

    Args:
        folder: The folder; it need not exist.

    Returns:
        False also when the manifest is missing or damaged.
    """
    try:
        manifest = read_manifest(folder)
        return all((folder / name).stat().st_size == entry["bytes"] for name, entry in manifest.items())
    except (LisaError, OSError, KeyError, TypeError, AttributeError):
        return False


def sha256(path: Path) -> str:
    """Hash a file's content.

    Args:
        path: The file.

    Returns:
        The digest in hexadecimal.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
