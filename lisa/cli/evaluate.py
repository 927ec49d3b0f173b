"""``python -m lisa evaluate``: compare a run's arms on held-out scenes."""

from __future__ import annotations

import argparse
from pathlib import Path

from lisa.cli.common import bars
from lisa.errors import LisaError

HELP = "Measure validation loss and condition fidelity of every arm and kept step on held-out scenes."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's flags."""
    parser.add_argument("run_folder", type=Path, help="the run to measure")
    parser.add_argument("--count", type=int, default=512, help="held-out scenes (default: 512 scenes, at least 2)")
    parser.add_argument("--sampling-steps", type=int, default=10, help="steps of the sampler (default: 10 steps)")
    parser.add_argument(
        "--at", type=int, nargs="*", default=[], help="training steps to measure (default: all that were kept)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the resolved settings and stop")


def run(arguments: argparse.Namespace) -> None:
    """Measure and print a table."""
    if arguments.count < 2 or arguments.sampling_steps < 1:
        raise LisaError(
            f"{arguments.count} scenes and {arguments.sampling_steps} sampling steps: use at least 2 and 1."
        )
    if arguments.dry_run:
        print({key: str(value) for key, value in vars(arguments).items() if key not in ("run", "verb", "dry_run")})
        return
    from lisa.evaluate import evaluate
    from lisa.lab import ROOT
    from lisa.quiet import quiet_libraries

    quiet_libraries()
    judge = ROOT / "checkpoints" / "scenes-unet"
    rows = evaluate(arguments.run_folder, arguments.count, arguments.sampling_steps, tuple(arguments.at), judge, bars())
    for row in rows:
        print(_line(row))


def _line(row: dict) -> str:
    line = f"step {row['step']:6d}  {row['arm']:12s} loss {row['loss']:.5f}  {row['measure']} {row['fidelity']:.4f}"
    for key in ("loss", "fidelity"):
        if f"{key}_difference" in row:
            low, high = row[f"{key}_interval"]
            line += f"  {key} {row[f'{key}_difference']:+.5f} [{low:+.5f}, {high:+.5f}]"
    return line
