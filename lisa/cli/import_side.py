"""``python -m lisa import``: make a run of a side network that was trained elsewhere."""

from __future__ import annotations

import argparse

HELP = "Import a side network from a diffusers folder, a .zip of one, or the Hugging Face hub."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's flags."""
    parser.add_argument("source", help="folder with config.json and *.safetensors, a .zip of one, or owner/name")
    parser.add_argument("--family", default="scenes-unet", help="family that it fits (default: scenes-unet)")
    parser.add_argument("--condition", required=True, help="condition that it reads, such as canny (needed)")
    parser.add_argument("--name", required=True, help="name of the new run: runs/NAME (needed)")
    parser.add_argument("--revision", default="", help="revision of a hub repository (default: its main branch)")
    parser.add_argument("--main", default="", help="hub id or folder of the main network (default: the family's)")


def run(arguments: argparse.Namespace) -> None:
    """Import it and print the run's id."""
    from lisa.lab import Lab
    from lisa.quiet import quiet_libraries

    quiet_libraries()
    print(
        Lab().models.import_side(
            arguments.source,
            arguments.family,
            arguments.condition,
            arguments.name,
            arguments.revision,
            arguments.main,
        )
    )
