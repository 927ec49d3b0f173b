"""What is committed under checkpoints/: sizes, layout, and that any diffusers user gets the lab's own images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline

from lisa.lab import ROOT, Lab
from lisa.runs import RunFolder
from lisa.settings import GenerateSettings

SHIPPED = ROOT / "checkpoints"


def needs(part: str) -> pytest.MarkDecorator:
    """Skip a test until a part of the embedded models is there."""
    return pytest.mark.skipif(
        not (SHIPPED / "scenes-unet" / part).exists(),
        reason=f"scenes-unet/{part} is not there yet: python -m lisa pretrain makes it",
    )


PAIRS = sorted(path.parent for path in SHIPPED.glob("*/*/settings.json"))


def files() -> list[Path]:
    return [path for path in SHIPPED.rglob("*") if path.is_file()]


@needs("vae")
def test_sizes_stay_within_the_budget_and_nothing_is_pickled():
    assert files(), "the embedded models are missing"
    assert sum(path.stat().st_size for path in files()) <= 150e6
    assert max(path.stat().st_size for path in files()) < 10e6
    assert not [path for path in files() if path.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl")]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda p: p.name)
def test_every_pair_is_whole_and_has_its_history(pair):
    run = RunFolder.open(pair)
    assert run.checkpoints() and all(run.verify_checkpoint(step) for step in run.checkpoints())
    events = [row for row in run.events() if row["kind"] == "train"]
    assert {row["arm"] for row in events} == {"baseline", "lisa"}
    assert max(row["step"] for row in events) == run.checkpoints()[-1]


@needs("vae")
def test_the_card_records_how_every_part_was_made():
    card = json.loads((SHIPPED / "scenes-unet" / "training.json").read_text())
    parts = {"vae": "vae", "main": "unet", "judge": "judge.safetensors"}
    shipped = {stage for stage, path in parts.items() if (SHIPPED / "scenes-unet" / path).exists()}
    assert shipped and shipped == set(card)
    for stage in card.values():
        assert {"settings", "hardware", "hours", "final"} <= set(stage)


@needs("vae")
def test_the_autoencoder_gives_back_held_out_scenes():
    from diffusers import AutoencoderKL

    from lisa.pretrain.vae import reconstruction_psnr
    from lisa.scenes.example import render_example
    from lisa.scenes.scene import split_seed

    vae = AutoencoderKL.from_pretrained(SHIPPED / "scenes-unet" / "vae").eval()
    images = np.stack([render_example(split_seed("test", seed)).image for seed in range(16)])
    assert reconstruction_psnr(vae, images) >= 30


@pytest.mark.parametrize("pair", PAIRS, ids=lambda p: p.name)
def test_plain_diffusers_gives_the_same_image_as_the_lab(pair):
    lab = Lab()
    condition = RunFolder.open(pair).settings()["condition"]
    scene = lab.render_scene(1)
    settings = GenerateSettings(
        condition=condition, prompt=scene.caption, steps=4, seed=11, run=str(pair.relative_to(ROOT))
    )
    images = {image.arm: image for image in lab.generate(settings, scene.maps[condition])}
    folder = RunFolder.open(pair).checkpoint_dir(RunFolder.open(pair).checkpoints()[-1])
    for arm in ("baseline", "lisa"):
        pipe = StableDiffusionControlNetPipeline.from_pretrained(
            SHIPPED / "scenes-unet", controlnet=ControlNetModel.from_pretrained(folder / arm), safety_checker=None
        )
        theirs = pipe(
            scene.caption, image=scene.maps[condition], num_inference_steps=4, guidance_scale=settings.guidance,
            generator=torch.Generator().manual_seed(11),
        ).images[0]  # fmt: skip
        assert np.array_equal(np.asarray(images[arm].image), np.asarray(theirs))
    assert not np.array_equal(np.asarray(images["baseline"].image), np.asarray(images["lisa"].image))
