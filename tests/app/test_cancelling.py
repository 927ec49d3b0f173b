"""Work that its visitor does not want any more ends at its next report."""

from __future__ import annotations

from types import SimpleNamespace

import gradio as gr
import pytest

from app.cancelling import CancelButton, Cancelled
from lisa.report import tell_nobody

ANN, BEN = SimpleNamespace(session_hash="ann"), SimpleNamespace(session_hash="ben")


@pytest.fixture
def button():
    with gr.Blocks():
        return CancelButton("cancel")


def test_only_the_work_of_the_visitor_who_asks_ends(button):
    told = []
    of_ann, of_ben = button.watched(ANN, lambda *each: told.append(each)), button.watched(BEN, tell_nobody)
    of_ann("looking", 1, 9)
    assert button.end(ANN) == gr.update(visible=False)
    of_ben("looking", 1, 9)
    with pytest.raises(Cancelled):
        of_ann("looking", 2, 9)
    assert told == [("looking", 1, 9)]


def test_what_comes_after_cancelled_work_goes_on(button):
    button.end(ANN)  # nothing goes on
    button.watched(ANN, tell_nobody)
    button.end(ANN)
    button.watched(ANN, tell_nobody)("looking", 1, 9)


def test_a_press_shows_the_button_first_and_cancelling_turns_the_page_away_first():
    with gr.Blocks() as page:
        start, cancel = gr.Button("Go"), CancelButton("cancel")
        work = cancel.starts(start, lambda: None, None, None)
    config = page.get_config_file()["dependencies"]
    pressed = [each for each in config if (start._id, "click") in map(tuple, each["targets"])]
    assert [each["outputs"] for each in pressed] == [[cancel.button._id], []] and pressed[1]["id"] == work["id"]
    asked = [each for each in config if (cancel.button._id, "click") in map(tuple, each["targets"])]
    turned = next(i for i, each in enumerate(asked) if each["cancels"] == [work["id"]])
    ended = next(i for i, each in enumerate(asked) if each["outputs"])
    assert turned < ended
    after = [each for each in config if each["trigger_after"] == work["id"]]
    assert {each["trigger_only_on_failure"] for each in after} == {True, False}
