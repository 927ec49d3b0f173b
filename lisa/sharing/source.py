"""Where an imported side network comes from: a folder, a zip of one, or a hub repository; no pickle is ever read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from lisa.errors import LisaError
from lisa.files import read_json
from lisa.origin import Origin
from lisa.sharing.hub import HUB_ID, fetch_snapshot
from lisa.unzip import unzip

CONFIG = "config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
_PATTERNS = [CONFIG, WEIGHTS, INDEX, "diffusion_pytorch_model-*-of-*.safetensors"]
_PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"}
_MAX_BYTES = 20_000_000_000
_MAX_ENTRIES = 1000


def fetch_side(source: str, revision: str, target: Path, scratch: Path) -> Origin:
    """Copy config and weights of a side network, as they are; what exists here comes before the hub.

    Args:
        source: folder written by save_pretrained, a .zip of one, or a hub id "owner/name" or "owner/name@revision".
        revision: of a hub repository; empty takes what the source names, else the main branch.
        target: receives ``config.json`` and the weights under diffusers' names; it must not exist.
        scratch: folder to unpack into.

    Returns:
        Where it came from.

    Raises:
        LisaError: if there is no such source, it is unsafe, or it holds no config or no safetensors weights.
    """
    path = Path(os.path.expanduser(source))
    hub_id, _, named = source.partition("@")
    local = bool(source) and os.path.exists(path)
    if local and revision:
        raise LisaError(f"Revision {revision[:80]!r} is for hub repositories, but {path.name} is a file: drop it.")
    if local and path.is_dir():
        _copy(path, target, path.name, (each.name for each in path.glob("*")))
        return Origin("folder", path.resolve().name)
    if local:
        folder, names = _unpack(path, scratch / "unpacked")
        _copy(folder, target, path.name, names)
        return Origin("zip", path.name)
    if not HUB_ID.fullmatch(hub_id):
        raise LisaError(
            f"There is no {source[:80]!r} here: give a folder written by save_pretrained, a .zip of one, or a hub id "
            "such as owner/name."
        )
    folder, commit = fetch_snapshot(hub_id, revision or named, _PATTERNS)
    _copy(folder, target, hub_id, ())
    return Origin("hub", hub_id, commit)


def weight_files(folder: Path, name: str, names: Iterable[str] = ()) -> dict[str, Path]:
    """Find the weights of a network's folder.

    Args:
        folder: in diffusers' layout.
        name: of the folder, for messages.
        names: of the files it had before it was copied here, among which a pickle is worth a word.

    Returns:
        The files by the names that diffusers gives them: one file, or the index and its shards.

    Raises:
        LisaError: if there are no safetensors weights, or it is not clear which.
    """
    if (folder / WEIGHTS).is_file():
        return {WEIGHTS: folder / WEIGHTS}
    if (folder / INDEX).is_file():
        return {INDEX: folder / INDEX, **_shards(folder, name)}
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        pickle = next((each for each in names if PurePosixPath(each).suffix.lower() in _PICKLES), "")
        seen = f", only {PurePosixPath(pickle).name}" if pickle else ""
        raise LisaError(
            f"{name} holds no .safetensors weights{seen}: a pickle can run code and is never read, so save it again "
            "with safe_serialization=True."
        )
    if len(found) > 1:
        raise LisaError(f"{name} holds {len(found)} .safetensors files, but none is {WEIGHTS}: give only the one.")
    return {WEIGHTS: found[0]}


def _shards(folder: Path, name: str) -> dict[str, Path]:
    index = read_json(folder / INDEX)
    named = index.get("weight_map") if isinstance(index, dict) else None
    shards = sorted(set(named.values())) if isinstance(named, dict) else []
    for shard in shards:
        if not isinstance(shard, str) or PurePosixPath(shard).name != shard or not shard.endswith(".safetensors"):
            raise LisaError(f"{name} has the shard {str(shard)[:80]!r} in its index, which is no safetensors file.")
        if not (folder / shard).is_file():
            raise LisaError(f"{name} lacks {shard[:80]}, which its index names: give the whole folder.")
    if not shards:
        raise LisaError(f"{name} has a damaged {INDEX}: save the network again.")
    return {shard: folder / shard for shard in shards}


def _copy(folder: Path, target: Path, name: str, names: Iterable[str]) -> None:
    try:
        if not (folder / CONFIG).is_file():
            raise LisaError(f"{name} has no {CONFIG}: give what save_pretrained wrote, with weights as safetensors.")
        files = weight_files(folder, name, names)
        target.mkdir(parents=True)
        for place, source in {CONFIG: folder / CONFIG, **files}.items():
            shutil.copyfile(source, target / place)
    except OSError as error:
        raise LisaError(f"{name} cannot be copied ({error.strerror}): check its rights and the free space.") from error


def _unpack(path: Path, target: Path) -> tuple[Path, list[str]]:
    """The one folder with a config.json in a zip, and the names of all files of the zip."""
    if path.suffix.lower() != ".zip":
        raise LisaError(f"{path.name[:80]} is neither a folder nor a .zip file: give one of these.")
    names: list[str] = []

    def keep(name: str) -> bool:
        names.append(name)
        return PurePosixPath(name).suffix.lower() in (".json", ".safetensors") and "__MACOSX" not in name

    unzip(path, target, keep, _MAX_BYTES, _MAX_ENTRIES)
    folders = sorted(config.parent for config in target.rglob(CONFIG))
    if len(folders) > 1:
        raise LisaError(f"{path.name[:80]} holds {len(folders)} networks: zip the folder of one side network.")
    return folders[0] if folders else target, names
