"""On the Compare tab: a second pair with its own condition and strength, whose control is added to the first's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr
from PIL import Image

from app import controls
from app.intake import SafeImage, refuse_unreadable
from lisa.lab import PairView
from lisa.settings import GenerateSettings

NONE = ("None", "")
FIELDS = ("second_run", "second_checkpoint", "second_strength")


class SecondCondition:
    """The components, as attributes; ``fields`` belong to the tab's form.

    Args:
        pairs: of the family that is chosen at first.
    """

    def __init__(self, pairs: Sequence[PairView]) -> None:
        self.accordion = gr.Accordion("A second condition", open=False)
        with self.accordion, gr.Row(elem_classes="settings"):
            self.map = SafeImage(
                label="Second condition map", type="pil", format="png", sources=["upload", "clipboard"],
                buttons=["fullscreen"], elem_classes="picture", elem_id="second-map",
                placeholder="Drop a map here, or send one from the Condition tab",
            )  # fmt: skip
            refuse_unreadable(self.map)
            with gr.Column(min_width=200):
                run = controls.control(
                    GenerateSettings, "second_run", choices=second_choices(pairs), value="", elem_id="second-run",
                    info="Its baseline is added to the baseline, its LISA to LISA.",
                )  # fmt: skip
                step = controls.control(GenerateSettings, "second_checkpoint", choices=[NONE], value="")
                strength = controls.control(GenerateSettings, "second_strength")
                self.clear = gr.Button("Without a second condition", size="sm", elem_id="second-clear")
        self.fields = dict(zip(FIELDS, (run, step, strength), strict=True))

    @property
    def outputs(self) -> list[gr.components.Component]:
        """What ``chosen`` fills: the pair and its training step."""
        return [self.fields["second_run"], self.fields["second_checkpoint"]]


def second_choices(pairs: Sequence[PairView]) -> list[tuple[str, str]]:
    """None, and every pair that can come second."""
    return [NONE, *controls.pair_choices(pairs)]


def second_steps(pairs: Sequence[PairView], run: str | None) -> list[tuple[str, str]]:
    """The training steps of the second pair; an unknown one is none."""
    return controls.step_choices(controls.find_pair(pairs, run or "")) or [NONE]


def chosen(pairs: Sequence[PairView], run: str, checkpoint: str = "") -> tuple[Any, Any]:
    """Updates for the second pair and its training step.

    Args:
        pairs: that may be chosen.
        run: the one that is; an unknown one is none.
        checkpoint: its training step; empty takes the last one.
    """
    runs, steps = second_choices(pairs), second_steps(pairs, run)
    return (
        gr.update(choices=runs, value=controls.kept(runs, run)),
        gr.update(choices=steps, value=controls.kept(steps, checkpoint)),
    )


def given_map(settings: GenerateSettings, second: Image.Image | None) -> Image.Image | None:
    """The second map, unless no second pair is chosen: then it only lies there."""
    return second if settings.second_run else None
