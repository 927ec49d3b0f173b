"""``python -m lisa features``: what the features of side networks know, measured and projected."""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

from lisa.cli.common import bars, print_settings
from lisa.files import write_atomically, write_json
from lisa.options import check, to_dict
from lisa.settings import FeatureSettings, from_arguments
from lisa.settings import add_arguments as add_settings

HELP = "Look into side networks: features over scenes x prompts x noises x timesteps, projected and measured."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's flags."""
    add_settings(parser, FeatureSettings)
    parser.add_argument("--out", type=Path, help="folder for points.csv, table.json and settings.json")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved settings and stop")


def run(arguments: argparse.Namespace) -> None:
    """Study, print the table, and write it with the points if a folder is given."""
    settings = check(from_arguments(FeatureSettings, arguments))
    if arguments.dry_run:
        print_settings(settings)
        return
    from lisa.lab import Lab

    study = Lab().features(settings, bars())
    print("\n".join(markdown(study.table)))
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        write_json(arguments.out / "settings.json", to_dict(study.settings))
        write_atomically(arguments.out / "table.json", json.dumps([row.plain() for row in study.table]).encode())
        _write_points(study, arguments.out / "points.csv")


def markdown(table) -> list[str]:
    """A Markdown table of a study's rows.

    Value, 95 % interval, 95th percentile of the permutation null, and by how much the value is higher than that of the
    first arm, paired, with a 95 % interval.
    """
    heads = ["step", "arm", "tap", "measure", "factor", "value", "95 % interval", "null", "minus first arm"]
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    for row in table:
        figure, apart = row.figure, row.difference
        null = "" if figure.null != figure.null else f"{figure.null:.3f}"
        more = f"{apart.value:+.3f} ({apart.low:+.3f} to {apart.high:+.3f})" if apart else ""
        lines.append(
            f"| {row.step} | {row.arm} | {row.tap} | {row.measure} | {row.factor} | {figure.value:.3f} "
            f"| {figure.low:.3f} to {figure.high:.3f} | {null} | {more} |"
        )
    return lines


def _write_points(study, path: Path) -> None:
    names = list(study.probe.factors)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        axes = ["x", "y", "z"][: study.settings.dimensions]
        writer.writerow(["step", "arm", "tap", "row", *axes, *names])
        for key, points in study.points.items():
            for i, point in enumerate(points):
                writer.writerow([*key, i, *map(float, point), *(study.probe.factors[name][i] for name in names)])
