"""Silence about what a user cannot act on."""

from __future__ import annotations

import warnings


def quiet_libraries() -> None:
    """Keep library chatter off the terminal; errors still come through.

    diffusers reports on every cast and every shard it reads, which buries the lab's own lines.
    """
    warnings.filterwarnings("ignore", category=FutureWarning)
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    for logging in (diffusers_logging, transformers_logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()
