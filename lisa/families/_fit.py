"""Whether a side network fits a main network, told by their configs; no weights are loaded to compare them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel

from lisa.errors import LisaError
from lisa.families._sources import load_config, load_part
from lisa.families.base import FamilySpec

# What a side network must have in common with its main network for its features to be added.
_COMMON = ("in_channels", "block_out_channels", "down_block_types", "layers_per_block", "cross_attention_dim")
_COLOURS = 3  # channels of a condition image


def check_common(
    side: Mapping[str, Any], main: Mapping[str, Any], names: Sequence[str], place: str, family: str, **more: Any
) -> None:
    """Compare what a side network must have in common with its main network.

    Args:
        side: config of the side network.
        main: config of the main network.
        names: what must be equal.
        place: where the side network lies, for the message.
        family: name of the family, for the message.
        **more: what else the side network's config must hold.

    Raises:
        LisaError: for the first difference: the value seen and the value wanted.
    """
    for name, value in {**{name: main[name] for name in names}, **more}.items():
        if _plain(side[name]) != _plain(value):
            raise LisaError(
                f"{place} does not fit {family}: its {name} is {_plain(side[name])}, but must be {_plain(value)}."
            )


def check_common_folder(
    spec: FamilySpec, side: tuple[Any, Path], main: tuple[Any, str, str, str], names: Sequence[str], **more: Any
) -> None:
    """Check that a folder holds a whole side network that fits a main network; as FamilySpec.check_side.

    Args:
        spec: of the family.
        side: class and folder of the side network.
        main: class, source, revision and subfolder of the main network.
        names: what must be equal.
        **more: what else the side network's config must hold.
    """
    (cls, folder), (kind, *where) = side, main
    own, theirs = _whole(cls, load_config(cls, str(folder))), _whole(kind, load_config(kind, *where))
    check_common(own, theirs, names, str(folder), spec.name, **more)
    load_part(cls, str(folder), "", dtype=torch.float32)  # says what the weights lack


def check_fit(side: Mapping[str, Any], main: Mapping[str, Any], downscale: int, place: str, family: str) -> None:
    """Compare a ControlNet with a UNet.

    Args:
        side: config of the ControlNet.
        main: config of the UNet.
        downscale: pixels per latent pixel along each side.
        place: where the side network lies, for the message.
        family: name of the family, for the message.

    Raises:
        LisaError: for the first difference: the value seen and the value wanted.
    """
    check_common(side, main, _COMMON, place, family, conditioning_channels=_COLOURS)
    factor = 2 ** (len(side["conditioning_embedding_out_channels"]) - 1)
    if factor != downscale:
        raise LisaError(
            f"{place} does not fit {family}: it reads conditions {factor} times the latents' size, "
            f"but must read {downscale} times."
        )


def check_side_folder(spec: FamilySpec, source: str, revision: str, folder: Path) -> None:
    """Check that a folder holds a whole ControlNet that fits a main network; as FamilySpec.check_side."""
    side = load_config(ControlNetModel, str(folder))
    unet = load_config(UNet2DConditionModel, source, revision, "unet")
    vae = load_config(AutoencoderKL, source, revision, "vae")
    downscale = 2 ** (len(_whole(AutoencoderKL, vae)["block_out_channels"]) - 1)
    check_fit(_whole(ControlNetModel, side), _whole(UNet2DConditionModel, unet), downscale, str(folder), spec.name)
    load_part(ControlNetModel, str(folder), "", dtype=torch.float32)  # says what the weights lack


def _whole(cls: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """A config with the defaults of what it leaves out."""
    parameters = inspect.signature(cls.__init__).parameters.values()
    return {**{each.name: each.default for each in parameters if each.default is not each.empty}, **config}


def _plain(value: Any) -> Any:
    """Turn lists, as JSON gives them, into tuples."""
    return tuple(value) if isinstance(value, list) else value
