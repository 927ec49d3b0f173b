"""Where training data come from: a folder, a zip of images, or a data set on the hub; each becomes a folder.

Unpacked zips and downloaded data sets lie in the cache folder, complete or not at all, so the second run finds them.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from lisa.data.hub import hub_folder
from lisa.data.imagefolder import IMAGE_ENDINGS, METADATA
from lisa.errors import LisaError
from lisa.files import building, sha256
from lisa.scenes.pool import cache_folder
from lisa.unzip import unzip

MAX_BYTES = 20_000_000_000
MAX_ENTRIES = 1_000_000
_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*(@\w[\w./-]*)?")


def resolve_data(data: str) -> Path:
    """Find the folder of images behind what the settings call data; what exists here comes before the hub.

    Args:
        data: a folder, a .zip file with images and perhaps a metadata.jsonl, or a hub data set "owner/name" or
            "owner/name@revision". A hub data set is fetched once; without a revision it stays as it was then.

    Returns:
        A folder in the imagefolder layout: the given one, or one in the cache.

    Raises:
        LisaError: if there is no such data, or they cannot be unpacked or fetched.
    """
    path = Path(os.path.expanduser(data))
    if os.path.isdir(path):
        return path
    if os.path.exists(path):
        return unpack_zip(path)
    if _HUB_ID.fullmatch(data):
        return hub_folder(data, data_folder(), MAX_BYTES)
    raise LisaError(
        f"The data set {data[:80]!r} does not exist here: give 'scenes', a folder of images, a .zip file of images, or "
        "a hub data set such as owner/name."
    )


def data_folder() -> Path:
    """Where unpacked and downloaded data sets are kept."""
    return cache_folder() / "data"


def unpack_zip(path: Path) -> Path:
    """Unpack the images and the metadata.jsonl of a zip into the cache; nothing else in it is written or run.

    Args:
        path: the zip; one folder at its top around everything is left out.

    Returns:
        The folder in the cache, named by the sha256 of the zip.

    Raises:
        LisaError: if it is no zip or damaged, has no image, is larger than 20 GB unpacked or 1,000,000 entries, or
            has an encrypted entry, a link, or a name that leads out of its folder.
    """
    if path.suffix.lower() != ".zip" or not path.is_file():
        raise LisaError(f"{path} is neither a folder nor a .zip file: give one of these.")
    target = data_folder() / sha256(path)
    if not target.is_dir():
        with building(target) as folder:
            unzip(path, folder, _is_wanted, MAX_BYTES, MAX_ENTRIES)
            if not any(file.suffix.lower() in IMAGE_ENDINGS for file in folder.rglob("*")):
                raise LisaError(f"{path.name[:80]} holds no image: zip a folder of PNG, JPEG, WebP or BMP pictures.")
            _lift(folder)
    return target


def _is_wanted(name: str) -> bool:
    """Whether it is an image or the metadata, and not what macOS and editors leave beside them."""
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return not hidden and (path.suffix.lower() in IMAGE_ENDINGS or path.name == METADATA)


def _lift(folder: Path) -> None:
    """Leave out the folders around everything: one that holds nothing but another folder takes that one's place."""
    while len(inner := list(folder.iterdir())) == 1 and inner[0].is_dir():
        aside = inner[0].rename(folder.with_name(f"{folder.name}.inner"))
        folder.rmdir()
        aside.rename(folder)
