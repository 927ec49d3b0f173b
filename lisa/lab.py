"""The lab's facade: strings, numbers, PIL images, numpy and dataclasses in and out, never a tensor.

Importing this module loads neither torch nor diffusers; they are loaded by the first call that needs them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from lisa.annotators.base import ANNOTATORS, annotate, availability
from lisa.arms import SIDE_NAME
from lisa.errors import LisaError
from lisa.files import read_json
from lisa.memory import Memory
from lisa.options import check, from_dict
from lisa.pairs import PairView, find_pair, find_side, list_pairs
from lisa.report import Report, tell_nobody
from lisa.rundesk import RunDesk
from lisa.runs import RunFolder
from lisa.settings import FeatureSettings, GenerateSettings, TrainSettings, parse_arms
from lisa.sharing.desk import ModelDesk
from lisa.views import AnnotatorView, Example, FamilyView, SceneView

if TYPE_CHECKING:
    from torch import nn

    from lisa.families.base import Family
    from lisa.generate import GeneratedImage
    from lisa.roundtrip import RoundTrips
    from lisa.scoreview import ScoreView
    from lisa.study import Study

__all__ = ["ROOT", "AnnotatorView", "Example", "FamilyView", "Lab", "PairView", "SceneView"]
ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Lab:
    """Everything the app and the command line can do with the models at hand.

    Attributes:
        root: folder that holds ``checkpoints/``, ``assets/`` and ``runs/``.
        memory: networks that were used last.
    """

    root: Path = ROOT
    memory: Memory = field(default_factory=Memory, repr=False)

    @property
    def training(self) -> RunDesk:
        """Start, follow and steer runs."""
        return RunDesk(self.root)

    @property
    def models(self) -> ModelDesk:
        """List networks, import side networks and share them."""
        return ModelDesk(self.root)

    def families(self) -> tuple[FamilyView, ...]:
        """List every family, those that cannot be used here with the reason."""
        from lisa.families.base import FAMILIES

        pairs = self.pairs()
        views = []
        for spec in FAMILIES.values():
            reason = spec.installed() or ""
            conditions = tuple(dict.fromkeys(pair.condition for pair in pairs if pair.family == spec.name))
            views.append(
                FamilyView(
                    spec.name,
                    spec.title,
                    not reason,
                    reason,
                    conditions,
                    spec.resolution,
                    spec.default_lisa,
                    spec.frames,
                    spec.starts_from_picture,
                )
            )
        return tuple(sorted(views, key=lambda view: not view.installed))

    def annotators(self) -> tuple[AnnotatorView, ...]:
        """List every annotator, those that cannot run here with the reason."""
        views = []
        for spec in ANNOTATORS.values():
            reason, installed = availability(spec.name), not spec.missing_packages()
            views.append(
                AnnotatorView(
                    spec.name, spec.title, spec.condition, spec.help, spec.knobs, not reason, reason, installed
                )
            )
        return tuple(sorted(views, key=lambda view: not view.available))

    def annotate(
        self, image: Image.Image, annotator: str, knobs: Mapping[str, Any] | None = None, source: str = ""
    ) -> Image.Image:
        """Turn a picture into a condition map of the same size; see ``lisa.annotators.base.annotate``."""
        return annotate(image, annotator, knobs, source)

    def render_scene(self, seed: int, frames: int = 0) -> SceneView:
        """Render a held-out scene with all its maps.

        Args:
            seed: number of the scene within the test split, 0 or more.
            frames: of a moving scene, 2 to 32; 0 for a still one.
        """
        if frames:
            return self._render_clip(seed, frames)
        from lisa.scenes.example import render_example
        from lisa.scenes.scene import split_seed

        example = render_example(split_seed("test", seed))
        image = Image.fromarray(example.image)
        maps = {name: Image.fromarray(pixels) for name, pixels in example.conditions.items()}
        return SceneView(seed, image, example.caption, {"canny": annotate(image, "canny"), **maps}, example.factors)

    def _render_clip(self, seed: int, frames: int) -> SceneView:
        from lisa.scenes.motion import render_clip
        from lisa.scenes.scene import split_seed
        from lisa.strips import strip

        clip = render_clip(split_seed("test", seed), frames)
        pictures = [Image.fromarray(image) for image in clip.images]
        maps = {"canny": strip([annotate(picture, "canny") for picture in pictures])}
        maps |= {name: strip([Image.fromarray(m) for m in each]) for name, each in clip.conditions.items()}
        return SceneView(seed, strip(pictures), clip.caption, maps, clip.factors)

    def frames_of(self, family: str) -> int:
        """Length of the clips that a family makes; 0 for images."""
        return next((view.frames for view in self.families() if view.name == family), 0)

    def pairs(self, family: str = "", condition: str = "") -> tuple[PairView, ...]:
        """List runs with finished checkpoints, shipped ones first.

        Args:
            family: only this family; empty for all.
            condition: only this condition; empty for all.
        """
        views = list_pairs(self.root)
        return tuple(view for view in views if family in ("", view.family) and condition in ("", view.condition))

    def generate(
        self,
        settings: GenerateSettings,
        condition: Image.Image,
        report: Report = tell_nobody,
        second: Image.Image | None = None,
        first_frame: Image.Image | None = None,
    ) -> tuple[GeneratedImage, ...]:
        """Generate the same seeds with every arm, from the same noise.

        Args:
            settings: what to generate; an empty ``run`` takes the shipped pair for family and condition.
            condition: condition map of any size.
            report: called with (what is being done, steps done, in all).
            second: condition map of the second pair, if the settings name one.
            first_frame: what clips start from, for families that go on from a picture.

        Raises:
            LisaError: if a name, checkpoint or value does not exist or is out of range, or a second pair comes
                without its map.
        """
        from lisa.generate import paired_images

        settings = check(settings)
        pair, other = find_pair(self.pairs(), settings), self._second_pair(settings, second)
        training = self._training(pair)
        origin = settings if settings.source else training
        settings = replace(
            settings, run=pair.id, checkpoint=pair.checkpoint_named(settings.checkpoint),
            second_checkpoint=other.checkpoint_named(settings.second_checkpoint) if other else "",
            source=origin.source, revision=origin.revision,
        )  # fmt: skip
        with self.memory.lock:
            report("loading models", 0, 1)
            family = self.memory.family(settings.family, settings.source, settings.revision)
            sides = self._sides(family, pair, settings.checkpoint, settings.arm_names())
            added = (self._added(family, other, settings), second) if other else None
            steps = partial(report, "generating")
            return tuple(paired_images(family, sides, condition, settings, steps, added, first_frame))

    def _second_pair(self, settings: GenerateSettings, second: Image.Image | None) -> PairView | None:
        if bool(settings.second_run) != (second is not None):
            missing = "its condition map" if settings.second_run else "the pair that reads it"
            raise LisaError(f"A second control takes a pair and a map, but {missing} is missing: give both or neither.")
        return find_pair(self.pairs(), replace(settings, run=settings.second_run)) if settings.second_run else None

    def _sides(self, family: Family, pair: PairView, checkpoint: str, names: Sequence[str]) -> dict[str, nn.Module]:
        pairs, sides = self.pairs(), {}
        for name in names:
            found = find_side(pairs, pair, name, checkpoint)
            folder = RunFolder(self.root / found.pair.id).checkpoint_dir(found.step)
            sides[name] = self.memory.side(family, folder / found.arm)
        return sides

    def _added(self, family: Family, other: PairView, settings: GenerateSettings) -> dict[str, nn.Module]:
        """The second control's side networks: to every arm is added the one of the same name."""
        arms = {name: SIDE_NAME.fullmatch(name)["arm"] for name in settings.arm_names()}
        sides = self._sides(family, other, settings.second_checkpoint, sorted(set(arms.values())))
        return {name: sides[arm] for name, arm in arms.items()}

    def warm_up(self) -> None:
        """Load what features() projects with, in a thread: the first UMAP of a process takes long."""
        from lisa.projection import warm_up

        threading.Thread(target=warm_up, daemon=True).start()

    def features(self, settings: FeatureSettings, report: Report = tell_nobody) -> Study:
        """Collect, project and measure features of side networks; see ``lisa.study``.

        Args:
            settings: what to look at; an empty ``run`` takes the shipped pair for family and condition.
            report: called with (what is being done, done, in all).

        Raises:
            LisaError: if a name, checkpoint, tap or value does not exist or is out of range.
        """
        from lisa.study import run_study

        settings = check(settings)
        pair = find_pair(self.pairs(), settings)
        last = pair.step_named(settings.checkpoint)
        arms = pair.choose(settings.arms)
        run, training = RunFolder(self.root / pair.id), self._training(pair)
        with self.memory.lock:
            report("loading models", 0, 1)
            family = self._family_of(training)
            sides = {
                (step, arm): partial(self.memory.side, family, run.checkpoint_dir(step) / arm)
                for step in (pair.steps if settings.walk else (last,))
                for arm in arms
            }
            taps = settings.tap_names() or _aligned_taps(family, training, next(iter(sides.values())))
            exact = replace(settings, run=pair.id, checkpoint=f"step-{last:06d}", taps="+".join(taps))
            return run_study(family, pair.condition, sides, taps, exact, report)

    def scores(self, settings: FeatureSettings, scene: int, report: Report = tell_nobody) -> tuple[ScoreView, ...]:
        """The likelihood score of one held-out scene at the settings' timesteps, and what each arm's decoders say.

        Args:
            settings: run, checkpoint, arms, taps, timesteps and seed.
            scene: number of the scene within the test split.
            report: called with (what is being done, done, in all) while a missing decoder is fitted.

        Raises:
            LisaError: if a name, checkpoint, tap or value does not exist or is out of range.
        """
        from lisa.scoreview import find_decoders, held_out_sample, score_views

        settings = check(settings)
        pair = find_pair(self.pairs(), settings)
        step, training = pair.step_named(settings.checkpoint), self._training(pair)
        with self.memory.lock:
            report("loading models", 0, 1)
            family = self._family_of(training)
            sample, folder = held_out_sample(family, pair.condition, scene), RunFolder(self.root / pair.id)
            folders = {arm: folder.checkpoint_dir(step) / arm for arm in pair.choose(settings.arms)}
            sides = {arm: (self.memory.side(family, path), path) for arm, path in folders.items()}
            first = next(iter(sides.values()))[0]
            taps = settings.tap_names() or _aligned_taps(family, training, lambda: first)
            readers = find_decoders(family, sides, taps, pair.condition, report)
            return tuple(score_views(family, readers, sample, settings.timestep_values(), settings.seed))

    def round_trips(self, settings: GenerateSettings, report: Report = tell_nobody) -> RoundTrips:
        """Draw held-out scenes from their conditions and read those back; see ``lisa.roundtrip``.

        Args:
            settings: run, checkpoint, arms, sampling steps, guidance and strength; ``count`` is the number of scenes.
            report: called with (what is being done, done, in all).

        Raises:
            LisaError: if a name, checkpoint or value does not exist or is out of range.
        """
        from lisa.roundtrip import round_trips

        settings = check(settings)
        pair = find_pair(self.pairs(), settings)
        training = self._training(pair)
        with self.memory.lock:
            report("loading models", 0, 1)
            family = self._family_of(training)
            sides = self._sides(family, pair, settings.checkpoint, settings.arm_names())
            exact = replace(settings, condition=pair.condition)
            judge = self.root / "checkpoints" / "scenes-unet"
            return round_trips(family, sides, training.data, exact, judge, report)

    def _training(self, pair: PairView) -> TrainSettings:
        return from_dict(TrainSettings, RunFolder(self.root / pair.id).settings())

    def _family_of(self, training: TrainSettings) -> Family:
        return self.memory.family(training.family, training.source, training.revision)

    def save(self, image: GeneratedImage, path: Path) -> None:
        """Write a generated image as a PNG that carries its settings."""
        from lisa.generate import save_png

        save_png(image, path)

    def settings_of(self, source: Path | Image.Image) -> GenerateSettings:
        """Read the settings back out of a PNG that the lab made."""
        from lisa.generate import read_settings

        return read_settings(source)

    def example(self) -> Example | None:
        """The finished comparison that ships with the lab; None where the assets are missing."""
        folder = self.root / "assets" / "example"
        if not (folder / "settings.json").exists():
            return None
        settings = check(from_dict(GenerateSettings, read_json(folder / "settings.json")))
        images = {arm: _open(folder / f"{arm}.png") for arm in settings.arms.split(",")}
        return Example(_open(folder / "condition.png"), images, settings)


def _open(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def _aligned_taps(family: Family, training: TrainSettings, side: Callable[[], nn.Module]) -> tuple[str, ...]:
    """The taps that a run's arms were aligned at, which are the family's default where it named none."""
    from lisa.families.base import FAMILIES

    arms = parse_arms(training.arms, FAMILIES.get(training.family).default_lisa)
    named = next((arm.lisa.taps for arm in arms if arm.lisa.weight and arm.lisa.taps), ())
    return named or tuple(tap.name for tap in family.default_taps(side()))
