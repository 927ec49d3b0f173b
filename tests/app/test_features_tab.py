"""What the Features tab says and draws, without networks."""

from __future__ import annotations

import math
from dataclasses import replace

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from app.scatter import features_figure
from app.shared import Shared
from app.tabs import _features_words as words
from app.tabs.features import Features, _step_slider
from lisa.errors import LisaError
from lisa.lab import FamilyView, PairView
from lisa.metrics.resampling import Figure
from lisa.scoreview import Fit, Reader, ScoreView
from lisa.settings import FeatureSettings
from lisa.study import Row
from tests.app.fake_lab import FakeLab


class Studied:
    """Two rows of two arms at three training steps, further apart at each."""

    points = {  # noqa: RUF012
        (step, arm, "down_0"): np.array([[0.0, 0.0], [step, sign * step]], np.float32)
        for step in (100, 200, 500)
        for arm, sign in (("baseline", 1), ("lisa", -1))
    }


@pytest.fixture
def tab(tmp_path) -> Features:
    with gr.Blocks() as page, gr.Tabs() as tabs, gr.Tab() as opened:
        return Features(FakeLab(root=tmp_path), Shared(page, tabs, opened, gr.State()))


SETTINGS = FeatureSettings(run="runs/trial", checkpoint="step-000060", condition="depth")


class Video(FakeLab):
    """A lab that also has a pair of a family that makes clips."""

    def families(self):
        return (*super().families(), FamilyView("video", "Video", True, "", ("depth",), 64, frames=8))

    def pairs(self, family="", condition=""):
        clips = PairView("runs/clips", "depth, 9 steps (clips)", "video", "depth", ("baseline", "lisa"), (9,))
        return (clips, *super().pairs(family, condition))


def row(arm, value, low, high, null=math.nan, apart=None, measure="DCI", factor="disentanglement"):
    return Row(60, arm, "down_0", measure, factor, Figure(value, low, high, null), apart and Figure(*apart))


def test_a_fitted_probe_is_told():
    trained = {Reader("baseline", "mid"): None, Reader("lisa", "mid"): None}
    assert words.reader_titles(trained) == {Reader("baseline", "mid"): "Baseline", Reader("lisa", "mid"): "LISA"}
    assert "by the decoders that were trained with the networks" in words.about_readers(words.reader_titles(trained))
    fit = Fit(256, 64, 0.8125)
    mixed = words.reader_titles([Reader("imported", "mid", fit), Reader("imported", "down_0")])
    assert list(mixed.values()) == ["Imported at mid", "Imported at down_0"]
    said = words.about_readers(mixed)
    assert "**A probe was fitted** to the frozen features of Imported at mid," in said and "down_0" in said
    assert "alignment ratio 0.812 on 64 scenes that it had not seen, fitted to 256" in said


def test_the_table_sets_each_arm_against_its_own_chance_and_both_against_each_other():
    rows = [
        row("baseline", 0.2, 0.1, 0.3, null=0.15), row("lisa", 0.22, 0.1, 0.3, null=0.25, apart=(0.02, 0.01, 0.03)),
        row("baseline", -0.0004, -0.001, 0.0004, measure="linear CKA", factor="condition"),
        row("lisa", 0.0, 0.0, 0.0, apart=(0.0004, -0.2, 0.1), measure="linear CKA", factor="condition"),
    ]  # fmt: skip
    assert words.headers(["baseline", "lisa"])[2:] == [
        "Baseline",
        "LISA",
        "LISA minus Baseline",
        "Chance (Baseline, LISA)",
    ]
    assert words.table(rows, ["baseline", "lisa"]) == [
        ["DCI", "disentanglement", "**0.200** (0.100 to 0.300)", "0.220 (0.100 to 0.300)",
         "**+0.020** (+0.010 to +0.030)", "0.150, 0.250"],
        ["linear CKA", "condition", "0.000 (-0.001 to 0.000)", "0.000 (0.000 to 0.000)",
         "0.000 (-0.200 to +0.100)", "none, none"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("apart", "said"),
    [((0.02, 0.01, 0.03), "**yes**"), ((-0.02, -0.03, -0.01), "**no, less**"), ((0.02, -0.01, 0.05), "**not shown**")],
)
def test_the_verdict_follows_from_the_interval(apart, said):
    rows = [row("baseline", 0.2, 0.1, 0.3), row("lisa", 0.2 + apart[0], 0.1, 0.3, apart=apart)]
    sentence = words.verdict(rows, ["baseline", "lisa"])
    assert said in sentence and f"Of all 1 differences {int('not' not in said)} leave" in sentence
    assert not words.verdict(rows[:1], ["baseline"])


def test_a_choice_that_is_not_shown_is_named():
    asked = words.Asked(SETTINGS)
    assert str(asked) == "depth, scenes-unet, runs/trial, step 60"
    assert not words.stale(asked, SETTINGS, "Look") and not words.stale(None, SETTINGS, "Look")
    other = replace(SETTINGS, run="runs/other", condition="canny", scenes=8)
    assert "Pair, Scenes have changed since. Press **Look**" in words.stale(asked, other, "Look")
    assert "Pair has changed" in words.stale(asked, other, "Look", ("run", "checkpoint"))


def test_the_tab_compares_the_choice_with_what_is_shown(tab):
    values = {"run": "runs/trial", "checkpoint": "step-000060", "scenes": 8}
    asked = words.Asked(replace(SETTINGS, scenes=4))
    maps, scores = tab.compare(asked, words.Asked(SETTINGS), **values)
    assert "Scenes has changed" in maps and scores == ""
    assert tab.compare(None, None, **values) == ("", "")
    assert tab.compare(asked, None, **{**values, "scenes": -1}) == (gr.skip(), gr.skip())


def test_pairs_that_make_clips_are_left_out_with_the_reason(tmp_path):
    with gr.Blocks() as page, gr.Tabs() as tabs, gr.Tab() as opened:
        shown = Features(Video(root=tmp_path), Shared(page, tabs, opened, gr.State()))
    listed = [value for _, value in shown.ui.fields["run"].choices]
    assert "runs/clips" not in listed and shown.ui.fields["run"].value == listed[0]
    pairs, _, said = shown.refresh("runs/clips", None)
    assert pairs["value"] == listed[0] and said.startswith("1 pair of video is not listed: features")
    assert words.left_out_words([]) == ""


def test_rows_of_the_score_are_named_beside_the_pictures():
    reader = Reader("lisa", "mid")
    views = [
        ScoreView(time, *(Image.new("L", (1, 1), shade) for shade in (1, 2)), {reader: Image.new("L", (1, 1), 3)},
                  {reader: Image.new("L", (1, 1), 4)}, {reader: 0.5})
        for time in (100, 900)
    ]  # fmt: skip
    pictures, named = words.score_pictures(views, {reader: "LISA"})
    assert [image.getpixel((0, 0)) for image, _ in pictures] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert all(len(caption) <= 7 and caption.endswith(("100", "900")) for _, caption in pictures)
    assert "**1** target; **2** prior; **3** what LISA's decoder says; **4** what it leaves of the target" in named


def test_the_slider_stands_on_every_training_step_and_hides_where_there_is_one():
    slider = _step_slider([100, 200, 500])
    assert (slider["minimum"], slider["maximum"], slider["step"], slider["value"]) == (100, 500, 100, 500)
    assert slider["visible"] and not _step_slider([300])["visible"]


@pytest.mark.parametrize(("asked", "taken"), [(500, 500), (340, 200), (-1, 100), (360.0, 500)])
def test_the_slider_takes_the_nearest_step(tab, asked, taken):
    assert tab._key(Studied, "down_0", asked) == (taken, "down_0")


@pytest.mark.parametrize(("tap", "step"), [("mid", 100), ("down_0", float("nan")), ("down_0", "100"), ("down_0", None)])
def test_what_was_not_looked_into_is_told(tab, tap, step):
    with pytest.raises(LisaError, match="were not looked into"):
        tab._key(Studied, tap, step)


@pytest.mark.parametrize("step", [100, 500])
def test_axes_hold_while_points_move(step):
    every = np.concatenate(list(Studied.points.values()))
    points = {arm: Studied.points[step, arm, "down_0"] for arm in ("baseline", "lisa")}
    titles = {"baseline": "Baseline", "lisa": "LISA"}
    figure = features_figure(points, np.array(["cube", "cone"]), ["a", "b"], titles, every, "depth, runs/trial")
    assert figure.layout.title.text == "depth, runs/trial"
    assert figure.layout.xaxis.range == figure.layout.xaxis2.range == (-25.0, 525.0)
    assert figure.layout.yaxis.range == (-550.0, 550.0)
    colours = [heading.font.color for heading in figure.layout.annotations]
    assert colours == ["#5f86b8", "#d97706"]
    deep = np.pad(every, ((0, 0), (0, 1)))
    solid = {arm: np.pad(rows, ((0, 0), (0, 1))) for arm, rows in points.items()}
    figure = features_figure(solid, np.array(["cube", "cone"]), ["a", "b"], titles, deep)
    assert figure.layout.scene.xaxis.range == figure.layout.scene2.xaxis.range == (-25.0, 525.0)
