"""Following and steering runs from outside: what a run folder says, thinned for the screen, without torch.

Everything is read from the folder, so a reload, a second viewer or a restart of the app sees the same truth. Events
are read incrementally and shared by all viewers of a process.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtrit

from lisa import measuring, spawn
from lisa.errors import LisaError
from lisa.options import options, to_dict
from lisa.origin import IMPORTED, read_origin
from lisa.report import Standing, read_note
from lisa.runs import PREPARATION_NOTE, RunFolder
from lisa.settings import TrainSettings
from lisa.zero_gpu import refuse_training

LOG, PID = "log.txt", "process.txt"
_TAILS_IN_MEMORY = 8
_RECENT = 50
Curves = dict[tuple[str, str, str], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Attributes:
        status: "starting", "preparing", "running", "stopped", "finished", "failed", "died" or "imported".
        step: finished steps.
        steps: length of the run.
        seconds_per_step: mean of the last steps by the clock, with the validations, previews and checkpoints between
            them; 0 before the first.
        reason: why it failed or died, or where it was imported from, in a sentence.
        checkpoints: kept training steps.
        samples: steps with preview images.
        doing: how far the data are prepared, while they are.
    """

    status: str
    step: int
    steps: int
    seconds_per_step: float
    reason: str
    checkpoints: tuple[int, ...]
    samples: tuple[int, ...]
    doing: Standing | None = None

    @property
    def alive(self) -> bool:
        """Whether a process works on it."""
        return self.status in ("starting", "preparing", "running")

    @property
    def fruitless(self) -> bool:
        """Whether it came to nothing, so that another run may take its place."""
        return self.status in ("failed", "died") and not self.step and not self.checkpoints

    @property
    def remaining(self) -> float:
        """Seconds to the end at the present pace."""
        return (self.steps - self.step) * self.seconds_per_step


@dataclass
class _Tail:
    """The events of one run, read as they come."""

    path: Path
    offset: int = 0
    inode: int = 0
    columns: dict[tuple[str, str, str], tuple[list[int], list[float]]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def update(self) -> None:
        """Read what was appended; a file that was replaced or cut is read again from its start."""
        if not self.path.exists():
            return
        stat = self.path.stat()
        if stat.st_ino != self.inode or stat.st_size < self.offset:
            self.offset, self.inode = 0, stat.st_ino
            self.columns.clear()
        with self.path.open("rb") as file:
            file.seek(self.offset)
            content = file.read()
        end = content.rfind(b"\n") + 1
        self.offset += end
        for line in content[:end].splitlines():
            self._take(json.loads(line))

    def _take(self, row: Mapping[str, Any]) -> None:
        kind, arm, step = row.get("kind", ""), row.get("arm", ""), row.get("step")
        for name, value in row.items():
            if step is not None and isinstance(value, (int, float)) and name != "step":
                steps, values = self.columns.setdefault((kind, arm, name), ([], []))
                steps.append(step)
                values.append(value)


_tails: OrderedDict[Path, _Tail] = OrderedDict()
_tails_lock = threading.Lock()


def _tail(run: RunFolder) -> _Tail:
    path = (run.path / "events.jsonl").resolve()
    with _tails_lock:
        tail = _tails.pop(path, None) or _Tail(path)
        _tails[path] = tail
        while len(_tails) > _TAILS_IN_MEMORY:
            _tails.popitem(last=False)
    return tail


def curves(run: RunFolder, most: int = 500) -> Curves:
    """Every logged quantity as a curve.

    Args:
        run: the run.
        most: points per curve; longer ones are thinned to the means of equal stretches.

    Returns:
        (kind, arm, quantity) -> steps and values, such as ("train", "lisa", "control").
    """
    tail = _tail(run)
    with tail.lock:
        tail.update()
        return {key: thinned(np.array(steps), np.array(values), most) for key, (steps, values) in tail.columns.items()}


def thinned(steps: np.ndarray, values: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Means over at most ``most`` stretches of about equal length; what is short enough stays as it is."""
    if len(steps) <= most:
        return steps, values
    edges = np.linspace(0, len(steps), most + 1).astype(int)[:-1]
    counts = np.diff(np.append(edges, len(steps)))
    return tuple(np.add.reduceat(part.astype(float), edges) / counts for part in (steps, values))


def sample_steps(run: RunFolder) -> tuple[int, ...]:
    """The training steps that have preview images, first to last."""
    return tuple(sorted(int(path.name.removeprefix("step-")) for path in run.samples.glob("step-*")))


def progress(run: RunFolder) -> Progress:
    """Where a run stands."""
    state, settings = run.read_state(), run.settings()
    status, reason = state.get("status", "starting"), state.get("reason", "")
    if status in ("starting", "preparing", "running") and not run.is_running():
        status, reason = ("starting", "") if status == "starting" and _comes_up(run, state) else ("died", _death(run))
    done = [steps[-1] for (kind, _, _), (steps, _) in _columns(run).items() if kind == "train"]
    if not state and max(done, default=0) >= settings["steps"]:  # a run that was copied without its state
        status, reason = "finished", ""
    if origin := read_origin(run.path):
        status, reason = IMPORTED, f"{origin.words} It brought no optimizer state, so it cannot be resumed."
    return Progress(
        status, int(max(done, default=0)), int(settings["steps"]), _pace(run, settings), reason,
        tuple(run.checkpoints()), sample_steps(run),
        read_note(run.path / PREPARATION_NOTE) if status == "preparing" else None,
    )  # fmt: skip


def _comes_up(run: RunFolder, state: Mapping[str, Any]) -> bool:
    """Whether the process of a run that does not own its folder yet is still loading."""
    since = state.get("time") or (run.path / "settings.json").stat().st_mtime
    return spawn.comes_up(run.path / PID, since)


def _columns(run: RunFolder) -> dict[tuple[str, str, str], tuple[list[int], list[float]]]:
    tail = _tail(run)
    with tail.lock:
        tail.update()
        return dict(tail.columns)


def _pace(run: RunFolder, settings: Mapping[str, Any]) -> float:
    """Seconds from step to step, over so many that validations, previews and checkpoints have their share."""
    found = _columns(run)
    most = max(_RECENT, *(settings.get(name, 0) for name in ("validate_every", "preview_every", "checkpoint_every")))
    for name in ("elapsed", "seconds"):  # runs of before have no "elapsed"
        recent = [values[-most:] for (kind, _, key), (_, values) in found.items() if (kind, key) == ("train", name)]
        if recent:
            return float(np.mean(recent[0]))
    return 0.0


def _death(run: RunFolder) -> str:
    words, kept = spawn.last_words(run.path / LOG), run.checkpoints()
    said = f"its last words were: {words.rstrip('.')}" if words else "the system may have ended it for want of memory"
    begin = f"goes on from its checkpoint at step {kept[-1]:,}" if kept else "starts again from step 0"
    return f"Its process ended without saving; {said}. Resume {begin}."


def command(settings: TrainSettings, folder: Path) -> list[str]:
    """The exact command that trains these settings: what is not a default is named."""
    given, defaults = to_dict(settings), to_dict(TrainSettings())
    parts = ["-m", "lisa", "train"]
    for name, _, hint, _ in options(TrainSettings):
        if given[name] != defaults[name]:
            flag = "--" + name.replace("_", "-")
            if hint is bool:
                parts.append(flag if given[name] else flag.replace("--", "--no-", 1))
            else:
                parts += [flag, str(given[name])]
    return [*parts, "--run", str(folder)]


def start(settings: TrainSettings, folder: Path, root: Path) -> RunFolder:
    """Start a run, or resume it, as a process of its own that outlives this one.

    Args:
        settings: already checked.
        folder: the run's folder; made if it does not exist.
        root: working directory of the process.

    Raises:
        LisaError: if it is running already, or on a ZeroGPU Space.
    """
    refuse_training()
    run = RunFolder(folder)
    if run.exists() and progress(run).alive:
        raise LisaError(f"{folder.name} is running already: stop it first, or choose another name.")
    if not run.exists():
        run = RunFolder.create(folder, to_dict(settings))
    run.take_requests()
    run.write_state({"status": "starting", "steps": settings.steps, "time": time.time()})
    spawn.spawn(command(settings, folder), folder / LOG, root, folder / PID)
    return run


def delete(run: RunFolder) -> None:
    """Remove a run that nobody works on.

    Raises:
        LisaError: if it is trained or measured now.
    """
    if progress(run).alive:
        raise LisaError(f"{run.path.name} is running: stop it before you delete it.")
    if measuring.is_running(run):
        raise LisaError(f"{run.path.name} is being measured: stop that on the Evaluate tab before you delete it.")
    shutil.rmtree(run.path)


@dataclass(frozen=True)
class Match:
    """When one arm reached another's final validation loss.

    Attributes:
        level: that loss.
        step: where the arm's curve crosses it; None if it has not.
        early: the first step at which the arm may be there (its loss less the margin, 95 %); None if not yet.
        late: the first step at which it surely is; None if not yet.
        whole: steps that the other arm needed.
    """

    level: float
    step: float | None
    early: float | None
    late: float | None
    whole: int


def steps_to_match(run: RunFolder, reference: str, arm: str) -> Match | None:
    """How many steps an arm needed to reach the reference's last validation loss.

    None before the reference has learnt anything. The curves are joined by straight lines. The margin is that of the
    paired difference between the arms: its standard error times Student's quantile.
    """
    seen = _columns(run)
    keys = [("validation", reference, "control"), ("validation", arm, "control")]
    if any(key not in seen or len(seen[key][0]) < 2 for key in keys):
        return None
    (steps, theirs), (own_steps, own) = (tuple(map(np.array, seen[key])) for key in keys)
    level = float(theirs[-1])
    if level >= theirs[0]:
        return None
    error = seen.get(("validation", arm, "difference_error"))
    samples = seen.get(("validation", arm, "difference_samples"))
    quantile = stdtrit(np.array(samples[1]) - 1, 0.975) if samples else 2.0  # older runs: 16 batches of 16, mostly
    margin = quantile * np.array(error[1]) if error and len(error[1]) == len(own) else np.full(len(own), np.nan)
    crossings = [_crossing(own_steps, own + shift, level) for shift in (0.0, -margin, margin)]
    return Match(level, *crossings, int(steps[-1]))


def _crossing(steps: np.ndarray, values: np.ndarray, level: float) -> float | None:
    """The first step, between points too, at which values fall to a level."""
    below = np.flatnonzero(values <= level)
    if not below.size:
        return None
    i = int(below[0])
    if i == 0:
        return float(steps[0])
    share = (values[i - 1] - level) / (values[i - 1] - values[i])
    return float(steps[i - 1] + share * (steps[i] - steps[i - 1]))
