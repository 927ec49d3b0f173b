"""Side networks as people read them: names, headings in their colours, and what can stand beside what."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from lisa.arms import SIDE_NAME
from lisa.lab import PairView

ABOUT_ARMS = {"baseline": "trained plainly", "lisa": "trained with score alignment"}


def title_of(name: str) -> str:
    """A side network's name for people: "LISA", "LISA, step 200", "Baseline of first".

    Args:
        name: see ``lisa.arms.SIDE_NAME``.
    """
    named = SIDE_NAME.fullmatch(name)
    if named is None:
        return name.capitalize()
    title = "LISA" if named["arm"] == "lisa" else named["arm"].capitalize()
    title += f" of {_short(named['run'])}" if named["run"] else ""
    return title + (f", step {_step(named['step']):,}" if named["step"] else "")


def heading(kind: str, title: str, about: str) -> str:
    """The line above a picture: a dot in the arm's colour, its name, what it is."""
    colour = kind if kind in ("condition", "baseline") else "lisa"
    title, about = html.escape(title), html.escape(about)
    return f'<p class="heading {colour}"><i class="mark {colour}"></i><b>{title}</b> <span>{about}</span></p>'


def arm_heading(name: str) -> str:
    """The line above what a side network drew."""
    named = SIDE_NAME.fullmatch(name)
    arm = named["arm"] if named else name
    return heading(arm, title_of(name), ABOUT_ARMS.get(arm, "another arm of the run"))


def two_sides(pair: PairView | None, pairs: Sequence[PairView] = ()) -> tuple[str, str]:
    """What is compared at first: baseline and lisa where the pair has them; a lone network with one of another run.

    Args:
        pair: that is chosen.
        pairs: where a lone network's counterpart may come from.
    """
    known = pair.arms if pair else ()
    ordered = [arm for arm in ("baseline", "lisa") if arm in known]
    ordered += [arm for arm in known if arm not in ordered]
    if len(ordered) == 1:
        ordered += [name for _, name in _of_others(pair, pairs)][-1:] or ordered
    left, right, *_ = ordered or ["baseline", "lisa"]
    return left, right


def side_choices(pair: PairView | None, pairs: Iterable[PairView]) -> list[tuple[str, str]]:
    """Title and name of everything that can be compared: the pair's arms, their earlier steps, other runs' arms.

    Args:
        pair: that is chosen.
        pairs: all; those of the same family and condition can stand beside it.
    """
    if pair is None:
        return []
    names = list(pair.arms)
    names += [f"{arm}@step-{step:06d}" for step in pair.steps[:-1] for arm in pair.arms]
    return [(title_of(name), name) for name in names] + _of_others(pair, pairs)


def _of_others(pair: PairView, pairs: Iterable[PairView]) -> list[tuple[str, str]]:
    names = [
        f"{other.id}:{arm}"
        for other in pairs
        if other.id != pair.id and (other.family, other.condition) == (pair.family, pair.condition)
        for arm in other.arms
    ]
    return [(title_of(name), name) for name in names]


def _short(run: str) -> str:
    return run.removeprefix("runs/").removeprefix("checkpoints/")


def _step(name: str) -> int:
    return int(name.removeprefix("step-"))
