"""English captions for a scene, in several phrasings."""

from __future__ import annotations

import numpy as np

from lisa.scenes.scene import Scene, Thing
from lisa.scenes.vocabulary import MANNEQUIN

_TIME = {
    "daylight": ("in daylight", "by day"),
    "sunset": ("at sunset", "at dusk"),
    "night": ("at night", "in the dark"),
}
_OPENINGS = ("", "", "", "a picture of ", "a scene with ", "a render of ")
_POSE = {
    "standing": "standing",
    "walking": "walking",
    "sitting": "sitting",
    "reaching": "reaching out",
    "jumping": "jumping",
}


def with_article(noun: str) -> str:
    """Put "a" or "an" before a noun phrase."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def describe(thing: Thing, detail: float, rng: np.random.Generator) -> str:
    """Name one object: colour and shape always, size and material each with the chance ``detail`` in [0, 1]."""
    size = thing.size if rng.random() < detail else ""
    material = thing.material if thing.shape != MANNEQUIN and rng.random() < detail else ""
    pattern = "" if thing.pattern == "plain" else thing.pattern
    pose = _POSE.get(thing.pose, "")
    return with_article(" ".join(word for word in (size, thing.color, pattern, material, thing.shape, pose) if word))


def _join(names: list[str], rng: np.random.Generator) -> str:
    if len(names) == 2 and rng.random() < 0.6:
        link = ("to the left of", "left of", "beside")[rng.choice(3, p=(0.5, 0.2, 0.3))]
        return f"{names[0]} {link} {names[1]}"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _place(scene: Scene) -> str:
    if scene.floor in ("grass", "sand"):
        return f"on {scene.floor}"
    color = f"{scene.floor_color} " if scene.floor in ("tiled", "checkered") else ""
    return f"on {with_article(f'{color}{scene.floor} floor')}"


def caption(scene: Scene) -> str:
    """A caption drawn from the scene's own seed: objects from left to right, floor, and time of day."""
    rng = np.random.default_rng((scene.seed, 0xCA))
    detail = 1.0 if len(scene.things) == 1 else 0.5 if len(scene.things) == 2 else 0.2
    subject = _join([describe(thing, detail, rng) for thing in scene.things], rng)
    words = _TIME[scene.time]
    return f"{_OPENINGS[rng.integers(len(_OPENINGS))]}{subject} {_place(scene)} {words[int(rng.random() < 0.3)]}"
