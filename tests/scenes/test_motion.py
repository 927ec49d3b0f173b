from __future__ import annotations

import json

import numpy as np
import pytest

from lisa.data.samples import folder_pictures
from lisa.errors import LisaError
from lisa.scenes import motion
from lisa.scenes.dataset import write_dataset
from lisa.scenes.example import in_sight, sample_scene
from lisa.scenes.mannequin import Joints, sample_joints, skeleton, stance
from lisa.scenes.maps import exact_maps
from lisa.scenes.motion import load_clips, render_clip, sample_clip
from lisa.scenes.scene import place, split_seed

SEEDS = [split_seed("test", i) for i in range(6)]


def test_a_clip_follows_from_its_seed():
    one, same, other = (render_clip(seed, 3, size=48, samples=1) for seed in (SEEDS[0], SEEDS[0], SEEDS[1]))
    assert np.array_equal(one.images, same.images)
    assert one.caption == same.caption != other.caption


def test_a_clip_begins_as_the_still_scene_where_nothing_has_a_pose():
    clip, scene = sample_clip(SEEDS[0]), sample_scene(SEEDS[0])
    assert [thing.shape for thing in clip[0].things] == [thing.shape for thing in scene.things]
    np.testing.assert_allclose(clip[0].camera.position, scene.camera.position, rtol=1e-6)


@pytest.mark.parametrize("people", [None, True])
def test_everything_stays_in_sight_and_apart(people):
    for seed in SEEDS:
        clip = sample_clip(seed, people=people)
        assert all(in_sight(scene) and motion._apart(scene) for scene in clip)
        assert not people or any(thing.keypoints is not None for thing in clip[0].things)


def test_mannequins_move_their_limbs():
    for seed in SEEDS:
        clip = sample_clip(seed, people=True)
        pairs = zip(clip[0].things, clip[3].things, strict=True)
        assert max(np.abs(a.keypoints - b.keypoints).max() for a, b in pairs if a.keypoints is not None) > 0.02


def test_a_seed_whose_own_scene_leaves_no_room_gets_another():
    assert len(sample_clip(18)) == 8


def test_most_clips_move_and_all_of_them_steadily():
    changes = np.array(
        [np.abs(np.diff(render_clip(s, 8, 48, 1).images.astype(int), axis=0)).mean((1, 2, 3)) for s in SEEDS]
    )
    assert (changes.mean(1) > 0.05).mean() >= 0.5
    assert (changes.max(1) <= 6 * np.median(changes, 1) + 2).all()


def test_maps_are_those_of_their_own_frame():
    clip = render_clip(SEEDS[2], 4, size=64, samples=1)
    for frame, scene in zip(clip.frames, sample_clip(SEEDS[2], 4), strict=True):
        assert np.array_equal(frame.maps.classes, exact_maps(scene, 64).classes)
    assert clip.conditions["depth"].shape == clip.images.shape == (4, 64, 64, 3)
    assert clip.depth.max() == 255  # one scale for the clip, so that a thing at rest keeps its shade


def test_a_skeleton_tells_how_it_stands():
    joints = sample_joints("walking", np.random.default_rng(1))
    assert isinstance(joints, Joints)
    assert stance(place(skeleton(joints), 2.1, 0.7, 0.5, -1.0)) == pytest.approx((2.1, 0.7, 0.5, -1.0))


def test_a_pool_keeps_clips_and_their_frames(tmp_path, monkeypatch):
    monkeypatch.setenv("LISA_CACHE", str(tmp_path))
    monkeypatch.setattr(motion, "_SHARD", 2)
    monkeypatch.setattr(motion, "render_missing", lambda render, jobs, *rest: [render(job) for job in jobs])
    pool = load_clips("test", 3, frames=2, people=True)
    assert pool.images.shape == (3, 2, 128, 128, 3)
    assert np.array_equal(pool.images[2], render_clip(split_seed("test", 2), 2, people=True).images)
    frames = pool.frames()
    assert np.array_equal(frames.images[3], pool.images[1, 1])
    assert np.array_equal(frames.condition("pose", 3), pool.condition("pose", 1)[1])
    people = [t for t in sample_clip(split_seed("test", 1), 2, True)[1].things if t.keypoints is not None]
    assert frames.keypoints(3).shape == (len(people), 18, 2)
    monkeypatch.setattr(motion, "render_clip", None)
    assert np.array_equal(load_clips("test", 3, frames=2, people=True).depth, pool.depth)


def test_too_many_frames_are_refused():
    with pytest.raises(LisaError, match="33 frames: use 2 to 32"):
        sample_clip(SEEDS[0], 33)


def test_clips_are_written_as_strips_that_training_reads_back(tmp_path):
    write_dataset(tmp_path / "set", "train", 2, size=32, frames=3)
    rows = [json.loads(line) for line in (tmp_path / "set" / "metadata.jsonl").read_text().splitlines()]
    assert [row["frames"] for row in rows] == [3, 3]
    pictures = folder_pictures(tmp_path / "set", "depth", "train", 2, 32, frames=3)
    assert pictures.images.shape == pictures.conditions.shape == (len(pictures.captions), 3, 32, 32, 3)
    clips = {clip.caption: clip for clip in (render_clip(i, 3, 32) for i in range(2))}
    clip = clips[pictures.captions[0]]
    assert np.array_equal(pictures.images[0], clip.images)
    assert np.array_equal(pictures.conditions[0], clip.conditions["depth"])
    with pytest.raises(LisaError, match="This strip has 3 frames, but the clip has 8"):
        folder_pictures(tmp_path / "set", "depth", "train", 2, 32, frames=8)
