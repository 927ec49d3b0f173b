"""Rectified-flow transformers of the Stable Diffusion 3 kind, whose side network is diffusers' SD3ControlNetModel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lisa.arms import LisaSettings
from lisa.families.base import FAMILIES, Family, FamilySpec

if TYPE_CHECKING:
    import torch

_EMBEDDED = Path(__file__).resolve().parents[2] / "checkpoints" / "scenes-dit"
_DOWNLOAD = "it is downloaded at first use, after its licence was accepted on the hub, or give a folder as the source"
_SHARES = "the embedders and the first block"
_PARTS = ("transformer", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "scheduler")


def _load(
    spec: FamilySpec, source: str, revision: str, device: str | torch.device, dtype: torch.dtype | None
) -> Family:
    from lisa.families._sd3 import SD3Family

    return SD3Family.load(spec, source, revision, device, dtype)


def _missing(source: str, revision: str) -> str:
    from lisa.families._sources import missing

    return missing(source, revision, _PARTS)


def _check_side(spec: FamilySpec, source: str, revision: str, folder: Path) -> None:
    from diffusers import SD3ControlNetModel, SD3Transformer2DModel

    from lisa.families._fit import check_common_folder
    from lisa.families._sd3 import COMMON

    main = (SD3Transformer2DModel, source, revision, "transformer")
    check_common_folder(spec, (SD3ControlNetModel, folder), main, COMMON)


FAMILIES.add(
    "scenes-dit",
    FamilySpec(
        name="scenes-dit",
        title="Scenes (embedded transformer, flow)",
        objective="rectified flow in the latents of a small autoencoder",
        source=str(_EMBEDDED),
        resolution=128,
        load=_load,
        missing=_missing,
        check_side=_check_side,
        obtain="python -m lisa pretrain --stage flow makes it",
        default_lisa=LisaSettings(weight=0.5),
        learning_rate=1e-3,
        side_class="SD3ControlNetModel",
        shares=_SHARES,
        side={"num_layers": 2},
    ),
)
for _name, _title, _source in (
    ("sd3", "Stable Diffusion 3 medium", "stabilityai/stable-diffusion-3-medium-diffusers"),
    ("sd35", "Stable Diffusion 3.5 medium", "stabilityai/stable-diffusion-3.5-medium"),
):
    FAMILIES.add(
        _name,
        FamilySpec(
            name=_name,
            title=_title,
            objective="rectified flow in the latents of an autoencoder",
            source=_source,
            resolution=1024,
            load=_load,
            missing=_missing,
            check_side=_check_side,
            obtain=_DOWNLOAD,
            default_lisa=LisaSettings(weight=0.2),
            side_class="SD3ControlNetModel",
            shares=_SHARES,
            drop_text_encoders=True,
        ),
    )
