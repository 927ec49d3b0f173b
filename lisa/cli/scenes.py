"""``python -m lisa scenes``: write rendered scenes as a data set."""

from __future__ import annotations

import argparse
from pathlib import Path

from lisa.cli.common import bars
from lisa.errors import LisaError
from lisa.scenes.scene import SPLITS

HELP = "Write scenes as an imagefolder data set: metadata.jsonl, images and condition maps."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's flags."""
    parser.add_argument("--count", type=int, default=64, help="scenes to write (default: 64 scenes)")
    parser.add_argument("--out", type=Path, required=True, help="folder that receives the data set")
    parser.add_argument("--split", choices=tuple(SPLITS), default="train", help="range of seeds (default: train)")
    parser.add_argument("--start", type=int, default=0, help="number of the first scene in its split (default: 0)")
    parser.add_argument("--size", type=int, default=128, help="width and height (default: 128 pixels, range 32..1024)")
    parser.add_argument("--people", action="store_true", help="only scenes with at least one mannequin")
    parser.add_argument(
        "--frames",
        type=int,
        default=0,
        help="moving scenes as strips of so many frames (default: 0, still; range 2..32)",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the resolved settings and stop")


def run(arguments: argparse.Namespace) -> None:
    """Write the data set."""
    from lisa.scenes.dataset import write_dataset

    if arguments.count < 1:
        raise LisaError(f"The count is {arguments.count} scenes: use 1 or more.")
    if arguments.dry_run:
        print({key: str(value) for key, value in vars(arguments).items() if key not in ("act", "verb", "dry_run")})
        return
    report = bars()
    people = True if arguments.people else None
    write_dataset(
        arguments.out, arguments.split, arguments.count, arguments.start, arguments.size, people,
        lambda done, total: report("writing scenes", done, total), arguments.frames,
    )  # fmt: skip
    print(f"{arguments.count} scenes in {arguments.out}")
