"""Whether this is a Hugging Face Space on ZeroGPU, which lends its GPU to single calls, and what cannot work there."""

from __future__ import annotations

import os

from lisa.errors import LisaError

NO_TRAINING = (
    "Training and measuring need a machine for longer than ZeroGPU lends one: duplicate this Space to a machine with "
    "a GPU or CPU of its own, or run the lab on your computer."
)


def on_zero_gpu() -> bool:
    """Whether this is a ZeroGPU Space."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "true")


def refuse_training() -> None:
    """Refuse to start a process that would train or measure.

    Raises:
        LisaError: on a ZeroGPU Space.
    """
    if on_zero_gpu():
        raise LisaError(NO_TRAINING)
