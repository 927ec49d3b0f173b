"""The form of the Train tab: what was typed as settings, and settings as what could have been typed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from app import controls
from lisa.errors import LisaError
from lisa.options import from_dict
from lisa.settings import LisaSettings, TrainSettings, parse_arms

KNOBS = ("weight", "schedule", "schedule_steps", "width", "distance", "timestep_weighting")
_TAPS = re.compile(r"\w+(\+\w+)*")


def read_form(
    taps: str, arms: str, knobs: Mapping[str, Any], values: Mapping[str, Any], usual: LisaSettings
) -> TrainSettings:
    """What the form says, or a refusal; also what has no effect beside Arms is checked.

    Args:
        taps: layers to align, joined by +; empty takes the family's.
        arms: what is trained instead of a baseline and LISA with those taps and knobs; may be empty.
        knobs: of the LISA arm, by the name of their setting.
        values: of the other fields, by the name of their setting.
        usual: how the family aligns its LISA arm.

    Raises:
        LisaError: for the first wrong value, under its label.
    """
    controls.check_form(TrainSettings, values)
    controls.check_form(LisaSettings, knobs)
    taps = (taps or "").strip()
    if taps and not _TAPS.fullmatch(taps):
        raise LisaError(f"Taps is {taps[:80]!r}, but must be names of layers joined by +, such as down_3+mid.")
    return from_dict(TrainSettings, {**values, "arms": (arms or "").strip() or _two_arms(taps, knobs, usual)})


def _two_arms(taps: str, knobs: Mapping[str, Any], usual: LisaSettings) -> str:
    """Baseline and LISA, with the knobs that differ from the family's usual ones."""
    parts = [f"{k}={v}" for k, v in knobs.items() if k == "weight" or v != getattr(usual, k)]
    parts += [f"taps={taps}"] if taps else []
    return "baseline," + ":".join(["lisa", *parts])


def plain_pair(arms: str, usual: LisaSettings) -> LisaSettings | None:
    """How LISA is aligned in a run of a plain baseline and LISA; None of any other run, which only Arms can say.

    Args:
        arms: of the run's settings.
        usual: how the family aligns its LISA arm.
    """
    first, *others = parse_arms(arms, usual)
    plain = first.name == "baseline" and first.lisa == replace(usual, weight=0.0)
    return others[0].lisa if plain and [arm.name for arm in others] == ["lisa"] else None
