"""Moving scenes: things slide and turn, mannequins move their limbs, the camera circles; every frame with exact maps.

A clip is made of the still scene of its seed, or of another where that leaves no room to move. Captions are the scene's
own, without words for the motion: the embedded text encoder has never seen any, and control and noise decide how things
move.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from lisa.errors import LisaError
from lisa.scenes import drawing
from lisa.scenes.captions import caption
from lisa.scenes.example import SIZE, SceneExample, in_sight, sample_scene
from lisa.scenes.geometry import Cube, point
from lisa.scenes.mannequin import Joints, sample_joints, skeleton, stance
from lisa.scenes.maps import exact_maps, scene_keypoints
from lisa.scenes.pool import (
    Pool,
    exact_condition,
    read_shards,
    render_missing,
    shard_folder,
    write_shard,
)
from lisa.scenes.render import render_image
from lisa.scenes.scene import Scene, Thing, figure, footprint, look_from, place, split_seed
from lisa.scenes.vocabulary import MANNEQUIN

Array = np.ndarray
FRAMES = 8
_SHARD = 32
_ATTEMPTS, _OWN_SCENE = 60, 12
_VERSION = 1  # raised when the frames that a seed gives change
_STRIDE = 0.55  # of a mannequin's height, walked in a clip


@dataclass(frozen=True)
class Course:
    """How one thing moves during a clip.

    Attributes:
        path: floor distance from start to end, x and z.
        bend: how far the middle of the path lies off the straight line, x and z.
        turn: radians about the vertical axis; cubes alone show it.
        joints: of a mannequin: its pose in the middle of its swing.
        swing: of a mannequin: how far its limbs go, 0 to 1.
    """

    path: Array
    bend: Array
    turn: float
    joints: Joints | None = None
    swing: float = 0.0


@dataclass(frozen=True)
class Motion:
    """Courses of all things, and the camera's: radians around the scene, and its distance at the end to the start's."""

    courses: tuple[Course, ...]
    orbit: float
    approach: float


def sample_motion(scene: Scene, rng: np.random.Generator, scale: float) -> Motion:
    """Draw how a scene moves; ``scale`` in 0..1 shrinks all of it."""
    courses = tuple(_course(thing, rng, scale) for thing in scene.things)
    camera = rng.random() < 0.6
    return Motion(
        courses, scale * camera * float(rng.uniform(-0.3, 0.3)), 1 + scale * camera * float(rng.uniform(-0.12, 0.12))
    )


def _course(thing: Thing, rng: np.random.Generator, scale: float) -> Course:
    length, angle = rng.uniform(0.3, 1.1) * (rng.random() < 0.75), rng.uniform(0, 2 * np.pi)
    turn, aside = float(rng.uniform(-0.9, 0.9)), rng.uniform(-0.25, 0.25)
    if thing.shape == MANNEQUIN:
        height, yaw, *_ = stance(thing.keypoints)
        length, angle = height * _STRIDE * (thing.pose == "walking"), np.pi / 2 - yaw  # it walks the way it faces
        aside, turn = 0.0, 0.0
    way = np.array([np.cos(angle), np.sin(angle)])
    joints = sample_joints(thing.pose, rng) if thing.shape == MANNEQUIN else None
    path = scale * length * way
    return Course(path, aside * scale * length * way[::-1] * (1, -1), scale * turn, joints, max(scale, 0.3))


def _moved(thing: Thing, course: Course, share: float) -> Thing:
    x, z = share * course.path + 4 * share * (1 - share) * course.bend
    if course.joints is not None:
        height, yaw, hip_x, hip_z = stance(thing.keypoints)
        joints = _swung(thing.pose, course.joints, course.swing, share)
        return figure(
            place(skeleton(joints), height, yaw, hip_x + x, hip_z + z), height, thing.color, thing.size, thing.pose
        )
    (solid,) = thing.solids
    moved = replace(solid, center=solid.center + point(x, 0, z))
    if isinstance(moved, Cube):
        moved = replace(moved, angle=moved.angle + share * course.turn)
    return replace(thing, center=moved.center, solids=(moved,))


def _swung(pose: str, joints: Joints, swing: float, share: float) -> Joints:
    """The pose at a share of the clip: one whole swing, in which the limbs of one side go against the other's."""
    wave = swing * np.sin(2 * np.pi * share)
    beat = swing * np.cos(2 * np.pi * share)
    if pose == "walking":
        stride, reach = max(map(abs, joints.leg_swing)), max(map(abs, joints.arm_swing))
        knees = tuple(0.15 + 0.45 * max(0.0, side * wave) for side in (1, -1))
        return replace(
            joints, leg_swing=(beat * stride, -beat * stride), arm_swing=(-beat * reach, beat * reach), knee=knees
        )
    arms = (joints.arm_swing[0] + 0.35 * wave, joints.arm_swing[1] - 0.35 * wave)
    spread = tuple(max(0.05, each + 0.2 * wave) for each in joints.arm_spread)
    lift = joints.lift * (1 - 0.8 * abs(2 * share - 1)) if pose == "jumping" else joints.lift
    return replace(joints, arm_swing=arms, arm_spread=spread, lift=lift)


def scene_at(scene: Scene, motion: Motion, share: float) -> Scene:
    """The scene at a share of the clip, 0 to 1."""
    things = tuple(_moved(t, course, share) for t, course in zip(scene.things, motion.courses, strict=True))
    angle, reach = share * motion.orbit, motion.approach**share
    cos, sin = np.cos(angle), np.sin(angle)
    x, y, z = scene.camera.position[:, 0]
    eye = point(reach * (cos * x + sin * z), reach * y, reach * (cos * z - sin * x))
    return replace(scene, things=things, camera=look_from(eye, scene.camera.tan))


def sample_clip(seed: int, frames: int = FRAMES, people: bool | None = None) -> tuple[Scene, ...]:
    """Draw a moving scene in which every object can be seen in every frame and none passes through another.

    Args:
        seed: 0 or more; the same seed gives the same clip.
        frames: 2 to 32; the clip covers the same motion in more or fewer steps.
        people: True for at least one mannequin, None for the world's own mix.

    Raises:
        LisaError: for a seed or number of frames out of range.
    """
    if not 2 <= frames <= 32:
        raise LisaError(f"A moving scene of {frames} frames: use 2 to 32.")
    for attempt in range(_ATTEMPTS):
        # Later attempts move less, and where that does not help, begin with another scene.
        scale = 1 - 0.8 * attempt / (_ATTEMPTS - 1)
        scene = sample_scene(seed, people, first=0 if attempt < _OWN_SCENE else 200 * attempt)
        motion = sample_motion(scene, np.random.default_rng((seed, attempt, 0x30F)), scale)
        clip = tuple(scene_at(scene, motion, i / (frames - 1)) for i in range(frames))
        if all(_apart(each) and in_sight(each) for each in clip):
            return clip
    raise LisaError(f"Seed {seed} gave no motion with all objects in sight in {_ATTEMPTS} tries: use another seed.")


def _apart(scene: Scene) -> bool:
    return all(
        np.hypot(*(a.center - b.center)[[0, 2], 0]) > footprint(a) + footprint(b)
        for a, b in combinations(scene.things, 2)
    )


@dataclass(frozen=True)
class Clip:
    """A rendered moving scene.

    Attributes:
        frames: its frames, of which each has the first one's caption.
    """

    frames: tuple[SceneExample, ...]

    @property
    def caption(self) -> str:
        """An English sentence."""
        return self.frames[0].caption

    @property
    def factors(self) -> dict[str, Any]:
        """The generative factors as plain values; see ``SceneExample.factors``."""
        return {**self.frames[0].factors, "frames": len(self.frames)}

    @cached_property
    def images(self) -> Array:
        """All frames, (F, H, W, 3) uint8 sRGB."""
        return np.stack([frame.image for frame in self.frames])

    @cached_property
    def depth(self) -> Array:
        """Disparity maps, (F, H, W) uint8, on one scale for all frames."""
        return drawing.depth_map(np.stack([frame.maps.depth for frame in self.frames]))

    @cached_property
    def conditions(self) -> dict[str, Array]:
        """Exact maps as (F, H, W, 3) uint8 condition images, by condition name."""
        maps = {name: np.stack([f.conditions[name] for f in self.frames]) for name in self.frames[0].conditions}
        return {**maps, "depth": drawing.gray_to_rgb(self.depth)}


def render_clip(
    seed: int, frames: int = FRAMES, size: int = SIZE, samples: int = 2, people: bool | None = None
) -> Clip:
    """Render the moving scene of a seed; arguments and errors as sample_clip() and render_example()."""
    scenes = sample_clip(seed, frames, people)
    words = caption(scenes[0])
    return Clip(tuple(SceneExample(s, render_image(s, size, samples), words, exact_maps(s, size)) for s in scenes))


@dataclass(frozen=True)
class ClipPool:
    """N rendered clips of F frames; arrays are those of ``Pool`` with the frames as second axis, seeds apart."""

    seeds: Array
    images: Array
    depth: Array
    classes: Array
    pose: Array
    captions: tuple[str, ...]
    people: bool | None = None

    def __len__(self) -> int:
        return len(self.captions)

    def condition(self, name: str, index: int) -> Array | None:
        """The exact condition (F, H, W, 3) uint8 of one clip; None if the world has no exact map of that name."""
        return exact_condition(self, name, index)

    def frames(self) -> Pool:
        """All frames as a pool of images, clip by clip."""
        count = self.images.shape[1]
        flat = {name: getattr(self, name).reshape(-1, *getattr(self, name).shape[2:]) for name in _ARRAYS}
        captions = tuple(text for text in self.captions for _ in range(count))
        return _Frames(np.repeat(self.seeds, count), **flat, captions=captions, people=self.people)


_ARRAYS = ("images", "depth", "classes", "pose")


@dataclass(frozen=True)
class _Frames(Pool):
    """Frames of clips; those of one clip follow each other and have its seed."""

    def keypoints(self, index: int) -> Array:
        """Joints (P, 18, 2) in pixels of the mannequins in one frame; as Pool.keypoints."""
        count = int(np.argmax(self.seeds != self.seeds[0])) or len(self.seeds)
        scenes = sample_clip(int(self.seeds[index]), count, self.people)
        return scene_keypoints(scenes[index % count], self.images.shape[1])


def _render_shard(job: tuple[Path, str, int, int, bool | None]) -> Path:
    path, split, start, frames, people = job
    seeds = [split_seed(split, start + i) for i in range(_SHARD)]
    clips = [render_clip(seed, frames, people=people) for seed in seeds]
    arrays = {
        "seeds": np.array(seeds, np.int64),
        "images": np.stack([clip.images for clip in clips]),
        "depth": np.stack([clip.depth for clip in clips]),
        "classes": np.stack([[frame.maps.classes for frame in clip.frames] for clip in clips]),
        "pose": np.stack([clip.conditions["pose"] for clip in clips]),
    }
    return write_shard(path, arrays, [clip.caption for clip in clips])


def load_clips(
    split: str,
    count: int,
    frames: int = FRAMES,
    people: bool | None = None,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> ClipPool:
    """Render clips, or read them if an earlier run left them in the cache.

    Args:
        split: "train", "validation" or "test".
        count: how many clips, 1 or more.
        frames: of each clip.
        people: True for clips with at least one mannequin, None for the world's own mix.
        workers: processes that render; 0 takes one per core.
        progress: called with (clips ready, clips in all).
    """
    folder = shard_folder(f"clips-v{_VERSION}-{SIZE}x{frames}", split, people)
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(0, count, _SHARD)
    paths = [folder / f"{first:09d}.safetensors" for first in starts]
    jobs = [
        (path, split, first, frames, people) for path, first in zip(paths, starts, strict=True) if not path.exists()
    ]
    render_missing(_render_shard, jobs, workers, len(paths), _SHARD, progress)
    return ClipPool(**read_shards(paths, count), people=people)
