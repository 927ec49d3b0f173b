"""Train: start a run in a process of its own, and follow any run from its folder."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from typing import Any

import gradio as gr

from app import controls
from app.curves import curves_figure, differences
from app.guard import guarded
from app.recent import Recent
from app.shared import Shared
from app.sides import title_of
from app.tabs._train_form import KNOBS, plain_pair, read_form
from app.tabs._train_page import ARMS_RULE, NOTHING, TrainPage, Turn, usual_lisa
from app.tabs._train_plan import counted_words, plan_words
from app.tabs._train_words import answer_words, status_words
from lisa.errors import LisaError
from lisa.lab import Lab
from lisa.plan import Plan
from lisa.rundesk import Watch
from lisa.settings import TrainSettings

TITLE = "Train"
ORDER = 40
QUIET = {"show_progress": "hidden", "api_visibility": "private"}
FREE = {**QUIET, "concurrency_limit": None}
CURVES = (
    ("Training loss", "train", "control"),
    ("Loss on the validation split", "validation", "control"),
    ("Alignment ratio: 1 is nothing learnt", "train", "ratio"),
)
LEVELS = {"ratio": 1}
OUTDATED = "**Out of date: the form has changed since. Press What will run again.**"
# Also without the line of what was being done, which is no longer.
OUTDATE = f"""(plan) => {{
    const mark = {json.dumps(OUTDATED)};
    return !plan || plan.startsWith(mark) ? plan : mark + "\\n\\n" + plan.replace(/\\n\\n\\*[^\\n]* …\\*$/, "");
}}"""


def build(lab: Lab, shared: Shared) -> None:
    """Draw the tab and wire it."""
    Train(lab, shared)


class Train:
    """What happens between the components of the tab."""

    def __init__(self, lab: Lab, shared: Shared) -> None:
        self.lab = lab
        self.recent = Recent(1.5)
        self.planning = threading.Lock()
        self.ui = TrainPage(lab)
        self._wire_form()
        self._wire_run(shared)

    def _wire_form(self) -> None:
        ui = self.ui
        form = [ui.name, ui.taps, ui.arms, *ui.knobs.values()]
        ui.upload.upload(
            guarded(self.add_data), [ui.upload, ui.fields["condition"]], [ui.fields["data"], ui.about_data],
            show_progress_on=[ui.about_data], api_visibility="private",
        )  # fmt: skip
        ui.start.click(
            guarded(self.start), [ui.turn, *form], [ui.run, ui.plan], inputs_kwargs=ui.fields, api_visibility="private",
            concurrency_id="runs", concurrency_limit=1,
        ).success(guarded(self.look), [ui.run, ui.smoothing, ui.log], self._view(), **FREE)  # fmt: skip
        ui.fields["family"].input(
            guarded(self.choose_family), [ui.fields["family"]], [ui.knobs["weight"], ui.taps], **QUIET
        )
        ui.arms.change(
            guarded(self.rule), [ui.arms], [ui.rule, ui.taps, *ui.knobs.values()], **FREE, trigger_mode="always_last"
        )
        ui.clone.click(
            guarded(self.clone), [ui.run],
            [*ui.fields.values(), ui.arms, ui.taps, *ui.knobs.values(), ui.name, ui.expert], **QUIET,
        )  # fmt: skip
        self._wire_plan(form)

    def _wire_plan(self, form: list[Any]) -> None:
        """A second press replaces the first plan, and what changes afterwards outdates it."""
        ui = self.ui
        ui.check.click(
            guarded(self.plan), [ui.turn, *form], [ui.plan], inputs_kwargs=ui.fields, concurrency_id="plan",
            concurrency_limit=8, trigger_mode="multiple", **QUIET,
        )  # fmt: skip
        changes = [field.change for field in (*form, *ui.fields.values())]
        outdate = {"inputs": [ui.plan], "outputs": [ui.plan], "js": OUTDATE, **QUIET}
        gr.on(changes, None, **outdate)
        # Once more after the plan that is being made has ended, which may have told something meanwhile. Gradio's own
        # "cancels" would leave an error on the plan where two were asked for.
        gr.on(changes, guarded(self.end_plan), [ui.turn], None, **FREE, trigger_mode="always_last").success(
            None, **outdate
        )

    def _wire_run(self, shared: Shared) -> None:
        ui = self.ui
        watched = [ui.run, ui.smoothing, ui.log]
        gr.on([ui.run.change, ui.log.input, ui.smoothing.release], guarded(self.look), watched, self._view(), **FREE)
        ui.timer.tick(guarded(self.glance), watched, self._view(), **FREE, trigger_mode="once")
        shared.page.load(guarded(self.refresh), None, [ui.run], **FREE).success(
            guarded(self.look), watched, self._view(), **FREE
        )
        shared.tab.select(guarded(self.relist), [ui.run], [ui.run], **FREE)
        for button, what in ((ui.stop, "stop"), (ui.save, "save"), (ui.sample, "sample")):
            button.click(guarded(self._asking(what)), [ui.run], None, **FREE)
        ui.resume.click(guarded(self.resume), [ui.run], None, **FREE).success(
            guarded(self.look), watched, self._view(), **FREE
        )
        ui.delete.click(lambda: gr.update(visible=True), None, [ui.sure], **FREE)
        ui.no.click(lambda: gr.update(visible=False), None, [ui.sure], **FREE)
        ui.yes.click(guarded(self.delete), [ui.run], [ui.run, ui.sure], **FREE)
        ui.sample_step.input(guarded(self.show_samples), [ui.run, ui.sample_step], [ui.gallery], **FREE)
        gr.on(
            [ui.run.change, ui.status.change], guarded(self.follow_samples), [ui.run, ui.sample_step, ui.sampled],
            [ui.sample_step, ui.gallery, ui.sampled], **FREE,
        )  # fmt: skip

    def _view(self) -> list[Any]:
        ui = self.ui
        buttons = [ui.stop, ui.resume, ui.save, ui.sample, ui.clone, ui.delete]
        return [ui.status, *buttons, ui.answer, *ui.plots, ui.timer]

    def choose_family(self, family: str) -> tuple[Any, ...]:
        """Start from the way in which this family is usually aligned."""
        lisa = usual_lisa(self.lab, family)
        return lisa.weight, "+".join(lisa.taps)

    def rule(self, arms: str) -> tuple[Any, ...]:
        """Say whether Arms rules, and put what has no effect then out of reach."""
        free = not (arms or "").strip()
        return "" if free else ARMS_RULE, *(gr.update(interactive=free),) * (1 + len(self.ui.knobs))

    def _settings(self, taps: str, arms: str, knobs: tuple[Any, ...], values: dict[str, Any]) -> TrainSettings:
        usual = usual_lisa(self.lab, values.get("family", ""))
        return read_form(taps, arms, dict(zip(KNOBS, knobs, strict=True)), values, usual)

    def plan(self, turn: Turn, name: str, taps: str, arms: str, *knobs: Any, **values: Any) -> Iterator[Any]:
        """Say which command would run, without running it, then on which data, for how long and in which memory.

        One plan is made at a time, since times are measured; one that was asked for again ends.
        """
        mine = turn.take()
        settings = self._settings(taps, arms, knobs, values)
        desk = self.lab.training
        command = desk.command(settings, (name or "").strip() or desk.free_name(settings.condition))
        yield plan_words(command, settings)
        while not self.planning.acquire(timeout=0.5):
            if turn.taken != mine:
                yield gr.skip()  # Gradio sends the last thing again at the end
                return
            yield plan_words(command, settings, Plan("waiting until another plan is made"))
        try:
            with closing(desk.plan(settings)) as plans:
                for plan in plans:
                    if turn.taken != mine:
                        yield gr.skip()
                        return
                    yield plan_words(command, settings, plan, beside=desk.active() if plan.estimate else "")
        finally:
            self.planning.release()

    def end_plan(self, turn: Turn) -> None:
        """End the plan that is being made for this page, if any."""
        turn.take()

    def add_data(self, path: str | None, condition: str) -> tuple[Any, ...]:
        """Unpack an uploaded zip, and take its folder as the data."""
        if not path:
            raise LisaError("There is no file yet: choose a .zip of images.")
        folder = self.lab.training.add_data(path)
        return folder, counted_words(self.lab.training.count_data(folder, condition or ""))

    def start(self, turn: Turn, name: str, taps: str, arms: str, *knobs: Any, **values: Any) -> tuple[Any, ...]:
        """Start a run in a process of its own."""
        settings = self._settings(taps, arms, knobs, values)
        run = self.lab.training.start(settings, (name or "").strip() or self.lab.training.free_name(settings.condition))
        turn.take()
        return gr.update(choices=self._runs(), value=run), ""

    def resume(self, run: str) -> None:
        """Go on with a run from its last checkpoint."""
        self.lab.training.resume(run or "")

    def _asking(self, what: str) -> Any:
        def ask(run: str) -> None:
            self.lab.training.ask(run or "", what)
            gr.Info(f"The run will {what} after its present step.")

        return ask

    def delete(self, run: str) -> tuple[Any, ...]:
        """Remove a run."""
        self.lab.training.delete(run or "")
        runs = self._runs()
        return gr.update(choices=runs, value=runs[0][1] if runs else None), gr.update(visible=False)

    def clone(self, run: str) -> tuple[Any, ...]:
        """Fill the form with the settings of a run: Lambda, Taps and the knobs where they can say it, else Arms."""
        settings = self.lab.training.watch(run or "").settings
        lisa = plain_pair(settings.arms, usual_lisa(self.lab, settings.family))
        values = [getattr(settings, name) for name in self.ui.fields]
        aligned = (
            ["+".join(lisa.taps), *(getattr(lisa, name) for name in KNOBS)] if lisa else [gr.skip()] * (1 + len(KNOBS))
        )
        arms, expert = ("", gr.skip()) if lisa else (settings.arms, gr.update(open=True))
        return *values, arms, *aligned, self.lab.training.free_name(settings.condition), expert

    def refresh(self) -> Any:
        """List the runs again, and watch the one that is being trained, else the youngest."""
        runs = self._runs()
        return gr.update(choices=runs, value=controls.kept(runs, self.lab.training.active()))

    def relist(self, run: str | None) -> Any:
        """List the runs again; keep the one that is watched."""
        return controls.relisted(self._runs(), run)

    def _runs(self) -> list[tuple[str, str]]:
        return [(run.title, run.id) for run in self.lab.training.runs()]

    def _known(self, run: str | None) -> bool:
        return bool(run) and self.lab.training.has(run)

    def glance(self, run: str | None, smoothing: float, log: bool) -> tuple[Any, ...]:
        """What look() gives, shared by all pages that ask within a moment, so that many viewers cost as one."""
        return self.recent(self.look, run, smoothing, log)

    def look(self, run: str | None, smoothing: float, log: bool) -> tuple[Any, ...]:
        """Read a run's folder and show it; the timer rests when nothing works on the run."""
        if not self._known(run):
            return (
                f"The run {run} is no longer there: choose another." if run else NOTHING,
                *(gr.update(interactive=False),) * 6,
                "",
                *(gr.update(visible=False),) * len(self.ui.plots),
                gr.Timer(active=False),
            )
        watch = self.lab.training.watch(run)
        alive, own = watch.progress.alive, run.startswith("runs/")
        may = (alive and own, own and watch.progress.status in ("stopped", "failed", "died"), alive and own)
        stop, resume, steer = (gr.update(interactive=on) for on in may)
        delete = gr.update(interactive=own and not alive)
        return (
            status_words(watch), stop, resume, steer, steer, gr.update(interactive=True), delete, answer_words(watch),
            *_figures(watch, smoothing, log), gr.Timer(active=alive),
        )  # fmt: skip

    def follow_samples(self, run: str | None, step: float, sampled: tuple[str, int] | None) -> tuple[Any, ...]:
        """Show the newest preview images, unless the slider was moved away from those that were the newest."""
        steps = self.lab.training.sample_steps(run) if self._known(run) else ()
        if not steps:
            return gr.update(visible=False), gr.update(visible=False), None
        newest = (run, steps[-1])
        if sampled == newest:
            return (gr.skip(),) * 3
        stays = sampled is not None and sampled[0] == run and step != sampled[1]
        slider = _sample_slider(steps, step if stays else steps[-1])
        return slider, gr.skip() if stays else self.show_samples(run, steps[-1]), newest

    def show_samples(self, run: str | None, step: float) -> Any:
        """Show the preview images nearest to a training step."""
        steps = self.lab.training.sample_steps(run) if self._known(run) else ()
        if not steps:
            return gr.update(visible=False)
        nearest = min(steps, key=lambda each: abs(each - step))
        rows = self.lab.training.samples(run, nearest)
        pictures = [(image, f"{title_of(name)}, step {nearest}") for row in rows for name, image in _ordered(row)]
        return gr.Gallery(pictures, columns=max(2, len(rows[0]) if rows else 3), visible=bool(pictures))


def _figures(watch: Watch, smoothing: float, log: bool) -> list[Any]:
    figures = []
    for title, kind, name in CURVES:
        curves = {arm: curve for (k, arm, n), curve in watch.curves.items() if (k, n) == (kind, name)}
        smooth = smoothing if kind == "train" else 0
        figures.append((curves, curves_figure(title, curves, smooth, log and name != "ratio", LEVELS.get(name))))
        if (kind, name) == ("train", "control"):
            paired, first = differences(curves), title_of(next(iter(curves), ""))
            title = f"Minus {first}'s loss: below 0 is better"
            figures.append((paired, curves_figure(title, paired, smoothing, log=False, level=0)))
    return [gr.Plot(figure, visible=bool(curves)) for curves, figure in figures]


def _sample_slider(steps: tuple[int, ...], value: float) -> Any:
    gaps = [b - a for a, b in pairwise(steps)] or [1]
    return gr.update(
        minimum=steps[0], maximum=max(steps[-1], steps[0] + 1), step=min(gaps), value=value, visible=len(steps) > 1
    )


def _ordered(row: dict[str, Any]) -> list[tuple[str, Any]]:
    return sorted(row.items(), key=lambda item: (item[0] != "condition", item[0]))
