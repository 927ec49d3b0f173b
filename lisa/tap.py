"""Reading the side network's features: ``with tapped(side, taps) as features``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn


@dataclass(frozen=True)
class Tap:
    """Where a feature is read: the input of one zero-initialised output layer of the side network.

    Attributes:
        name: short name, such as "down_5" or "mid".
        module: dotted path of the layer inside the side network.
        channels: channels of the feature.
        stride: latent pixels per feature pixel along one axis.
        layout: "map" for (B, C, h, w), "tokens" for (B, N, C).
    """

    name: str
    module: str
    channels: int
    stride: int
    layout: Literal["map", "tokens"] = "map"


@contextmanager
def tapped(side: nn.Module, taps: Sequence[Tap]) -> Iterator[dict[str, Tensor]]:
    """Collect features while the side network runs; its hooks are gone afterwards, whatever happens.

    Args:
        side: the side network.
        taps: where to read.

    Yields:
        tap name -> feature with its gradient, as the layer got it; filled by the forward pass inside the context.
    """
    features: dict[str, Tensor] = {}
    handles = []
    try:
        for tap in taps:

            def read(module: nn.Module, inputs: tuple[Tensor, ...], name: str = tap.name) -> None:
                features[name] = inputs[0]

            handles.append(side.get_submodule(tap.module).register_forward_pre_hook(read))
        yield features
    finally:
        for handle in handles:
            handle.remove()
