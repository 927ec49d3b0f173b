"""Reports of work: their pace, their remaining time, and the note that another process reads."""

from __future__ import annotations

import pytest

from lisa.report import Countdown, Phases, Standing, Ticks, noted, read_note


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_remaining_time_follows_from_the_pace_since_the_first_report():
    clock = Clock()
    countdown = Countdown(clock)
    assert countdown("drawing", 10, 40) == Standing("drawing", 10, 40, None)
    clock.now = 4.0
    assert countdown("drawing", 20, 40).remaining == pytest.approx(8.0)
    clock.now = 12.0
    assert countdown("drawing", 40, 40).remaining == 0.0


def test_each_piece_of_work_has_its_own_pace():
    clock = Clock()
    countdown = Countdown(clock)
    countdown("loading", 0, 1)
    clock.now = 100.0
    assert countdown("drawing", 0, 4).remaining is None
    clock.now = 101.0
    assert countdown("drawing", 1, 4).remaining == pytest.approx(3.0)
    assert countdown("drawing", 0, 4).remaining is None  # the next set of the same size
    clock.now = 103.0
    assert countdown("drawing", 1, 4).remaining == pytest.approx(6.0)


def test_phases_are_one_whole_with_one_remaining_time():
    clock, seen = Clock(), []
    countdown = Countdown(clock)
    phases = Phases([("rendering", 1.0), ("measuring", 3.0)], lambda *each: seen.append(countdown(*each)))
    rendering = phases.next()
    clock.now = 2.0
    rendering("scenes", 5, 10)
    clock.now = 4.0
    measuring = phases.next()
    measuring("rows", 0, 6)
    clock.now = 10.0
    measuring("rows", 3, 6)
    assert [(each.what, each.done, each.total) for each in seen] == [
        ("rendering", 0, 1000), ("rendering", 125, 1000), ("measuring", 250, 1000), ("measuring", 250, 1000),
        ("measuring", 625, 1000),
    ]  # fmt: skip
    assert [seen[i].remaining for i in (1, 2, 4)] == pytest.approx([14.0, 12.0, 6.0])


def test_ticks_count_every_call():
    seen = []
    tick = Ticks("drawing", 2, lambda *each: seen.append(each))
    tick(7)
    tick()
    assert seen == [("drawing", 0, 2), ("drawing", 1, 2), ("drawing", 2, 2)]


def test_a_note_says_where_the_work_stands_and_goes_with_it(tmp_path):
    clock = Clock()
    path, told = tmp_path / "note.json", []
    with noted(path, lambda *each: told.append(each), clock) as tell:
        assert read_note(path) is None
        tell("drawing", 0, 9)
        assert read_note(path) == Standing("drawing", 0, 9)
        clock.now = 0.5  # too soon for another note
        tell("drawing", 1, 9)
        assert read_note(path).done == 0
        clock.now = 2.0
        tell("drawing", 2, 9)
        assert read_note(path) == Standing("drawing", 2, 9, 7.0)
        tell("measuring", 0, 1)
        assert read_note(path).what == "measuring"
    assert read_note(path) is None and len(told) == 4


def test_a_note_goes_with_work_that_fails_and_an_old_one_when_work_begins(tmp_path):
    path = tmp_path / "note.json"
    with noted(path) as tell:
        tell("drawing", 1, 9)
        kept = path.read_bytes()
    path.write_bytes(kept)  # as a process that was killed leaves it

    def fail() -> None:
        with noted(path) as tell:
            assert read_note(path) is None
            tell("drawing", 1, 9)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert read_note(path) is None
