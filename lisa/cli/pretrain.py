"""``python -m lisa pretrain``: train the embedded models."""

from __future__ import annotations

import argparse

from lisa.cli.common import bars, print_settings
from lisa.options import check
from lisa.recipes import PretrainSettings
from lisa.settings import add_arguments as add_settings
from lisa.settings import from_arguments

HELP = "Train the embedded autoencoder, text encoder and main network on rendered scenes."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's flags."""
    add_settings(parser, PretrainSettings)
    parser.add_argument("--dry-run", action="store_true", help="print the resolved settings and stop")


def run(arguments: argparse.Namespace) -> None:
    """Train one stage."""
    settings = check(from_arguments(PretrainSettings, arguments))
    if arguments.dry_run:
        print_settings(settings)
        return
    from tqdm.auto import tqdm

    from lisa.pretrain.run import pretrain
    from lisa.quiet import quiet_libraries

    quiet_libraries()
    with tqdm(total=settings.steps, unit="step") as bar:

        def on_step(record) -> None:
            bar.update(record.step - bar.n)
            bar.set_postfix(loss=f"{record.losses['loss']:.4f}", refresh=False)

        figures = pretrain(settings, bars(), on_step)
    print(figures)
