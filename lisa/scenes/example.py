"""One scene as users meet it: picture, caption, exact maps and the factors behind them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lisa.errors import LisaError
from lisa.scenes import drawing
from lisa.scenes.captions import caption
from lisa.scenes.maps import Maps, exact_maps, visible_shares
from lisa.scenes.render import render_image
from lisa.scenes.scene import Scene, draw_scene

SIZE = 128
_CHECK_SIZE = 48
_ATTEMPTS = 200
_MIN_INSIDE, _MIN_FREE, _MIN_PIXELS = 0.93, 0.6, 14


def sample_scene(seed: int, people: bool | None = None, first: int = 0) -> Scene:
    """Draw a scene in which every object can be seen.

    Candidates with an object that is nearly hidden (less than 60 % uncovered), cut by the frame (less than 93 %
    inside) or tiny are rejected; the next candidate follows from the same seed.

    Args:
        seed: 0 or more; the same seed gives the same scene.
        people: True for at least one mannequin, False for none, None for the world's own mix.
        first: number of the first candidate; later ones give other scenes.

    Raises:
        LisaError: for a negative seed.
    """
    if seed < 0:
        raise LisaError(f"The seed of a scene is {seed}: use 0 or more.")
    for attempt in range(first, first + _ATTEMPTS):
        scene = draw_scene(seed, attempt, people)
        if in_sight(scene):
            return scene
    raise LisaError(f"Seed {seed} gave no scene with all objects in sight in {_ATTEMPTS} tries: use another seed.")


def in_sight(scene: Scene) -> bool:
    """Tell whether there is something in the scene and all of it can be seen; see sample_scene()."""
    inside, free, pixels = visible_shares(scene, _CHECK_SIZE)
    return bool(inside.size and inside.min() >= _MIN_INSIDE and free.min() >= _MIN_FREE and pixels.min() >= _MIN_PIXELS)


@dataclass(frozen=True)
class SceneExample:
    """A rendered scene.

    Attributes:
        scene: the factors and geometry.
        image: (H, W, 3) uint8 sRGB.
        caption: an English sentence.
        maps: exact geometry, see ``Maps``.
    """

    scene: Scene
    image: np.ndarray
    caption: str
    maps: Maps

    @cached_property
    def conditions(self) -> dict[str, np.ndarray]:
        """Exact maps as (H, W, 3) uint8 condition images, by condition name."""
        size = self.image.shape[0]
        return {
            "depth": drawing.gray_to_rgb(drawing.depth_map(self.maps.depth)),
            "segmentation": drawing.class_map(self.maps.classes),
            "pose": drawing.pose_map(self.maps.keypoints, size),
            "normal": drawing.normal_map(self.maps.normals),
            "edges": drawing.gray_to_rgb(self.maps.edges.astype(np.uint8) * 255),
        }

    @property
    def factors(self) -> dict[str, Any]:
        """The generative factors as plain values, for probes and for ``metadata.jsonl``."""
        scene = self.scene
        names = ("shape", "size", "color", "material", "pattern", "pose")
        things = [{name: getattr(thing, name) for name in names} for thing in scene.things]
        return {
            "seed": scene.seed,
            "floor": scene.floor,
            "floor_color": scene.floor_color,
            "time": scene.time,
            "things": things,
        }


def render_example(seed: int, size: int = SIZE, samples: int = 2, people: bool | None = None) -> SceneExample:
    """Render the scene of a seed.

    Args:
        seed: 0 or more; see ``split_seed`` for the ranges of training, validation and test.
        size: width and height in pixels, 32 to 1024.
        samples: supersampling per axis, 1 to 4.
        people: True for at least one mannequin, False for none, None for the world's own mix.

    Raises:
        LisaError: for a size or supersampling out of range.
    """
    if not 32 <= size <= 1024:
        raise LisaError(f"The size of a scene is {size} pixels: use 32 to 1024.")
    if not 1 <= samples <= 4:
        raise LisaError(f"Supersampling is {samples}: use 1 to 4 samples per axis.")
    scene = sample_scene(seed, people)
    return SceneExample(scene, render_image(scene, size, samples), caption(scene), exact_maps(scene, size))
