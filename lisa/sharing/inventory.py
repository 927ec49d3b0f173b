"""What networks are here: the main networks of the families, and the side networks of the runs; without torch."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from lisa.errors import LisaError
from lisa.families.base import FAMILIES, FamilySpec
from lisa.options import from_dict
from lisa.origin import IMPORTED, read_origin
from lisa.rundesk import run_folders
from lisa.runs import RunFolder
from lisa.settings import TrainSettings, parse_arms
from lisa.sharing.source import weight_files

_MAIN_PARTS = ("unet", "transformer")


@dataclass(frozen=True)
class MainView:
    """The main network of one family.

    Attributes:
        name: of the family.
        title: of the family, for people.
        source: its hub id or folder.
        place: "folder" or "hub cache"; empty where it is not here.
        bytes: on the disk, with text encoder, autoencoder and the like; 0 where it is not here.
        parameters: of the main network alone; 0 where its weights are not safetensors.
        reason: why it cannot be used here, in one sentence; empty when it can.
    """

    name: str
    title: str
    source: str
    place: str
    bytes: int
    parameters: int
    reason: str


@dataclass(frozen=True)
class SideView:
    """The side networks of one run.

    Attributes:
        id: of the run: its path, relative to the root.
        family: of the main network.
        condition: that they read.
        arms: their names.
        steps: training steps that were kept; 0 is an imported network, whose steps are not known.
        bytes: of the whole run on the disk.
        origin: "came with the lab", "trained here" or "imported".
    """

    id: str
    family: str
    condition: str
    arms: tuple[str, ...]
    steps: tuple[int, ...]
    bytes: int
    origin: str


def main_views() -> tuple[MainView, ...]:
    """List the main network of every family, those that are here first."""
    return tuple(sorted(map(_main_view, FAMILIES.values()), key=lambda view: bool(view.reason)))


def side_views(root: Path) -> tuple[SideView, ...]:
    """List the side networks of every run under a root, those that came with the lab first."""
    return tuple(_side_view(root, path) for path in run_folders(root))


def _side_view(root: Path, path: Path) -> SideView:
    run = RunFolder(path)
    settings = from_dict(TrainSettings, run.settings())
    steps = tuple(run.checkpoints())
    planned = tuple(arm.name for arm in parse_arms(settings.arms))
    arms = arms_in(run.checkpoint_dir(steps[-1])) if steps else planned
    shipped = not path.is_relative_to(root / "runs")
    origin = IMPORTED if read_origin(path) else "came with the lab" if shipped else "trained here"
    place = str(path.relative_to(root))
    return SideView(place, settings.family, settings.condition, arms, steps, _size(path), origin)


def _main_view(spec: FamilySpec) -> MainView:
    from lisa.families._sources import cached_folder

    reason, folder = spec.installed(), cached_folder(spec.source)
    if reason or folder is None:
        return MainView(spec.name, spec.title, spec.source, "", 0, 0, reason)
    # The folder of an embedded family also holds the runs that came with it, which are listed by themselves.
    parts = [path for path in folder.iterdir() if path.is_dir() and not (path / "settings.json").exists()]
    place = "folder" if os.path.isdir(spec.source) else "hub cache"
    count = sum(_parameters(part) for part in parts if part.name in _MAIN_PARTS)
    return MainView(spec.name, spec.title, spec.source, place, sum(map(_size, parts)), count, reason)


def _size(folder: Path) -> int:
    """Bytes of all files; one that goes meanwhile, as a run's temporary files do, counts nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue
    return total


def _parameters(part: Path) -> int:
    """Numbers in the weights, by the headers of the files."""
    from safetensors import SafetensorError, safe_open

    total = 0
    try:
        for name, path in weight_files(part, part.name).items():
            if name.endswith(".safetensors"):
                with safe_open(path, "np") as file:
                    total += sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118
    except (LisaError, SafetensorError, OSError):
        return 0
    return total


def arms_in(checkpoint: Path) -> tuple[str, ...]:
    """Names of the arms in a checkpoint's folder."""
    return tuple(sorted(path.name for path in checkpoint.iterdir() if path.is_dir()))
