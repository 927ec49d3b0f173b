"""``python -m lisa info``: what is here, and what is missing."""

from __future__ import annotations

import argparse

HELP = "List families, what is installed for each, and the side networks at hand."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's flags."""
    parser.add_argument(
        "--markdown", action="store_true", help="print what every family supports as a table, as in docs/families.md"
    )


def run(arguments: argparse.Namespace) -> None:
    """Print families, then pairs of side networks."""
    if arguments.markdown:
        from lisa.families.table import markdown

        print(markdown())
        return
    from lisa.lab import Lab

    lab = Lab()
    print("Families")
    for family in lab.families():
        print(f"  {family.name:14s} {family.title:40s} {'ready' if family.installed else family.reason}")
    print("Side networks")
    for pair in lab.pairs():
        steps = ", ".join(map(str, pair.steps))
        print(f"  {pair.family:14s} {pair.condition:14s} {', '.join(pair.arms):20s} steps {steps}  ({pair.id})")
