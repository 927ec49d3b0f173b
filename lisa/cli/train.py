"""``python -m lisa train``: train arms in lockstep, with a run folder; or say beforehand what that will take."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

from lisa.cli.common import bars, print_settings
from lisa.errors import LisaError
from lisa.options import check
from lisa.settings import TrainSettings, from_arguments
from lisa.settings import add_arguments as add_settings

HELP = "Train side networks in lockstep on the same data, noise and timesteps: baseline, LISA, or any number of arms."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's flags."""
    add_settings(parser, TrainSettings)
    parser.add_argument(
        "--run", "--folder", dest="folder", type=Path, help="run folder; an existing one is resumed (needed to train)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the resolved settings and stop")
    parser.add_argument(
        "--estimate",
        action="store_true",
        help="print a report on the data, what the run takes by its networks' sizes and, if the weights are on this "
        "machine, its measured time and memory, one JSON object a line, and stop",
    )


def run(arguments: argparse.Namespace) -> None:
    """Train until the last step, or until Ctrl-C or SIGTERM, which saves first."""
    settings = check(from_arguments(TrainSettings, arguments))
    if arguments.dry_run:
        print_settings(settings)
    elif arguments.estimate:
        _print_estimate(settings)
    elif arguments.folder is None:
        raise LisaError("Training needs a folder for the run: give --run FOLDER, such as runs/first.")
    else:
        _train(settings, arguments.folder)


def _train(settings: TrainSettings, folder: Path) -> None:
    from tqdm.auto import tqdm

    from lisa.job import Job
    from lisa.quiet import quiet_libraries
    from lisa.ready import check_ready

    quiet_libraries()
    check_ready(settings)
    job = Job(settings, folder, bars())
    with tqdm(total=settings.steps, unit="step", disable=not job.writer) as bar:
        for record in job.records():
            bar.update(record.step - bar.n)
            bar.set_postfix_str(
                "  ".join(
                    f"{arm} {loss['control']:.4f} ratio {loss['ratio']:.3f}" for arm, loss in record.losses.items()
                )
            )
    if job.writer:
        print(f"{job.run.read_state()['status']} at step {job.run.read_state()['step']}: {folder}")
    job.accelerator.wait_for_everyone()  # the first process may still be writing
    job.accelerator.end_training()


def _print_estimate(settings: TrainSettings) -> None:
    """Print each part as soon as it is known: the data can be mended while the networks still load."""
    from lisa.data.check import check_data
    from lisa.families.base import FAMILIES

    resolution = FAMILIES.get(settings.family).resolution
    _tell("reading the data", 0, 1)
    report = check_data(settings.data, settings.condition, settings.samples, resolution, report=_tell)
    print(json.dumps({"data": asdict(report)}), flush=True)
    _tell("loading libraries", 0, 1)

    from lisa.estimate import estimate
    from lisa.footprint.of_run import footprint
    from lisa.footprint.sketch import local_source
    from lisa.quiet import quiet_libraries

    quiet_libraries()
    _tell("counting operations and memory", 0, 1)
    print(json.dumps({"footprint": asdict(footprint(settings))}), flush=True)
    source = local_source(settings.family, settings.source, settings.revision)
    if source:
        here = settings if source == settings.source else replace(settings, source=source, revision="")
        print(json.dumps({"estimate": asdict(estimate(here, _tell))}), flush=True)


def _tell(what: str, done: int, total: int) -> None:
    print(f"{what}: {done:,} of {total:,}" if total > 1 else what, file=sys.stderr, flush=True)
