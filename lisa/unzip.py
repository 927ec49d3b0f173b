"""Unpacking a .zip that somebody else packed: plain files inside one folder, within limits, or a sentence."""

from __future__ import annotations

import lzma
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath

from lisa.errors import LisaError

_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError, ValueError, OSError)
_BLOCK = 1 << 20


def unzip(path: Path, target: Path, keep: Callable[[str], bool], limit_bytes: int, limit_entries: int) -> None:
    """Unpack some of the files of a zip; every entry is checked before the first file is written.

    Args:
        path: the zip.
        target: folder that receives the files under the names they have in the zip; made if it does not exist, and
            left half filled when an error comes late, so give one that is thrown away then.
        keep: called with the name of each file in the zip, with forward slashes; True unpacks it.
        limit_bytes: bytes that the kept files may have together when unpacked.
        limit_entries: entries that the zip may have, kept or not.

    Raises:
        LisaError: if it is no zip or is damaged, goes over a limit or the free space, or has an entry, kept or not,
            that is encrypted, is a link or device, or has a name that leads out of its folder.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            target.mkdir(parents=True, exist_ok=True)
            _extract(archive, _chosen(archive, path.name, keep, limit_bytes, limit_entries, target), target)
    except LisaError:
        raise
    except _DAMAGED as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise LisaError(f"{path.name[:80]} cannot be unpacked ({why}): make the zip again.") from error


def stays_inside(name: str) -> bool:
    """Tell whether a file name, read as on any system, is relative and never leaves its folder."""
    path = PureWindowsPath(name)
    return bool(name) and not (path.drive or path.root or PurePosixPath(name).root or ".." in path.parts)


def _chosen(
    archive: zipfile.ZipFile,
    name: str,
    keep: Callable[[str], bool],
    limit_bytes: int,
    limit_entries: int,
    target: Path,
) -> list[zipfile.ZipInfo]:
    entries = archive.infolist()
    if len(entries) > limit_entries:
        raise LisaError(f"{name[:80]} has {len(entries):,} entries, but the limit is {limit_entries:,}: split it.")
    for entry in entries:
        _check_entry(entry, name)
    chosen = [entry for entry in entries if not entry.is_dir() and keep(_plain_name(entry))]
    _check_size(sum(entry.file_size for entry in chosen), name, limit_bytes, target)
    return chosen


def _check_entry(entry: zipfile.ZipInfo, name: str) -> None:
    kind = stat.S_IFMT(entry.external_attr >> 16)  # the upper half is the Unix mode, 0 where the packer knew none
    if not stays_inside(entry.filename):
        fault = "leads out of its folder"
    elif entry.flag_bits & 1:
        fault = "is encrypted"
    elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        fault = "is a link or device"
    else:
        return
    raise LisaError(f"{name[:80]} holds {entry.filename[:80]!r}, which {fault}: zip plain files without a password.")


def _check_size(size: int, name: str, limit: int, target: Path) -> None:
    """Trust the sizes in the zip's directory: zipfile never reads more of an entry than that."""
    free = shutil.disk_usage(target).free
    if size > limit:
        raise LisaError(f"{name[:80]} unpacks to {size / 1e9:.1f} GB, but the limit is {limit / 1e9:.1f} GB: split it.")
    if size > free:
        raise LisaError(f"{name[:80]} unpacks to {size / 1e9:.1f} GB, but only {free / 1e9:.1f} GB are free.")


def _plain_name(entry: zipfile.ZipInfo) -> str:
    return entry.filename.replace("\\", "/")  # some Windows tools write it so


def _extract(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], target: Path) -> None:
    for entry in entries:
        path = target.joinpath(*PurePosixPath(_plain_name(entry)).parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(entry) as source, path.open("xb") as file:  # a name that comes twice is damage
            shutil.copyfileobj(source, file, _BLOCK)
