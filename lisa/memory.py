"""Models in memory: the main networks and side networks used last, and the lock that one job at a time holds."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from lisa.families.base import Family

_FAMILIES = 1
_SIDES = 8


@dataclass
class Memory:
    """Least-recently-used stores of networks.

    Attributes:
        lock: held by whoever uses them; the networks are not made for two jobs at once.
    """

    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _families: OrderedDict[tuple[str, str, str], Family] = field(default_factory=OrderedDict, repr=False)
    _sides: OrderedDict[tuple[Any, ...], nn.Module] = field(default_factory=OrderedDict, repr=False)

    def family(self, name: str, source: str = "", revision: str = "") -> Family:
        """The main network of a family, loaded when it is first asked for; see ``lisa.families.base.load_family``."""
        from lisa.families.base import load_family
        from lisa.quiet import quiet_libraries

        quiet_libraries()
        key = (name, source, revision)
        return _remember(self._families, key, _FAMILIES, lambda: load_family(*key, device=best_device()))

    def side(self, family: Family, folder: Path) -> nn.Module:
        """The side network in a folder; one that was written anew is loaded anew."""
        key = (family.name, str(folder), folder.stat().st_mtime_ns)
        return _remember(self._sides, key, _SIDES, lambda: family.load_side(folder))


def best_device() -> str:
    """The device models run on: CUDA, Apple's MPS, or the CPU."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _remember(cache: OrderedDict, key: Any, limit: int, make: Callable[[], Any]) -> Any:
    """Least-recently-used cache; the old entry goes before the new one comes, so that both need not fit."""
    if key not in cache:
        while len(cache) >= limit:
            cache.popitem(last=False)
        cache[key] = make()
    cache.move_to_end(key)
    return cache[key]
