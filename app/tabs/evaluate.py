"""Evaluate: loss and condition fidelity of every arm and kept training step, on held-out scenes."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app import controls
from app.curves import fidelity_figure
from app.guard import guarded
from app.shared import Shared
from app.sides import title_of
from app.tabs._round_trip import RoundTripSection
from app.waiting import standing_words
from lisa.lab import Lab
from lisa.measuring import Evaluation, reference
from lisa.metrics.paired import difference_words
from lisa.options import Option, check_value

TITLE = "Evaluate"
ORDER = 50
FREE = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
EVERY = 3.0  # seconds between looks at a measurement
COUNT = Option("Held-out scenes", unit="scenes", low=2, high=4096, step=16)
SAMPLING = Option("Sampling steps", unit="steps", low=1, high=100, step=1)
NO_RUN = "There is no run yet: start one on the **Train** tab."
HIDDEN = (gr.update(visible=False),) * 3
ABOUT = """
Every arm draws every held-out scene from its condition and caption, from the same noise. **Test loss** is that of the
training objective on the test split, with fixed noise and timesteps. It is no number to compare with the Train tab's
loss on the validation split, which has other scenes and noise. **Fidelity** reads the condition back from the image:
edge F1 for canny, disparity error for depth, mean IoU for segmentation, PCK@0.1 for pose, the last three by the lab's
own judge, whose error on true renders is in `training.json`. Differences are paired, with 95 % bootstrap intervals.
"""


def build(lab: Lab, shared: Shared) -> None:
    """Draw the tab and wire it."""
    Evaluate(lab, shared)


class Evaluate:
    """What happens between the components of the tab."""

    def __init__(self, lab: Lab, shared: Shared) -> None:
        self.lab = lab
        self._draw()
        self._wire(shared)

    def _draw(self) -> None:
        runs = self._runs()
        with gr.Row(elem_classes="settings"):
            self.run = controls.Choice(
                runs,
                value=runs[0][1] if runs else None,
                label="Run",
                info="Only your own can be measured again.",
                min_width=240,
            )
            self.count = controls.Number(
                value=64, minimum=2, maximum=4096, step=16, label="Scenes", info="512 tell more."
            )
            self.steps = controls.Slider(1, 100, 10, step=1, label="Sampling steps", info="Of every image.")
            self.go = gr.Button("Measure", variant="primary", size="lg", elem_id="measure")
            self.stop = gr.Button("Stop", size="lg", visible=False, min_width=90, elem_id="stop-measuring")
        self.status = gr.Markdown("", elem_id="evaluate-status")
        self.plots = []
        with gr.Row():
            for i in range(2):
                with gr.Column(min_width=300):
                    self.plots.append(gr.Plot(show_label=False, elem_id=f"measure-{i}"))
        self.table = gr.Dataframe(
            interactive=False, wrap=True, show_label=False, visible=False, max_height=2000, elem_id="evaluate-table"
        )
        with gr.Accordion("What is measured", open=False):
            gr.Markdown(ABOUT)
        self.round_trip = RoundTripSection(self.lab, self.run)
        self.timer = gr.Timer(EVERY, active=False)

    def _wire(self, shared: Shared) -> None:
        view = [self.status, *self.plots, self.table, self.go, self.stop, self.timer]
        self.go.click(
            guarded(self.measure), [self.run, self.count, self.steps], None, api_visibility="private",
            concurrency_id="runs", concurrency_limit=1,
        ).success(guarded(self.look), [self.run], view, **FREE)  # fmt: skip
        self.stop.click(guarded(self.end), [self.run], None, **FREE).success(
            guarded(self.look), [self.run], view, **FREE
        )
        gr.on([self.run.change, self.timer.tick], guarded(self.look), [self.run], view, **FREE)
        # What a page shows when it is loaded was chosen when the lab was started, not by who looks at it.
        loaded = shared.page.load(guarded(self.refresh), None, [self.run], **FREE)
        for opened in (loaded, shared.tab.select(guarded(self.refresh), [self.run], [self.run], **FREE)):
            opened.success(guarded(self.look), [self.run], view, **FREE)
            opened.success(guarded(self.round_trip.choose), [self.run], [self.round_trip.step], **FREE)

    def _runs(self) -> list[tuple[str, str]]:
        return [(run.title, run.id) for run in self.lab.training.runs()]

    def refresh(self, run: str | None = None) -> Any:
        """List the runs again; keep the one that is shown, else show the youngest."""
        return controls.relisted(self._runs(), run)

    def measure(self, run: str, count: int, steps: int) -> None:
        """Measure a run on held-out scenes in a process of its own."""
        check_value("Scenes", count, int, COUNT)
        check_value("Sampling steps", steps, int, SAMPLING)
        self.lab.training.measure(run or "", count, steps)
        gr.Info("The measurement has started; it goes on when this page is closed.")

    def end(self, run: str) -> None:
        """Stop a measurement."""
        self.lab.training.stop_measuring(run or "")
        gr.Info("The measurement stops; the rows of the training steps that are done stay.")

    def look(self, run: str | None) -> tuple[Any, ...]:
        """Show what has been measured so far."""
        if not run or not self.lab.training.has(run):
            words = f"The run {run} is no longer there: choose another." if run else NO_RUN
            return words, *HIDDEN, gr.update(interactive=False), gr.update(visible=False), gr.Timer(active=False)
        seen = self.lab.training.evaluation(run)
        own = run.startswith("runs/")
        rest = (
            gr.update(interactive=own and not seen.running), gr.update(visible=own and seen.running),
            gr.Timer(active=seen.running),
        )  # fmt: skip
        if not seen.rows:
            return _status(seen), *HIDDEN, *rest
        figures = [gr.Plot(fidelity_figure(title, seen.rows, key), visible=True) for title, key in _quantities(seen)]
        table = gr.Dataframe(_table(seen), headers=_headers(seen), visible=True)
        return _status(seen), *figures, table, *rest


def _quantities(seen: Evaluation) -> list[tuple[str, str]]:
    return [("Test loss", "loss"), (str(seen.rows[0].get("measure", "Fidelity")), "fidelity")]


def _headers(seen: Evaluation) -> list[str]:
    minus = f"Minus {_named(reference(seen.rows))} (95 %)"
    return ["Step", "Arm", *(header for title, _ in _quantities(seen) for header in (title, minus))]


def _named(arm: str) -> str:
    return "baseline" if arm == "baseline" else title_of(arm)


def _status(seen: Evaluation) -> str:
    if seen.running:
        doing = standing_words(seen.doing) if seen.doing else "starting"
        rows = f" Below are the rows so far, on {seen.scenes:,} scenes." if seen.rows else ""
        return f"**Measuring**: {doing}.{rows}"
    word = f" **The last attempt came to no end**: {seen.word}" if seen.word else ""
    if not seen.rows:
        return f"This run has not been measured yet: press **Measure**.{word}"
    return f"Measured on {seen.scenes:,} held-out scenes with {seen.sampling_steps} sampling steps.{word}"


def _table(seen: Evaluation) -> list[list[str]]:
    return [
        [
            f"{row['step']:,}", title_of(row["arm"]), f"{row['loss']:.5f}", difference_words(row, "loss", 5),
            f"{row['fidelity']:.4f}", difference_words(row, "fidelity", 4),
        ]
        for row in seen.rows
    ]  # fmt: skip
