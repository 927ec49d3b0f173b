"""FLUX.1, whose side network is diffusers' FluxControlNetModel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lisa.arms import LisaSettings
from lisa.families.base import FAMILIES, Family, FamilySpec

if TYPE_CHECKING:
    import torch

_PARTS = ("transformer", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "scheduler")


def _load(
    spec: FamilySpec, source: str, revision: str, device: str | torch.device, dtype: torch.dtype | None
) -> Family:
    from lisa.families._flux import FluxFamily

    return FluxFamily.load(spec, source, revision, device, dtype)


def _missing(source: str, revision: str) -> str:
    from lisa.families._sources import missing

    return missing(source, revision, _PARTS)


def _check_side(spec: FamilySpec, source: str, revision: str, folder: Path) -> None:
    from diffusers import FluxControlNetModel, FluxTransformer2DModel

    from lisa.families._fit import check_common_folder
    from lisa.families._flux import COMMON

    main = (FluxTransformer2DModel, source, revision, "transformer")
    check_common_folder(spec, (FluxControlNetModel, folder), main, COMMON)


FAMILIES.add(
    "flux",
    FamilySpec(
        name="flux",
        title="FLUX.1 dev",
        objective="rectified flow in the latents of an autoencoder",
        source="black-forest-labs/FLUX.1-dev",
        resolution=1024,
        load=_load,
        missing=_missing,
        check_side=_check_side,
        obtain="it is downloaded at first use, once its licence is accepted on the hub, or give a folder as the source",
        default_lisa=LisaSettings(weight=0.2),
        side_class="FluxControlNetModel",
        shares="the embedders and the first block",
        side={"num_layers": 4, "num_single_layers": 4},
        drop_text_encoders=True,
    ),
)
