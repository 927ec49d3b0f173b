"""What is on the Condition tab: three sources of a picture, the annotator with its knobs, the map."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import gradio as gr
from PIL import Image

from app import controls
from app.intake import OptionalImage, canvas
from app.shared import Made
from app.tabs._draw_over import DrawOver
from lisa.annotators.base import Knob
from lisa.lab import AnnotatorView, SceneView
from lisa.options import Option

SOURCES = {"scene": "A rendered scene", "upload": "Your own picture", "draw": "A drawing"}
SCENES = 10_000
FRAMES = 8
SCENE_SEED = Option("Number of the held-out scene; the same number gives the same scene", low=0, high=SCENES - 1)
FRAME = {"format": "png", "type": "pil", "elem_classes": "picture", "buttons": ["fullscreen"]}


class Source(gr.Radio):
    """gr.Radio that hands its value on as it is; the tab says what is wrong with it."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        """Give the value unchanged."""
        return payload


def mark_of(picture: Image.Image) -> str:
    """A short text, equal for pictures of equal pixels and of no others."""
    return hashlib.blake2b(picture.tobytes(), digest_size=16).hexdigest()


def gallery_of(scene: SceneView) -> list[tuple[Image.Image, str]]:
    """The exact maps of a scene with their names."""
    return [(image, name) for name, image in scene.maps.items()]


def knobs_of(views: Sequence[AnnotatorView], name: str) -> tuple[Knob, ...]:
    """The knobs of an annotator; none for an exact map."""
    return next((view.knobs for view in views if view.name == name), ())


def about(views: Sequence[AnnotatorView], name: str) -> str:
    """What an annotator does, and why it cannot run here if it cannot."""
    if name.startswith("exact:"):
        return "Read off the scene itself, without any guessing."
    view = controls.find_annotator(views, name)
    if view.available:
        return view.help
    return f"{view.help} **{'Not here yet' if view.installed else 'Not here'}:** {view.reason}"


class ConditionPage:
    """The components of the tab, as attributes.

    Args:
        views: the annotators.
        first: the scene that is shown at first.
    """

    def __init__(self, views: Sequence[AnnotatorView], first: SceneView) -> None:
        self.views = views
        with gr.Row(elem_classes="condition-tab"):
            with gr.Column(min_width=300):
                self._draw_sources(first)
            with gr.Column(min_width=300):
                self._draw_map(first)

    def _draw_sources(self, first: SceneView) -> None:
        self.source = Source(
            [(title, name) for name, title in SOURCES.items()],
            value="scene",
            label="1. Picture",
            elem_id="source",
            info="Where the condition comes from.",
        )
        with gr.Column() as scene:
            self._draw_scene(first)
        with gr.Column(visible=False) as upload:
            self.upload = OptionalImage(
                label="Picture",
                sources=["upload", "clipboard"],
                elem_id="upload",
                placeholder="Drop a picture here, click to choose one, or paste it",
                **FRAME,
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
        self.offered = gr.State(first.caption)

    def _draw_scene(self, first: SceneView) -> None:
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
            self.moving = gr.Checkbox(
                label=f"Moving, {FRAMES} frames",
                elem_id="moving",
                info="A strip of frames, for families that make clips.",
                min_width=160,
            )
        self.scene = gr.Image(
            first.image,
            label="Scene",
            show_label=False,
            interactive=False,
            elem_id="scene",
            alt_text="The rendered scene",
            **FRAME,
        )
        self.maps = gr.Gallery(
            gallery_of(first),
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

    def _draw_map(self, first: SceneView) -> None:
        self.annotator = controls.Choice(
            controls.annotator_choices(self.views, first.maps),
            value="canny",
            label="2. Annotator",
            info="What turns the picture into a map.",
            elem_id="annotator",
        )
        self.about = gr.Markdown(about(self.views, "canny"), elem_id="about")
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
        with gr.Row():
            self.use = gr.Button("Use in Compare", variant="primary", elem_id="use", min_width=140)
            self.use_second = gr.Button("Use as second condition", elem_id="use-second", min_width=140)
        self.made = gr.State(Made(first.maps["canny"], "canny", mark_of(first.image)))
        self.over = DrawOver(self.made, self.map, self.status)

    def _draw_knobs(self) -> None:
        @gr.render([self.annotator], show_progress="hidden")
        def draw(name: str) -> None:
            with gr.Row():
                for knob in knobs_of(self.views, name):
                    control = controls.knob_control(knob)
                    # In the browser, so that quick changes of two knobs cannot undo each other.
                    control.input(None, [control, self.knobs], [self.knobs], js=_set_knob(knob.name))


def _set_knob(name: str) -> str:
    return f"(value, knobs) => ({{...knobs, [{json.dumps(name)}]: value}})"
