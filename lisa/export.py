"""Sharing a run: its settings and events as they are, its side networks and decoders in float16, nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from lisa.errors import LisaError
from lisa.origin import ORIGIN
from lisa.runs import RunFolder

_NEEDED_TO_TRAIN_ON = "optimizer.safetensors"


def export_run(source: Path, target: Path, steps: tuple[int, ...] = ()) -> None:
    """Copy a run for sharing.

    Args:
        source: a run with at least one checkpoint.
        target: folder that receives the copy; it must not exist.
        steps: training steps to copy; empty for all.

    Raises:
        LisaError: if the target exists, or a step has no checkpoint.
    """
    run = RunFolder.open(source)
    if target.exists():
        raise LisaError(f"{target} already exists: choose another folder.")
    copy = RunFolder.create(target, run.settings())
    for row in run.events():
        copy.append_event({name: _short(value) for name, value in row.items()})
    for name in ("evaluation.json", ORIGIN):
        if (source / name).exists():
            shutil.copy2(source / name, target / name)
    for step in steps or run.checkpoints():
        folder = run.verify_checkpoint(step)
        with copy.commit_checkpoint(step) as out:
            for path in sorted(
                p for p in folder.rglob("*") if p.is_file() and p.name not in (_NEEDED_TO_TRAIN_ON, "manifest.json")
            ):
                _copy_file(path, out / path.relative_to(folder))


def _short(value: Any) -> Any:
    """A figure with six digits, which is all that curves show of it, in less than half the bytes."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix != ".safetensors":
        shutil.copy2(source, target)
        return
    save_file(_half(source), target, metadata={"format": "pt"})


def join_weights(sources: Iterable[Path], target: Path) -> None:
    """Write the tensors of several safetensors files, or of one, to a single file, float32 as float16.

    Args:
        sources: files without a tensor in common.
        target: the file.

    Raises:
        LisaError: if a weight is too large for float16.
    """
    tensors = {name: value for source in sources for name, value in _half(source).items()}
    for name, value in tensors.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise LisaError(f"The weight {name[:80]} is not finite in float16: this network cannot be shared so.")
    save_file(tensors, target, metadata={"format": "pt"})


def _half(path: Path) -> dict[str, torch.Tensor]:
    return {name: value.half() if value.dtype == torch.float32 else value for name, value in load_file(path).items()}
