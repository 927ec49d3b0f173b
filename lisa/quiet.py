"""Silence about what a user cannot act on."""

from __future__ import annotations

import os
import warnings


def quiet_libraries() -> None:
    """Keep library chatter off the terminal; errors still come through.

    diffusers reports on every cast and every shard it reads, which buries the lab's own lines.
    """
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.filterwarnings("ignore", category=FutureWarning)
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
