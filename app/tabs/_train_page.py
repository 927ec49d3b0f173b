"""What is on the Train tab: the form on the left, the run that is watched on the right."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app import controls
from app.tabs._train_form import KNOBS
from lisa.lab import Lab
from lisa.rundesk import RunView
from lisa.settings import LisaSettings, TrainSettings

SIMPLE = ("condition", "steps", "batch_size", "learning_rate", "samples", "seed")
EXPERT = (
    "family", "source", "revision", "start", "accumulation", "warmup_steps", "rate_schedule", "clip_norm",
    "weight_decay", "precision", "gradient_checkpointing", "share", "caption_dropout", "validate_every",
    "validation_samples", "checkpoint_every", "preview_every", "previews", "device",
)  # fmt: skip
UPLOAD = "A .zip on this computer can also be named by its path, and must where it is too large to upload."
EVERY = 2.0  # seconds between looks at a run
ARMS_RULE = (
    "**Arms** under Expert settings says what is trained: Lambda, Taps and the settings below it have no effect."
)
NOTHING = "There is no run yet: choose what to train on the left and press **Start**."


class Turn:
    """Counts how often a visitor asked for a plan, so that an earlier one knows that it is over."""

    taken = 0

    def take(self) -> int:
        """Ask once more."""
        self.taken += 1
        return self.taken


class TrainPage:
    """The components of the tab, as attributes.

    Args:
        lab: the facade; asked for families and runs.
    """

    def __init__(self, lab: Lab) -> None:
        self.fields: dict[str, gr.components.Component] = {}
        self.knobs: dict[str, gr.components.Component] = {}
        runs = lab.training.runs()
        with gr.Row():
            with gr.Column(min_width=300, scale=2):
                self._draw_form(lab)
            with gr.Column(min_width=320, scale=3):
                self._draw_run(runs)

    def _draw_form(self, lab: Lab) -> None:
        lisa = usual_lisa(lab, TrainSettings().family)
        gr.Markdown("### A new run")
        self.name = gr.Textbox(label="Name", info="Of the run's folder.", value="", placeholder="first", max_lines=1)
        self._field("data", max_lines=1)
        self.upload = gr.UploadButton("Upload a .zip of images", file_types=[".zip"], size="sm", elem_id="train-upload")
        self.about_data = gr.Markdown(UPLOAD, elem_id="train-data")
        # A data set may bring maps of its own, whose name no annotator knows.
        more = {
            "condition": {"choices": list(lab.training.conditions()), "allow_custom_value": True},
            "family": {"choices": controls.family_choices(lab.families())},
        }
        for first, second in zip(SIMPLE[::2], SIMPLE[1::2], strict=True):
            with gr.Row():
                self._field(first, **more.get(first, {}))
                self._field(second)
        with gr.Accordion("LISA", open=True):
            gr.Markdown("A plain **baseline** and **LISA** are trained side by side on the same data and noise.")
            with gr.Row():
                self._knob("weight", value=lisa.weight, min_width=120)
                self.taps = gr.Textbox(
                    "+".join(lisa.taps), label="Taps", max_lines=1, min_width=120,
                    info="Layers to align, such as down_3+mid; empty takes the family's.",
                )  # fmt: skip
            self.rule = gr.Markdown("", elem_id="train-rule")
        with gr.Accordion("Expert settings", open=False) as self.expert:
            self.arms = gr.Textbox(
                label="Arms", max_lines=3,
                info="Instead of the two above: any number, such as baseline,weak:weight=0.1,strong:weight=2:taps=mid.",
            )  # fmt: skip
            for name in KNOBS[1:]:
                self._knob(name)
            for name in EXPERT:
                self._field(name, **more.get(name, {}))
        self.plan = gr.Markdown("", elem_id="train-plan")
        self.turn = gr.State(Turn())
        with gr.Row():
            self.check = gr.Button("What will run", size="lg")
            self.start = gr.Button("Start", variant="primary", size="lg", elem_id="start")

    def _field(self, name: str, **details: Any) -> None:
        self.fields[name] = controls.control(TrainSettings, name, min_width=120, **details)

    def _knob(self, name: str, **details: Any) -> None:
        self.knobs[name] = controls.control(LisaSettings, name, **details)

    def _draw_run(self, runs: tuple[RunView, ...]) -> None:
        self.run = controls.Choice(
            [(run.title, run.id) for run in runs], value=runs[0].id if runs else None, label="Run",
            info="Runs go on when this page is closed.", elem_id="run",
        )  # fmt: skip
        self.status = gr.Markdown(NOTHING, elem_id="train-status")
        with gr.Row():
            self.stop = gr.Button("Stop and save", size="sm", interactive=False, min_width=90, elem_id="stop")
            self.resume = gr.Button("Resume", size="sm", interactive=False, min_width=90, elem_id="resume")
            self.save = gr.Button("Save now", size="sm", interactive=False, min_width=90)
            self.sample = gr.Button("Sample now", size="sm", interactive=False, min_width=90)
            self.clone = gr.Button("Clone settings", size="sm", interactive=False, min_width=90)
            self.delete = gr.Button("Delete", size="sm", variant="stop", interactive=False, min_width=90)
        with gr.Row(visible=False) as self.sure:
            gr.Markdown("Delete this run with all its checkpoints? There is no way back.")
            self.yes = gr.Button("Delete it", variant="stop", min_width=90)
            self.no = gr.Button("Keep it", min_width=90)
        self.answer = gr.Markdown("", elem_id="train-answer")
        with gr.Row():
            self.smoothing = gr.Slider(
                0, 0.99, 0.9, step=0.01, label="Smoothing", info="Of the training curves.", min_width=140
            )
            self.log = gr.Checkbox(label="Logarithmic", info="Of the losses.", min_width=120)
        self.plots = [gr.Plot(show_label=False, elem_id=f"curve-{i}") for i in range(4)]
        self.sample_step = gr.Slider(
            0,
            1,
            0,
            step=1,
            label="Sample images at step",
            info="The nearest step that has some.",
            visible=False,
            elem_id="sample-step",
        )
        self.gallery = gr.Gallery(
            label="Held-out samples: condition, then every arm from the same noise", columns=3, height="auto",
            format="png", object_fit="contain", interactive=False, visible=False, elem_id="samples",
        )  # fmt: skip
        self.sampled = gr.State(None)  # the run and training step of the newest samples that were shown
        self.timer = gr.Timer(EVERY, active=True)


def usual_lisa(lab: Lab, family: str) -> LisaSettings:
    """How a family aligns its LISA arm unless it is told otherwise."""
    return next((view.lisa for view in lab.families() if view.name == family), LisaSettings())
