"""The desk from which runs are started, followed and steered; part of the facade, without torch."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from lisa import follow, measuring
from lisa.errors import LisaError
from lisa.measuring import Evaluation
from lisa.options import check, from_dict
from lisa.origin import IMPORTED, read_origin
from lisa.runs import RunFolder
from lisa.settings import TrainSettings, parse_arms

if TYPE_CHECKING:
    from lisa.data.check import DataReport
    from lisa.plan import Plan

_RUN_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True)
class RunView:
    """One run; ``own`` is False for those that came with the lab, which are only read."""

    id: str
    title: str
    own: bool


@dataclass(frozen=True)
class Watch:
    """A run as it stands: see ``lisa.follow`` for progress, curves and, per arm, when it matched the first arm."""

    settings: TrainSettings
    progress: follow.Progress
    curves: follow.Curves
    match: dict[str, follow.Match | None]


def run_folders(root: Path) -> list[Path]:
    """Folders of all runs: those that came with the lab, default family and condition first, then the user's own."""
    shipped, usual = [path.parent for path in (root / "checkpoints").glob("*/*/settings.json")], TrainSettings()
    shipped.sort(key=lambda path: (path.parent.name != usual.family, path.name != usual.condition, path))
    return shipped + sorted(path.parent for path in (root / "runs").glob("*/settings.json"))


def own_folder(root: Path, name: str) -> Path:
    """The folder of the user's own run of that name, whether or not there is one; a LisaError if it cannot be."""
    if not _RUN_NAME.fullmatch(name):
        raise LisaError(f"The name {name[:80]!r} must be 1 to 64 of a-z, 0-9, . _ and - (a letter or digit first).")
    return root / "runs" / name


@dataclass(frozen=True)
class RunDesk:
    """All runs under one root.

    Attributes:
        root: folder that holds ``checkpoints/`` and ``runs/``.
    """

    root: Path

    def runs(self) -> tuple[RunView, ...]:
        """List all runs, the youngest first, those that came with the lab last."""
        paths = run_folders(self.root)
        local = [path for path in paths if path.is_relative_to(self.root / "runs")]
        local.sort(key=lambda path: (path / "settings.json").stat().st_mtime, reverse=True)
        return tuple(self._view(path) for path in [*local, *(path for path in paths if path not in local)])

    def active(self) -> str:
        """The id of a run that a process trains now, the youngest of several; empty if there is none."""
        return next((view.id for view in self.runs() if view.own and RunFolder(self.root / view.id).is_running()), "")

    def _view(self, path: Path) -> RunView:
        settings = RunFolder(path).settings()
        arms = IMPORTED if read_origin(path) else ", ".join(arm.name for arm in parse_arms(settings["arms"]))
        own = path.is_relative_to(self.root / "runs")
        name = path.name if own else f"{path.parent.name}/{path.name}"  # every family may come with a run for canny
        return RunView(str(path.relative_to(self.root)), f"{name}: {settings['condition']}, {arms}", own)

    def start(self, settings: TrainSettings, name: str) -> str:
        """Start training in a process of its own; it outlives the lab.

        A run of that name that failed before its first step gives way.

        Args:
            settings: what to train.
            name: name of the new run.

        Returns:
            The run's id.

        Raises:
            LisaError: if a setting or the name is wrong, or there is a run of that name; see ``lisa.ready``.
        """
        from lisa.ready import check_ready

        settings = check(settings)
        folder = own_folder(self.root, name)
        check_ready(settings)
        if folder.exists() and not (RunFolder(folder).exists() and follow.progress(RunFolder(folder)).fruitless):
            raise LisaError(f"There is a run {name} already: resume it, or choose another name.")
        if folder.exists():  # it came to nothing, most often for a slip in its settings
            follow.delete(RunFolder(folder))
        follow.start(settings, folder, self.root)
        return str(folder.relative_to(self.root))

    def command(self, settings: TrainSettings, name: str) -> str:
        """The exact command that start() would run."""
        return shlex.join(["python", *follow.command(check(settings), Path("runs") / name)])

    def free_name(self, stem: str) -> str:
        """A name that no run has yet: stem-1, stem-2, ..."""
        number = 1
        while (self.root / "runs" / f"{stem}-{number}").exists():
            number += 1
        return f"{stem}-{number}"

    def conditions(self) -> tuple[str, ...]:
        """List the conditions that can be learnt here; see ``lisa.data.check``."""
        from lisa.data.check import trainable_conditions

        return trainable_conditions()

    def add_data(self, path: str | Path) -> str:
        """Unpack a .zip of images into the cache.

        Args:
            path: the zip.

        Returns:
            The folder, for the setting ``data``.

        Raises:
            LisaError: if it is damaged, too large, unsafe or without an image; see ``lisa.data.source``.
        """
        from lisa.data.source import unpack_zip

        return str(unpack_zip(Path(path)))

    def count_data(self, data: str, condition: str) -> DataReport:
        """Count the rows of training data, without opening a picture; see ``lisa.data.check``."""
        from lisa.data.check import check_data

        return check_data(data, condition, samples=0, resolution=0, look=0)

    def plan(self, settings: TrainSettings) -> Iterator[Plan]:
        """Find out what a run would be: its data, time and memory, in a process of its own; see ``lisa.plan``.

        Args:
            settings: what would be trained.

        Yields:
            What is known so far; the last plan is the whole one.

        Raises:
            LisaError: if a setting is wrong.
        """
        from lisa.plan import make_plan

        yield from make_plan(check(settings), self.root)

    def resume(self, run: str) -> None:
        """Go on with a run from its last checkpoint."""
        folder = self._own(run)
        if origin := read_origin(folder.path):
            raise LisaError(f"{origin.words} It brought no optimizer state: start a new run instead.")
        follow.start(from_dict(TrainSettings, folder.settings()), folder.path, self.root)

    def ask(self, run: str, what: str) -> None:
        """Ask a run to stop, save or sample after its present step.

        Raises:
            LisaError: if nothing works on it.
        """
        folder = self._own(run)
        if not follow.progress(folder).alive:
            raise LisaError(f"{folder.path.name} is not running: start or resume it first.")
        folder.ask(what)

    def delete(self, run: str) -> None:
        """Remove a run with all its checkpoints."""
        follow.delete(self._own(run))

    def watch(self, run: str) -> Watch:
        """What a run's folder says now: settings, progress, curves."""
        folder = self._any(run)
        settings = from_dict(TrainSettings, folder.settings())
        arms = [arm.name for arm in parse_arms(settings.arms)]
        match = {arm: follow.steps_to_match(folder, arms[0], arm) for arm in arms[1:]}
        return Watch(settings, follow.progress(folder), follow.curves(folder), match)

    def measure(self, run: str, count: int, sampling_steps: int) -> None:
        """Measure a run on held-out scenes in a process of its own; see ``lisa.evaluate``.

        Raises:
            LisaError: if it came with the lab, has no checkpoint, or is being measured already.
        """
        folder = self._own(run)
        if count < 2 or sampling_steps < 1:
            raise LisaError(f"{count} scenes and {sampling_steps} sampling steps: use at least 2 and 1.")
        if not folder.checkpoints():
            raise LisaError(f"{folder.path.name} has no checkpoint yet: wait for the first.")
        measuring.start(folder, count, sampling_steps, self.root)

    def stop_measuring(self, run: str) -> None:
        """End a measurement; the rows of the training steps that are done stay."""
        measuring.stop(self._own(run))

    def evaluation(self, run: str) -> Evaluation:
        """What has been measured of a run so far."""
        return measuring.evaluation(self._any(run))

    def has(self, run: str) -> bool:
        """Whether there is a run of that id."""
        return any(str(path.relative_to(self.root)) == run for path in run_folders(self.root))

    def sample_steps(self, run: str) -> tuple[int, ...]:
        """The training steps that have preview images, first to last."""
        return follow.sample_steps(self._any(run))

    def samples(self, run: str, step: int) -> tuple[dict[str, Image.Image], ...]:
        """Preview images of one training step: for each held-out sample the condition and every arm's image."""
        folder = self._any(run).samples / f"step-{step:06d}"
        rows: dict[str, dict[str, Image.Image]] = {}
        for path in sorted(folder.glob("*-*.png")):
            number, _, arm = path.stem.partition("-")
            rows.setdefault(number, {})[arm] = Image.open(path).convert("RGB")
        return tuple(rows.values())

    def _any(self, run: str) -> RunFolder:
        known = {str(path.relative_to(self.root)): path for path in run_folders(self.root)}
        if not isinstance(run, str) or run not in known:  # programs ask for anything
            raise LisaError(f"There is no run {str(run)[:80]!r}: choose one from the list.")
        return RunFolder(known[run])

    def _own(self, run: str) -> RunFolder:
        folder = self._any(run)
        if not folder.path.is_relative_to(self.root / "runs"):
            raise LisaError(f"{run} came with the lab and stays as it is: clone its settings to train it again.")
        return folder
