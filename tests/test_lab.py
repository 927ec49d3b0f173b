"""The facade over a folder of runs: what is listed, generated, refused and remembered."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lisa.errors import LisaError
from lisa.lab import Lab
from lisa.runs import RunFolder
from lisa.settings import GenerateSettings
from tests import tiny

KIND = "scenes-unet"
SETTINGS = GenerateSettings(source=str(tiny.folder(KIND)), prompt="a cube", steps=2, width=64, height=64)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two finished runs (canny shipped, depth local), one that has no checkpoint yet."""
    path = tmp_path_factory.mktemp("root")
    family = tiny.family(KIND)
    for place, condition, steps in (("checkpoints/scenes-unet/canny", "canny", (1, 2)), ("runs/mine", "depth", (3,))):
        run = RunFolder.create(path / place, {"family": KIND, "condition": condition})
        for step in steps:
            with run.commit_checkpoint(step) as folder:
                for seed, arm in enumerate(("baseline", "lisa")):
                    tiny.open_control(family.new_side(0), seed=seed + step).save_pretrained(folder / arm)
    RunFolder.create(path / "runs" / "young", {"family": KIND, "condition": "canny"})
    return path


@pytest.fixture(scope="module")
def lab(root):
    return Lab(root)


@pytest.fixture
def condition():
    return Image.fromarray(np.eye(64, dtype=np.uint8) * 255).convert("RGB")


def test_pairs_lists_finished_runs_shipped_first(lab):
    pairs = lab.pairs()
    assert [(p.id, p.condition, p.steps, p.arms) for p in pairs] == [
        ("checkpoints/scenes-unet/canny", "canny", (1, 2), ("baseline", "lisa")),
        ("runs/mine", "depth", (3,), ("baseline", "lisa")),
    ]
    assert [p.id for p in lab.pairs(KIND, "depth")] == ["runs/mine"] and lab.pairs("sd15") == ()


def test_families_say_what_is_missing(lab):
    views = {view.name: view for view in lab.families()}
    assert views[KIND].conditions == ("canny", "depth")
    assert not views["sd15"].installed and "not on this machine" in views["sd15"].reason


def test_generate_gives_a_pair_that_its_own_settings_reproduce(lab, condition):
    images = lab.generate(SETTINGS, condition)
    assert [image.arm for image in images] == ["baseline", "lisa"]
    assert (
        images[0].settings["checkpoint"] == "step-000002"
        and images[0].settings["run"] == "checkpoints/scenes-unet/canny"
    )
    again = lab.generate(GenerateSettings(**images[1].settings), condition)
    assert len(again) == 1 and np.array_equal(np.asarray(again[0].image), np.asarray(images[1].image))
    earlier = lab.generate(replace(SETTINGS, checkpoint="step-000001"), condition)
    assert not np.array_equal(np.asarray(earlier[0].image), np.asarray(images[0].image))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"condition": "pose"}, "no side network for scenes-unet with the condition 'pose'"),
        ({"checkpoint": "step-000009"}, "no checkpoint 'step-000009'"),
        ({"arms": "baseline,best"}, "no arm 'best'"),
        ({"arms": "baseline,runs/mine:lisa"}, "runs/mine reads depth for scenes-unet, but .*canny reads canny"),
        ({"arms": "baseline,runs/elsewhere:lisa"}, "'runs/elsewhere' is no run with a finished checkpoint"),
        ({"arms": "baseline,lisa@step-000009"}, "no checkpoint 'step-000009'"),
        ({"arms": "baseline,lisa@first"}, "must be different names joined by commas"),
        ({"run": "runs/elsewhere"}, "no run with a finished checkpoint"),
        ({"run": "../../etc"}, "no run with a finished checkpoint"),
        ({"family": "sd15", "run": "runs/mine"}, "belongs to scenes-unet, not sd15"),
        ({"steps": 0}, "steps is 0"),
        ({"guidance": float("nan")}, "guidance is nan"),
        ({"width": 100}, "multiple of 8"),
    ],
)
def test_wrong_requests_are_one_sentence(lab, condition, changes, message):
    with pytest.raises(LisaError, match=message):
        lab.generate(replace(SETTINGS, **changes), condition)


def test_sides_come_from_other_runs_and_steps_and_their_settings_reproduce_them(lab, root, tmp_path, condition):
    (tmp_path / "checkpoints").symlink_to(root / "checkpoints")
    other = RunFolder.create(tmp_path / "runs" / "other", {"family": KIND, "condition": "canny"})
    with other.commit_checkpoint(7) as folder:
        tiny.open_control(tiny.family(KIND).new_side(0), seed=9).save_pretrained(folder / "lisa")
    lab = Lab(tmp_path)
    arms = ("lisa", "lisa@step-000001", "runs/other:lisa")
    images = lab.generate(replace(SETTINGS, arms=",".join(arms)), condition)
    assert tuple(image.arm for image in images) == arms
    pixels = [np.asarray(image.image).tobytes() for image in images]
    assert len(set(pixels)) == 3
    earlier = lab.generate(replace(SETTINGS, arms="lisa", checkpoint="step-000001"), condition)
    alone = lab.generate(replace(SETTINGS, arms="lisa", run="runs/other"), condition)
    again = lab.generate(GenerateSettings(**images[2].settings), condition)
    assert [np.asarray(one.image).tobytes() for (one,) in (earlier, alone, again)] == [*pixels[1:], pixels[2]]


def test_a_second_pair_is_added_and_its_settings_reproduce_it(lab, condition):
    settings = replace(SETTINGS, second_run="runs/mine", second_strength=0.5)
    second = condition.transpose(Image.Transpose.ROTATE_90)
    images = lab.generate(settings, condition, second=second)
    assert images[0].settings["second_checkpoint"].startswith("step-")
    again = lab.generate(GenerateSettings(**images[1].settings), condition, second=second)
    assert np.array_equal(np.asarray(again[0].image), np.asarray(images[1].image))
    silent = lab.generate(replace(settings, second_strength=0.0), condition, second=second)
    assert [np.asarray(image.image).tobytes() for image in silent] == [
        np.asarray(image.image).tobytes() for image in lab.generate(SETTINGS, condition)
    ]


@pytest.mark.parametrize(
    ("run", "given", "message"),
    [
        ("runs/mine", False, "its condition map is missing"),
        ("", True, "the pair that reads it is missing"),
        ("runs/elsewhere", True, "no run with a finished checkpoint"),
    ],
)
def test_a_wrong_second_control_is_one_sentence(lab, condition, run, given, message):
    with pytest.raises(LisaError, match=message):
        lab.generate(replace(SETTINGS, second_run=run), condition, second=condition if given else None)


def test_scene_view_has_every_map_of_one_size(lab):
    view = lab.render_scene(2)
    assert {"canny", "depth", "segmentation", "pose", "normal", "edges"} <= set(view.maps)
    assert {m.size for m in view.maps.values()} == {view.image.size} == {(128, 128)}
    assert view.facts["things"] and view.caption


def test_a_lab_without_assets_has_no_example(lab):
    assert lab.example() is None
