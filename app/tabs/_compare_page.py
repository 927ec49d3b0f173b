"""What is on the Compare tab: the prompt, the pair on its stage, the settings, the close-up."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
from PIL import Image

from app import controls
from app.intake import SafeImage, refuse_unreadable
from app.plots import overlay
from app.sides import arm_heading, heading, side_choices, title_of, two_sides
from app.tabs._compare_second import SecondCondition
from app.tabs._compare_start import StartPicture
from lisa.arms import file_word
from lisa.lab import Example, Lab, PairView
from lisa.options import to_dict
from lisa.settings import GenerateSettings

OPACITY = 0.6
NO_PAIRS = (
    "There is no trained pair for this family yet: train one on the **Train** tab, import one on the **Models** tab, "
    "or choose another family."
)
PNG_WORDS = (
    "Every PNG that is downloaded here carries its settings. Drop one, and the form is filled as it was for that image."
)


@dataclass(frozen=True)
class Shown:
    """The pair on screen, for the views that are made from it; of clips of so many frames as strips."""

    condition: Image.Image
    images: tuple[Image.Image, Image.Image]
    frames: int = 0


def save_png(lab: Lab, result: Any, folder: str) -> str:
    """Write a generated image with its settings under the name that a download has."""
    path = Path(folder) / f"lisa-seed-{result.seed:06d}-{file_word(result.arm)}.png"
    lab.save(result, path)
    return str(path)


def best_pair(pairs: tuple[PairView, ...], condition: str) -> PairView | None:
    """The first pair that learned this kind of condition, else the first of all, else None."""
    return next((pair for pair in pairs if pair.condition == condition), pairs[0] if pairs else None)


class ComparePage:
    """The components of the tab, as attributes.

    Args:
        lab: the facade; asked for the example and the pairs.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.fields: dict[str, gr.components.Component] = {}
        example = lab.example()
        first = None if example else lab.render_scene(0)
        settings = example.settings if example else GenerateSettings(prompt=first.caption)
        pairs = lab.pairs(settings.family)
        pair = controls.find_pair(pairs, settings.run) or best_pair(pairs, settings.condition)
        self._draw_prompt(settings)
        self._draw_stage(example, example.condition if example else first.maps["canny"], pairs, pair)
        self._draw_settings(settings, pairs, pair)
        self._draw_png()
        self.start = StartPicture(lab, settings.family)
        self.second = SecondCondition(pairs)
        self.fields |= self.second.fields
        self._draw_expert(settings, pairs, pair)
        self._draw_close_up(example)

    def _draw_stage(
        self, example: Example | None, condition: Image.Image, pairs: tuple[PairView, ...], pair: PairView | None
    ) -> None:
        arms = tuple(example.settings.arm_names()[:2]) if example else two_sides(pair, pairs)
        images = [example.images[arm] for arm in arms] if example else [None, None]
        frame = {"format": "png", "show_label": False, "elem_classes": "picture"}
        with gr.Row(elem_classes="stage"):
            with gr.Column(min_width=100, elem_classes="condition"):
                gr.HTML(heading("condition", "Condition", "what both must follow"), padding=False)
                self.condition = SafeImage(
                    condition,
                    label="Condition map",
                    type="pil",
                    sources=["upload", "clipboard"],
                    buttons=["fullscreen"],
                    placeholder="Drop a condition map here, or make one on the Condition tab",
                    **frame,
                )
                refuse_unreadable(self.condition)
            self.headings, self.pictures, self.downloads = [], [], []
            for arm, image, side in zip(arms, images, ("left", "right"), strict=True):
                with gr.Column(min_width=100, elem_classes=side):
                    self.headings.append(gr.HTML(arm_heading(arm), padding=False))
                    self.pictures.append(
                        gr.Image(
                            image,
                            label=title_of(arm),
                            type="pil",
                            interactive=False,
                            buttons=["fullscreen"],
                            elem_id=f"{side}-picture",
                            alt_text=f"Drawn by {title_of(arm)}",
                            **frame,
                        )
                    )
                    self.downloads.append(self._download(example, arm))
            with gr.Column(min_width=100, elem_classes="words"):
                self.status = gr.Markdown(self._first_words(example), elem_id="status")
                self.player = gr.HTML("", padding=False, elem_classes="player-row")
                self.hint = gr.Markdown("" if pair else NO_PAIRS, elem_id="hint")
        self.shown = gr.State(Shown(condition, tuple(images)) if example else None)

    def _download(self, example: Example | None, arm: str) -> gr.DownloadButton:
        with tempfile.TemporaryDirectory() as folder:  # Gradio keeps a copy of its own
            path = None
            if example:
                stored = {**to_dict(example.settings), "arms": arm}
                seed = example.settings.seed
                made = SimpleNamespace(arm=arm, seed=seed, image=example.images[arm], clip=(), settings=stored)
                path = save_png(self.lab, made, folder)
            return gr.DownloadButton(f"Download {title_of(arm)}", value=path, size="sm", interactive=path is not None)

    def _first_words(self, example: Example | None) -> str:
        if not example:
            return "Nothing has been generated yet: press the button to see a first pair."
        made = example.settings
        return (
            f"**A finished example** for you to change: *{made.prompt}*, seed {made.seed}, "
            f"{made.steps} steps. Press the button to make your own."
        )

    def _draw_prompt(self, settings: GenerateSettings) -> None:
        with gr.Row(elem_classes="prompt", equal_height=False):
            self.fields["prompt"] = controls.control(
                GenerateSettings, "prompt", value=settings.prompt, scale=4, max_lines=3, min_width=240,
                info="What to show; the embedded world has spheres, cubes, cylinders, cones and mannequins.",
            )  # fmt: skip
            self.go = gr.Button("Generate the pair", variant="primary", size="lg", scale=1, min_width=200, elem_id="go")

    def _draw_settings(self, settings: GenerateSettings, pairs: tuple[PairView, ...], pair: PairView | None) -> None:
        families = dict.fromkeys([settings.family, *(each.family for each in self.lab.pairs())])
        with gr.Row(elem_classes="settings"):
            self.fields["family"] = controls.control(
                GenerateSettings, "family", choices=list(families), value=settings.family, min_width=150
            )
            self.fields["run"] = controls.control(
                GenerateSettings,
                "run",
                choices=controls.pair_choices(pairs),
                value=pair.id if pair else None,
                label="Pair",
                info="Condition and run of both networks.",
                min_width=220,
            )
            steps = controls.step_choices(pair)
            self.fields["checkpoint"] = controls.control(
                GenerateSettings,
                "checkpoint",
                choices=steps,
                value=steps[0][1] if steps else None,
                label="Training step",
                info="Earlier steps show who learns sooner.",
                min_width=150,
            )
            with gr.Column(min_width=150, elem_classes="seed"):
                self.fields["seed"] = controls.control(GenerateSettings, "seed", value=settings.seed)
                self.random_seed = gr.Checkbox(label="New seed each time", container=False)
        with gr.Row(elem_classes="settings"):
            self.fields["steps"] = controls.control(
                GenerateSettings, "steps", value=settings.steps, min_width=200, info="More steps take longer."
            )
            for name in ("guidance", "strength"):
                self.fields[name] = controls.control(
                    GenerateSettings, name, value=getattr(settings, name), min_width=200
                )

    def _draw_png(self) -> None:
        with gr.Row(elem_classes="png"):
            self.png = gr.File(
                label="Settings from a PNG", file_types=[".png"], height=130, min_width=240, elem_id="png"
            )
            self.png_words = gr.Markdown(PNG_WORDS, elem_id="png-words")

    def _draw_expert(self, settings: GenerateSettings, pairs: tuple[PairView, ...], pair: PairView | None) -> None:
        arms = two_sides(pair, pairs)
        known = side_choices(pair, pairs) or list(arms)
        with gr.Accordion("Expert settings", open=False):
            self.fields["negative_prompt"] = controls.control(
                GenerateSettings, "negative_prompt", value=settings.negative_prompt
            )
            with gr.Row():
                for name in ("control_start", "control_end"):
                    self.fields[name] = controls.control(GenerateSettings, name, value=getattr(settings, name))
            with gr.Row():
                self.arms = [
                    controls.Choice(
                        known,
                        value=arm,
                        label=f"Network on the {side}",
                        info="Of this pair, of an earlier step, or of another run.",
                    )
                    for arm, side in zip(arms, ("left", "right"), strict=True)
                ]
            with gr.Row():
                for name in ("width", "height"):
                    self.fields[name] = controls.control(GenerateSettings, name, value=getattr(settings, name))
            self.families_note = gr.Markdown("")

    def _draw_close_up(self, example: Example | None) -> None:
        shown = self.shown.value if example else None
        gr.Markdown("## Look closer", elem_classes="closer")
        with gr.Row(elem_classes="close-up"):
            with gr.Column(min_width=280):
                self._draw_divided(shown)
            with gr.Column(min_width=280):
                self._draw_overlaid(shown)

    def _draw_divided(self, shown: Shown | None) -> None:
        self.slider = gr.ImageSlider(
            shown.images if shown else None,
            format="png",
            type="pil",
            interactive=False,
            label="The pair under a divider",
            show_label=False,
            buttons=["fullscreen"],
            slider_position=50,
            elem_classes="picture",
        )
        self.divider = gr.Slider(
            0,
            100,
            50,
            step=1,
            label="Divider",
            elem_id="divider",
            info="Left of it is the left picture; drag it, or use the arrow keys.",
        )

    def _draw_overlaid(self, shown: Shown | None) -> None:
        self.over = gr.Image(
            overlay(shown.images[1], shown.condition, OPACITY) if shown else None,
            format="png",
            type="pil",
            interactive=False,
            label="Condition over the image",
            show_label=False,
            buttons=["fullscreen"],
            elem_id="overlay",
            elem_classes="picture",
            alt_text="Condition over the image",
        )
        with gr.Row():
            self.opacity = gr.Slider(
                0,
                1,
                OPACITY,
                step=0.05,
                label="Opacity of the condition",
                elem_id="opacity",
                scale=2,
                min_width=160,
                info="How strongly the map is laid over the image; edges are drawn in pink.",
            )
            self.under = gr.Radio(
                [("Left", 0), ("Right", 1)],
                value=1,
                label="Over which image",
                min_width=120,
                info="The picture that lies below.",
            )
