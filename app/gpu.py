"""ZeroGPU, where a Space has its GPU only inside decorated calls, each of them in a process of its own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from lisa.lab import Lab
from lisa.report import tell_nobody
from lisa.zero_gpu import on_zero_gpu

# What uses networks, and for how many seconds at most the GPU is asked for.
SECONDS = {"generate": 60, "features": 120, "scores": 60, "round_trips": 120}


def lend_gpu(lab: Lab) -> Lab:
    """Have ZeroGPU lend its GPU to the lab's work on networks; anywhere else the lab stays as it is.

    Args:
        lab: the facade.

    Returns:
        The same lab.
    """
    if on_zero_gpu():
        import spaces

        for name, seconds in SECONDS.items():
            setattr(lab, name, _picklable(spaces.GPU(getattr(lab, name), duration=seconds)))
    return lab


def _picklable(call: Callable[..., Any]) -> Callable[..., Any]:
    """Leave out callbacks: arguments travel to another process, which could not call back anyway."""

    @functools.wraps(call)
    def without_callbacks(*args: Any, **kwargs: Any) -> Any:
        plain = {name: value for name, value in kwargs.items() if not callable(value)}
        return call(*(tell_nobody if callable(arg) else arg for arg in args), **plain)

    return without_callbacks
