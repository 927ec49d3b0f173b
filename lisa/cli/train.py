"""``python -m lisa train``: train arms in lockstep, with a run folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from lisa.cli.common import bars, print_settings
from lisa.options import check
from lisa.settings import TrainSettings, from_arguments
from lisa.settings import add_arguments as add_settings

HELP = "Train side networks in lockstep on the same data, noise and timesteps: baseline, LISA, or any number of arms."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's flags."""
    add_settings(parser, TrainSettings)
    parser.add_argument(
        "--run", "--folder", dest="folder", type=Path, required=True, help="run folder; an existing one is resumed"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the resolved settings and stop")


def run(arguments: argparse.Namespace) -> None:
    """Train until the last step, or until Ctrl-C or SIGTERM, which saves first."""
    settings = check(from_arguments(TrainSettings, arguments))
    if arguments.dry_run:
        print_settings(settings)
        return
    from tqdm.auto import tqdm

    from lisa.job import Job
    from lisa.quiet import quiet_libraries

    quiet_libraries()
    job = Job(settings, arguments.folder, bars())
    with tqdm(total=settings.steps, unit="step", disable=not job.writer) as bar:
        for record in job.records():
            bar.update(record.step - bar.n)
            bar.set_postfix_str(
                "  ".join(
                    f"{arm} {loss['control']:.4f} ratio {loss['ratio']:.3f}" for arm, loss in record.losses.items()
                )
            )
    if job.writer:
        print(f"{job.run.read_state()['status']} at step {job.run.read_state()['step']}: {arguments.folder}")
