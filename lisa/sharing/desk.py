"""The desk at which networks are listed, imported and shared; part of the facade, without torch."""

from __future__ import annotations

import os
import re
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from lisa.errors import LisaError, unknown_name
from lisa.families.base import FAMILIES, FamilySpec
from lisa.files import building, read_json, replacing, sync, write_atomically, write_json
from lisa.options import check, to_dict
from lisa.origin import IMPORTED
from lisa.rundesk import own_folder, run_folders
from lisa.runs import RunFolder
from lisa.settings import TrainSettings
from lisa.sharing.card import model_card
from lisa.sharing.hub import check_push, push_folder, why_no_push
from lisa.sharing.inventory import MainView, SideView, arms_in, main_views, side_views
from lisa.sharing.source import CONFIG, WEIGHTS, fetch_side, weight_files

_CONDITION = re.compile(r"[a-z][a-z0-9_-]{0,39}")


@dataclass(frozen=True)
class ModelDesk:
    """All networks under one root and in the hub's cache.

    Attributes:
        root: folder that holds ``checkpoints/`` and ``runs/``.
    """

    root: Path

    def installed(self) -> tuple[MainView, ...]:
        """List the main network of every family, those that are here first."""
        return main_views()

    def sides(self) -> tuple[SideView, ...]:
        """List the side networks of every run, those that came with the lab first."""
        return side_views(self.root)

    def import_side(
        self, source: str, family: str, condition: str, name: str, revision: str = "", main: str = ""
    ) -> str:
        """Make a run of a side network from elsewhere, so that it is listed wherever runs are.

        Args:
            source: folder in diffusers' layout, a .zip of one, or a hub id; see ``lisa.sharing.source``.
            family: whose main network it must fit.
            condition: that it reads, such as "canny".
            name: of the new run.
            revision: of a hub repository.
            main: hub id or folder of the main network; empty takes the family's own.

        Returns:
            The run's id.

        Raises:
            LisaError: if a name is wrong or taken, the source cannot be had or read, or the network does not fit.
        """
        target, spec = own_folder(self.root, name), FAMILIES.get(family)
        if target.exists():
            raise LisaError(f"There is a run {name} already: choose another name.")
        if not _CONDITION.fullmatch(condition):
            raise LisaError(f"The condition {condition[:80]!r} must be 1 to 40 of a-z, 0-9, _ and -, such as canny.")
        # An arm has a weight, and that of this one is not known: 0 leaves Features at the middle tap.
        settings = check(TrainSettings(family, condition, f"{IMPORTED}:weight=0", steps=1, source=main))
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".tmp-import-", dir=target.parent) as scratch:
            side, run = Path(scratch) / "side", Path(scratch) / "run"
            origin = fetch_side(source.strip(), revision, side, Path(scratch))
            _check_side(spec, settings, side, origin.source)
            origin.write(_make_run(run, settings, side))
            _claim(run, target)
        return str(target.relative_to(self.root))

    def card(self, run: str, step: int, arm: str) -> str:
        """The model card that package() and push() put beside the weights, as Markdown; errors as there."""
        folder, _ = self._side_folder(run, step, arm)
        return model_card(folder, step, arm)

    def package(self, run: str, step: int, arm: str, out: Path | None = None) -> Path:
        """Pack one side network for others: config, float16 weights and a model card, without decoder or optimizer.

        Args:
            run: id of the run.
            step: training step of the checkpoint.
            arm: name of the arm.
            out: .zip or folder to make; it must not exist. None makes a zip in the cache, anew each time.

        Returns:
            The zip or folder.

        Raises:
            LisaError: if there is no such side network, it is damaged, or ``out`` exists.
        """
        from lisa.scenes.pool import cache_folder

        if out is not None and out.exists():
            raise LisaError(f"{out} already exists: choose another name.")
        self._side_folder(run, step, arm)  # before any of the names becomes part of a path
        stem = f"{Path(run).name}-step-{step:06d}-{arm}"
        path = out or cache_folder() / "packages" / f"{stem}.zip"
        if path.suffix.lower() != ".zip":
            with building(path) as folder:
                self._write_package(run, step, arm, folder)
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            self._write_package(run, step, arm, Path(scratch))
            with replacing(path) as temporary:
                _zip(Path(scratch), temporary, stem)
        return path

    def push(self, run: str, step: int, arm: str, repository: str, private: bool = True) -> str:
        """Upload what package() packs to the Hugging Face hub, with the token in HF_TOKEN.

        Args:
            run: id of the run.
            step: training step of the checkpoint.
            arm: name of the arm.
            repository: "owner/name"; made if it does not exist.
            private: whether only its owner may see it.

        Returns:
            The repository's address.

        Raises:
            LisaError: if there is no token or no such side network, or the hub refuses.
        """
        check_push(repository)
        with tempfile.TemporaryDirectory() as scratch:
            self._write_package(run, step, arm, Path(scratch), repository)
            return push_folder(Path(scratch), repository, private)

    def why_no_push(self) -> str:
        """Say in one sentence why nothing can be pushed from here; empty when it can."""
        return why_no_push()

    def _write_package(self, run: str, step: int, arm: str, folder: Path, place: str = "path/to/this/folder") -> None:
        from lisa.export import join_weights

        own, side = self._side_folder(run, step, arm)
        own.verify_checkpoint(step)
        files = weight_files(side, arm)
        shards = [path for name, path in files.items() if name.endswith(".safetensors")]
        join_weights(shards, folder / WEIGHTS)
        config = read_json(side / CONFIG)
        config.pop("_name_or_path", None)  # may be a path of this computer
        write_json(folder / CONFIG, config)
        write_atomically(folder / "README.md", model_card(own, step, arm, place).encode())

    def _side_folder(self, run: str, step: int, arm: str) -> tuple[RunFolder, Path]:
        known = {str(path.relative_to(self.root)): path for path in run_folders(self.root)}
        if run not in known:
            raise LisaError(f"There is no run {run[:80]!r}: choose one from the list.")
        folder = RunFolder(known[run])
        if step not in folder.checkpoints():
            kept = ", ".join(map(str, folder.checkpoints())) or "none"
            raise LisaError(f"{run} has no checkpoint at step {step}; kept steps: {kept}.")
        arms = arms_in(folder.checkpoint_dir(step))
        if arm not in arms:
            raise unknown_name("arm", arm, arms)
        return folder, folder.checkpoint_dir(step) / arm


def _check_side(spec: FamilySpec, settings: TrainSettings, side: Path, name: str) -> None:
    from lisa.quiet import quiet_libraries

    quiet_libraries()
    source = settings.source or spec.source
    try:
        if spec.check_side is not None:
            spec.check_side(spec, source, settings.revision, side)
        else:
            spec.load(spec, source, settings.revision, "cpu", None).load_side(side)
    except LisaError as error:
        raise LisaError(str(error).replace(str(side), name)) from error  # it lies in a folder that nobody knows


def _make_run(path: Path, settings: TrainSettings, side: Path) -> Path:
    run = RunFolder.create(path, to_dict(settings))
    with run.commit_checkpoint(0) as checkpoint:
        os.rename(side, checkpoint / IMPORTED)
    return path


def _claim(run: Path, target: Path) -> None:
    """Give a finished run its name, unless another process took it meanwhile."""
    try:
        os.rename(run, target)
    except OSError as error:
        if not target.exists():
            raise
        raise LisaError(f"There is a run {target.name} already: choose another name.") from error
    sync(target.parent)


def _zip(folder: Path, path: Path, stem: str) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:  # weights do not shrink
        for file in sorted(folder.iterdir()):
            archive.write(file, f"{stem}/{file.name}")
