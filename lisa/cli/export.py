"""``python -m lisa export``: copy a run in the form that ships."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "Copy a run without its optimizer state, in float16: the form in which checkpoints are shared."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's flags."""
    parser.add_argument("run_folder", type=Path, help="the run to copy")
    parser.add_argument("out", type=Path, help="folder that receives the copy; it must not exist")
    parser.add_argument(
        "--at", type=int, nargs="*", default=[], help="training steps to copy (default: all that were kept)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Copy the run."""
    from lisa.export import export_run

    export_run(arguments.run_folder, arguments.out, tuple(arguments.at))
    print(arguments.out)
