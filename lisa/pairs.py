"""Pairs: runs with finished checkpoints, whose arms can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lisa.arms import SIDE_NAME, in_order
from lisa.errors import LisaError
from lisa.origin import IMPORTED, read_origin
from lisa.rundesk import run_folders
from lisa.runs import RunFolder
from lisa.settings import FeatureSettings, GenerateSettings, TrainSettings


@dataclass(frozen=True)
class PairView:
    """One run with finished checkpoints: its arms side by side, at every training step that was kept."""

    id: str
    title: str
    family: str
    condition: str
    arms: tuple[str, ...]
    steps: tuple[int, ...]

    def step_named(self, name: str) -> int:
        """The training step of a checkpoint's name such as step-000200; the last one for an empty name.

        Raises:
            LisaError: if it was not kept.
        """
        if not name:
            return self.steps[-1]
        known = {f"step-{step:06d}": step for step in self.steps}
        if name not in known:
            raise LisaError(f"The pair {self.id} has no checkpoint {name[:40]!r}: choose of {', '.join(known)}.")
        return known[name]

    def checkpoint_named(self, name: str) -> str:
        """The same as the checkpoint's name, which is never empty."""
        return f"step-{self.step_named(name):06d}"

    def choose(self, arms: str) -> list[str]:
        """The arms named in a list such as "baseline,lisa".

        Raises:
            LisaError: if the run has no such arm.
        """
        wanted = [arm.strip() for arm in arms.split(",")]
        for arm in wanted:
            if arm not in self.arms:
                raise LisaError(f"The pair {self.id} has no arm {arm[:40]!r}: choose of {', '.join(self.arms)}.")
        return wanted


@dataclass(frozen=True)
class SideView:
    """One side network: an arm of a pair at a training step."""

    pair: PairView
    arm: str
    step: int


def find_side(pairs: Sequence[PairView], pair: PairView, name: str, checkpoint: str) -> SideView:
    """The side network of a name such as "lisa", "lisa@step-000200" or "runs/other:lisa".

    Args:
        pairs: that may be named.
        pair: whose arms need not be named by their run.
        name: see ``lisa.arms.SIDE_NAME``.
        checkpoint: training step of this pair's arms that name none; those of other pairs are taken at their last.

    Raises:
        LisaError: if there is no such run, arm or step, or the run has another family or condition than the pair.
    """
    named = SIDE_NAME.fullmatch(name)
    if named is None:
        raise LisaError(f"{name[:80]!r} names no side network: write an arm, such as lisa or runs/other:lisa.")
    other = next((each for each in pairs if each.id == named["run"]), None) if named["run"] else pair
    if other is None:
        raise LisaError(f"{named['run'][:80]!r} is no run with a finished checkpoint: choose one from the list.")
    if (other.family, other.condition) != (pair.family, pair.condition):
        raise LisaError(
            f"{other.id} reads {other.condition} for {other.family}, but {pair.id} reads {pair.condition} for "
            f"{pair.family}: compare runs of one family and condition."
        )
    (arm,) = other.choose(named["arm"])
    return SideView(other, arm, other.step_named(named["step"] or (checkpoint if other is pair else "")))


def list_pairs(root: Path) -> list[PairView]:
    """All pairs under a root, those that came with the lab first."""
    return [view for path in run_folders(root) if (view := _pair(root, path))]


def _pair(root: Path, path: Path) -> PairView | None:
    run = RunFolder(path)
    steps = tuple(run.checkpoints())
    if not steps:
        return None
    settings = run.settings()
    kept = {p.name for p in run.checkpoint_dir(steps[-1]).iterdir() if p.is_dir()}
    arms = tuple(in_order(kept, settings.get("arms", TrainSettings().arms)))
    relative = path.relative_to(root)
    learned = IMPORTED if read_origin(path) else f"{steps[-1]} steps"
    title = f"{settings['condition']}, {learned}" + ("" if relative.parts[0] == "checkpoints" else f" ({path.name})")
    return PairView(str(relative), title, settings["family"], settings["condition"], arms, steps)


def find_pair(pairs: Sequence[PairView], settings: GenerateSettings | FeatureSettings) -> PairView:
    """The pair that settings name by their run, else the first of their family and condition, with their arms if any.

    Raises:
        LisaError: if there is none.
    """
    if settings.run:
        return _named(pairs, settings)
    of_family = [pair for pair in pairs if pair.family == settings.family]
    fitting = [pair for pair in of_family if settings.condition in ("", pair.condition)]
    if not fitting:
        known = ", ".join(dict.fromkeys(pair.condition for pair in of_family))
        raise LisaError(
            f"There is no side network for {settings.family} with the condition {settings.condition[:40]!r}: "
            f"train one with 'python -m lisa train'{f', or choose of {known}' if known else ''}."
        )
    wanted = {arm.strip() for arm in settings.arms.split(",")}
    return next((pair for pair in fitting if wanted <= set(pair.arms)), fitting[0])


def _named(pairs: Sequence[PairView], settings: GenerateSettings | FeatureSettings) -> PairView:
    pair = next((pair for pair in pairs if pair.id == settings.run.rstrip("/")), None)
    if pair is None:
        raise LisaError(
            f"{settings.run[:80]!r} is no run with a finished checkpoint: choose one that 'python -m lisa info' lists."
        )
    if pair.family != settings.family:
        raise LisaError(
            f"The run {settings.run} belongs to {pair.family}, not {settings.family}: choose the family that fits."
        )
    return pair
