"""What is committed under checkpoints/: sizes, layout, and that any diffusers user gets the lab's own images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    AnimateDiffControlNetPipeline,
    ControlNetModel,
    MotionAdapter,
    SD3ControlNetModel,
    StableDiffusion3ControlNetPipeline,
    StableDiffusionControlNetPipeline,
)
from PIL import Image

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
    assert sum(path.lstat().st_size for path in files()) <= 150e6  # a link to a file takes no room
    assert max(path.stat().st_size for path in files()) < 10e6
    assert not [path for path in files() if path.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl")]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda p: f"{p.parent.name}-{p.name}")
def test_every_pair_is_whole_and_has_its_history(pair):
    run = RunFolder.open(pair)
    assert run.checkpoints() and all(run.verify_checkpoint(step) for step in run.checkpoints())
    events = [row for row in run.events() if row["kind"] == "train"]
    assert {row["arm"] for row in events} == {"baseline", "lisa"}
    assert max(row["step"] for row in events) == run.checkpoints()[-1]


@pytest.mark.parametrize(
    ("family", "parts"),
    [
        ("scenes-unet", {"vae": "vae", "main": "unet", "judge": "judge.safetensors"}),
        ("scenes-dit", {"flow": "transformer"}),
        ("scenes-video", {"motion": "motion_adapter"}),
    ],
)
def test_the_card_records_how_every_part_was_made(family, parts):
    card = json.loads((SHIPPED / family / "training.json").read_text())
    assert all((SHIPPED / family / path).exists() for path in parts.values())
    assert set(parts) == set(card)
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


def stock_images(pair: Path, side: Path, prompt: str, condition: Image.Image, guidance: float) -> list[Image.Image]:
    """What a user of diffusers gets who knows the folders and nothing of this project: an image, or a clip's frames."""
    common = {"num_inference_steps": 4, "guidance_scale": guidance, "generator": torch.Generator().manual_seed(11)}
    if pair.parent.name == "scenes-dit":
        absent = dict.fromkeys(("text_encoder_3", "tokenizer_3", "feature_extractor", "image_encoder"))
        pipe = StableDiffusion3ControlNetPipeline.from_pretrained(
            SHIPPED / "scenes-dit", controlnet=SD3ControlNetModel.from_pretrained(side), **absent
        )
        torch.manual_seed(0)  # of the condition's latent, which this pipeline draws without the generator
        # There is no T5 encoder, so no room is kept for its tokens.
        return pipe(prompt, control_image=condition, max_sequence_length=0, **common).images
    controlnet = ControlNetModel.from_pretrained(side)
    if pair.parent.name == "scenes-video":
        adapter = MotionAdapter.from_pretrained(SHIPPED / "scenes-video" / "motion_adapter")
        pipe = AnimateDiffControlNetPipeline.from_pretrained(
            SHIPPED / "scenes-unet", controlnet=controlnet, motion_adapter=adapter
        )
        return pipe(prompt, num_frames=8, conditioning_frames=[condition] * 8, **common).frames[0]
    pipe = StableDiffusionControlNetPipeline.from_pretrained(
        SHIPPED / "scenes-unet", controlnet=controlnet, safety_checker=None
    )
    return pipe(prompt, image=condition, **common).images


@pytest.mark.parametrize("pair", PAIRS, ids=lambda p: f"{p.parent.name}-{p.name}")
def test_plain_diffusers_gives_the_same_image_as_the_lab(pair):
    lab, trained = Lab(), RunFolder.open(pair).settings()
    scene, condition = lab.render_scene(1), trained["condition"]
    shown = scene.maps[condition] if condition in scene.maps else lab.annotate(scene.image, condition)
    settings = GenerateSettings(
        family=trained["family"], condition=condition, prompt=scene.caption, steps=4, seed=11,
        run=str(pair.relative_to(ROOT)),
    )  # fmt: skip
    images = {image.arm: image for image in lab.generate(settings, shown)}
    folder = RunFolder.open(pair).checkpoint_dir(RunFolder.open(pair).checkpoints()[-1])
    for arm in ("baseline", "lisa"):
        theirs = stock_images(pair, folder / arm, scene.caption, shown, settings.guidance)
        ours = images[arm].clip or (images[arm].image,)
        assert len(ours) == len(theirs)
        assert all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(ours, theirs, strict=True))
    assert not np.array_equal(np.asarray(images["baseline"].image), np.asarray(images["lisa"].image))
