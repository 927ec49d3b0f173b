"""On the Evaluate tab: the round trip of single scenes, condition -> image -> condition, with what was lost."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING, Any

import gradio as gr

from app import controls
from app.guard import guarded
from app.sides import title_of
from app.waiting import reporter
from lisa.errors import LisaError
from lisa.lab import Lab, PairView
from lisa.options import from_dict
from lisa.settings import GenerateSettings

if TYPE_CHECKING:
    from lisa.roundtrip import RoundTrips

QUIET = {"show_progress": "hidden", "api_visibility": "private"}
FIELDS = {
    "count": {"value": 4, "label": "Scenes", "info": "Each drawn by every arm."},
    "steps": {"value": 10, "info": "Of every image."},
}
ABOUT = (
    "Each scene of the test split is drawn from its condition; the condition is then read back from the image and "
    "laid over what was asked for. **Blue** is missing or too far, **orange** is too much or too near."
)
CLIPS = "Round trips are for images, and the networks of this run make clips: choose another run above."


class RoundTripSection:
    """The section's components and what happens between them.

    Args:
        lab: the facade.
        run: the tab's choice of a run.
    """

    def __init__(self, lab: Lab, run: gr.Dropdown) -> None:
        self.lab = lab
        gr.Markdown(f"### Scene by scene\n{ABOUT}")
        with gr.Row(elem_classes="settings"):
            self.step = controls.Choice([], label="Training step", info="Of those that were kept.", min_width=120)
            self.fields = {
                name: controls.control(GenerateSettings, name, min_width=120, **details)
                for name, details in FIELDS.items()
            }
            self.go = gr.Button("Draw and read back", size="lg", elem_id="round-trip")
        self.words = gr.Markdown("", elem_id="round-trip-words")
        self.pictures = gr.Gallery(
            label="Asked for, drawn, read back with its measure, error", columns=4, height="auto",
            format="png", object_fit="contain", interactive=False, visible=False, elem_id="round-trips",
        )  # fmt: skip
        run.change(guarded(self.choose), [run], [self.step], **QUIET)
        run.change(guarded(self.admit), [run], [self.words, self.pictures, self.go], **QUIET)
        self.go.click(
            guarded(self.draw), [run, self.step], [self.words, self.pictures], inputs_kwargs=self.fields,
            api_name="round_trip", concurrency_id="gpu", concurrency_limit=1,
            show_progress_on=[self.pictures, self.words],
        )  # fmt: skip

    def _pair(self, run: str | None) -> PairView | None:
        return controls.find_pair(self.lab.pairs(), run or "")

    def choose(self, run: str | None) -> Any:
        """List the training steps of a run."""
        steps = controls.step_choices(self._pair(run))
        return gr.update(choices=steps, value=steps[0][1] if steps else None)

    def admit(self, run: str | None) -> tuple[Any, ...]:
        """Clear what was shown of another run, and say where clips cannot be read back."""
        pair = self._pair(run)
        clips = bool(pair and self.lab.frames_of(pair.family))
        return CLIPS if clips else "", gr.update(visible=False), gr.update(interactive=not clips)

    def draw(
        self,
        run: str,
        step: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  (how Gradio hands it over)
        **values: Any,
    ) -> tuple[Any, ...]:
        """Draw held-out scenes with every arm and read their condition back from the images."""
        pair = self._pair(run)
        if pair is None:
            raise LisaError("This run has no checkpoint yet: wait for the first, or choose another run.")
        controls.check_form(GenerateSettings, values)
        chosen = {"run": pair.id, "family": pair.family, "condition": pair.condition, "checkpoint": step or ""}
        settings = from_dict(GenerateSettings, {**values, **chosen, "arms": ",".join(pair.arms)})
        seen = self.lab.round_trips(settings, reporter(progress))
        return summary(seen), gr.Gallery(pictures(seen), visible=True)


def pictures(seen: RoundTrips) -> list[tuple[Any, str]]:
    """A row of four for every scene and arm; under what was read back stands the measure, which ``summary`` names."""
    return [
        cell
        for scene in seen.scenes
        for arm, trip in scene.trips.items()
        for cell in (
            (scene.condition, "Asked for"),
            (trip.image, title_of(arm)),
            (trip.read, f"{trip.value:.3f}"),
            (trip.error, "Error"),
        )
    ]


def summary(seen: RoundTrips) -> str:
    """The mean of every arm, and how often the others beat the first."""
    arms = list(seen.scenes[0].trips)
    values = {arm: [scene.trips[arm].value for scene in seen.scenes] for arm in arms}
    unit = f" {seen.unit}" if seen.unit else ""
    better = "higher" if seen.higher_is_better else "lower"
    words = ", ".join(f"{title_of(arm)} {fmean(values[arm]):.3f}{unit}" for arm in arms)
    lines = [f"**{seen.measure}** ({better} is better), mean over {len(seen.scenes)} scenes: {words}."]
    for arm in arms[1:]:
        pairs = list(zip(values[arm], values[arms[0]], strict=True))
        wins = sum((a > b) if seen.higher_is_better else (a < b) for a, b in pairs)
        lines.append(f"{title_of(arm)} is better than {title_of(arms[0])} on {wins} of {len(pairs)} scenes.")
    return " ".join([*lines, "So few scenes say little: **Measure** above takes many, with intervals."])
