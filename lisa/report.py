"""How long work reports itself, and what the reports say of the time that is left."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from lisa.files import write_json

Report = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is in all."""
_PAUSE = 1.0  # seconds between two notes on disk


@dataclass(frozen=True)
class Standing:
    """Where a piece of work stands.

    Attributes:
        what: is being done.
        done: how much of it is done.
        total: how much there is in all.
        remaining: seconds to its end at the pace so far; None while that is not known.
    """

    what: str
    done: int
    total: int
    remaining: float | None = None


class Countdown:
    """Makes standings of reports; each piece of work has its own pace, from its first report on.

    A piece is a new one when the old one was done, or its length is another, or less of it is done; its name may change
    as it goes on.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last, self._begun = Standing("", 0, 0), (0.0, 0)

    def __call__(self, what: str, done: int, total: int) -> Standing:
        """Where the work stands after this report."""
        now = self._clock()
        if total != self._last.total or done < self._last.done or self._last.done >= self._last.total:
            self._begun = (now, done)
        begin, before = self._begun
        pace = (done - before) / (now - begin) if now > begin else 0.0
        self._last = Standing(what, done, total, (total - done) / pace if pace > 0 else None)
        return self._last


def tell_nobody(what: str, done: int, total: int) -> None:
    """The report of work that nobody follows."""


class Ticks:
    """Reports one piece of work that goes on in equal steps.

    Args:
        what: is being done.
        total: how many steps it takes.
        report: called at the start and after every step.
    """

    def __init__(self, what: str, total: int, report: Report) -> None:
        self._what, self._done, self._total, self._report = what, 0, total, report
        report(what, 0, total)

    def __call__(self, *_: object) -> None:
        """One step more is done; arguments are ignored, so that this can stand where a callback is asked for."""
        self._done += 1
        self._report(self._what, self._done, self._total)


Phase = tuple[str, float]
"""What is being done, and how long it takes against other phases, in any unit."""


class Phases:
    """Reports several pieces of work, one after the other, as thousandths of one whole.

    Args:
        costs: the phases, in their order.
        report: called with (what the phase does, thousandths done, 1000) when a phase begins and while it goes on.
    """

    WHOLE = 1000

    def __init__(self, costs: Sequence[Phase], report: Report) -> None:
        self._costs, self._report, self._at = list(costs), report, -1
        self._all, self._done = sum(cost for _, cost in costs) or 1.0, 0

    def next(self) -> Report:
        """Begin the next phase.

        Returns:
            What it is to call; how it names its work does not matter. Where that begins anew, the whole stands still.
        """
        self._at += 1
        name, cost = self._costs[self._at]
        before = sum(each for _, each in self._costs[: self._at])

        def report(_what: str, done: int, total: int) -> None:
            share = (before + cost * done / max(total, 1)) / self._all
            self._done = max(self._done, round(self.WHOLE * share))
            self._report(name, self._done, self.WHOLE)

        report(name, 0, 1)
        return report


@contextmanager
def noted(path: Path, report: Report = tell_nobody, clock: Callable[[], float] = time.monotonic) -> Iterator[Report]:
    """Write down where work stands, for who follows it from another process; the note goes when the work ends.

    Args:
        path: of the note, which is written at most once a second for each kind of work.
        report: also called.
        clock: seconds.

    Yields:
        What the work is to call.
    """
    countdown, last = Countdown(clock), ("", 0.0)

    def take(what: str, done: int, total: int) -> None:
        nonlocal last
        report(what, done, total)
        standing = countdown(what, done, total)
        if what != last[0] or clock() - last[1] >= _PAUSE:
            write_json(path, asdict(standing))
            last = what, clock()

    path.unlink(missing_ok=True)
    try:
        yield take
    finally:
        path.unlink(missing_ok=True)


def read_note(path: Path) -> Standing | None:
    """What ``noted`` wrote last; None where there is no note."""
    try:
        return Standing(**json.loads(path.read_bytes()))
    except FileNotFoundError:  # the work ended a moment ago, or has not begun
        return None
