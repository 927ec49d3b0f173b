"""Processes of the lab's own that outlive it: started with a log, known again by a note, judged by their last words."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from lisa.errors import LisaError
from lisa.files import read_json, write_json

_STARTING = 60.0  # seconds in which a process that somebody else started need not own its folder yet
_SAME = 2.0  # seconds: the clock that tells when a process began may be set meanwhile
# What tqdm draws: a share, a bar and two counts, or one count where the total is not known.
_BAR = re.compile(r"\d+%\|.*\||^\s*\S*\s*\d+\S*it \[")


def spawn(words: list[str], log: Path, root: Path, note: Path) -> None:
    """Start our own interpreter as a process that outlives this one.

    Args:
        words: its arguments.
        log: file that takes what it prints.
        root: working directory.
        note: file by which living() knows it again.
    """
    note.unlink(missing_ok=True)
    with log.open("ab") as file:
        process = subprocess.Popen(  # noqa: S603  (our own interpreter and checked settings)
            [sys.executable, *words], cwd=root, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            start_new_session=True, env=environment(),
        )  # fmt: skip
    note_process(note, process.pid)


def note_process(note: Path, pid: int) -> None:
    """Write down which process this is: its number, and when it began, since numbers are given again."""
    with contextlib.suppress(psutil.NoSuchProcess):
        write_json(note, {"pid": pid, "begun": psutil.Process(pid).create_time()})


def living(note: Path) -> psutil.Process | None:
    """The noted process, if it still lives."""
    try:
        stored = read_json(note)
        pid, begun = (stored["pid"], stored["begun"]) if isinstance(stored, dict) else (stored, None)
        process = psutil.Process(pid)
        same = begun is None or abs(process.create_time() - begun) < _SAME
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (LisaError, psutil.NoSuchProcess):  # there is no note, or it is damaged
        return None


def comes_up(note: Path, since: float) -> bool:
    """Whether a process that does not own its folder yet is still loading, which a busy machine delays.

    Args:
        note: of the process; there may be none.
        since: when it was said to start, in seconds since 1970.
    """
    return living(note) is not None if note.exists() else time.time() - since < _STARTING


def environment() -> dict[str, str]:
    """Environment of this process, in which a new one finds this package wherever it works."""
    here = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def last_words(path: Path, most: int = 200) -> str:
    """The last line of a process's log that is no progress bar, of a longer one the last ``most`` letters.

    Returns:
        The line; empty if there is none.
    """
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    spoken = [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip() and not _BAR.search(line)]
    return spoken[-1][-most:] if spoken else ""


@contextlib.contextmanager
def on_signals(handler: Callable[..., Any]) -> Iterator[None]:
    """Let SIGTERM and SIGINT call a handler, and put the old handlers back."""
    try:
        old = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # not in the main thread, as in tests: no signals to handle
        old = {}
    try:
        yield
    finally:
        for number, previous in old.items():
            signal.signal(number, previous)
