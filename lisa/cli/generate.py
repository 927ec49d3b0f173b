"""``python -m lisa generate``: paired images from trained side networks."""

from __future__ import annotations

import argparse
from pathlib import Path

from lisa.annotators.images import load_rgb
from lisa.arms import file_word
from lisa.cli.common import bars, print_settings
from lisa.errors import LisaError
from lisa.options import check
from lisa.settings import GenerateSettings, from_arguments
from lisa.settings import add_arguments as add_settings

HELP = "Generate paired images: the same noise for every arm, PNGs that carry their settings."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's flags."""
    add_settings(parser, GenerateSettings)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--image", type=Path, help="condition map, or a picture if --annotator is given")
    source.add_argument(
        "--scene", type=int, help="seed of a rendered scene that gives condition and, if none is given, prompt"
    )
    source.add_argument(
        "--settings-from",
        type=Path,
        help="PNG made by the lab: takes its settings; needs its condition by --condition-image",
    )
    parser.add_argument("--condition-image", type=Path, help="condition map that goes with --settings-from")
    parser.add_argument(
        "--annotator", default="", help="annotator that makes the map from --image (default: it is a map)"
    )
    parser.add_argument(
        "--second-image", type=Path, help="condition map for --second-run (default with --scene: the scene's own)"
    )
    parser.add_argument("--first-frame", type=Path, help="picture that clips start from, for families such as svd")
    parser.add_argument("--out", type=Path, default=Path("outputs"), help="folder for the PNGs (default: outputs)")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved settings and stop")


def run(arguments: argparse.Namespace) -> None:
    """Generate and save."""
    from lisa.lab import Lab

    lab = Lab()
    settings = check(from_arguments(GenerateSettings, arguments))
    if arguments.settings_from:
        settings = lab.settings_of(arguments.settings_from)
    condition, settings = _condition(lab, arguments, settings)
    if arguments.dry_run:
        print_settings(settings)
        return
    second = _second(lab, arguments, settings)
    first = load_rgb(arguments.first_frame) if arguments.first_frame else None
    images = lab.generate(settings, condition, bars(), second, first)
    arguments.out.mkdir(parents=True, exist_ok=True)
    condition.save(arguments.out / f"{settings.condition}.png")
    for image in images:
        path = arguments.out / f"seed-{image.seed:06d}-{file_word(image.arm)}.png"
        lab.save(image, path)
        print(path)


def _second(lab, arguments: argparse.Namespace, settings: GenerateSettings):
    """The map of the second control, if there is one."""
    if arguments.second_image:
        return load_rgb(arguments.second_image)
    pair = next((pair for pair in lab.pairs() if pair.id == settings.second_run.rstrip("/")), None)
    if pair is None or arguments.scene is None:
        return None
    return _map_of(lab.render_scene(arguments.scene, lab.frames_of(settings.family)), pair.condition)


def _map_of(scene, condition: str):
    if condition not in scene.maps:
        raise LisaError(f"A scene has no map '{condition}': choose of {', '.join(scene.maps)}.")
    return scene.maps[condition]


def _condition(lab, arguments: argparse.Namespace, settings: GenerateSettings):
    from dataclasses import replace

    if arguments.settings_from:
        if not arguments.condition_image:
            raise LisaError("Settings alone do not hold the condition: give it with --condition-image.")
        return load_rgb(arguments.condition_image), settings
    if arguments.scene is not None:
        scene = lab.render_scene(arguments.scene, lab.frames_of(settings.family))
        return _map_of(scene, settings.condition), replace(settings, prompt=settings.prompt or scene.caption)
    picture = load_rgb(arguments.image)
    return (lab.annotate(picture, arguments.annotator) if arguments.annotator else picture), settings
