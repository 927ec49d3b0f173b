"""Condition: take a picture, a drawing or a rendered scene, and make a condition map of it."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

import gradio as gr
from gradio.events import Dependency
from PIL import Image

from app import controls
from app.guard import guarded
from app.intake import looks_like_map, read_drawing, refuse_unreadable
from app.shared import Carried, Made, Shared
from app.tabs._condition_page import FRAMES, SCENE_SEED, SCENES, SOURCES, ConditionPage, about, gallery_of, mark_of
from app.tabs._draw_over import NO_MAP, Kept, words_about
from lisa.annotators.base import availability
from lisa.errors import LisaError
from lisa.lab import Lab, SceneView
from lisa.options import Option, check_value

TITLE = "Condition"
ORDER = 20
QUIET = {"show_progress": "hidden", "api_visibility": "private"}
LINES = "canny"  # what a drawing of lines comes closest to
EMPTY = (None, "The map appears here as soon as there is a picture.", "", None)
FAILED = (None, "There is no map: it could not be made.", "", None)
PRESS = (None, "Press *Make the map* to load this annotator.", "", None)
NOT_HERE = (None, "This annotator cannot run here: what it needs is told above.", "", None)


def build(lab: Lab, shared: Shared) -> None:
    """Draw the tab and wire it."""
    Condition(lab, shared)


class Condition:
    """What happens between the components of the tab."""

    def __init__(self, lab: Lab, shared: Shared) -> None:
        self.lab = lab
        self.views = lab.annotators()
        self.ui = ConditionPage(self.views, lab.render_scene(0))
        self._wire(shared)

    def _wire(self, shared: Shared) -> None:
        ui = self.ui
        inputs = [ui.source, ui.upload, ui.drawing, ui.seed, ui.annotator, ui.knobs, ui.weights, ui.moving]
        inputs.append(ui.over.kept)
        outputs = [ui.map, ui.status, ui.hint, ui.made]
        live = {**QUIET, "trigger_mode": "always_last", "concurrency_id": "annotate"}
        makes = [
            ui.make.click(
                guarded(self.annotate),
                inputs,
                outputs,
                api_name="annotate",
                concurrency_id="annotate",
                concurrency_limit=2,
                show_progress_on=[ui.map],
            )
        ]
        makes += [change.success(guarded(self.annotate_live), inputs, outputs, **live) for change in self._changes()]
        refuse_unreadable(ui.upload)
        makes.append(gr.on([ui.knobs.change, ui.upload.change], guarded(self.annotate_live), inputs, outputs, **live))
        for made in makes:  # a map of what was there before must not go on as if it were of this
            made.failure(lambda: FAILED, None, outputs, **QUIET)
        ui.new_scene.click(lambda: secrets.randbelow(SCENES), None, [ui.seed], **QUIET)
        ui.maps.select(guarded(self.choose_exact), [ui.seed, ui.moving], [ui.annotator], **QUIET)
        for button, second in ((ui.use, False), (ui.use_second, True)):
            button.click(guarded(self._carrying(second)), [ui.made, ui.caption], [shared.carried, shared.tabs], **QUIET)

    def _changes(self) -> list[Dependency]:
        """The events that change what the map is made of, each after its own part of the page has followed."""
        ui = self.ui
        scene = [ui.seed, ui.moving, ui.caption, ui.offered]
        shown = [ui.scene, ui.maps, ui.caption, ui.offered]
        explained = [ui.about, ui.knobs, ui.weights, ui.make]
        return [
            ui.seed.change(guarded(self.show_scene), scene, shown, **QUIET),
            ui.moving.input(guarded(self.show_scene), scene, shown, **QUIET),
            ui.source.input(
                guarded(self.choose_source),
                [ui.source, *scene],
                [*ui.panels.values(), ui.annotator, ui.caption, ui.offered],
                **QUIET,
            ),
            ui.annotator.change(guarded(self.choose_annotator), [ui.annotator], explained, **QUIET),
        ]

    def annotate(
        self,
        source: str,
        upload: Image.Image | LisaError | None,
        drawing: dict[str, Any] | None,
        scene: int,
        annotator: str,
        knobs: dict[str, Any] | None,
        weights: str,
        moving: bool = False,
        kept: Kept | None = None,
    ) -> tuple[Any, ...]:
        """Make a condition map from an uploaded picture, a drawing, or a rendered scene, still or moving."""
        _check(source, annotator, knobs, weights, moving)
        picture, maps = self._picture(source, upload, drawing, scene, moving)
        if annotator.startswith("exact:"):
            map_, condition = self._exact(maps, annotator.removeprefix("exact:"))
        else:
            view = controls.find_annotator(self.views, annotator)
            map_ = self.lab.annotate(picture, annotator, knobs or {}, weights or "")
            condition = view.condition or (LINES if source == "draw" else "")
        made = Made(map_, condition, mark_of(picture))
        made = replace(made, strokes=(kept or {}).get(made.place))
        return made.map, words_about(made, kept or {}), self._twice(source, picture, annotator), made

    def annotate_live(
        self, source: str, upload: Any, drawing: Any, scene: Any, annotator: str, knobs: Any, weights: str, *rest: Any
    ) -> Any:
        """Make the map after a change, unless there is no picture or weights would be downloaded."""
        # Of a file that cannot be read the person has just been told: see refuse_unreadable.
        if source == "draw" or (source == "upload" and not isinstance(upload, Image.Image)):
            return EMPTY
        if source == "scene" and scene is None:  # the number is being typed
            return (gr.skip(),) * 4
        view = next((view for view in self.views if view.name == annotator), None)
        if view is not None and not view.installed:
            return NOT_HERE
        if view is not None and availability(annotator, weights or ""):
            return PRESS
        return self.annotate(source, upload, drawing, scene, annotator, knobs, weights, *rest)

    def _picture(
        self,
        source: str,
        upload: Image.Image | LisaError | None,
        drawing: dict[str, Any] | None,
        scene: int,
        moving: bool,
    ) -> tuple[Image.Image, dict[str, Image.Image]]:
        """The picture to annotate, and the exact maps that come with it."""
        if source == "draw":
            return read_drawing(drawing), {}
        if source == "scene":
            view = self._scene(scene, moving)
            return view.image, view.maps
        if upload is None:
            raise LisaError("There is no picture yet: upload one first.")
        if isinstance(upload, LisaError):
            raise upload
        return upload, {}

    def _scene(self, seed: Any, moving: Any) -> SceneView:
        check_value("Scene", seed, int, SCENE_SEED)
        return self.lab.render_scene(seed, FRAMES if moving is True else 0)

    def _exact(self, maps: dict[str, Image.Image], name: str) -> tuple[Image.Image, str]:
        if name not in maps:
            known = ", ".join(maps) or "none, since only a rendered scene has them"
            raise LisaError(f"There is no exact map {name[:40]!r}: there are {known}.")
        return maps[name], name

    def _twice(self, source: str, picture: Image.Image, annotator: str) -> str:
        if source != "upload" or annotator == "identity" or not looks_like_map(picture):
            return ""
        return "This looks like a condition map already. If it is one, choose **Already a condition map**."

    def show_scene(self, seed: Any, moving: Any, caption: str, offered: str) -> tuple[Any, ...]:
        """Show a scene, its exact maps and its caption, unless another one was typed."""
        if seed is None:  # the number is being typed
            return (gr.skip(),) * 4
        scene = self._scene(seed, moving)
        return scene.image, gallery_of(scene), *_offer(scene.caption, caption, offered)

    def choose_source(self, source: str, seed: Any, moving: Any, caption: str, offered: str) -> tuple[Any, ...]:
        """Show the panel of a source, and start with the annotator that fits it."""
        panels = [gr.update(visible=name == source) for name in self.ui.panels]
        scene = self._scene(seed, moving) if source == "scene" else None
        choices = controls.annotator_choices(self.views, scene.maps if scene else ())
        first = "identity" if source == "draw" else "canny"
        captions = _offer(scene.caption if scene else "", caption, offered)
        return *panels, gr.update(choices=choices, value=first), *captions

    def choose_exact(self, seed: Any, moving: Any, event: gr.SelectData) -> str:
        """Take the map that was clicked: an annotator of the same name, else the exact map."""
        name = list(self._scene(seed, moving).maps)[event.index]
        return name if any(view.name == name for view in self.views) else f"exact:{name}"

    def choose_annotator(self, name: str) -> tuple[Any, ...]:
        """Explain an annotator, and offer to name its weights where nothing but they are missing."""
        self.views = self.lab.annotators()  # weights may have been downloaded since
        view = next((view for view in self.views if view.name == name), None)
        installed = view is None or view.installed
        return (
            about(self.views, name),
            {},
            gr.update(visible=view is not None and installed and not view.available, value=""),
            gr.update(interactive=installed),
        )

    def _carrying(self, second: bool) -> Any:
        """What hands the map over, as the first condition or as the second, and goes to the Compare tab."""

        def carry(made: Made | None, caption: str) -> tuple[Any, ...]:
            if made is None:
                raise LisaError(NO_MAP)
            carried = Carried(made.map, made.condition, (caption or "").strip(), second)
            return carried, gr.Tabs(selected="compare")

        return carry


def _check(source: Any, annotator: Any, knobs: Any, weights: Any, moving: Any) -> None:
    """Refuse what only a program can send."""
    if source not in list(SOURCES):
        raise LisaError(f"The source is {str(source)[:80]!r}: choose scene, upload or draw.")
    if annotator is None:
        raise LisaError("No annotator is chosen: choose one from the list, such as canny.")
    check_value("Annotator", annotator, str, Option(""))
    if knobs is not None and not isinstance(knobs, dict):
        raise LisaError(f"The knobs must be a table of names and values, not {type(knobs).__name__}.")
    check_value("Weights", weights or "", str, Option(""))
    check_value("Moving", moving, bool, Option(""))


def _offer(new: str, caption: str | None, offered: str) -> tuple[Any, str]:
    """A caption for the field, which keeps what the person typed, and what the field was offered last."""
    untouched = (caption or "").strip() in ("", offered)
    return new if untouched else gr.skip(), new
