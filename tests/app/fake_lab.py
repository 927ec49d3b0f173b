"""A lab without networks: real scenes and real annotators, and "generated" images that are known at once."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter, PngImagePlugin

from lisa.errors import LisaError
from lisa.lab import Example, FamilyView, Lab, PairView, SceneView
from lisa.options import from_dict, to_dict
from lisa.report import tell_nobody
from lisa.settings import GenerateSettings

FAMILY = "scenes-unet"
CLIPS, FRAMES = "scenes-video", 8
CONDITIONS = ("canny", "depth", "segmentation", "pose")
LONGEST = 38  # words of a prompt
STEPS = (200, 400, 1000, 2000, 4000)


@dataclass(frozen=True)
class FakeImage:
    """Has the attributes of lisa.generate.GeneratedImage, which cannot be imported without torch."""

    arm: str
    seed: int
    image: Image.Image
    settings: dict[str, Any]
    seconds: float
    clip: tuple[Image.Image, ...] = ()
    cut: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass
class FakeLab(Lab):
    """Stands in for the facade.

    Attributes:
        asked: the settings and conditions of every generate() call.
        seconds: the second conditions of every generate() call, None where there was none.
        starts: the first frames of every generate() call, None where there was none.
        failure: raised by the next generate() call.
        finished_example: whether there is one for the first screen.
        trained: whether there are pairs.
    """

    asked: list[tuple[GenerateSettings, Image.Image]] = field(default_factory=list)
    seconds: list[Image.Image | None] = field(default_factory=list)
    starts: list[Any] = field(default_factory=list)
    failure: Exception | None = None
    finished_example: bool = True
    trained: bool = True
    _drawn_from: dict[bytes, Image.Image] = field(default_factory=dict)

    def families(self) -> tuple[FamilyView, ...]:
        return (
            FamilyView(FAMILY, "Scenes UNet", True, "", CONDITIONS, 128),
            FamilyView("sd15", "Stable Diffusion 1.5", False, "Its weights are not on this computer.", (), 512),
        )

    def pairs(self, family: str = "", condition: str = "") -> tuple[PairView, ...]:
        if not self.trained:
            return ()
        views = [
            PairView(f"checkpoints/side/{name}", f"{name}, 4000 steps", FAMILY, name, ("baseline", "lisa"), STEPS)
            for name in CONDITIONS
        ]
        views.append(
            PairView(
                "runs/trial",
                "depth, 60 steps (trial)",
                FAMILY,
                "depth",
                ("baseline", "lisa", "wide"),
                (30, 60),
            )
        )
        return tuple(view for view in views if family in ("", view.family) and condition in ("", view.condition))

    def render_scene(self, seed: int, frames: int = 0) -> SceneView:
        scene = super().render_scene(seed, frames)
        self._drawn_from.update({image.tobytes(): scene.image for image in scene.maps.values()})
        return scene

    def warm_up(self) -> None:
        """Nothing is projected here."""

    def generate(self, settings, condition, report=tell_nobody, second=None, first_frame=None):
        self.asked.append((settings, condition))
        self.seconds.append(second)
        self.starts.append(first_frame)
        if self.failure:
            failure, self.failure = self.failure, None
            raise failure
        arms = settings.arm_names()
        report("loading models", 0, 1)
        report("generating", len(arms) * settings.steps, len(arms) * settings.steps)
        return tuple(self._imagine(settings, condition, arm) for arm in arms)

    def _imagine(self, settings: GenerateSettings, condition: Image.Image, arm: str) -> FakeImage:
        picture = self._drawn_from.get(condition.tobytes(), condition).resize((128, 128))
        if arm == "baseline":
            picture = picture.filter(ImageFilter.GaussianBlur(1.2)).transform(
                (128, 128), Image.Transform.AFFINE, (1, 0.04, 3, 0, 1, -2)
            )
        noise = np.random.default_rng(settings.seed).normal(0, 6, (128, 128, 3))
        pixels = (np.asarray(picture) + noise).clip(0, 255).astype(np.uint8)
        stored = to_dict(replace(settings, arms=arm))
        words = len(settings.prompt.split())
        cut = {"prompt": (words, LONGEST)} if words > LONGEST else {}
        return FakeImage(arm, settings.seed, Image.fromarray(pixels), stored, 1.25, cut=cut)

    def save(self, image: FakeImage, path: Path) -> None:
        info = PngImagePlugin.PngInfo()
        info.add_text("lisa", json.dumps(image.settings))
        image.image.save(path, pnginfo=info)

    def settings_of(self, source: Path | Image.Image) -> GenerateSettings:
        try:
            with Image.open(source, formats=["PNG"]) as image:
                data = json.loads(image.text["lisa"])
        except (KeyError, OSError, ValueError) as error:
            raise LisaError("This image carries no settings of the lab.") from error
        return from_dict(GenerateSettings, data)

    def example(self) -> Example | None:
        if not self.finished_example:
            return None
        scene = self.render_scene(8)
        settings = GenerateSettings(prompt=scene.caption, seed=7)
        images = {arm: self._imagine(settings, scene.maps["canny"], arm).image for arm in ("baseline", "lisa")}
        return Example(scene.maps["canny"], images, settings)


@dataclass
class ClipLab(FakeLab):
    """Also knows a family of clips, whose frames are brighter and brighter."""

    def families(self) -> tuple[FamilyView, ...]:
        return *super().families(), FamilyView(CLIPS, "Scenes in motion", True, "", ("canny",), 128, frames=FRAMES)

    def pairs(self, family: str = "", condition: str = "") -> tuple[PairView, ...]:
        moving = PairView("checkpoints/moving/canny", "canny in motion", CLIPS, "canny", ("baseline", "lisa"), (60,))
        fits = family in ("", CLIPS) and condition in ("", "canny")
        return (*super().pairs(family, condition), moving) if fits else super().pairs(family, condition)

    def _imagine(self, settings, condition, arm):
        image = super()._imagine(settings, condition, arm)
        if settings.family != CLIPS:
            return image
        clip = tuple(Image.new("RGB", (64, 64), (20 * i, 20 * i, 40)) for i in range(1, FRAMES + 1))
        return replace(image, image=clip[0], clip=clip)
