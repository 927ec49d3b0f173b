"""Condition: take a picture, a drawing or a rendered scene, and make a condition map of it."""

from __future__ import annotations

import secrets
from typing import Any

import gradio as gr
from PIL import Image

from app import controls
from app.guard import guarded
from app.intake import looks_like_map, read_drawing
from app.shared import Carried, Made, Shared
from app.tabs._condition_page import FRAMES, SCENE_SEED, SCENES, ConditionPage, about, gallery_of
from app.tabs._draw_over import NO_MAP
from lisa.errors import LisaError
from lisa.lab import Lab, SceneView
from lisa.options import check_value

TITLE = "Condition"
ORDER = 20
LINES = "canny"  # what a drawing of lines comes closest to
EMPTY = "The map appears here as soon as there is a picture."


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
        quiet = {"show_progress": "hidden", "api_visibility": "private"}
        inputs = [ui.source, ui.upload, ui.drawing, ui.seed, ui.annotator, ui.knobs, ui.weights, ui.moving]
        outputs = [ui.map, ui.status, ui.hint, ui.made]
        live = {**quiet, "trigger_mode": "always_last", "concurrency_id": "annotate"}
        ui.make.click(
            guarded(self.annotate),
            inputs,
            outputs,
            api_name="annotate",
            concurrency_id="annotate",
            concurrency_limit=2,
            show_progress_on=[ui.map],
        )
        changes = [
            ui.seed.change(guarded(self.show_scene), [ui.seed, ui.moving], [ui.scene, ui.maps, ui.caption], **quiet),
            ui.moving.input(guarded(self.show_scene), [ui.seed, ui.moving], [ui.scene, ui.maps, ui.caption], **quiet),
            ui.source.input(
                guarded(self.choose_source),
                [ui.source, ui.seed, ui.moving],
                [*ui.panels.values(), ui.annotator, ui.caption],
                **quiet,
            ),
            ui.annotator.change(
                guarded(self.choose_annotator), [ui.annotator], [ui.about, ui.knobs, ui.weights], **quiet
            ),
        ]
        for change in changes:
            change.success(guarded(self.annotate_live), inputs, outputs, **live)
        gr.on([ui.knobs.change, ui.upload.change], guarded(self.annotate_live), inputs, outputs, **live)
        ui.new_scene.click(lambda: secrets.randbelow(SCENES), None, [ui.seed], **quiet)
        ui.maps.select(guarded(self.choose_exact), [ui.seed, ui.moving], [ui.annotator], **quiet)
        for button, second in ((ui.use, False), (ui.use_second, True)):
            button.click(guarded(self._carrying(second)), [ui.made, ui.caption], [shared.carried, shared.tabs], **quiet)

    def annotate(
        self,
        source: str,
        upload: Image.Image | None,
        drawing: dict[str, Any] | None,
        scene: int,
        annotator: str,
        knobs: dict[str, Any] | None,
        weights: str,
        moving: bool = False,
    ) -> tuple[Any, ...]:
        """Make a condition map from an uploaded picture, a drawing, or a rendered scene, still or moving."""
        picture, maps = self._picture(source, upload, drawing, scene, moving)
        if annotator.startswith("exact:"):
            made = self._exact(maps, annotator.removeprefix("exact:"))
        else:
            view = controls.find_annotator(self.views, annotator)
            if not isinstance(knobs or {}, dict):
                raise LisaError(f"The knobs must be a table of names and values, not {type(knobs).__name__}.")
            made = Made(
                self.lab.annotate(picture, annotator, knobs or {}, weights or ""),
                view.condition or (LINES if source == "draw" else ""),
            )
        width, height = made.map.size
        words = f"{made.condition.capitalize() or 'A'} map of {width} x {height} pixels."
        if all(low == high for low, high in made.map.convert("RGB").getextrema()):
            words += " It is blank: there is nothing of this kind in the picture."
        return made.map, words, self._twice(source, picture, annotator), made

    def annotate_live(self, source: str, upload: Any, drawing: Any, scene: Any, annotator: str, *rest: Any) -> Any:
        """Make the map after a change, unless there is no picture or weights would be downloaded."""
        if source == "draw" or (source == "upload" and upload is None):
            return None, EMPTY, "", None
        if source == "scene" and scene is None:  # the number is being typed
            return (gr.skip(),) * 4
        view = next((view for view in self.views if view.name == annotator), None)
        if view is not None and not view.available:
            return None, "Press *Make the map* to load this annotator.", "", None
        return self.annotate(source, upload, drawing, scene, annotator, *rest)

    def _picture(
        self, source: str, upload: Image.Image | None, drawing: dict[str, Any] | None, scene: int, moving: bool
    ) -> tuple[Image.Image, dict[str, Image.Image]]:
        """The picture to annotate, and the exact maps that come with it."""
        if source == "draw":
            return read_drawing(drawing), {}
        if source == "scene":
            view = self._scene(scene, moving)
            return view.image, view.maps
        if source != "upload":
            raise LisaError(f"The source is {source!r}: choose scene, upload or draw.")
        if upload is None:
            raise LisaError("There is no picture yet: upload one first.")
        return upload, {}

    def _scene(self, seed: Any, moving: Any) -> SceneView:
        check_value("Scene", seed, int, SCENE_SEED)
        return self.lab.render_scene(seed, FRAMES if moving is True else 0)

    def _exact(self, maps: dict[str, Image.Image], name: str) -> Made:
        if name not in maps:
            known = ", ".join(maps) or "none, since only a rendered scene has them"
            raise LisaError(f"There is no exact map {name[:40]!r}: there are {known}.")
        return Made(maps[name], name)

    def _twice(self, source: str, picture: Image.Image, annotator: str) -> str:
        if source != "upload" or annotator == "identity" or not looks_like_map(picture):
            return ""
        return "This looks like a condition map already. If it is one, choose **Already a condition map**."

    def show_scene(self, seed: Any, moving: Any) -> tuple[Any, ...]:
        """Show a scene, its caption and its exact maps."""
        if seed is None:  # the number is being typed
            return (gr.skip(),) * 3
        scene = self._scene(seed, moving)
        return scene.image, gallery_of(scene), scene.caption

    def choose_source(self, source: str, seed: Any, moving: Any) -> tuple[Any, ...]:
        """Show the panel of a source, and start with the annotator that fits it."""
        panels = [gr.update(visible=name == source) for name in self.ui.panels]
        scene = self._scene(seed, moving) if source == "scene" else None
        choices = controls.annotator_choices(self.views, scene.maps if scene else ())
        first = "identity" if source == "draw" else "canny"
        return *panels, gr.update(choices=choices, value=first), scene.caption if scene else ""

    def choose_exact(self, seed: Any, moving: Any, event: gr.SelectData) -> str:
        """Take the map that was clicked: an annotator of the same name, else the exact map."""
        name = list(self._scene(seed, moving).maps)[event.index]
        return name if any(view.name == name for view in self.views) else f"exact:{name}"

    def choose_annotator(self, name: str) -> tuple[Any, ...]:
        """Explain an annotator, and offer to name its weights where they are missing."""
        view = next((view for view in self.views if view.name == name), None)
        return (
            about(self.views, name),
            {},
            gr.update(visible=view is not None and not view.available, value=""),
        )

    def _carrying(self, second: bool) -> Any:
        """What hands the map over, as the first condition or as the second, and goes to the Compare tab."""

        def carry(made: Made | None, caption: str) -> tuple[Any, ...]:
            if made is None:
                raise LisaError(NO_MAP)
            carried = Carried(made.map, made.condition, (caption or "").strip(), second)
            return carried, gr.Tabs(selected="compare")

        return carry
