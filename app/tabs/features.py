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
from app.tabs._compare_page import title_of
from app.tabs._features_page import FeaturesPage, peek_html
from app.waiting import reporter
from lisa.errors import LisaError
from lisa.lab import Lab
from lisa.options import Option, check_value, from_dict
from lisa.settings import FeatureSettings

TITLE = "Features"
ORDER = 30
QUIET = {"show_progress": "hidden", "api_visibility": "private"}
SCENE = Option("Number of the held-out scene", low=0, high=9999)
_NEIGHBOURS = 8
_MOST_PICKED = 48


def build(lab: Lab, shared: Shared) -> None:
    """Draw the tab and wire it."""
    Features(lab, shared)


class Features:
    """What happens between the components of the tab."""

    def __init__(self, lab: Lab, shared: Shared) -> None:
        self.lab = lab
        self.ui = FeaturesPage(lab)
        self._wire(shared)

    def _wire(self, shared: Shared) -> None:
        ui = self.ui
        shown = [ui.study, ui.color, ui.tap, ui.step]
        ui.go.click(
            guarded(self.look),
            None,
            [ui.study, ui.color, ui.tap, ui.step, ui.row, ui.seen, ui.status, ui.peek],
            inputs_kwargs=ui.fields,
            api_visibility="private",
            concurrency_id="gpu",
            concurrency_limit=1,
            show_progress_on=[ui.status, ui.plot],
        ).success(guarded(self.draw), shown, [ui.plot, ui.table], **QUIET).success(
            guarded(self.show_row), [ui.study, ui.tap, ui.step, ui.row], [ui.about, ui.near], **QUIET
        )
        gr.on(
            [ui.color.input, ui.tap.input, ui.step.input], guarded(self.draw), shown, [ui.plot, ui.table], **QUIET,
            trigger_mode="always_last",
        )  # fmt: skip
        ui.bridge.select(guarded(self.click), None, [ui.row], **QUIET)
        ui.row.change(guarded(self.show_row), [ui.study, ui.tap, ui.step, ui.row], [ui.about, ui.near], **QUIET)
        ui.bridge.input(guarded(self.pick), [ui.study], [ui.picked], **QUIET)
        ui.see.click(
            guarded(self.see), [ui.scene], [ui.readers, ui.ratios, ui.pictures], inputs_kwargs=ui.fields,
            api_name="scores", concurrency_id="gpu", concurrency_limit=1,
        )  # fmt: skip
        ui.fields["run"].input(guarded(self.choose_pair), [ui.fields["run"]], [ui.fields["checkpoint"]], **QUIET)
        pair = [ui.fields["run"], ui.fields["checkpoint"]]
        shared.on_open(guarded(self.refresh), pair, pair, **QUIET)
        shared.tab.select(guarded(self.lab.warm_up), None, None, **QUIET)

    def look(
        self,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  (how Gradio hands it over)
        **values: Any,
    ) -> tuple[Any, ...]:
        """Collect, project and measure the features of a pair of side networks."""
        settings = self._settings(values)
        study = self.lab.features(settings, reporter(progress))
        varying = [name for name, labels in study.probe.factors.items() if len(np.unique(labels)) > 1]
        taps = list(dict.fromkeys(tap for _, _, tap in study.points))
        steps = sorted({step for step, _, _ in study.points})
        words = (
            f"**{len(study.probe):,} rows** for each network: {settings.scenes} scenes x "
            f"{len(settings.prompt_kinds())} prompts x {settings.noises} noises x "
            f"{len(settings.timestep_values())} timesteps. Both were projected together."
        )
        peek = peek_html(study.probe.images, study.probe.conditions, study.probe.factors["scene"])
        return (
            study,
            gr.update(choices=varying, value="shape" if "shape" in varying else varying[0]),
            gr.update(choices=taps, value=taps[0]),
            _step_slider(steps),
            0,
            gr.update(visible=True),
            words,
            peek,
        )

    def see(
        self,
        scene: int,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  (how Gradio hands it over)
        **values: Any,
    ) -> tuple[Any, ...]:
        """Show the likelihood score of one scene, and what the decoders of a pair say of it."""
        settings = self._settings(values)
        check_value("Scene", scene, int, SCENE)
        views = self.lab.scores(settings, scene, reporter(progress))
        readers = _reader_titles(views[0].ratio)
        ratios = [[view.timestep, *(f"{view.ratio[reader]:.3f}" for reader in readers)] for view in views]
        headers = ["Timestep", *(f"Alignment ratio of {title}" for title in readers.values())]
        return (
            _about_readers(readers),
            gr.Dataframe(ratios, headers=headers, visible=True),
            gr.Gallery(_score_rows(views, readers), columns=len(views), visible=True),
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

    def draw(self, study: Any, color: str, tap: str, step: float) -> tuple[Any, ...]:
        """Draw the maps and fill the table for one layer and training step."""
        if study is None:
            return None, None
        arms = self._arms(study)
        key = self._key(study, tap, step)
        labels = study.probe.factors.get(color)
        if labels is None:
            raise LisaError(f"There is no factor {color[:40]!r}: choose one from the list.")
        points = {arm: study.points[key[0], arm, key[1]] for arm in arms}
        every = np.concatenate([rows for (_, _, layer), rows in study.points.items() if layer == tap])
        titles = {arm: f"{title_of(arm)}, step {key[0]:,}" for arm in arms}
        figure = features_figure(points, labels, _facts(study), titles, every)
        headers = ["Measure", "Of", *map(title_of, arms), "Chance"]
        return figure, gr.Dataframe(_table(study, *key, arms), headers=headers)

    def click(self, event: gr.SelectData) -> int:
        """Take the number of the point that was clicked."""
        return event.index

    def show_row(self, study: Any, tap: str, step: float, row: Any) -> tuple[Any, ...]:
        """Show one row: what it is, and its nearest neighbours among the rows of other scenes, for each arm."""
        if study is None or row is None:
            return "", None
        if not 0 <= row < len(study.probe):
            raise LisaError(f"Point {row} does not exist: use 0 to {len(study.probe) - 1}.")
        step_number, layer = self._key(study, tap, step)
        pictures = [(self._thumb(study, row), "this point")]
        for arm in self._arms(study):
            near = study.neighbors((step_number, arm, layer), row, _NEIGHBOURS // 2)
            pictures += [(self._thumb(study, int(i)), f"{title_of(arm)} {n}") for n, i in enumerate(near, 1)]
        return "  \n".join(_facts(study)[row].split("<br>")), pictures

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

    def refresh(self, run: str | None, step: str | None) -> tuple[Any, Any]:
        """Look up pairs and their training steps again; keep what is chosen."""
        pairs = self.lab.pairs()
        choice = controls.relisted(controls.pair_choices(pairs), run)
        return choice, controls.relisted(controls.step_choices(controls.find_pair(pairs, choice["value"] or "")), step)

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


def _reader_titles(readers: Any) -> dict[Any, str]:
    """A heading for each decoder; the layer is named where there are several."""
    several = len({reader.tap for reader in readers}) > 1
    return {each: title_of(each.arm) + (f" at {each.tap}" if several else "") for each in readers}


def _about_readers(readers: dict[Any, str]) -> str:
    """Where the decoders come from."""
    fitted = [title for reader, title in readers.items() if reader.fitted]
    taps = ", ".join(dict.fromkeys(reader.tap for reader in readers))
    if not fitted:
        return f"Read at {taps}, by the decoders that were trained with the networks."
    return f"Read at {taps}. **A probe was fitted** to the frozen features of {', '.join(fitted)}: it has no decoder."


def _score_rows(views: Any, readers: dict[Any, str]) -> list[tuple[Image.Image, str]]:
    """Pictures row by row: one row for each quantity, one column for each timestep."""
    rows: list[tuple[str, list[Image.Image]]] = [
        ("target", [view.target for view in views]),
        ("prior", [view.prior for view in views]),
    ]
    for reader, title in readers.items():
        rows.append((f"{title} says", [view.decoded[reader] for view in views]))
        rows.append((f"{title} leaves", [view.difference[reader] for view in views]))
    return [
        (image, f"{name}, {view.timestep}") for name, images in rows for image, view in zip(images, views, strict=True)
    ]


def _facts(study: Any) -> list[str]:
    """One line for each row: where in the design it stands, and its caption."""
    factors, captions = study.probe.factors, study.probe.captions
    return [
        f"point {i}, scene {scene}: {captions[scene]}<br>{factors['prompt'][i]} prompt, noise {factors['noise'][i]}, "
        f"timestep {factors['timestep'][i]}"
        for i, scene in enumerate(factors["scene"])
    ]


def _table(study: Any, step: int, tap: str, arms: list[str]) -> list[list[str]]:
    """Rows of the table: measure, factor, one cell for each arm, what chance reaches."""
    cells: dict[tuple[str, str], dict[str, Any]] = {}
    for row in study.table:
        if (row.step, row.tap) == (step, tap):
            cells.setdefault((row.measure, row.factor), {})[row.arm] = row.figure
    lines = []
    for (measure, factor), figures in cells.items():
        chance = max(figure.null for figure in figures.values())
        values = [_cell(figures[arm]) for arm in arms[:2]]
        lines.append([measure, factor, *values, "" if math.isnan(chance) else f"{chance:.3f}"])
    return lines


def _cell(figure: Any) -> str:
    value = f"**{figure.value:.3f}**" if figure.above_null else f"{figure.value:.3f}"
    return f"{value} ({figure.low:.3f} to {figure.high:.3f})"
