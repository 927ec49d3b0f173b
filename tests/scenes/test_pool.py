"""Pools of scenes: what comes back from disk is what was rendered."""

from __future__ import annotations

import numpy as np
import pytest

from lisa.scenes import pool as pools
from lisa.scenes.drawing import depth_map
from lisa.scenes.example import render_example
from lisa.scenes.scene import split_seed


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LISA_CACHE", str(tmp_path))
    monkeypatch.setattr(pools, "SHARD", 2)
    return tmp_path


def make(cache):
    folder = cache / "shard"
    folder.mkdir(exist_ok=True)
    return pools._read_shard(pools._render_shard((folder / "0.safetensors", "test", 0, None)))


def test_a_shard_holds_the_very_scenes(cache):
    arrays, captions = make(cache)
    for i in range(2):
        example = render_example(split_seed("test", i))
        assert np.array_equal(arrays["images"][i], example.image)
        assert np.array_equal(arrays["depth"][i], depth_map(example.maps.depth))
        assert np.array_equal(arrays["classes"][i], example.maps.classes)
        assert np.array_equal(arrays["pose"][i], example.conditions["pose"])
        assert captions[i] == example.caption


def test_a_second_call_reads_the_cache_and_keypoints_follow_the_seed(cache, monkeypatch):
    seen = []
    first = pools.load_pool("test", 3, people=True, workers=1, progress=lambda *x: seen.append(x))
    assert seen and len(first) == 3 and first.images.shape == (3, 128, 128, 3)
    monkeypatch.setattr(pools, "_render_shard", None)
    again = pools.load_pool("test", 3, people=True)
    assert np.array_equal(first.images, again.images) and first.captions == again.captions
    joints = first.keypoints(0)
    pose = first.condition("pose", 0)
    x, y = np.round(joints[0, 1]).astype(int)
    assert pose[max(0, y - 3) : y + 4, max(0, x - 3) : x + 4].max() > 100
    assert first.condition("lineart", 0) is None
