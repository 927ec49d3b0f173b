"""What a run would be before it is started: its data, time and memory, found out by a process of its own. No torch."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lisa.data.check import DataReport
from lisa.follow import command
from lisa.settings import TrainSettings
from lisa.spawn import environment, last_words

_EVERY = 0.5  # seconds between looks at the process


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
class StepCost:
    """Floating-point operations of an optimizer step of one side network; those of all processes are theirs alike.

    Attributes:
        main: of a whole pass through the main network without control.
        plain: of plain training, forward and backward.
        full: of LISA as published: plain training, the whole pass without control, and the score decoder.
        shared: of LISA when what control cannot change is computed once for both passes.
    """

    main: int
    plain: int
    full: int
    shared: int


@dataclass(frozen=True)
class Memory:
    """Bytes that tensors take at the moment of a step when they take most; the first four add up to ``peak``.

    Attributes:
        weights: of all networks that stay on the device, side networks and score decoders of all arms among them.
        gradients: of all arms.
        optimizer: AdamW's two moments, of all arms.
        step: activations and working copies.
        peak: the most at a time.
        loading: of all frozen networks as they are loaded, before the text encoders of some families are freed.
    """

    weights: int
    gradients: int
    optimizer: int
    step: int
    peak: int
    loading: int


@dataclass(frozen=True)
class Footprint:
    """What a run takes, worked out from the networks' configs without their weights.

    Attributes:
        published: hub id whose published configs were taken; empty if they are here.
        main: parameters of the main network.
        side: parameters of one side network.
        decoder: parameters of the first arm's score decoders.
        around: parameters of the autoencoder and the encoders.
        flops: floating-point operations of an optimizer step of this run, all its arms together; a multiply-add is 2.
        cost: the same for one side network, with and without LISA.
        memory: of this run, per process; as on a GPU unless the run would use the CPU here.
        device: where ``matrix_speed`` was measured; empty if it was not.
        matrix_speed: floating-point operations per second of matrix products there in the run's precision.
    """

    published: str
    main: int
    side: int
    decoder: int
    around: int
    flops: int
    cost: StepCost
    memory: Memory
    device: str = ""
    matrix_speed: float = 0.0

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Footprint:
        """Rebuild a footprint from what ``dataclasses.asdict`` and JSON made of it."""
        return cls(**{**values, "cost": StepCost(**values["cost"]), "memory": Memory(**values["memory"])})


@dataclass(frozen=True)
class Plan:
    """What is known of a run so far.

    Attributes:
        words: what is being done now; empty at the end.
        data: the report on its data, once there is one.
        footprint: what it takes by the networks' configs, once worked out.
        estimate: its time and memory, once measured; never if the weights are not here.
        failure: why one of them is missing, in a sentence; empty if nothing went wrong.
    """

    words: str = ""
    data: DataReport | None = None
    footprint: Footprint | None = None
    estimate: Estimate | None = None
    failure: str = ""


def make_plan(settings: TrainSettings, root: Path) -> Iterator[Plan]:
    """Check the data and measure a few steps in a process of its own, which ends when the caller stops listening.

    Args:
        settings: already checked.
        root: working directory of the process.

    Yields:
        What is known so far, a few times a second; the last plan is the whole one.
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
    yield Plan("starting")
    while process.poll() is None:
        # Also where nothing is new: only here can the caller stop listening.
        yield _read(out, last_words(log) or "starting")
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
    footprint = Footprint.from_dict(found["footprint"]) if "footprint" in found else None
    return Plan(words, data, footprint, Estimate(**found["estimate"]) if "estimate" in found else None, failure)


def _failure(code: int, log: Path) -> str:
    if code == 0:
        return ""
    if code < 0:
        return f"The system ended the estimate (signal {-code}), most likely for want of memory: use smaller batches."
    words = last_words(log, most=1000)
    if words.startswith("error: "):
        return words.removeprefix("error: ")
    return f"The estimate ended early: {words or 'it left no word'}."
