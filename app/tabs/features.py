"""Features: what the side networks of a pair know, projected and measured."""

from __future__ import annotations

import math
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from app import controls
from app.guard import guarded
from app.scatter import features_figure
from app.shared import Shared
from app.sides import title_of
from app.tabs import _features_words as words
from app.tabs._features_page import FeaturesPage, peek_html
from app.waiting import reporter
from lisa.errors import LisaError
from lisa.lab import Lab, PairView
from lisa.options import Option, check_value, from_dict
from lisa.settings import FeatureSettings

TITLE = "Features"
ORDER = 30
QUIET = {"show_progress": "hidden", "api_visibility": "private"}
SCENE = Option("Number of the held-out scene", low=0, high=9999)
_OF_SCORES = ("run", "checkpoint", "taps", "timesteps", "seed")
_NEIGHBOURS = 4
_MOST_PICKED = 48


def build(lab: Lab, shared: Shared) -> None:
    """Draw the tab and wire it."""
    Features(lab, shared)


class Features:
    """What happens between the components of the tab."""

    def __init__(self, lab: Lab, shared: Shared) -> None:
        self.lab = lab
        self.ui = FeaturesPage(*self._pairs())
        self._wire(shared)

    def _wire(self, shared: Shared) -> None:
        ui = self.ui
        shown, point = [ui.study, ui.asked, ui.color, ui.tap, ui.step], [ui.study, ui.tap, ui.step, ui.row]
        looked = ui.cancel_look.starts(
            ui.go,
            guarded(self.look),
            None,
            [ui.study, ui.asked, ui.color, ui.tap, ui.step, ui.row, ui.seen, ui.status, ui.peek, ui.picked, ui.stale],
            inputs_kwargs=ui.fields,
            api_visibility="private",
            concurrency_id="gpu",
            concurrency_limit=1,
            show_progress_on=[ui.status, ui.plot],
        )
        looked.success(guarded(self.draw), shown, [ui.plot, ui.verdict, ui.table], **QUIET).success(
            guarded(self.show_row), point, [ui.about, ui.near], **QUIET
        )
        gr.on(
            [ui.color.input, ui.tap.input, ui.step.input], guarded(self.draw), shown, [ui.plot, ui.verdict, ui.table],
            **QUIET, trigger_mode="always_last",
        )  # fmt: skip
        # A change of the point is shown where it is made, and not by row.change: a look sets the point together with
        # layer and training step, and the page would ask with the new point and the old layer.
        ui.bridge.select(guarded(self.click), None, [ui.row], **QUIET).success(
            guarded(self.show_row), point, [ui.about, ui.near], **QUIET
        )
        gr.on(
            [ui.row.input, ui.tap.input, ui.step.input], guarded(self.show_row), point,
            [ui.about, ui.near], **QUIET, trigger_mode="always_last",
        )  # fmt: skip
        ui.bridge.input(guarded(self.pick), [ui.study], [ui.picked], **QUIET)
        ui.cancel_see.starts(
            ui.see, guarded(self.see), [ui.scene],
            [ui.asked_score, ui.readers, ui.ratios, ui.rows, ui.pictures, ui.stale_score],
            inputs_kwargs=ui.fields, api_name="scores", concurrency_id="gpu", concurrency_limit=1,
            show_progress_on=[ui.readers, ui.pictures],
        )  # fmt: skip
        ui.fields["run"].input(guarded(self.choose_pair), [ui.fields["run"]], [ui.fields["checkpoint"]], **QUIET)
        pair = [ui.fields["run"], ui.fields["checkpoint"]]
        shared.on_open(guarded(self.refresh), pair, [*pair, ui.left_out], **QUIET)
        shared.tab.select(guarded(self.lab.warm_up), None, None, **QUIET)
        gr.on(
            [field.change for field in ui.fields.values()], guarded(self.compare), [ui.asked, ui.asked_score],
            [ui.stale, ui.stale_score], inputs_kwargs=ui.fields, **QUIET, trigger_mode="always_last",
            concurrency_limit=None,
        )  # fmt: skip

    def look(
        self,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  (how Gradio hands it over)
        **values: Any,
    ) -> tuple[Any, ...]:
        """Collect, project and measure the features of a pair of side networks."""
        settings = self._settings(values)
        study = self.lab.features(settings, self.ui.cancel_look.watched(request, reporter(progress)))
        varying = [name for name, labels in study.probe.factors.items() if len(np.unique(labels)) > 1]
        taps = list(dict.fromkeys(tap for _, _, tap in study.points))
        steps = sorted({step for step, _, _ in study.points})
        asked = words.Asked(settings)
        status = (
            f"**{asked}**: {len(study.probe):,} rows for each network, {settings.scenes} scenes x "
            f"{len(settings.prompt_kinds())} prompts x {settings.noises} noises x "
            f"{len(settings.timestep_values())} timesteps. Both were projected together."
        )
        peek = peek_html(study.probe.images, study.probe.conditions, study.probe.factors["scene"])
        return (
            study,
            asked,
            gr.update(choices=varying, value="shape" if "shape" in varying else varying[0]),
            gr.update(choices=taps, value=taps[0]),
            _step_slider(steps),
            0,
            gr.update(visible=True),
            status,
            peek,
            gr.update(visible=False),
            "",
        )

    def see(
        self,
        request: gr.Request,
        scene: int,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  (how Gradio hands it over)
        **values: Any,
    ) -> tuple[Any, ...]:
        """Show the likelihood score of one scene, and what the decoders of a pair say of it."""
        settings = self._settings(values)
        check_value("Scene", scene, int, SCENE)
        views = self.lab.scores(settings, scene, self.ui.cancel_see.watched(request, reporter(progress)))
        readers, asked = words.reader_titles(views[0].ratio), words.Asked(settings)
        ratios = [[view.timestep, *(f"{view.ratio[reader]:.3f}" for reader in readers)] for view in views]
        headers = ["Timestep", *(f"Alignment ratio of {title}" for title in readers.values())]
        pictures, rows = words.score_pictures(views, readers)
        return (
            asked,
            f"**Scene {scene}; {asked}**. {words.about_readers(readers)}",
            gr.Dataframe(ratios, headers=headers, visible=True),
            rows,
            gr.Gallery(pictures, columns=len(views), visible=True),
            "",
        )

    def compare(self, asked: Any, asked_score: Any, **values: Any) -> tuple[str, str]:
        """Say when what is chosen is not what is shown, for maps and for scores."""
        if asked is None and asked_score is None:
            return "", ""
        try:
            now = self._settings(values)
        except LisaError:  # half-typed values; the button says what is wrong with them
            return gr.skip(), gr.skip()
        return words.stale(asked, now, "Look into both networks"), words.stale(
            asked_score, now, "Look at the score", _OF_SCORES
        )

    def _settings(self, values: dict[str, Any]) -> FeatureSettings:
        """Check the form, and name the pair's family, condition and two arms."""
        controls.check_form(FeatureSettings, values)
        pair = controls.find_pair(self.lab.pairs(), values.get("run") or "")
        if pair is None:
            raise LisaError("No pair of checkpoints is chosen: choose one from the list, or train one first.")
        return from_dict(
            FeatureSettings,
            {**values, "family": pair.family, "condition": pair.condition, "arms": ",".join(pair.arms[:2])},
        )

    def draw(self, study: Any, asked: Any, color: str, tap: str, step: float) -> tuple[Any, ...]:
        """Draw the maps and fill the table for one layer and training step."""
        if study is None:
            return None, "", None
        arms = self._arms(study)
        key = self._key(study, tap, step)
        labels = study.probe.factors.get(color)
        if labels is None:
            raise LisaError(f"There is no factor {color[:40]!r}: choose one from the list.")
        points = {arm: study.points[key[0], arm, key[1]] for arm in arms}
        every = np.concatenate([rows for (_, _, layer), rows in study.points.items() if layer == tap])
        titles = {arm: f"{title_of(arm)}, step {key[0]:,}" for arm in arms}
        heading = words.pair_words(asked.settings, "<br>")
        figure = features_figure(points, labels, words.facts(study), titles, every, heading)
        rows = [row for row in study.table if (row.step, row.tap) == key]
        table = gr.Dataframe(words.table(rows, arms), headers=words.headers(arms))
        return figure, words.verdict(rows, arms), table

    def click(self, event: gr.SelectData) -> int:
        """Take the number of the point that was clicked."""
        return event.index

    def show_row(self, study: Any, tap: str, step: float, row: Any) -> tuple[Any, ...]:
        """Show one row: what it is, and its nearest neighbours, the best row of each other scene, for each arm."""
        if study is None or row is None:
            return "", None
        if not 0 <= row < len(study.probe):
            raise LisaError(f"Point {row} does not exist: use 0 to {len(study.probe) - 1}.")
        step_number, layer = self._key(study, tap, step)
        pictures = [(self._thumb(study, row), "this point")]
        for arm in self._arms(study):
            near = study.neighbors((step_number, arm, layer), row, _NEIGHBOURS)
            scenes = study.probe.factors["scene"]
            pictures += [
                (self._thumb(study, i), f"{title_of(arm)} {n}\nscene {scenes[i]}, {distance:.3g}")
                for n, (i, distance) in enumerate(near, 1)
            ]
        return "  \n".join(words.facts(study)[row].split("<br>")), pictures

    def pick(self, study: Any, event: gr.EventData) -> Any:
        """Show the scenes of the points inside the lasso."""
        if study is None:
            return gr.update(visible=False)
        ids = getattr(event, "ids", None)
        rows = [i for i in ids if isinstance(i, int) and 0 <= i < len(study.probe)] if isinstance(ids, list) else []
        scenes = list(dict.fromkeys(int(study.probe.factors["scene"][i]) for i in rows))
        pictures = [(Image.fromarray(study.probe.images[s]), f"scene {s}") for s in scenes[:_MOST_PICKED]]
        label = f"Scenes inside the lasso: {len(scenes)} of {len(rows)} points"
        return gr.Gallery(pictures, label=label, visible=bool(pictures))

    def choose_pair(self, run: str) -> Any:
        """List the training steps of a pair."""
        steps = controls.step_choices(controls.find_pair(self.lab.pairs(), run))
        return gr.update(choices=steps, value=steps[0][1] if steps else None)

    def refresh(self, run: str | None, step: str | None) -> tuple[Any, Any, str]:
        """Look up pairs and their training steps again; keep what is chosen."""
        pairs, left_out = self._pairs()
        choices = controls.pair_choices(pairs)
        steps = controls.step_choices(controls.find_pair(pairs, controls.kept(choices, run) or ""))
        return controls.relisted(choices, run), controls.relisted(steps, step), words.left_out_words(left_out)

    def _pairs(self) -> tuple[list[PairView], list[PairView]]:
        """Pairs of families that make images, and those of families that make clips, which are not served here."""
        clips = {view.name for view in self.lab.families() if view.frames}
        pairs = self.lab.pairs()
        return [each for each in pairs if each.family not in clips], [each for each in pairs if each.family in clips]

    def _arms(self, study: Any) -> list[str]:
        return list(dict.fromkeys(arm for _, arm, _ in study.points))

    def _key(self, study: Any, tap: str, step: float) -> tuple[int, str]:
        """The layer, and the training step nearest to the slider's."""
        steps = {number for number, _, layer in study.points if layer == tap}
        if not steps or not isinstance(step, int | float) or not math.isfinite(step):
            raise LisaError("That layer and training step were not looked into: choose from the lists.")
        return min(steps, key=lambda number: abs(number - step)), tap

    def _thumb(self, study: Any, row: int) -> Image.Image:
        return Image.fromarray(study.probe.images[study.probe.factors["scene"][row]])


def _step_slider(steps: list[int]) -> Any:
    """The slider over the training steps that were looked into; it rests at the last one."""
    step = math.gcd(*(each - steps[0] for each in steps)) or 1
    return gr.update(
        minimum=steps[0], maximum=max(steps[-1], steps[0] + 1), step=step, value=steps[-1], visible=len(steps) > 1
    )
