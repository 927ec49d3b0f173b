"""Settings and knobs as components: the one place that knows how the two meet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import gradio as gr

from lisa.annotators.base import Knob
from lisa.errors import unknown_name
from lisa.lab import AnnotatorView, FamilyView, PairView
from lisa.options import Option, check_value, options

_LONGEST_SLIDER = 200  # positions; more of them cannot be hit with a finger


class Number(gr.Number):
    """gr.Number that hands its value on as it is; its option says what is wrong with it."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        """Give whole floats as integers, since JSON does not tell them apart, and all else unchanged."""
        return _whole(payload)


class Slider(gr.Slider):
    """gr.Slider that hands its value on as it is; Gradio's own check lets NaN through."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        """Give whole floats as integers, and all else unchanged."""
        return _whole(payload)


class Choice(gr.Dropdown):
    """gr.Dropdown for one text; whether it exists is for the lab to say, which knows the nearest names."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        """Give the text unchanged."""
        if payload is not None and not isinstance(payload, str):
            raise gr.Error(f"{self.label} takes one name, not {type(payload).__name__}.", print_exception=False)
        return payload


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def control(cls: type, name: str, **details: Any) -> gr.components.Component:
    """Make the component for one setting.

    Args:
        cls: settings class.
        name: its field.
        **details: further arguments of the component, which come before what the option says;
            "choices" makes a Choice of any text.

    Returns:
        A Choice, Checkbox, Slider, Number or Textbox.
    """
    declared, hint, default = next((o, h, d) for field, o, h, d in options(cls) if field == name)
    details = {"label": declared.label or name, "info": _info(declared), "value": default, **details}
    if declared.choices or "choices" in details:
        return Choice(**{"choices": list(declared.choices), **details})
    if hint is bool:
        return gr.Checkbox(**details)
    if hint is str:
        return gr.Textbox(**details)
    return _number(declared.low, declared.high, declared.step, **details)


def knob_control(knob: Knob) -> gr.components.Component:
    """Make the component for one knob of an annotator: a Checkbox, Slider or Number."""
    info = _info(Option(knob.help, unit=knob.unit))
    details = {"label": knob.label, "info": info, "value": knob.default, "interactive": True}
    if isinstance(knob.default, bool):
        return gr.Checkbox(**details)
    return _number(knob.low, knob.high, knob.step, **details)


def _number(low: float | None, high: float | None, step: float | None, **details: Any) -> gr.components.Component:
    step = step or 1
    if low is None or high is None or (high - low) / step > 2 * _LONGEST_SLIDER:
        return Number(minimum=low, maximum=high, step=step, **details)
    return Slider(low, high, step=step, **details)


def _info(declared: Option) -> str:
    named = not declared.unit or declared.unit in declared.help
    return f"{declared.help}." if named else f"{declared.help}, in {declared.unit}."


def check_form(cls: type, values: Mapping[str, Any]) -> None:
    """Check the values of a form under the labels that stand beside them.

    Not a validator of Gradio's, which marks the field and says nothing: the field may be out of sight.

    Args:
        cls: settings class.
        values: values by the name of their field.

    Raises:
        LisaError: for the first wrong value.
    """
    for name, declared, hint, _ in options(cls):
        if name in values:
            check_value(declared.label or name, values[name], hint, declared)


def family_choices(families: Iterable[FamilyView]) -> list[tuple[str, str]]:
    """Title and name of each family; those that cannot be used here say so."""
    return [(view.title if view.installed else f"{view.title} (not here)", view.name) for view in families]


def annotator_choices(views: Iterable[AnnotatorView], maps: Iterable[str] = ()) -> list[tuple[str, str]]:
    """Title and name of each annotator; those that cannot run here say so.

    Args:
        views: the annotators.
        maps: names of the exact maps that the picture brings along.

    Returns:
        Title and name; the exact maps come first, as "exact:NAME".
    """
    names = {view.name for view in views}
    exact = [(f"Exact {name} of the scene", f"exact:{name}") for name in maps if name not in names]
    return exact + [(view.title if view.available else f"{view.title} (not here yet)", view.name) for view in views]


def pair_choices(pairs: Iterable[PairView]) -> list[tuple[str, str]]:
    """Title and id of each pair; the family is named where there are several."""
    pairs = list(pairs)
    several = len({pair.family for pair in pairs}) > 1
    return [(f"{pair.title}, {pair.family}" if several else pair.title, pair.id) for pair in pairs]


def kept(choices: Sequence[tuple[str, str]], value: str | None) -> str | None:
    """The value if it is among the choices, given as title and value, else the first of these, if any."""
    known = [each for _, each in choices]
    return value if value in known else (known[0] if known else None)


def relisted(choices: Sequence[tuple[str, str]], value: str | None) -> dict[str, Any]:
    """Update a choice whose entries may have come or gone: it keeps its value, else takes the first, if any.

    A value that is kept is not set again: an answer that comes late must not undo a choice made meanwhile.

    Args:
        choices: title and value of each.
        value: that was chosen.
    """
    there = kept(choices, value)
    return gr.update(choices=choices) if there == value else gr.update(choices=choices, value=there)


def step_choices(pair: PairView | None) -> list[tuple[str, str]]:
    """The training steps of a pair, last one first, with the names that checkpoints have."""
    steps = sorted(pair.steps, reverse=True) if pair else []
    return [(f"{step:,}" + (" (last)" if step == steps[0] else ""), f"step-{step:06d}") for step in steps]


def find_pair(pairs: Sequence[PairView], run: str) -> PairView | None:
    """The pair of that id, or None."""
    return next((pair for pair in pairs if pair.id == run), None)


def find_annotator(views: Sequence[AnnotatorView], name: str) -> AnnotatorView:
    """Look an annotator up.

    Args:
        views: the annotators.
        name: the one that is wanted.

    Returns:
        The annotator of that name.

    Raises:
        LisaError: if there is none.
    """
    found = next((view for view in views if view.name == name), None)
    if found is None:
        raise unknown_name("annotator", name, [view.name for view in views])
    return found
