"""Many rendered scenes at once, kept on disk so that a second run need not render them again.

A pool is a folder of shards. A shard is one safetensors file of uint8 arrays with its captions in the header, so
it can be mapped into memory and holds nothing that could run.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from lisa.files import replacing
from lisa.scenes import drawing
from lisa.scenes.example import SIZE, render_example, sample_scene
from lisa.scenes.maps import scene_keypoints
from lisa.scenes.scene import split_seed

SHARD = 128
EXACT = ("depth", "segmentation", "pose")  # conditions of which a pool has exact maps
# Raised when the pictures that a seed gives change, so that no stale shard is read.
_VERSION = 2


@dataclass(frozen=True)
class Pool:
    """N rendered scenes.

    Attributes:
        seeds: (N,) int64.
        images: (N, H, W, 3) uint8 sRGB.
        depth: (N, H, W) uint8 disparity maps, near is bright.
        classes: (N, H, W) uint8 class indices.
        pose: (N, H, W, 3) uint8 skeleton maps.
        captions: N sentences.
        people: what was asked of the scenes: True for at least one mannequin, None for the world's own mix.
    """

    seeds: np.ndarray
    images: np.ndarray
    depth: np.ndarray
    classes: np.ndarray
    pose: np.ndarray
    captions: tuple[str, ...]
    people: bool | None = None

    def __len__(self) -> int:
        return len(self.captions)

    def condition(self, name: str, index: int) -> np.ndarray | None:
        """The exact condition image (H, W, 3) uint8 of one scene; None if the world has no exact map of that name."""
        return exact_condition(self, name, index)

    def keypoints(self, index: int) -> np.ndarray:
        """Joints (P, 18, 2) in pixels of the P mannequins of one scene, hidden ones included."""
        return scene_keypoints(sample_scene(int(self.seeds[index]), self.people), self.images.shape[1])


def exact_condition(pool: Any, name: str, index: int) -> np.ndarray | None:
    """The exact condition (..., H, W, 3) uint8 of one sample of a pool; None for a name that has none."""
    if name == "depth":
        return drawing.gray_to_rgb(pool.depth[index])
    if name == "segmentation":
        return drawing.class_map(pool.classes[index])
    return pool.pose[index] if name == "pose" else None


def cache_folder() -> Path:
    """Where rendered scenes are kept: ``LISA_CACHE``, else ``lisa-lab`` in the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "lisa-lab"
    return Path(os.environ.get("LISA_CACHE", default))


def _render_shard(job: tuple[Path, str, int, bool | None]) -> Path:
    path, split, start, people = job
    examples = [render_example(split_seed(split, start + i), people=people) for i in range(SHARD)]
    arrays = {
        "seeds": np.array([e.scene.seed for e in examples], np.int64),
        "images": np.stack([e.image for e in examples]),
        "depth": np.stack([drawing.depth_map(e.maps.depth) for e in examples]),
        "classes": np.stack([e.maps.classes for e in examples]),
        "pose": np.stack([e.conditions["pose"] for e in examples]),
    }
    return write_shard(path, arrays, [e.caption for e in examples])


def write_shard(path: Path, arrays: dict[str, np.ndarray], captions: list[str]) -> Path:
    """Write the arrays of a shard, with the captions in its header."""
    # safetensors writes memory as it lies: an array with other strides would come back scrambled.
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    with replacing(path) as temporary:
        save_file(arrays, temporary, metadata={"captions": json.dumps(captions)})
    return path


def read_shards(paths: list[Path], count: int) -> dict[str, Any]:
    """Read the first ``count`` samples of shards: arrays by name, and captions."""
    shards = [_read_shard(path) for path in paths]
    arrays = {key: np.concatenate([shard[key] for shard, _ in shards])[:count] for key in shards[0][0]}
    return {**arrays, "captions": tuple(text for _, captions in shards for text in captions)[:count]}


def _read_shard(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    with safe_open(path, "numpy") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, json.loads(file.metadata()["captions"])  # noqa: SIM118


def people_for(condition: str) -> bool | None:
    """Which scenes show a condition: pose needs a mannequin, since an empty skeleton map teaches nothing."""
    return True if condition == "pose" else None


def count_cached(split: str, people: bool | None = None) -> int:
    """Count the scenes of a split that an earlier run left in the cache; the arguments are those of load_pool."""
    return SHARD * len(list(_shard_folder(split, people).glob("[0-9]*.safetensors")))


def _shard_folder(split: str, people: bool | None) -> Path:
    return shard_folder(f"scenes-v{_VERSION}-{SIZE}", split, people)


def shard_folder(name: str, split: str, people: bool | None) -> Path:
    """Where the shards of one kind of sample lie."""
    kind = {None: "mixed", True: "people", False: "objects"}[people]
    return cache_folder() / name / split / kind


def load_pool(
    split: str,
    count: int,
    start: int = 0,
    people: bool | None = None,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Pool:
    """Render scenes, or read them if an earlier run left them in the cache.

    Args:
        split: "train", "validation" or "test".
        count: how many scenes, 1 or more.
        start: number of the first scene within the split, a multiple of 128.
        people: True for scenes with at least one mannequin, None for the world's own mix.
        workers: processes that render; 0 takes one per core.
        progress: called with (scenes ready, scenes in all).
    """
    folder = _shard_folder(split, people)
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(start, start + count, SHARD)
    paths = [folder / f"{first:09d}.safetensors" for first in starts]
    jobs = [(path, split, first, people) for path, first in zip(paths, starts, strict=True) if not path.exists()]
    render_missing(_render_shard, jobs, workers, len(paths), SHARD, progress)
    return Pool(**read_shards(paths, count), people=people)


def render_missing(
    render: Callable[[Any], Path],
    jobs: list[Any],
    workers: int,
    total: int,
    size: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Run the jobs that are left of ``total`` shards of ``size`` samples, in processes of their own."""
    done = total - len(jobs)
    if not jobs:
        return
    # Workers are spawned, not forked: forking a process that runs OpenMP threads can hang.
    with multiprocessing.get_context("spawn").Pool(min(workers or os.cpu_count() or 1, len(jobs))) as pool:
        for finished, _ in enumerate(pool.imap_unordered(render, jobs), done + 1):
            if progress:
                progress(finished * size, total * size)
