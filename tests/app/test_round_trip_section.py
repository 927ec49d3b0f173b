"""The round trip on the Evaluate tab, without networks."""

from __future__ import annotations

import gradio as gr
import pytest
from PIL import Image

from app.tabs._round_trip import RoundTripSection, pictures, summary
from lisa.lab import FamilyView, PairView
from lisa.roundtrip import RoundTrip, RoundTrips, Trip
from tests.app.fake_lab import FakeLab

DOT = Image.new("RGB", (1, 1))
SEEN = RoundTrips(
    "edge F1", "", True,
    (RoundTrip("a cube", DOT, {"baseline": Trip(DOT, DOT, DOT, 0.5), "lisa": Trip(DOT, DOT, DOT, 0.75)}),),
)  # fmt: skip


class Video(FakeLab):
    """A lab whose one pair makes clips."""

    def families(self):
        return (FamilyView("video", "Video", True, "", ("depth",), 64, frames=8),)

    def pairs(self, family="", condition=""):
        return (PairView("runs/clips", "depth, 9 steps (clips)", "video", "depth", ("baseline", "lisa"), (9,)),)


def section(lab):
    with gr.Blocks():
        return RoundTripSection(lab, gr.Dropdown(["runs/clips", "runs/trial"]))


def test_captions_are_short_and_the_measure_is_named_above():
    assert [caption for _, caption in pictures(SEEN)] == [
        "Asked for", "Baseline", "0.500", "Error", "Asked for", "LISA", "0.750", "Error"
    ]  # fmt: skip
    assert summary(SEEN).startswith("**edge F1** (higher is better), mean over 1 scenes: Baseline 0.500, LISA 0.750.")


@pytest.mark.parametrize(("lab", "run", "clips"), [(Video, "runs/clips", True), (FakeLab, "runs/trial", False)])
def test_a_run_that_makes_clips_is_refused_before_the_press(tmp_path, lab, run, clips):
    words, gallery, button = section(lab(root=tmp_path)).admit(run)
    assert ("make clips" in words) == clips and button["interactive"] != clips and not gallery["visible"]
