"""``python -m lisa package``: one side network with its model card, for others; on request on the hub."""

from __future__ import annotations

import argparse
from pathlib import Path

from lisa.errors import LisaError

HELP = "Pack one side network as a plain diffusers folder or zip with a model card, or push it to the hub."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's flags."""
    parser.add_argument("run", help="the run, as 'python -m lisa info' lists it, such as runs/first")
    parser.add_argument("--arm", default="lisa", help="side network of the run (default: lisa)")
    parser.add_argument("--at", type=int, help="training step (default: the last that was kept)")
    parser.add_argument("--out", type=Path, help="folder or .zip to make; it must not exist")
    parser.add_argument("--push", metavar="OWNER/NAME", help="upload it to this hub repository; needs HF_TOKEN")
    parser.add_argument("--public", action="store_true", help="let everybody see the repository (default: private)")


def run(arguments: argparse.Namespace) -> None:
    """Pack or push, and print the path or address."""
    from lisa.lab import Lab
    from lisa.quiet import quiet_libraries

    if arguments.out is None and arguments.push is None:
        raise LisaError("There is nowhere to put the package: give --out FOLDER, --out FILE.zip or --push OWNER/NAME.")
    quiet_libraries()
    lab = Lab()
    name = arguments.run.rstrip("/")
    pair = next((pair for pair in lab.pairs() if pair.id == name), None)
    if pair is None:
        raise LisaError(f"{name[:80]!r} is no run with a finished checkpoint: 'python -m lisa info' lists them.")
    step = pair.steps[-1] if arguments.at is None else arguments.at
    if arguments.out is not None:
        print(lab.models.package(pair.id, step, arguments.arm, arguments.out))
    if arguments.push is not None:
        print(lab.models.push(pair.id, step, arguments.arm, arguments.push, private=not arguments.public))
