"""``python -m lisa evaluate``: compare a run's arms on held-out scenes."""

from __future__ import annotations

import argparse
from pathlib import Path

from lisa.cli.common import bars
from lisa.errors import LisaError

HELP = "Measure test loss and condition fidelity of every arm and kept step on held-out scenes."


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
        print({key: str(value) for key, value in vars(arguments).items() if key not in ("act", "verb", "dry_run")})
        return
    from lisa.evaluate import evaluate
    from lisa.lab import ROOT
    from lisa.quiet import quiet_libraries

    quiet_libraries()
    judge = ROOT / "checkpoints" / "scenes-unet"
    rows = evaluate(arguments.run_folder, arguments.count, arguments.sampling_steps, tuple(arguments.at), judge, bars())
    print("\n".join(markdown(rows)))


def markdown(rows: list[dict]) -> list[str]:
    """A Markdown table of the rows; differences are paired, with 95 % intervals, against the first arm."""
    header = f"| step | arm | test loss | difference | {rows[0]['measure']} | difference |"
    return [header, "| --- | --- | --- | --- | --- | --- |", *map(_line, rows)]


def _line(row: dict) -> str:
    cells = [str(row["step"]), row["arm"]]
    for key, digits in (("loss", 5), ("fidelity", 4)):
        cells += [f"{row[key]:.{digits}f}", _difference(row, key, digits)]
    return f"| {' | '.join(cells)} |"


def _difference(row: dict, key: str, digits: int) -> str:
    if f"{key}_difference" not in row:
        return ""
    if f"{key}_interval" not in row:
        return f"{row[f'{key}_difference']:+.{digits}f}"
    low, high = row[f"{key}_interval"]
    return f"{row[f'{key}_difference']:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"
