"""A run is a folder: settings, one line per event, state, checkpoints; a kill leaves nothing half written."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lisa.errors import LisaError, unknown_name
from lisa.files import (
    TEMP_PREFIX,
    is_complete,
    read_json,
    read_manifest,
    seal,
    sha256,
    sync,
    write_atomically,
    write_json,
)

try:
    import fcntl
except ImportError:  # Windows has no flock: runs can be read there, not trained.
    fcntl = None  # type: ignore[assignment]

__all__ = ["RunFolder", "read_json", "write_atomically", "write_json"]

EVALUATION_LOCK, EVALUATION_NOTE = "evaluation.lock", "evaluation-note.json"
PREPARATION_NOTE = "preparation-note.json"
REQUESTS = ("stop", "save", "sample")
"""Stop saves and ends, save keeps a checkpoint, sample makes preview images."""
_STEP_FOLDER = re.compile(r"step-(\d{6,})")


class RunFolder:
    """One training run on disk; readers need no lock, and only the holder of the lock writes.

    Args:
        path: The run's folder; it need not exist yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.samples = self.path / "samples"
        self._events = self.path / "events.jsonl"
        self._tail_checked = False

    @classmethod
    def create(cls, path: str | Path, settings: Mapping[str, Any]) -> RunFolder:
        """Make a new run folder.

        Args:
            path: A folder that holds no run yet.
            settings: What is written to settings.json.

        Returns:
            The run.

        Raises:
            LisaError: If there is a run already, or the folder cannot be made.
        """
        run = cls(path)
        if run.exists():
            raise LisaError(f"{path} already holds a run: resume it or choose another folder.")
        try:
            run.samples.mkdir(parents=True, exist_ok=True)
            write_json(run.path / "settings.json", dict(settings))
        except OSError as error:
            raise LisaError(f"The run folder {path} cannot be made ({error.strerror}).") from error
        return run

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open an existing run.

        Args:
            path: Its folder.

        Returns:
            The run.

        Raises:
            LisaError: If the folder holds no run.
        """
        run = cls(path)
        if not run.exists():
            raise LisaError(f"{path} holds no run (there is no settings.json): check the folder's name.")
        return run

    def exists(self) -> bool:
        """Tell whether the folder holds a run."""
        return (self.path / "settings.json").is_file()

    def settings(self) -> dict[str, Any]:
        """Read the settings that the run was started with, or last resumed with."""
        return read_json(self.path / "settings.json")

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Replace settings.json: a resumed run may be longer, or on another device."""
        write_json(self.path / "settings.json", dict(settings))

    def write_state(self, state: Mapping[str, Any]) -> None:
        """Replace state.json.

        Args:
            state: Where the run stands, for followers.
        """
        write_json(self.path / "state.json", dict(state))

    def read_state(self) -> dict[str, Any]:
        """Read state.json; empty before the first write."""
        path = self.path / "state.json"
        return read_json(path) if path.exists() else {}

    def append_event(self, event: Mapping[str, Any]) -> None:
        """Append one line to events.jsonl.

        Args:
            event: A flat table; "step", "arm" and "kind" name the row. NaN and infinity are stored as null,
                since JSON has no such numbers.
        """
        row = {key: _finite(value) for key, value in event.items()}
        if not self._tail_checked:
            self._drop_half_line()
            self._tail_checked = True
        with open(self._events, "a", encoding="utf-8") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")

    def events(self) -> list[dict[str, Any]]:
        """Read all events.

        Returns:
            The rows in the order written. Of rows with the same step, arm and kind only the last is kept;
            rows without a step are all kept. A last line that is still being written is left out.

        Raises:
            LisaError: If a complete line is damaged.
        """
        rows: dict[Any, dict[str, Any]] = {}
        for number, row in self._rows():
            key = (row["step"], row.get("arm"), row.get("kind")) if row.get("step") is not None else number
            rows.pop(key, None)
            rows[key] = row
        return list(rows.values())

    def truncate_events(self, step: int) -> None:
        """Forget what was logged after a step, because the run goes on from that step's checkpoint.

        Args:
            step: The last step whose rows are kept; rows without a step are kept too.
        """
        kept = [row for _, row in self._rows() if row.get("step") is None or row["step"] <= step]
        write_atomically(self._events, "".join(json.dumps(row) + "\n" for row in kept).encode())

    def ask(self, what: str) -> None:
        """Leave a request for whoever trains this run; it is taken after the present step.

        Args:
            what: One of REQUESTS.

        Raises:
            LisaError: If there is no such request.
        """
        if what not in REQUESTS:
            raise unknown_name("request", what, REQUESTS)
        folder = self.path / "requests"
        folder.mkdir(exist_ok=True)
        (folder / what).touch()

    def take_requests(self) -> set[str]:
        """Take all requests that were left."""
        taken = {what for what in REQUESTS if (self.path / "requests" / what).exists()}
        for what in taken:
            (self.path / "requests" / what).unlink(missing_ok=True)
        return taken

    @contextmanager
    def lock(self, wait: float = 1.0, name: str = "lock") -> Iterator[None]:
        """Own the run while training; the system frees the lock when the process dies.

        Args:
            wait: Seconds to keep trying, since is_running() of a follower holds the lock for a moment.
            name: "lock" to train the run, "evaluation.lock" to measure it.

        Yields:
            Nothing.

        Raises:
            LisaError: If another process trains this run.
        """
        if fcntl is None:
            raise LisaError("Training needs file locks, which this system lacks: use Linux, macOS or WSL.")
        with open(self.path / name, "ab") as file:
            deadline = time.monotonic() + wait
            while not _try_lock(file, exclusive=True):
                if time.monotonic() >= deadline:
                    raise LisaError(f"{self.path} is already running: stop it or choose another folder.")
                time.sleep(0.05)
            yield

    def is_running(self, name: str = "lock") -> bool:
        """Tell whether a living process holds the lock of that name."""
        try:
            with open(self.path / name, "rb") as file:
                return fcntl is not None and not _try_lock(file, exclusive=False)
        except FileNotFoundError:
            return False

    def checkpoint_dir(self, step: int) -> Path:
        """Name the folder of one step's checkpoint, such as checkpoints/step-000200."""
        return self.path / "checkpoints" / f"step-{step:06d}"

    def checkpoints(self) -> list[int]:
        """List the steps whose checkpoint is complete: a manifest, and every file of the size it names."""
        found = []
        for folder in (self.path / "checkpoints").glob("step-*"):
            match = _STEP_FOLDER.fullmatch(folder.name)
            if match and is_complete(folder):
                found.append(int(match[1]))
        return sorted(found)

    def verify_checkpoint(self, step: int) -> Path:
        """Compare every file of a checkpoint with its manifest, content included.

        Args:
            step: The checkpoint's step.

        Returns:
            The checkpoint's folder.

        Raises:
            LisaError: If the checkpoint is missing or damaged.
        """
        folder = self.checkpoint_dir(step)
        if not is_complete(folder):
            known = ", ".join(map(str, self.checkpoints())) or "none"
            raise LisaError(f"{self.path} has no complete checkpoint at step {step}; complete ones: {known}.")
        for name, entry in read_manifest(folder).items():
            if sha256(folder / name) != entry["sha256"]:
                raise LisaError(f"{folder / name} is damaged: use an earlier checkpoint or restore the file.")
        return folder

    @contextmanager
    def commit_checkpoint(self, step: int) -> Iterator[Path]:
        """Write a checkpoint that is either complete or not there.

        Args:
            step: The checkpoint's step.

        Yields:
            An empty temporary folder to fill; it is removed on any error, else gets its final name.

        Raises:
            LisaError: If the step already has a complete checkpoint.
        """
        final = self.checkpoint_dir(step)
        if is_complete(final):
            raise LisaError(f"{final} already holds a checkpoint: remove it or choose another folder.")
        temporary = final.with_name(final.name + ".tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            yield temporary
            seal(temporary)
            shutil.rmtree(final, ignore_errors=True)  # a damaged folder of this name
            os.rename(temporary, final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync(final.parent)

    def sweep(self) -> None:
        """Remove what a killed writer left behind; only for the holder of the lock."""
        folders = [*(self.path / "checkpoints").glob("step-*.tmp"), *self.samples.glob(TEMP_PREFIX + "*")]
        for folder in folders:
            shutil.rmtree(folder)
        for leftover in self.path.rglob(TEMP_PREFIX + "*"):
            leftover.unlink()

    def _rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        if not self._events.exists():
            return
        *lines, _ = self._events.read_bytes().split(b"\n")  # what follows the last newline is not complete
        for number, line in enumerate(lines, start=1):
            try:
                yield number, json.loads(line)
            except ValueError as error:
                raise LisaError(f"Line {number} of {self._events} is damaged: remove that line.") from error

    def _drop_half_line(self) -> None:
        if self._events.exists():
            content = self._events.read_bytes()
            if not content.endswith(b"\n"):
                os.truncate(self._events, content.rfind(b"\n") + 1)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _try_lock(file: Any, *, exclusive: bool) -> bool:
    try:
        fcntl.flock(file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
