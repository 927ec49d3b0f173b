"""Condition: take a picture, a drawing or a rendered scene, and make a condition map of it."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image

from app import controls
from app.guard import guarded
from app.intake import SafeImage, canvas, looks_like_map, read_drawing
from app.shared import Carried, Shared
from lisa.annotators.base import Knob
from lisa.errors import LisaError
from lisa.lab import Lab, SceneView
from lisa.options import Option, check_value

TITLE = "Condition"
ORDER = 20
SOURCES = {"scene": "A rendered scene", "upload": "Your own picture", "draw": "A drawing"}
SCENES = 10_000
LINES = "canny"  # what a drawing of lines comes closest to
EMPTY = "The map appears here as soon as there is a picture."
SCENE_SEED = Option(
    "Number of the held-out scene; the same number gives the same scene", low=0, high=SCENES - 1
)


@dataclass(frozen=True)
class Made:
    """The map on screen and what kind it is."""

    map: Image.Image
    condition: str


def build(lab: Lab, shared: Shared) -> None:
    """Draw the tab and wire it."""
    Condition(lab, shared)


class Condition:
    """The components of the tab, and what happens between them."""

    def __init__(self, lab: Lab, shared: Shared) -> None:
        self.lab = lab
        self.views = lab.annotators()
        first = lab.render_scene(0)
        with gr.Row(elem_classes="condition-tab"):
            with gr.Column(min_width=300):
                self._draw_sources(first)
            with gr.Column(min_width=300):
                self._draw_map(first)
        self._wire(shared)

    # What is on the page

    def _draw_sources(self, first: SceneView) -> None:
        self.source = gr.Radio(
            [(title, name) for name, title in SOURCES.items()],
            value="scene",
            label="1. Picture",
            elem_id="source",
            info="Where the condition comes from.",
        )
        frame = {"format": "png", "type": "pil", "elem_classes": "picture", "buttons": ["fullscreen"]}
        with gr.Column() as scene:
            with gr.Row(elem_classes="scene-row"):
                self.seed = controls.Number(
                    value=first.seed,
                    minimum=0,
                    maximum=SCENES - 1,
                    step=1,
                    label="Scene",
                    info=f"{SCENE_SEED.help}.",
                    elem_id="scene-seed",
                    min_width=160,
                )
                self.new_scene = gr.Button("New scene", min_width=120)
            self.scene = gr.Image(
                first.image,
                label="Scene",
                show_label=False,
                interactive=False,
                elem_id="scene",
                alt_text="The rendered scene",
                **frame,
            )
            self.maps = gr.Gallery(
                self._gallery(first),
                label="Exact maps of the scene: choose one to use it",
                columns=3,
                height="auto",
                format="png",
                allow_preview=False,
                interactive=False,
                elem_id="maps",
                object_fit="contain",
                buttons=[],
            )
        with gr.Column(visible=False) as upload:
            self.upload = SafeImage(
                label="Picture",
                sources=["upload", "clipboard"],
                elem_id="upload",
                placeholder="Drop a picture here, click to choose one, or paste it",
                **frame,
            )
        with gr.Column(visible=False) as draw:
            self.drawing = canvas(label="Drawing", elem_id="drawing")
            gr.Markdown(
                "Black lines on white paper become the white edges of a map. Prefer a keyboard? Choose "
                "*Your own picture* and upload the drawing."
            )
        self.panels = dict(zip(SOURCES, (scene, upload, draw), strict=True))
        self.caption = gr.Textbox(
            first.caption,
            label="Caption",
            max_lines=3,
            elem_id="caption",
            info="Goes to the Compare tab as the prompt.",
        )

    def _draw_map(self, first: SceneView) -> None:
        self.annotator = controls.Choice(
            controls.annotator_choices(self.views, first.maps),
            value="canny",
            label="2. Annotator",
            info="What turns the picture into a map.",
            elem_id="annotator",
        )
        self.about = gr.Markdown(self._about("canny"), elem_id="about")
        self.knobs = gr.JSON({}, visible=False, label="knobs")
        self._draw_knobs()
        self.weights = gr.Textbox(
            "",
            label="Weights",
            visible=False,
            max_lines=1,
            elem_id="weights",
            info="Hub id or folder with the detector's weights; empty takes its own from the hub.",
        )
        self.make = gr.Button("Make the map", elem_id="make")
        self.hint = gr.Markdown("", elem_id="twice")
        self.map = gr.Image(
            first.maps["canny"],
            label="3. Condition map",
            format="png",
            type="pil",
            interactive=False,
            elem_id="map",
            elem_classes="picture",
            buttons=["download", "fullscreen"],
            alt_text="The condition map",
        )
        self.status = gr.Markdown("", elem_id="map-status")
        self.use = gr.Button("Use in Compare", variant="primary", elem_id="use")
        self.made = gr.State(Made(first.maps["canny"], "canny"))

    def _draw_knobs(self) -> None:
        @gr.render([self.annotator], show_progress="hidden")
        def draw(name: str) -> None:
            with gr.Row():
                for knob in self._knobs_of(name):
                    control = controls.knob_control(knob)
                    # In the browser, so that quick changes of two knobs cannot undo each other.
                    control.input(None, [control, self.knobs], [self.knobs], js=_set_knob(knob.name))

    def _knobs_of(self, name: str) -> tuple[Knob, ...]:
        return next((view.knobs for view in self.views if view.name == name), ())

    def _gallery(self, scene: SceneView) -> list[tuple[Image.Image, str]]:
        return [(image, name) for name, image in scene.maps.items()]

    def _about(self, name: str) -> str:
        if name.startswith("exact:"):
            return "Read off the scene itself, without any guessing."
        view = controls.find_annotator(self.views, name)
        return view.help if view.available else f"{view.help} **Not here yet:** {view.reason}"

    # What happens

    def _wire(self, shared: Shared) -> None:
        quiet = {"show_progress": "hidden", "api_visibility": "private"}
        inputs = [self.source, self.upload, self.drawing, self.seed, self.annotator, self.knobs, self.weights]
        outputs = [self.map, self.status, self.hint, self.made]
        live = {**quiet, "trigger_mode": "always_last", "concurrency_id": "annotate"}
        self.make.click(
            guarded(self.annotate),
            inputs,
            outputs,
            api_name="annotate",
            concurrency_id="annotate",
            concurrency_limit=2,
            show_progress_on=[self.map],
        )
        self.new_scene.click(lambda: secrets.randbelow(SCENES), None, [self.seed], **quiet)
        self.seed.change(
            guarded(self.show_scene), [self.seed], [self.scene, self.maps, self.caption], **quiet
        ).success(guarded(self.annotate_live), inputs, outputs, **live)
        self.source.input(
            guarded(self.choose_source),
            [self.source, self.seed],
            [*self.panels.values(), self.annotator, self.caption],
            **quiet,
        )
        self.maps.select(guarded(self.choose_exact), [self.seed], [self.annotator], **quiet)
        self.annotator.change(
            guarded(self.choose_annotator), [self.annotator], [self.about, self.knobs, self.weights], **quiet
        ).success(guarded(self.annotate_live), inputs, outputs, **live)
        gr.on([self.knobs.change, self.upload.change], guarded(self.annotate_live), inputs, outputs, **live)
        self.use.click(guarded(self.carry), [self.made, self.caption], [shared.carried, shared.tabs], **quiet)

    def annotate(
        self,
        source: str,
        upload: Image.Image | None,
        drawing: dict[str, Any] | None,
        scene: int,
        annotator: str,
        knobs: dict[str, Any] | None,
        weights: str,
    ) -> tuple[Any, ...]:
        """Make a condition map from an uploaded picture, a drawing, or a rendered scene."""
        picture, maps = self._picture(source, upload, drawing, scene)
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

    def annotate_live(
        self, source: str, upload: Any, drawing: Any, scene: Any, annotator: str, *rest: Any
    ) -> Any:
        """Make the map after a change, unless a picture is missing or something would have to be downloaded."""
        if source == "draw" or (source == "upload" and upload is None):
            return None, EMPTY, "", None
        view = next((view for view in self.views if view.name == annotator), None)
        if view is not None and not view.available:
            return None, "Press *Make the map* to load this annotator.", "", None
        return self.annotate(source, upload, drawing, scene, annotator, *rest)

    def _picture(
        self, source: str, upload: Image.Image | None, drawing: dict[str, Any] | None, scene: int
    ) -> tuple[Image.Image, dict[str, Image.Image]]:
        """The picture to annotate, and the exact maps that come with it."""
        if source == "draw":
            return read_drawing(drawing), {}
        if source == "scene":
            view = self._scene(scene)
            return view.image, view.maps
        if source != "upload":
            raise LisaError(f"The source is {source!r}: choose scene, upload or draw.")
        if upload is None:
            raise LisaError("There is no picture yet: upload one first.")
        return upload, {}

    def _scene(self, seed: Any) -> SceneView:
        check_value("Scene", seed, int, SCENE_SEED)
        return self.lab.render_scene(seed)

    def _exact(self, maps: dict[str, Image.Image], name: str) -> Made:
        if name not in maps:
            known = ", ".join(maps) or "none, since only a rendered scene has them"
            raise LisaError(f"There is no exact map {name[:40]!r}: there are {known}.")
        return Made(maps[name], name)

    def _twice(self, source: str, picture: Image.Image, annotator: str) -> str:
        if source != "upload" or annotator == "identity" or not looks_like_map(picture):
            return ""
        return "This picture looks like a condition map already. If it is one, choose **Already a condition map**."

    def show_scene(self, seed: Any) -> tuple[Any, ...]:
        """Show a scene, its caption and its exact maps."""
        scene = self._scene(seed)
        return scene.image, self._gallery(scene), scene.caption

    def choose_source(self, source: str, seed: Any) -> tuple[Any, ...]:
        """Show the panel of a source, and start with the annotator that fits it."""
        panels = [gr.update(visible=name == source) for name in self.panels]
        scene = self._scene(seed) if source == "scene" else None
        choices = controls.annotator_choices(self.views, scene.maps if scene else ())
        first = "identity" if source == "draw" else "canny"
        return *panels, gr.update(choices=choices, value=first), scene.caption if scene else ""

    def choose_exact(self, seed: Any, event: gr.SelectData) -> str:
        """Take the map that was clicked: an annotator of the same name, else the exact map."""
        name = list(self._scene(seed).maps)[event.index]
        return name if any(view.name == name for view in self.views) else f"exact:{name}"

    def choose_annotator(self, name: str) -> tuple[Any, ...]:
        """Explain an annotator, and offer to name its weights where they are missing."""
        view = next((view for view in self.views if view.name == name), None)
        return self._about(name), {}, gr.update(visible=view is not None and not view.available, value="")

    def carry(self, made: Made | None, caption: str) -> tuple[Any, ...]:
        """Hand the map over and go to the Compare tab."""
        if made is None:
            raise LisaError("There is no map yet: choose a picture and make its map first.")
        return Carried(made.map, made.condition, (caption or "").strip()), gr.Tabs(selected="compare")


def _set_knob(name: str) -> str:
    return f"(value, knobs) => ({{...knobs, [{json.dumps(name)}]: value}})"
