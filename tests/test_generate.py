"""Generation: paired, batch independent, the same as plain diffusers, and PNGs that know how they were made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import (
    ControlNetModel,
    DPMSolverMultistepScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionPipeline,
)
from PIL import Image, PngImagePlugin

from lisa.errors import LisaError
from lisa.generate import Control, fit, initial_noise, paired_images, read_settings, sample, save_png
from lisa.options import check
from lisa.settings import GenerateSettings
from tests import tiny

KIND = "scenes-unet"
SETTINGS = GenerateSettings(prompt="a red cube", steps=3, seed=5, guidance=3.0)


@pytest.fixture(scope="module")
def family():
    return tiny.family(KIND)


@pytest.fixture(scope="module")
def side(family):
    return tiny.open_control(family.new_side(0)).eval()


@pytest.fixture
def condition():
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[16:48, 16:48] = 255
    return Image.fromarray(pixels)


def test_the_image_is_that_of_the_stock_pipeline(family, side, condition, tmp_path):
    (ours,) = paired_images(family, {"lisa": side}, condition, SETTINGS)
    side.save_pretrained(tmp_path / "side")
    pipe = StableDiffusionControlNetPipeline.from_pretrained(
        tiny.folder(KIND), controlnet=ControlNetModel.from_pretrained(tmp_path / "side"), safety_checker=None
    )
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config, algorithm_type="dpmsolver++")
    theirs = pipe(
        "a red cube", image=condition, num_inference_steps=3, guidance_scale=3.0, height=64, width=64,
        generator=torch.Generator().manual_seed(5),
    ).images[0]  # fmt: skip
    assert np.array_equal(np.asarray(ours.image), np.asarray(theirs))


def test_a_seed_gives_the_same_image_whatever_is_made_with_it(family, side, condition):
    alone = next(paired_images(family, {"lisa": side}, condition, replace(SETTINGS, seed=6)))
    many = list(paired_images(family, {"baseline": side, "lisa": side}, condition, replace(SETTINGS, count=3)))
    assert [(image.seed, image.arm) for image in many[:3]] == [(5, "baseline"), (5, "lisa"), (6, "baseline")]
    assert np.array_equal(np.asarray(alone.image), np.asarray(many[3].image))
    assert np.array_equal(np.asarray(many[0].image), np.asarray(many[1].image))
    assert not np.array_equal(np.asarray(many[0].image), np.asarray(many[2].image))


def test_strength_zero_is_no_control(family, side, condition):
    (image,) = paired_images(family, {"lisa": side}, condition, replace(SETTINGS, strength=0.0))
    plain: StableDiffusionPipeline = family.pipeline()
    noise = initial_noise(family, 5, 64, 64)
    expected = plain(
        "a red cube", num_inference_steps=3, guidance_scale=3.0, height=64, width=64, latents=noise
    ).images[0]
    assert np.array_equal(np.asarray(image.image), np.asarray(expected))


def test_control_acts_and_progress_counts_every_step(family, side, condition):
    seen = []
    images = list(paired_images(family, {"a": side, "b": side}, condition, SETTINGS, lambda *x: seen.append(x)))
    assert seen == [(i, 6) for i in range(1, 7)]
    other = Image.new("RGB", (64, 64))
    assert not np.array_equal(
        np.asarray(images[0].image), np.asarray(next(paired_images(family, {"a": side}, other, SETTINGS)).image)
    )


def test_png_round_trip(family, side, condition, tmp_path):
    (image,) = paired_images(family, {"lisa": side}, condition, SETTINGS)
    save_png(image, tmp_path / "image.png")
    assert read_settings(tmp_path / "image.png") == replace(SETTINGS, arms="lisa", width=0, height=0)


@pytest.mark.parametrize(
    "text", [None, "no json", "[]", '{"prompt": "x", "surprise": 1}', '{"steps": 0}', '{"steps": NaN}']
)
def test_foreign_and_damaged_pngs_are_one_sentence(tmp_path, text):
    info = PngImagePlugin.PngInfo()
    if text is not None:
        info.add_text("lisa", text)
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png", pnginfo=info)
    with pytest.raises(LisaError):
        read_settings(tmp_path / "x.png")


def test_a_size_that_does_not_fit_is_one_sentence(family, side, condition):
    with pytest.raises(LisaError, match="multiple"):
        next(paired_images(family, {"lisa": side}, condition, replace(SETTINGS, width=100, height=64)))


def test_batches_and_single_images_agree_closely(family, side, condition):
    noise = torch.cat([initial_noise(family, seed, 64, 64) for seed in (1, 2)])
    both = sample(family, [Control(side, [condition] * 2)], ["a", "b"], noise, SETTINGS)
    alone = sample(family, [Control(side, [condition])], ["b"], noise[1:], SETTINGS)
    assert np.abs(np.asarray(both[1], int) - np.asarray(alone[0], int)).max() <= 2


@pytest.fixture(scope="module")
def other_side(family):
    return tiny.open_control(family.new_side(1), seed=2).eval()


def test_two_controls_are_those_of_the_stock_pipeline(family, side, other_side, condition):
    other = condition.transpose(Image.Transpose.ROTATE_90).resize((32, 32))
    settings = replace(SETTINGS, strength=0.75, second_strength=0.5)
    second = ({"lisa": other_side}, other)
    (ours,) = paired_images(family, {"lisa": side}, condition, settings, second=second)
    pipe = StableDiffusionControlNetPipeline.from_pretrained(
        tiny.folder(KIND), controlnet=[side, other_side], safety_checker=None
    )
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config, algorithm_type="dpmsolver++")
    theirs = pipe(
        "a red cube", image=[condition, fit(other, 64, 64)], num_inference_steps=3, guidance_scale=3.0, height=64,
        width=64, generator=torch.Generator().manual_seed(5), controlnet_conditioning_scale=[0.75, 0.5],
    ).images[0]  # fmt: skip
    assert np.array_equal(np.asarray(ours.image), np.asarray(theirs))
    (alone,) = paired_images(family, {"lisa": side}, condition, settings)
    assert not np.array_equal(np.asarray(ours.image), np.asarray(alone.image))
    silent = replace(settings, second_strength=0.0)
    (same,) = paired_images(family, {"lisa": side}, condition, silent, second=second)
    assert np.array_equal(np.asarray(same.image), np.asarray(alone.image))


def test_two_controls_work_on_batches(family, side, other_side, condition):
    flipped = condition.transpose(Image.Transpose.TRANSPOSE).crop((0, 8, 64, 64))
    noise = torch.cat([initial_noise(family, seed, 64, 64) for seed in (1, 2)])
    maps = [condition, flipped]
    both = sample(family, [Control(side, maps), Control(other_side, maps[::-1], 0.5)], ["a", "b"], noise, SETTINGS)
    alone = [Control(side, maps[1:]), Control(other_side, maps[:1], 0.5)]
    (second,) = sample(family, alone, ["b"], noise[1:], SETTINGS)
    assert np.abs(np.asarray(both[1]).astype(int) - np.asarray(second)).max() <= 2


def test_the_second_controls_settings_travel_with_the_image(family, side, other_side, condition, tmp_path):
    settings = replace(SETTINGS, second_run="runs/depth", second_checkpoint="step-000002", second_strength=0.25)
    (image,) = paired_images(family, {"lisa": side}, condition, settings, second=({"lisa": other_side}, condition))
    save_png(image, tmp_path / "a.png")
    read = read_settings(tmp_path / "a.png")
    assert (read.second_run, read.second_checkpoint, read.second_strength) == ("runs/depth", "step-000002", 0.25)
    with pytest.raises(LisaError, match="Second checkpoint is 'last'"):
        check(replace(settings, second_checkpoint="last"))


def test_a_prompt_that_is_cut_is_told_with_the_tokens_given_and_read(family, side, condition):
    letters = list("abcdefghijklmn")
    given, read = family.count_tokens(" ".join(letters))
    assert given == len(letters) > read
    whole, kept, less = (family.encode_text([" ".join(letters[:count])])["states"] for count in (given, read, read - 1))
    assert torch.equal(whole, kept) and not torch.equal(kept, less)
    settings = replace(SETTINGS, prompt=" ".join(letters), negative_prompt=" ".join(letters[:read]), steps=1)
    (image,) = paired_images(family, {"lisa": side}, condition, settings)
    assert image.cut == {"prompt": (given, read)}
    (image,) = paired_images(family, {"lisa": side}, condition, replace(SETTINGS, steps=1))
    assert image.cut == {}
