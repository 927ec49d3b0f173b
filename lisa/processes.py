"""The processes of one run: the device of each, and what the first of them decides for all."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, broadcast_object_list

from lisa import fsdp
from lisa.errors import LisaError
from lisa.settings import TrainSettings

T = TypeVar("T")
# The others wait while the first process encodes a data set, validates, or draws previews; a process that died is
# noticed by the launcher, not by this.
_PATIENCE = timedelta(hours=12)


def accelerator_for(settings: TrainSettings) -> Accelerator:
    """Set up the device, precision and processes of a run.

    Args:
        settings: of the run; the device "auto" is what accelerate finds, or what its launcher says.

    Returns:
        The accelerator.

    Raises:
        LisaError: if there is no such device here, or it cannot do what the launcher asks for.
    """
    kind, _, number = settings.device.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps"):
        raise LisaError(f"The device is {settings.device[:40]!r}: use auto, cpu, cuda, cuda:1 or mps.")
    if kind in ("cuda", "mps") and not getattr(torch, kind).is_available():
        raise LisaError(f"The device {settings.device} is not available here: use auto or cpu.")
    if number:
        if not number.isdigit() or int(number) >= torch.cuda.device_count():
            raise LisaError(
                f"There is no device {settings.device[:40]!r} among {torch.cuda.device_count()}: choose another."
            )
        torch.cuda.set_device(int(number))
    if fsdp.asked_for() and settings.precision == "fp16":
        raise LisaError("The precision is fp16, which networks spread by FSDP are not trained in: use bf16 or no.")
    # accelerate joins processes without an accelerator only when it is told that they use the CPU.
    cpu = kind == "cpu" or (kind == "auto" and not torch.accelerator.is_available())
    accelerator = Accelerator(
        mixed_precision=settings.precision, cpu=cpu, kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)]
    )
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started != accelerator.num_processes:
        raise LisaError(f"{started} processes were started, but {accelerator.device} serves one: use --device cpu.")
    return accelerator


def first_decides(accelerator: Accelerator, act: Callable[[], T]) -> T:
    """Let the first process do something for all; all must call this together.

    Args:
        accelerator: knows the processes.
        act: run in the first process only; its result must be picklable.

    Returns:
        The first process's result, in every process.

    Raises:
        LisaError: in every process, if it was raised in the first.
    """
    if accelerator.num_processes == 1:
        return act()
    answer: list = [None, ""]
    if accelerator.is_main_process:
        try:
            answer[0] = act()
        except LisaError as error:
            answer[1] = str(error)
    result, refusal = broadcast_object_list(answer)
    if refusal:
        raise LisaError(refusal)
    return result
