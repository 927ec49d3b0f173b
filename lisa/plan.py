"""What a run would be before it is started: its data, time and memory, found out by a process of its own. No torch."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lisa.data.check import DataReport
from lisa.follow import command, environment, last_words
from lisa.settings import TrainSettings

_EVERY = 0.3  # seconds between looks at the process


@dataclass(frozen=True)
class Estimate:
    """Time and memory of a run, measured on its own networks and device with random samples.

    Attributes:
        device: where it was measured, such as "cpu" or "cuda:0".
        parameters: of one side network.
        seconds_per_step: of an optimizer step of all arms.
        seconds_per_validation: of a validation of all arms.
        seconds_per_preview: of the preview images of all arms for one sample.
        seconds: of the run: its steps, validations and previews. Not in it: preparing data, writing checkpoints.
        peak_bytes: most memory in use at a time; on a GPU what tensors took there, else the whole process.
        sample_bytes: main memory that the run's samples take on top, at most, while they are prepared.
    """

    device: str
    parameters: int
    seconds_per_step: float
    seconds_per_validation: float
    seconds_per_preview: float
    seconds: float
    peak_bytes: int
    sample_bytes: int


@dataclass(frozen=True)
class Plan:
    """What is known of a run so far.

    Attributes:
        words: what is being done now; empty at the end.
        data: the report on its data, once there is one.
        estimate: its time and memory, once measured.
        failure: why one of them is missing, in a sentence; empty if nothing went wrong.
    """

    words: str = ""
    data: DataReport | None = None
    estimate: Estimate | None = None
    failure: str = ""


def make_plan(settings: TrainSettings, root: Path) -> Iterator[Plan]:
    """Check the data and measure a few steps in a process of its own, which ends when the caller stops listening.

    Args:
        settings: already checked.
        root: working directory of the process.

    Yields:
        What is known so far, whenever that changes; the last plan is the whole one.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, log = Path(folder) / "out.jsonl", Path(folder) / "log.txt"
        with out.open("wb") as output, log.open("wb") as words:
            process = subprocess.Popen(  # noqa: S603  (our own interpreter and checked settings)
                [sys.executable, *command(settings, root / "runs" / "estimate"), "--estimate"], cwd=root,
                stdin=subprocess.DEVNULL, stdout=output, stderr=words, env=environment(),
            )  # fmt: skip
        try:
            yield from _follow(process, out, log)
        finally:
            process.kill()
            process.wait()


def _follow(process: subprocess.Popen[bytes], out: Path, log: Path) -> Iterator[Plan]:
    shown = Plan("starting")
    yield shown
    while process.poll() is None:
        plan = _read(out, last_words(log) if log.stat().st_size else "starting")
        if plan != shown:
            shown = plan
            yield plan
        try:
            process.wait(_EVERY)
        except subprocess.TimeoutExpired:
            continue
    yield _read(out, failure=_failure(process.returncode, log))


def _read(out: Path, words: str = "", failure: str = "") -> Plan:
    """What the process printed, without a line that it is still writing."""
    lines = out.read_text(encoding="utf-8").splitlines(keepends=True)
    found = {}
    for line in lines:
        if line.startswith("{") and line.endswith("\n"):
            found.update(json.loads(line))
    data = DataReport.from_dict(found["data"]) if "data" in found else None
    return Plan(words, data, Estimate(**found["estimate"]) if "estimate" in found else None, failure)


def _failure(code: int, log: Path) -> str:
    if code == 0:
        return ""
    if code < 0:
        return f"The system ended the estimate (signal {-code}), most likely for want of memory: use smaller batches."
    words = last_words(log, most=1000)
    return words.removeprefix("error: ") if words.startswith("error: ") else f"The estimate ended early: {words}."
