"""Stable Diffusion XL, whose side network is diffusers' ControlNetModel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lisa.arms import LisaSettings
from lisa.families.base import FAMILIES, Family, FamilySpec

if TYPE_CHECKING:
    import torch

_PARTS = ("unet", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "scheduler")


def _load(
    spec: FamilySpec, source: str, revision: str, device: str | torch.device, dtype: torch.dtype | None
) -> Family:
    from lisa.families._sdxl import SDXLFamily

    return SDXLFamily.load(spec, source, revision, device, dtype)


def _missing(source: str, revision: str) -> str:
    from lisa.families._sources import missing

    return missing(source, revision, _PARTS)


def _check_side(spec: FamilySpec, source: str, revision: str, folder: Path) -> None:
    from lisa.families._fit import check_side_folder

    check_side_folder(spec, source, revision, folder)


FAMILIES.add(
    "sdxl",
    FamilySpec(
        name="sdxl",
        title="Stable Diffusion XL",
        objective="epsilon in the latents of an autoencoder",
        source="stabilityai/stable-diffusion-xl-base-1.0",
        resolution=1024,
        load=_load,
        missing=_missing,
        check_side=_check_side,
        obtain="it is downloaded at first use, or give a folder as the source",
        # The second level's first layer, in the middle of down_0..down_8 and at half resolution as in the paper.
        default_lisa=LisaSettings(weight=0.2, taps=("down_4",)),
        drop_text_encoders=True,
    ),
)
