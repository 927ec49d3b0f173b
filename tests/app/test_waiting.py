"""How far work is, in words and on Gradio's bar."""

from __future__ import annotations

import pytest

from app import waiting
from app.waiting import duration, part_of, reporter, standing_words
from lisa.report import Countdown, Phases, Standing


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (125, "2 min 5 s"), (7260, "2 h 1 min")]
)
def test_the_two_largest_units_are_named(seconds, words):
    assert duration(seconds) == words


def test_a_standing_is_a_share_and_a_remaining_time():
    assert standing_words(Standing("loading networks", 0, 1)) == "loading networks"
    assert standing_words(Standing("drawing", 10, 40)) == "drawing (25 %)"
    assert standing_words(Standing("drawing", 10, 40, 90.0)) == "drawing (25 %, 1 min 30 s to go)"


def test_the_bar_shows_the_remaining_time_once_there_is_a_pace(monkeypatch):
    times, shown = iter([0.0, 2.0]), []
    monkeypatch.setattr(waiting, "Countdown", lambda: Countdown(lambda: next(times)))
    report = reporter(lambda progress, desc: shown.append((progress, desc)))
    report("drawing", 0, 10)
    report("drawing", 4, 10)
    assert shown == [((0, 10), "drawing"), ((4, 10), "drawing, 3 s to go")]


def test_a_whole_of_many_phases_is_shown_as_a_share():
    shown = []
    report = reporter(lambda progress, desc: shown.append((progress, desc)))
    Phases([("rendering", 1.0), ("measuring", 3.0)], report).next()("scenes", 1, 2)
    assert shown[-1][0] == pytest.approx(0.125) and shown[-1][1].startswith("rendering")


def test_pieces_report_as_parts_of_the_whole():
    told = []
    part_of(lambda *each: told.append(each), "drawing the grid", 40, 120)("generating", 3, 40)
    assert told == [("drawing the grid", 43, 120)]
