"""``python -m lisa annotate``: turn a picture into a condition map."""

from __future__ import annotations

import argparse
from pathlib import Path

from lisa.annotators.images import load_rgb
from lisa.errors import LisaError

HELP = "Turn a picture into a condition map, or list the annotators."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's flags."""
    parser.add_argument(
        "image", type=Path, nargs="?", help="picture to annotate; none lists the annotators and their knobs"
    )
    parser.add_argument("--annotator", default="canny", help="which one (default: canny)")
    parser.add_argument("--knob", action="append", default=[], metavar="NAME=VALUE", help="set a knob; can be repeated")
    parser.add_argument(
        "--source", default="", help="hub id or local folder of the weights (default: the annotator's own)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("condition.png"), help="where to write the map (default: condition.png)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the resolved settings and stop")


def run(arguments: argparse.Namespace) -> None:
    """Annotate, or list."""
    from lisa.lab import Lab

    lab = Lab()
    if arguments.image is None:
        _list(lab)
        return
    knobs = dict(_knob(text) for text in arguments.knob)
    if arguments.dry_run:
        print(
            {"image": str(arguments.image), "annotator": arguments.annotator, "knobs": knobs, "out": str(arguments.out)}
        )
        return
    lab.annotate(load_rgb(arguments.image), arguments.annotator, knobs, arguments.source).save(
        arguments.out, format="PNG"
    )
    print(arguments.out)


def _list(lab) -> None:
    for view in lab.annotators():
        print(
            f"{view.name:20s} {view.condition or 'any':14s} {view.title}"
            + ("" if view.available else f" - not here: {view.reason}")
        )
        for knob in view.knobs:
            print(f"{'':20s}   --knob {knob.name}={knob.default}  {knob.low:g}..{knob.high:g} {knob.unit}  {knob.help}")


def _knob(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError as error:
        raise LisaError(f"The knob '{text}' is not NAME=NUMBER: write for example low_threshold=100.") from error
