"""Scenes: determinism, splits, ground truth that agrees with itself, captions in correct English."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from lisa.errors import LisaError
from lisa.scenes import vocabulary as words
from lisa.scenes.captions import with_article
from lisa.scenes.dataset import write_dataset
from lisa.scenes.drawing import pose_map
from lisa.scenes.example import render_example, sample_scene
from lisa.scenes.maps import exact_maps, project, visible_shares
from lisa.scenes.render import camera_rays, trace
from lisa.scenes.scene import SPLIT_SIZE, split_seed

SEEDS = range(40, 52)
KNOWN = {
    "caption": "a large orange mannequin standing to the left of a large purple metal sphere on sand in the dark",
    "shapes": ["mannequin", "sphere"],
    "mean": 125.999,
}


def test_same_seed_same_scene_other_seed_other_scene():
    first, again, other = render_example(5), render_example(5), render_example(6)
    assert (
        np.array_equal(first.image, again.image) and first.caption == again.caption and first.factors == again.factors
    )
    assert not np.array_equal(first.image, other.image)


def test_known_scene_is_the_same_on_every_machine():
    # Factors come from integer and float64 draws; pixels only from float32 arithmetic, so they get a tolerance.
    example = render_example(7)
    assert example.caption == KNOWN["caption"]
    assert [thing["shape"] for thing in example.factors["things"]] == KNOWN["shapes"]
    assert abs(float(example.image.mean()) - KNOWN["mean"]) < 0.2


def test_splits_do_not_overlap_and_reject_what_is_outside():
    assert len({split_seed(split, i) for split in ("train", "validation", "test") for i in (0, SPLIT_SIZE - 1)}) == 6
    with pytest.raises(LisaError, match="outside the split"):
        split_seed("train", SPLIT_SIZE)
    with pytest.raises(LisaError, match="no split 'dev'"):
        split_seed("dev", 0)


@pytest.mark.parametrize(
    ("arguments", "message"), [((-1,), "seed"), ((0, 8), "8 pixels"), ((0, 128, 9), "9: use 1 to 4")]
)
def test_bad_input_is_one_sentence(arguments, message):
    with pytest.raises(LisaError, match=message):
        render_example(*arguments)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_object_is_nearly_hidden_or_cut_off(seed):
    scene = sample_scene(seed)
    inside, free, pixels = visible_shares(scene, 96)
    assert 1 <= len(scene.things) <= 4
    assert inside.min() > 0.85 and free.min() > 0.5 and pixels.min() > 30


@pytest.mark.parametrize("seed", SEEDS)
def test_depth_and_normals_agree(seed):
    """Where a surface is smooth, the normal from depth differences equals the exact normal."""
    scene = sample_scene(seed)
    maps = exact_maps(scene, 128)
    d, cosine = camera_rays(scene.camera, 128)
    points = (d * (np.minimum(maps.depth.ravel(), 1e3) / cosine)).reshape(3, 128, 128)
    across, down = np.diff(points, axis=2)[:, :-1], np.diff(points, axis=1)[:, :, :-1]
    estimate = np.cross(down, across, axis=0)
    estimate /= np.linalg.norm(estimate, axis=0) + 1e-12
    axes = scene.camera.basis * np.array([[1], [1], [-1]])
    exact = np.linalg.inv(axes) @ maps.normals.transpose(2, 0, 1).reshape(3, -1)
    agree = (exact.reshape(3, 128, 128)[:, :-1, :-1] * estimate).sum(0)
    near = (maps.depth < 9)[:-1, :-1] & ~maps.edges[:-1, :-1] & np.isfinite(agree)
    assert np.median(agree[near]) > 0.99


def test_segmentation_names_every_thing_where_it_is():
    for seed in SEEDS:
        example = render_example(seed, 64)
        for i, thing in enumerate(example.scene.things):
            mine = example.maps.instances == i + 2
            assert mine.any() and (example.maps.classes[mine] == words.CLASS_INDEX[thing.shape]).all()


def test_things_are_listed_from_left_to_right():
    for seed in SEEDS:
        example = render_example(seed, 64)
        columns = [np.nonzero(example.maps.instances == i + 2)[1].mean() for i in range(len(example.scene.things))]
        assert columns == sorted(columns) or min(np.diff(columns)) > -6


def test_keypoints_lie_on_the_mannequin():
    """Every visible joint projects onto its figure's silhouette or within two pixels of it."""
    checked = 0
    for seed in range(20):
        example = render_example(seed, people=True)
        figures = [i for i, thing in enumerate(example.scene.things) if thing.shape == words.MANNEQUIN]
        assert len(figures) == len(example.maps.keypoints) > 0
        for i, joints in zip(figures, example.maps.keypoints, strict=True):
            mine = np.pad(example.maps.instances == i + 2, 3)
            for x, y, visible in joints[:14]:
                if visible:
                    column, line = int(x) + 3, int(y) + 3
                    checked += 1
                    assert mine[line - 2 : line + 3, column - 2 : column + 3].any()
    assert checked > 150


def test_feet_stand_on_the_floor_unless_jumping():
    for seed in range(30):
        scene = sample_scene(seed, people=True)
        for thing in scene.things:
            if thing.keypoints is not None and thing.pose in ("standing", "walking", "reaching"):
                low = thing.keypoints[:, 1].min()
                assert 0 < low < 0.2, thing.pose


def test_projection_inverts_the_camera_rays():
    scene = sample_scene(3)
    d, _ = camera_rays(scene.camera, 32)
    hits = trace(scene.things, scene.camera.position, d)
    near = np.flatnonzero(hits.thing > -2)
    points = (scene.camera.position + d * hits.distance)[:, near].T
    xy, _ = project(scene, points, 32)
    assert np.allclose(xy, np.stack([near % 32, near // 32], 1) + 0.5, atol=0.02)


def test_captions_use_the_right_article_and_name_everything():
    for seed in range(60):
        example = render_example(seed, 32, 1)
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", example.caption), example.caption
        assert all(thing.color in example.caption and thing.shape in example.caption for thing in example.scene.things)
    assert with_article("orange cube") == "an orange cube" and with_article("red cube") == "a red cube"


def test_pose_map_is_black_without_people_and_coloured_with():
    assert pose_map(np.zeros((0, 18, 3)), 64).max() == 0
    assert pose_map(render_example(1, 64, people=True).maps.keypoints, 64).max() > 100


def test_people_switch():
    assert all(thing.shape != words.MANNEQUIN for seed in range(8) for thing in sample_scene(seed, people=False).things)
    assert all(any(t.shape == words.MANNEQUIN for t in sample_scene(seed, people=True).things) for seed in range(8))


def test_data_set_loads_with_hugging_face_datasets(tmp_path):
    datasets = pytest.importorskip("datasets")
    write_dataset(tmp_path / "set", "test", 3, size=32)
    loaded = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"), split="train"
    )
    rows = [json.loads(line) for line in (tmp_path / "set" / "metadata.jsonl").read_text().splitlines()]
    assert loaded.num_rows == 3 and {row["text"] for row in rows} == set(loaded["text"])
    assert loaded[0]["image"].size == (32, 32) and (tmp_path / "set" / rows[0]["depth_file_name"]).exists()
    with pytest.raises(LisaError, match="already holds a data set"):
        write_dataset(tmp_path / "set", "test", 3, size=32)
