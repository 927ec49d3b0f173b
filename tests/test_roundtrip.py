"""Condition -> image -> condition: a true picture loses nothing, and what is lost is shown where it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from lisa.data.samples import condition_pool
from lisa.errors import LisaError
from lisa.evaluate import evaluate, held_out
from lisa.files import read_json
from lisa.metrics.fidelity import MEASURES, Truth, find_joints, measure_of
from lisa.metrics.judge import Judge, joint_targets
from lisa.options import to_dict
from lisa.report import read_note
from lisa.roundtrip import error_map, round_trips
from lisa.runs import EVALUATION_NOTE, RunFolder
from lisa.settings import GenerateSettings, TrainSettings
from tests import tiny


@pytest.fixture(scope="module")
def family():
    return tiny.cached_family("scenes-unet")


@pytest.fixture
def photographs(tmp_path):
    pool = condition_pool("canny", "validation", 20)
    for i, image in enumerate(pool.images):
        Image.fromarray(image).save(tmp_path / f"{i:02d}.png")
    return tmp_path


def test_the_true_picture_reads_back_as_its_own_edges():
    pool = condition_pool("canny", "test", 3)
    measure = measure_of("canny", from_scenes=True)
    maps = measure.read(pool.images, Truth(pool.images), Judge())
    assert measure.values(pool.images, Truth(maps), Judge()).tolist() == [1, 1, 1]
    assert measure.values(pool.images[::-1], Truth(maps), Judge())[0] < 0.9


def test_the_judge_is_asked_about_scenes_only():
    assert measure_of("depth", from_scenes=True) is MEASURES.get("depth")
    assert measure_of("blur", from_scenes=True) is MEASURES.get("blur")
    blurred = measure_of("blur", from_scenes=False)
    assert not blurred.needs_scenes
    images = condition_pool("canny", "test", 2).images
    maps = blurred.read(images, Truth(images), Judge())
    assert blurred.values(images, Truth(maps), Judge()).tolist() == [0, 0]
    assert (blurred.values(images[::-1].copy(), Truth(maps), Judge()) > 0.02).all()
    with pytest.raises(LisaError, match="condition"):
        measure_of("no such thing", from_scenes=False)


def test_the_judge_reads_larger_images_too():
    pool = condition_pool("depth", "test", 2)
    large = pool.images.repeat(2, 1).repeat(2, 2)
    judge = Judge().eval()
    for name in ("depth", "segmentation", "pose"):
        assert MEASURES.get(name).read(large, Truth(large, pool), judge).shape == large.shape
        small = MEASURES.get(name).values(pool.images, Truth(pool.images, pool), judge)
        assert np.allclose(MEASURES.get(name).values(large, Truth(large, pool), judge), small, equal_nan=True)


def test_joints_are_found_where_the_heat_is():
    pool = condition_pool("pose", "test", 3)
    for i in range(3):
        joints = pool.keypoints(i)[:1]
        found = find_joints(joint_targets(torch.from_numpy(joints), 128).numpy(), joints)
        assert np.abs(found - joints).max() < 2.5


def test_edges_missing_are_blue_and_those_too_many_are_orange():
    wanted, read = np.zeros((2, 20, 20, 3), np.uint8)
    wanted[:, 5], wanted[:, 15], read[:, 6], read[:, 10] = 255, 255, 255, 255
    error = error_map("canny", read, wanted)
    red, blue = error[0, :, 0].astype(int), error[0, :, 2].astype(int)
    assert red[6] == blue[6] > 200  # within a pixel: the same edge
    assert blue[15] > red[15] and red[10] > blue[10]
    assert error[:, [0, 5, 19]].max() == 0


def test_depth_errors_have_a_sign_and_other_errors_a_size():
    wanted = np.full((4, 4, 3), 100, np.uint8)
    assert (error_map("depth", wanted, wanted) == 255).all()
    nearer, farther = (error_map("depth", wanted + d, wanted)[0, 0].astype(int) for d in (60, -60 % 256))
    assert nearer[0] > nearer[2] and farther[2] > farther[0]
    assert error_map("segmentation", wanted, wanted).max() == 0
    much, little = (error_map("segmentation", wanted + d, wanted)[0, 0, 0] for d in (100, 20))
    assert much > little > 0


def test_every_scene_comes_back_with_every_arm(family, tmp_path):
    sides = {"baseline": family.new_side(0).eval(), "lisa": family.new_side(0).eval()}
    settings = GenerateSettings(condition="canny", count=2, steps=2)
    seen = round_trips(family, sides, "scenes", settings, tmp_path)
    assert seen.measure == "edge F1" and seen.higher_is_better and len(seen.scenes) == 2
    for scene in seen.scenes:
        first, second = scene.trips["baseline"], scene.trips["lisa"]
        assert first.image.size == scene.condition.size == first.error.size
        # New side networks control nothing: the same noise gives the same image.
        assert first.image.tobytes() == second.image.tobytes() and first.value == second.value
    with pytest.raises(LisaError, match="holds no judge"):
        round_trips(family, sides, "scenes", GenerateSettings(condition="depth", count=2), tmp_path)


def test_a_folders_own_held_out_pictures_are_used(family, photographs):
    held = held_out(family, str(photographs), "canny", 512)
    assert held.truth.pool is None and held.data.names == ("09.png", "19.png")


@pytest.mark.parametrize("condition", ["canny", "blur"])
def test_a_run_is_measured_on_its_own_data(family, photographs, tmp_path, monkeypatch, condition):
    monkeypatch.setattr("lisa.evaluate.load_family", lambda *a: family)
    folder = tmp_path / "run"
    settings = TrainSettings(condition=condition, data=str(photographs))
    run = RunFolder.create(folder, to_dict(settings))
    with run.commit_checkpoint(3) as out:
        for arm in ("baseline", "lisa"):
            family.new_side(0).save_pretrained(out / arm)
    told = []
    rows = evaluate(folder, 512, 2, report=lambda *each: told.append((*each, read_note(folder / EVALUATION_NOTE))))
    drawn = [each[1:3] for each in told if each[0] == "drawing and measuring"]
    assert drawn == [(done, 6) for done in range(7)], "two sampling steps and a loss for each arm"
    assert told[-1][-1].what == "drawing and measuring" and not (folder / EVALUATION_NOTE).exists()
    assert [(row["step"], row["arm"]) for row in rows] == [(3, "baseline"), (3, "lisa")]
    assert rows[1]["loss_difference"] == 0 and "fidelity_interval" not in rows[1], "two are too few"
    assert read_json(folder / "evaluation.json")["scenes"] == 2
