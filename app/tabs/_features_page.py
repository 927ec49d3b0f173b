"""What is on the Features tab: the probe, the two maps, the point under the pointer, the table."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from app import controls
from app.cancelling import CancelButton
from app.tabs._features_words import left_out_words
from lisa.glossary import FEATURE_INTERVALS, FEATURE_MEASURES
from lisa.lab import PairView
from lisa.settings import FeatureSettings

THUMB = 56
EMPTY = (
    "Press **Look into both networks**: their features for the same scenes, prompts, noises and timesteps are "
    "collected, projected together and measured. Two maps, a table and the neighbours of every point appear here; it "
    "takes some seconds."
)
# The figure is plotly's own: this hands clicks and lassos to Python, and shows the scene under the pointer at once.
BRIDGE = """
const plotId = props.plot_id, peek = props.peek_id;
let bound = null;
function show(point) {
  const box = document.querySelector('#' + peek + ' .peek');
  const rows = box && JSON.parse(box.dataset.scenes);
  if (!rows) return;
  const scene = rows[point.customdata];
  box.querySelectorAll('.thumb').forEach(t => { t.style.backgroundPositionX = (-scene * THUMB) + 'px'; });
  box.querySelector('p').textContent = (point.text || '').replace(/<br>/g, ', ');
}
function bind() {
  const gd = document.querySelector('#' + plotId + ' .js-plotly-plot');
  if (!gd || gd === bound || typeof gd.on !== 'function') return;
  bound = gd;
  gd.on('plotly_hover', ev => show(ev.points[0]));
  gd.on('plotly_click', ev => { const p = ev.points[0]; show(p);
    trigger('select', {index: p.customdata, value: p.customdata}); });
  gd.on('plotly_selected', ev => { if (!ev || !ev.points.length || !(ev.lassoPoints || ev.range)) return;
    trigger('input', {ids: ev.points.map(p => p.customdata)}); });
}
new MutationObserver(bind).observe(document.body, {childList: true, subtree: true});
bind();
""".replace("THUMB", str(THUMB))


class FeaturesPage:
    """The components of the tab, as attributes.

    Args:
        pairs: that can be chosen.
        left_out: those that cannot.
    """

    def __init__(self, pairs: Sequence[PairView], left_out: Sequence[PairView]) -> None:
        pair = pairs[0] if pairs else None
        self.fields: dict[str, gr.components.Component] = {}
        self.study, self.asked, self.asked_score = gr.State(None), gr.State(None), gr.State(None)
        self._draw_choice(pairs, pair)
        self.left_out = gr.Markdown(left_out_words(left_out), elem_id="features-left-out")
        self._draw_probe()
        self.status = gr.Markdown(EMPTY, elem_id="features-status")
        self.stale = gr.Markdown("", elem_id="features-stale")
        with gr.Column(visible=False) as self.seen:
            self._draw_maps()
            self._draw_point()
            self._draw_table()
        self._draw_scores()

    def _draw_choice(self, pairs: Sequence[PairView], pair: PairView | None) -> None:
        steps = controls.step_choices(pair)
        with gr.Row(elem_classes="settings"):
            self._field("run", choices=controls.pair_choices(pairs), value=pair.id if pair else None, label="Pair",
                        info="Condition and run of both networks.", min_width=240)  # fmt: skip
            self._field(
                "checkpoint",
                choices=steps,
                value=steps[0][1] if steps else None,
                label="Training step",
                info="The last, or an earlier one.",
            )
            self._field("method")
            self._field("dimensions")
            self.go = gr.Button("Look into both networks", variant="primary", size="lg", elem_id="look")
            self.cancel_look = CancelButton("cancel-look")

    def _draw_probe(self) -> None:
        with gr.Accordion("The probe", open=False):
            gr.Markdown("Every scene is shown with every prompt, noise and timestep, to both networks alike.")
            with gr.Row(elem_classes="settings"):
                for name in ("scenes", "noises", "seed"):
                    self._field(name)
            with gr.Row(elem_classes="settings"):
                for name in ("prompts", "timesteps", "pooling", "taps", "walk"):
                    self._field(name)

    def _field(self, name: str, **details: Any) -> None:
        self.fields[name] = controls.control(FeatureSettings, name, **{"min_width": 150, **details})

    def _draw_maps(self) -> None:
        with gr.Row(elem_classes="settings"):
            self.color = controls.Choice(
                ["shape"], value="shape", label="Colour by", info="A factor of the probe.", min_width=150
            )
            self.tap = controls.Choice([], label="Layer", info="Where the features were read.", min_width=150)
            self.step = controls.Slider(
                0, 1, 0, step=1, label="Training step shown", info="The nearest that was kept; all in one projection.",
                min_width=150, visible=False, elem_id="features-step",
            )  # fmt: skip
        self.plot = gr.Plot(show_label=False, elem_id="features-plot")
        self.bridge = gr.HTML("", js_on_load=BRIDGE, plot_id="features-plot", peek_id="features-peek")

    def _draw_point(self) -> None:
        with gr.Row(elem_classes="point"):
            with gr.Column(min_width=220):
                self.peek = gr.HTML("", elem_id="features-peek", padding=False)
                self.row = gr.Number(
                    None, label="Point", precision=0, info="Click a point, or type its number.",
                    elem_id="features-row",
                )  # fmt: skip
                self.about = gr.Markdown("", elem_id="features-about")
            with gr.Column(min_width=280, scale=2):
                self.near = gr.Gallery(
                    label="Nearest scenes, with their distance", columns=8, height="auto",
                    format="png", object_fit="contain", interactive=False, elem_id="features-near",
                )  # fmt: skip
                self.picked = gr.Gallery(
                    label="Scenes inside the lasso", columns=8, height="auto", format="png", object_fit="contain",
                    interactive=False, elem_id="features-picked", visible=False,
                )  # fmt: skip

    def _draw_table(self) -> None:
        gr.Markdown("## What the features know", elem_classes="closer")
        gr.Markdown(
            "Measured in the full feature space, not on the map: value and 95 % interval, by bootstrap or random "
            "halves of the scenes. **Bold** is above what chance reaches in that network in 5 of 100 cases, or a "
            "difference whose interval leaves out 0. Differences are paired: both networks on the same resamples."
        )
        self.verdict = gr.Markdown("", elem_id="features-verdict")
        self.table = gr.Dataframe(
            headers=["Measure", "Of", "Baseline", "LISA", "LISA minus Baseline", "Chance"], datatype="markdown",
            interactive=False, wrap=True, show_label=False, max_height=2000, elem_id="features-table",
            column_widths=["145px", "145px", "225px", "225px", "240px", "155px"],
        )  # fmt: skip
        with gr.Accordion("What the measures mean, and where the intervals come from", open=False):
            gr.Markdown("\n".join(f"- **{name}**: {about}" for name, about in FEATURE_MEASURES.items()))
            gr.Markdown(FEATURE_INTERVALS)

    def _draw_scores(self) -> None:
        gr.Markdown("## The likelihood score", elem_classes="closer")
        gr.Markdown(
            "What the condition must explain, at every timestep of the probe: the target, what each network's decoder "
            "reads from its features at every layer of the probe, and what that leaves of the target. Grey is zero; "
            "colours are the target's three strongest directions. A network without a decoder gets one fitted to its "
            "frozen features first, as a probe."
        )
        with gr.Row(elem_classes="settings"):
            self.scene = controls.Number(
                value=0, minimum=0, maximum=9999, step=1, label="Scene", info="Number of the held-out scene.",
                elem_id="score-scene",
            )  # fmt: skip
            self.see = gr.Button("Look at the score", size="lg", elem_id="see")
            self.cancel_see = CancelButton("cancel-see")
        self.readers = gr.Markdown("", elem_id="score-readers")
        self.stale_score = gr.Markdown("", elem_id="score-stale")
        self.ratios = gr.Dataframe(
            headers=["Timestep", "Baseline", "LISA"], interactive=False, show_label=False, visible=False,
            elem_id="score-ratios",
        )  # fmt: skip
        self.rows = gr.Markdown("", elem_id="score-rows")
        self.pictures = gr.Gallery(
            label="The likelihood score", columns=5,
            height="auto", format="png", object_fit="contain", interactive=False, visible=False,
            elem_id="score-pictures",
        )  # fmt: skip


def peek_html(images: np.ndarray, conditions: np.ndarray, scenes: np.ndarray) -> str:
    """The box that shows the scene under the pointer: two strips of thumbnails, and which scene each row has."""
    strips = "".join(
        f'<div class="thumb" role="img" aria-label="{label}" style="width:{THUMB}px;height:{THUMB}px;'
        f'background-image:url({_strip(pictures)})"></div>'
        for label, pictures in (("Scene", images), ("Condition", conditions))
    )
    rows = html.escape(str([int(scene) for scene in scenes]))
    return f'<div class="peek" data-scenes="{rows}">{strips}<p>Point at a dot.</p></div>'


def _strip(pictures: np.ndarray) -> str:
    small = [np.asarray(Image.fromarray(picture).resize((THUMB, THUMB))) for picture in pictures]
    with io.BytesIO() as file:
        Image.fromarray(np.concatenate(small, 1)).save(file, "JPEG", quality=85)
        return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
