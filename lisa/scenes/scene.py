"""What a scene holds, and how one is drawn from a seed.

World coordinates: y is up, the floor is y = 0, lengths are arbitrary units with a large object about 1.7 wide. A
seed fixes everything: the factors, the pixels and the caption. Training, validation and test scenes are disjoint
ranges of seeds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lisa.errors import LisaError
from lisa.scenes import vocabulary as words
from lisa.scenes.geometry import Capsule, Cone, Cube, Cylinder, Sphere, dot, normalize, point
from lisa.scenes.mannequin import limbs, sample_joints, skeleton

Array = np.ndarray
Solid = Sphere | Cube | Cylinder | Cone | Capsule

SPLIT_SIZE = 1_000_000_000
SPLITS = {"train": 0, "validation": SPLIT_SIZE, "test": 2 * SPLIT_SIZE}
_SKIN = (0.62, 0.42, 0.29)


@dataclass(frozen=True, eq=False)
class Thing:
    """One object: its named factors and the solids it is made of, each with its own colour (3,)."""

    shape: str
    size: str
    color: str
    material: str
    pattern: str
    pose: str
    center: Array
    radius: float
    solids: tuple[Solid, ...]
    colors: tuple[tuple[float, float, float], ...]
    keypoints: Array | None = None


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: position (3, 1), ``basis`` with rows right, up, forward, and the tangent of half its view."""

    position: Array
    basis: Array
    tan: float


@dataclass(frozen=True)
class Scene:
    """A complete scene. ``things`` are ordered from left to right as the camera sees them."""

    seed: int
    things: tuple[Thing, ...]
    floor: str
    floor_color: str
    time: str
    camera: Camera
    light: Array
    light_size: float


def split_seed(split: str, index: int) -> int:
    """Seed of the ``index``-th scene of a split.

    Args:
        split: "train", "validation" or "test".
        index: 0 or more, below one thousand million.

    Raises:
        LisaError: for an unknown split or an index outside its range.
    """
    if split not in SPLITS:
        raise LisaError(f"There is no split '{split}': choose one of {', '.join(SPLITS)}.")
    if not 0 <= index < SPLIT_SIZE:
        raise LisaError(f"Scene number {index} lies outside the split: use 0 to {SPLIT_SIZE - 1}.")
    return SPLITS[split] + index


def _camera(rng: np.random.Generator) -> Camera:
    azimuth, elevation, distance = rng.uniform(-0.9, 0.9), rng.uniform(0.2, 0.52), rng.uniform(5.9, 7.1)
    position = point(
        distance * np.cos(elevation) * np.sin(azimuth),
        distance * np.sin(elevation) + 0.4,
        distance * np.cos(elevation) * np.cos(azimuth),
    )
    return look_from(position, float(np.tan(np.radians(rng.uniform(19, 23)))))


def look_from(position: Array, tan: float) -> Camera:
    """Put the camera at a position (3, 1), towards the middle of the scene."""
    forward = normalize(point(0, 0.9, 0) - position)
    right = normalize(np.cross(forward, point(0, 1, 0), axis=0))
    up = np.cross(right, forward, axis=0)
    return Camera(position, np.concatenate([right, up, forward], 1).T.copy(), tan)


def _solid(shape: str, radius: float, x: float, z: float, angle: float) -> Solid:
    if shape == "sphere":
        return Sphere(point(x, radius, z), radius)
    if shape == "cube":
        return Cube(point(x, 0.8 * radius, z), 0.8 * radius, angle)
    if shape == "cylinder":
        return Cylinder(point(x, radius, z), 0.72 * radius, radius)
    return Cone(point(x, 1.1 * radius, z), 0.85 * radius, 1.1 * radius)


def place(points: Array, height: float, yaw: float, x: float, z: float) -> Array:
    """Stand a skeleton (18, 3) of unit height in the world, turned by ``yaw`` radians about the vertical axis."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    px, py, pz = (points * height).T
    return np.stack([cos * px + sin * pz + x, py, cos * pz - sin * px + z], 1)


def _mannequin(rng: np.random.Generator, camera: Camera, color: str, size: str, x: float, z: float) -> Thing:
    pose = words.POSES[rng.integers(len(words.POSES))]
    height = rng.uniform(2.5, 2.9) if size == "large" else rng.uniform(1.8, 2.1)
    toward = np.arctan2(float(camera.position[0, 0]) - x, float(camera.position[2, 0]) - z)
    yaw = toward + rng.choice((-1, 1)) * rng.uniform(0.1, 1.35)
    points = place(skeleton(sample_joints(pose, rng)), height, yaw, x, z)
    return figure(points, height, color, size, pose)


def figure(points: Array, height: float, color: str, size: str, pose: str) -> Thing:
    """A mannequin around placed keypoints (18, 3)."""
    parts = limbs(points, height)
    top = words.COLORS[color]
    paint = {"top": top, "legs": tuple(0.45 * c + 0.02 for c in top), "skin": _SKIN}
    low, high = points.min(0) - 0.08 * height, points.max(0) + 0.08 * height
    return Thing(
        words.MANNEQUIN, size, color, "matte", "plain", pose, point(*((low + high) / 2)),
        float(np.linalg.norm(high - low) / 2), tuple(solid for solid, _ in parts),
        tuple(paint[part] for _, part in parts), points.astype(np.float32),
    )  # fmt: skip


def _object(rng: np.random.Generator, color: str, size: str, x: float, z: float) -> Thing:
    shape = words.SOLIDS[rng.integers(len(words.SOLIDS))]
    radius = rng.uniform(0.72, 0.9) if size == "large" else rng.uniform(0.42, 0.54)
    material = words.MATERIALS[rng.choice(3, p=(0.5, 0.3, 0.2))]
    pattern = words.PATTERNS[rng.choice(4, p=(0.7, 0.1, 0.1, 0.1))] if material != "metal" else "plain"
    solid = _solid(shape, radius, x, z, rng.uniform(0, np.pi / 2))
    return Thing(shape, size, color, material, pattern, "", solid.center, solid.bounding_radius, (solid,),
                 (words.COLORS[color],))  # fmt: skip


def footprint(thing: Thing) -> float:
    """Radius of the floor that a thing takes."""
    return thing.radius * (0.45 if thing.shape == words.MANNEQUIN else 0.9)


def _things(rng: np.random.Generator, camera: Camera, people: bool | None) -> list[Thing]:
    """Up to four objects that stand apart on the floor, at most two of them mannequins."""
    right, forward = camera.basis[0], camera.basis[2]
    flat = np.array([forward[0], 0, forward[2]]) / np.hypot(forward[0], forward[2])
    wanted = 1 + rng.choice(4, p=(0.3, 0.35, 0.25, 0.1))
    n_people = rng.choice(3, p=(0.58, 0.34, 0.08)) if people is None else (1 + (rng.random() < 0.25)) * people
    things: list[Thing] = []
    for _ in range(60):
        if len(things) >= max(wanted, n_people):
            break
        extent = 1.75 if max(wanted, n_people) > 1 else 0.6
        spot = rng.uniform(-extent, extent) * right + rng.uniform(-0.8, 0.8) * extent * flat
        color, size = rng.choice(list(words.COLORS)), words.SIZES[rng.integers(2)]
        make = _mannequin if len(things) < n_people else _object
        extra = (camera,) if make is _mannequin else ()
        thing = make(rng, *extra, str(color), size, float(spot[0]), float(spot[2]))
        apart = all(
            np.hypot(*(thing.center - other.center)[[0, 2], 0]) > 1.1 * (footprint(thing) + footprint(other))
            for other in things
        )
        if apart and all((thing.color, thing.shape) != (other.color, other.shape) for other in things):
            things.append(thing)
    return sorted(things, key=lambda thing: float(dot(right[:, None], thing.center)[0]))


def draw_scene(seed: int, attempt: int, people: bool | None) -> Scene:
    """One candidate scene, before it is checked for hidden objects."""
    rng = np.random.default_rng((seed, attempt))
    camera = _camera(rng)
    things = _things(rng, camera, people)
    time = words.TIMES[rng.choice(3, p=(0.6, 0.25, 0.15))]
    elevation = rng.uniform(0.35, 0.55) if time == "sunset" else rng.uniform(0.65, 1.15)
    azimuth = rng.uniform(0, 2 * np.pi)
    light = point(np.cos(elevation) * np.cos(azimuth), np.sin(elevation), np.cos(elevation) * np.sin(azimuth))
    floor, color = words.FLOORS[rng.integers(len(words.FLOORS))], str(rng.choice(list(words.COLORS)[:9]))
    return Scene(seed, tuple(things), floor, color, time, camera, light, float(rng.uniform(0.05, 0.16)))
