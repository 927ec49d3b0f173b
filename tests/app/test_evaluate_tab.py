"""The Evaluate tab without a server: what is said of a measurement, and what can be done with it."""

from __future__ import annotations

import os

import gradio as gr
import pytest

from app.shared import Shared
from app.tabs.evaluate import Evaluate
from lisa import measuring
from lisa.errors import LisaError
from lisa.files import write_json
from lisa.options import to_dict
from lisa.runs import EVALUATION_LOCK, RunFolder
from lisa.settings import TrainSettings
from tests.app.fake_lab import FakeLab

RUN = "runs/mine"
ARMS = "zeta:weight=0,alpha:weight=0.5:taps=down_0"
DIFFERENCE = {"loss_difference": -0.1, "loss_interval": [-0.2, 0.0]}
FIDELITY = {"fidelity_difference": 0.1, "fidelity_interval": [0.0, 0.2]}
ROWS = [
    {"step": 2, "arm": "zeta", "measure": "edge F1", "loss": 0.5, "fidelity": 0.1},
    {"step": 2, "arm": "alpha", "measure": "edge F1", "loss": 0.4, "fidelity": 0.2, **DIFFERENCE, **FIDELITY},
]


@pytest.fixture
def run(tmp_path):
    return RunFolder.create(tmp_path / RUN, to_dict(TrainSettings(arms=ARMS)))


@pytest.fixture
def tab(tmp_path, run):
    with gr.Blocks() as page, gr.Tabs() as tabs, gr.Tab() as opened:
        return Evaluate(FakeLab(root=tmp_path), Shared(page, tabs, opened, gr.State()))


def seen(tab):
    status, _, _, table, go, stop, timer = tab.look(RUN)
    return status, table, go["interactive"], stop["visible"], timer.active


def test_a_second_measurement_is_followed_and_its_failure_told_beside_the_old_rows(tab, run):
    write_json(run.path / measuring.RESULTS, {"scenes": 8, "sampling_steps": 2, "rows": ROWS})
    measuring._write(run, "starting")
    status, _, *state = seen(tab)
    assert status == "**Measuring**: starting. Below are the rows so far, on 8 scenes." and state == [False, True, True]
    with pytest.raises(LisaError), measuring.owned(run):
        raise LisaError("The judge is damaged.")
    status, _, *state = seen(tab)
    assert "Measured on 8 held-out scenes" in status and "came to no end**: The judge is damaged." in status
    assert state == [True, False, False]


def test_a_measurement_that_stops_says_so(tab, run):
    with run.lock(name=EVALUATION_LOCK):
        write_json(run.path / measuring.PID, {"pid": os.getpid(), "begun": 0})  # a process that has gone
        measuring._write(run, "stopping")
        assert seen(tab)[0] == "**Measuring**: stopping."
    assert "was stopped" in seen(tab)[0]
    with pytest.raises(LisaError, match="nothing to stop"):
        tab.end(RUN)


def test_the_reference_is_the_first_arm_of_the_run(tab, run):
    write_json(run.path / measuring.RESULTS, {"scenes": 8, "sampling_steps": 2, "rows": ROWS})
    headers = seen(tab)[1].headers
    assert headers[2:4] == ["Test loss", "Minus Zeta (95 %)"]


def test_a_run_that_went_is_one_sentence_and_the_timer_rests(tab):
    status, *_, timer = tab.look("runs/gone")
    assert status == "The run runs/gone is no longer there: choose another." and not timer.active


def test_the_youngest_own_run_is_shown_on_loading(tab):
    RunFolder.create(tab.lab.root / "checkpoints" / "scenes-unet" / "canny", to_dict(TrainSettings()))
    assert tab.refresh()["value"] == RUN
    assert "value" not in tab.refresh("checkpoints/scenes-unet/canny"), "what is chosen stays"
