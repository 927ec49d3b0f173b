"""Measurements of runs from outside: started, followed and stopped through the run's folder, without torch."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lisa import spawn
from lisa.errors import LisaError
from lisa.files import read_json, write_json
from lisa.report import Standing, read_note
from lisa.runs import EVALUATION_LOCK, EVALUATION_NOTE, RunFolder
from lisa.zero_gpu import refuse_training

RESULTS = "evaluation.json"
LOG, PID, STATE = "evaluation.txt", "evaluation-process.txt", "evaluation-state.json"
_UNDER_WAY = ("starting", "running", "stopping")
_STOPPED = "it was stopped, and the rows measured until then were kept."


@dataclass(frozen=True)
class Evaluation:
    """What was measured of a run: rows by training step and arm, on how many scenes.

    ``word`` says why the last attempt came to no end, and is empty if it did or still runs; ``doing`` says how far a
    running measurement is.
    """

    rows: tuple[dict[str, Any], ...]
    scenes: int
    sampling_steps: int
    running: bool
    word: str
    doing: Standing | None = None


def start(run: RunFolder, count: int, sampling_steps: int, root: Path) -> None:
    """Measure a run on held-out scenes in a process of its own; the rows come into ``evaluation.json``.

    Args:
        run: with at least one checkpoint.
        count: held-out scenes.
        sampling_steps: steps of the sampler.
        root: working directory of the process.

    Raises:
        LisaError: if it is being measured already, or on a ZeroGPU Space.
    """
    refuse_training()
    if is_running(run):
        raise LisaError(f"{run.path.name} is being measured already: wait until it is done, or stop it.")
    words = ["-m", "lisa", "evaluate", str(run.path), "--count", str(count), "--sampling-steps", str(sampling_steps)]
    (run.path / LOG).unlink(missing_ok=True)
    (run.path / PID).unlink(missing_ok=True)
    _write(run, "starting")
    spawn.spawn(words, run.path / LOG, root, run.path / PID)


def stop(run: RunFolder) -> None:
    """End a measurement; the rows of the training steps that are done stay.

    Raises:
        LisaError: if nobody measures the run, or no process of this computer does.
    """
    if not is_running(run):
        raise LisaError(f"{run.path.name} is not being measured: there is nothing to stop.")
    process = spawn.living(run.path / PID)
    if process is None:
        raise LisaError(f"{run.path.name} is measured by a process that is not known here: stop it where it runs.")
    _write(run, "stopping")
    process.terminate()


def is_running(run: RunFolder) -> bool:
    """Whether a process measures the run, or is loading what it takes to."""
    if run.is_running(EVALUATION_LOCK):
        return True
    state = _state(run)
    return state.get("status") in _UNDER_WAY and spawn.comes_up(run.path / PID, state["time"])


def evaluation(run: RunFolder) -> Evaluation:
    """What has been measured of a run so far."""
    path = run.path / RESULTS
    running, stored = is_running(run), read_json(path) if path.exists() else {}
    doing = _doing(run) if running else None
    return Evaluation(
        tuple(stored.get("rows", ())), stored.get("scenes", 0), stored.get("sampling_steps", 0), running,
        "" if running else _word(run, bool(stored.get("rows"))), doing,
    )  # fmt: skip


def reference(rows: Sequence[dict[str, Any]]) -> str:
    """The arm that the others were compared with; empty if nothing was measured."""
    return next((row["arm"] for row in rows if "loss_difference" not in row), "")


@contextmanager
def owned(run: RunFolder) -> Iterator[None]:
    """Own the measurement of a run, and leave word of how it ends; SIGTERM and SIGINT interrupt it.

    Raises:
        LisaError: if another process measures the run.
    """
    with run.lock(name=EVALUATION_LOCK), spawn.on_signals(_interrupt):
        spawn.note_process(run.path / PID, os.getpid())
        _write(run, "running")
        try:
            yield
        except KeyboardInterrupt:
            _write(run, "stopped")
            raise
        except Exception as error:
            _write(run, "failed", str(error) if isinstance(error, LisaError) else f"{type(error).__name__}: see {LOG}.")
            raise
        _write(run, "finished")


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _doing(run: RunFolder) -> Standing | None:
    stopping = _state(run).get("status") == "stopping"
    return Standing("stopping", 0, 0) if stopping else read_note(run.path / EVALUATION_NOTE)


def _word(run: RunFolder, measured: bool) -> str:
    """Why the last attempt came to no end, as far as its folder says."""
    state, said = _state(run), spawn.last_words(run.path / LOG).removeprefix("error: ")
    status = state.get("status")
    if status in ("stopped", "stopping"):  # a process that is still loading leaves no word when it is stopped
        return _STOPPED
    if status == "failed":
        return state["reason"]
    if status in _UNDER_WAY:
        return said or "its process ended without a word."
    return said if not status and not measured else ""


def _state(run: RunFolder) -> dict[str, Any]:
    path = run.path / STATE
    return read_json(path) if path.exists() else {}


def _write(run: RunFolder, status: str, reason: str = "") -> None:
    write_json(run.path / STATE, {"status": status, "reason": reason, "time": time.time()})
