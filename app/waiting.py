"""What is shown of work that takes time: how far it is, and how long it still takes."""

from __future__ import annotations

import gradio as gr

from lisa.report import Countdown, Phases, Report, Standing


def duration(seconds: float) -> str:
    """Seconds as hours, minutes and seconds, the two largest that are not zero."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def time_left(standing: Standing) -> str:
    """The remaining time in words; empty while it is not known."""
    return "" if standing.remaining is None else f", {duration(standing.remaining)} to go"


def standing_words(standing: Standing) -> str:
    """What is done, how far it is and how long it still takes."""
    share = f" ({100 * standing.done / standing.total:.0f} %{time_left(standing)})" if standing.total > 1 else ""
    return f"{standing.what}{share}"


def part_of(report: Report, what: str, before: int, total: int) -> Report:
    """What lets one of several pieces of work report as a part of the whole.

    Args:
        report: of the whole.
        what: is being done.
        before: steps of the pieces that are done.
        total: steps of all pieces.
    """
    return lambda _what, done, _total: report(what, before + done, total)


def reporter(progress: gr.Progress) -> Report:
    """What hands reports on to Gradio's bar: as a share where they are thousandths of a whole, else as a count.

    Args:
        progress: of the event that does the work.
    """
    countdown = Countdown()

    def report(what: str, done: int, total: int) -> None:
        standing = countdown(what, done, total)
        progress(done / total if total == Phases.WHOLE else (done, total), desc=f"{what}{time_left(standing)}")

    return report
