"""Stable Video Diffusion, which makes a clip from its first frame; the side network is our SVDControlNet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lisa.arms import LisaSettings
from lisa.families.base import FAMILIES, Family, FamilySpec

if TYPE_CHECKING:
    import torch

_PARTS = ("unet", "vae", "image_encoder", "feature_extractor", "scheduler")


def _load(
    spec: FamilySpec, source: str, revision: str, device: str | torch.device, dtype: torch.dtype | None
) -> Family:
    from lisa.families._svd import SVDFamily

    return SVDFamily.load(spec, source, revision, device, dtype)


def _missing(source: str, revision: str) -> str:
    from lisa.families._sources import missing

    return missing(source, revision, _PARTS)


def _check_side(spec: FamilySpec, source: str, revision: str, folder: Path) -> None:
    import torch
    from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel

    from lisa.families._fit import _whole, check_fit
    from lisa.families._sources import load_config, load_part
    from lisa.families._svd_side import SVDControlNet

    unet, vae, side = (
        _whole(kind, load_config(kind, *where))
        for kind, *where in (
            (UNetSpatioTemporalConditionModel, source, revision, "unet"),
            (AutoencoderKLTemporalDecoder, source, revision, "vae"),
            (SVDControlNet, str(folder)),
        )
    )
    check_fit(side, unet, 2 ** (len(vae["block_out_channels"]) - 1), str(folder), spec.name)
    load_part(SVDControlNet, str(folder), "", dtype=torch.float32)  # says what the weights lack


FAMILIES.add(
    "svd",
    FamilySpec(
        name="svd",
        title="Stable Video Diffusion XT",
        objective="v of unscaled noise (EDM) in the latents of an autoencoder, 25 frames at once",
        source="stabilityai/stable-video-diffusion-img2vid-xt",
        # A square of as many pixels as the 1024 by 576 that it was trained on.
        resolution=768,
        frames=25,
        starts_from_picture=True,
        load=_load,
        missing=_missing,
        check_side=_check_side,
        obtain="it is downloaded at first use, or give a folder as the source",
        default_lisa=LisaSettings(weight=0.2, taps=("down_5",)),
        side_class="SVDControlNet",
    ),
)
