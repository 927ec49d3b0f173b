"""What the Features tab says and draws, without networks."""

from __future__ import annotations

import gradio as gr
import numpy as np
import pytest

from app.scatter import features_figure
from app.shared import Shared
from app.tabs.features import Features, _about_readers, _reader_titles, _step_slider
from lisa.errors import LisaError
from lisa.scoreview import Reader
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


def test_a_fitted_probe_is_told():
    trained = {Reader("baseline", "mid"): None, Reader("lisa", "mid"): None}
    assert _reader_titles(trained) == {Reader("baseline", "mid"): "Baseline", Reader("lisa", "mid"): "LISA"}
    assert "by the decoders that were trained with the networks" in _about_readers(_reader_titles(trained))
    mixed = _reader_titles([Reader("imported", "mid", fitted=True), Reader("imported", "down_0")])
    assert list(mixed.values()) == ["Imported at mid", "Imported at down_0"]
    words = _about_readers(mixed)
    assert "**A probe was fitted** to the frozen features of Imported at mid:" in words and "down_0" in words


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
    figure = features_figure(points, np.array(["cube", "cone"]), ["a", "b"], titles, every)
    assert figure.layout.xaxis.range == figure.layout.xaxis2.range == (-25.0, 525.0)
    assert figure.layout.yaxis.range == (-550.0, 550.0)
    colours = [heading.font.color for heading in figure.layout.annotations]
    assert colours == ["#5f86b8", "#d97706"]
    deep = np.pad(every, ((0, 0), (0, 1)))
    solid = {arm: np.pad(rows, ((0, 0), (0, 1))) for arm, rows in points.items()}
    figure = features_figure(solid, np.array(["cube", "cone"]), ["a", "b"], titles, deep)
    assert figure.layout.scene.xaxis.range == figure.layout.scene2.xaxis.range == (-25.0, 525.0)
