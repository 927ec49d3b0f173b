"""Reading a side network's features where they enter its zero-initialised layers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from lisa.errors import LisaError


@dataclass(frozen=True)
class Tap:
    """A place in a side network: the input of one zero-convolution or zero-linear.

    Attributes:
        name: Short name for settings: "down_5", "mid", "block_3".
        module: Dotted path of the zero-initialised layer inside the side network.
        channels: Channels of the feature.
        stride: Latent pixels per feature pixel along each side.
        layout: "map" for (B, channels, h / stride, w / stride), "tokens" for (B, N, channels).
    """

    name: str
    module: str
    channels: int
    stride: int
    layout: Literal["map", "tokens"] = "map"


@contextlib.contextmanager
def tapped(side: nn.Module, taps: Iterable[Tap]) -> Iterator[dict[str, Tensor]]:
    """Collect the features of every forward pass made inside the context; leave no hook behind.

    Args:
        side: The side network.
        taps: Where to read; a layer that runs several times keeps its last input.

    Yields:
        Tap name -> the tensor as the layer got it, with its gradient history.

    Raises:
        LisaError: If the side network has no such layer.
    """
    features: dict[str, Tensor] = {}
    with contextlib.ExitStack() as hooks:
        for tap in taps:
            handle = _layer(side, tap).register_forward_pre_hook(_keep(features, tap.name))
            hooks.callback(handle.remove)
        yield features


def _layer(side: nn.Module, tap: Tap) -> nn.Module:
    try:
        return side.get_submodule(tap.module)
    except AttributeError:
        raise LisaError(
            f"The tap {tap.name} reads the layer {tap.module}, which {type(side).__name__} does not have: "
            "choose a tap of this side network."
        ) from None


def _keep(features: dict[str, Tensor], name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        features[name] = inputs[0]

    return hook


def as_map(tokens: Tensor, height: int, width: int) -> Tensor:
    """Lay the image tokens of a transformer out as a map.

    Args:
        tokens: Row by row, (B, height * width, channels).
        height: Tokens in a column.
        width: Tokens in a row.

    Returns:
        (B, channels, height, width).
    """
    return tokens.transpose(1, 2).unflatten(2, (height, width))
