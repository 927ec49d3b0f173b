"""Clips by motion modules between the layers of a Stable Diffusion UNet; the side network is an image ControlNet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lisa.arms import LisaSettings
from lisa.families.base import FAMILIES, Family, FamilySpec

if TYPE_CHECKING:
    import torch

_CHECKPOINTS = Path(__file__).resolve().parents[2] / "checkpoints"
_ADAPTER = _CHECKPOINTS / "scenes-video" / "motion_adapter"
_PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")


def _load(
    spec: FamilySpec, source: str, revision: str, device: str | torch.device, dtype: torch.dtype | None
) -> Family:
    from lisa.families._animatediff import AnimateDiffFamily

    return AnimateDiffFamily.load(spec, source, revision, device, dtype)


def _missing(source: str, revision: str) -> str:
    from lisa.families._sources import missing

    return missing(source, revision, _PARTS)


def _missing_embedded(source: str, revision: str) -> str:
    here = _ADAPTER.is_dir() or (Path(source) / _ADAPTER.name).is_dir()
    return _missing(source, revision) or ("" if here else f"There is no folder {_ADAPTER}.")


def _check_side(spec: FamilySpec, source: str, revision: str, folder: Path) -> None:
    from lisa.families._fit import check_side_folder

    check_side_folder(spec, source, revision, folder)


FAMILIES.add(
    "scenes-video",
    FamilySpec(
        name="scenes-video",
        title="Scenes in motion (embedded UNet, clips)",
        objective="v-prediction in the latents of a small autoencoder, 8 frames at once",
        source=str(_CHECKPOINTS / "scenes-unet"),
        motion_adapter=str(_ADAPTER),
        resolution=128,
        frames=8,
        load=_load,
        missing=_missing_embedded,
        check_side=_check_side,
        obtain="python -m lisa pretrain --stage motion makes it",
        default_lisa=LisaSettings(weight=0.5, taps=("down_0",)),
        learning_rate=1e-3,
        embedding_channels=(16, 32, 64, 128),
        quick_embedding=True,
    ),
)
FAMILIES.add(
    "animatediff",
    FamilySpec(
        name="animatediff",
        title="AnimateDiff on Stable Diffusion 1.5",
        objective="epsilon in the latents of an autoencoder, 16 frames at once",
        source="stable-diffusion-v1-5/stable-diffusion-v1-5",
        motion_adapter="guoyww/animatediff-motion-adapter-v1-5-3",
        # The motion modules were trained with evenly rising betas, unlike the images' UNet.
        scheduler={"beta_schedule": "linear", "clip_sample": False},
        resolution=512,
        frames=16,
        load=_load,
        missing=_missing,
        check_side=_check_side,
        obtain="it is downloaded at first use, or give a folder as the source",
        default_lisa=LisaSettings(weight=0.2, taps=("down_5",)),
        drop_text_encoders=True,
    ),
)
