"""On the Condition tab: correct or extend the map by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
from PIL import Image

from app.guard import guarded
from app.intake import canvas, enlarge, pens, read_strokes
from app.shared import Made
from lisa.errors import LisaError
from lisa.scenes.vocabulary import CLASSES

QUIET = {"show_progress": "hidden", "api_visibility": "private"}
NO_MAP = "There is no map yet: choose a picture and make its map first."
ABOUT = (
    "Strokes that were taken stay on the map while knobs are moved. Another picture, or another kind of map, comes "
    "without them; they are back as soon as that picture and kind are chosen again."
)
MOST_KEPT = 16  # maps with strokes, for each visitor
# The only condition whose colours have names.
_CLASS_COLORS = {name: f"#{bytes(color).hex()}" for name, color in CLASSES}

Kept = Mapping[tuple, Image.Image]  # strokes by the place of their map


@dataclass(frozen=True)
class Sheet:
    """What lies under the pen: the place of a map, the pen's colours, the strokes that were on the map already."""

    place: tuple
    colors: tuple[str, ...]
    strokes: Image.Image | None


class DrawOver:
    """The panel; it changes the tab's map.

    Attributes:
        kept: state with all strokes that were taken, a ``Kept``.

    Args:
        made: state with the tab's ``Made``.
        shown: the tab's picture of the map.
        status: the tab's line about it.
    """

    def __init__(self, made: gr.State, shown: gr.Image, status: gr.Markdown) -> None:
        self.kept = gr.State({})
        with gr.Accordion("Draw over the map", open=False, elem_id="over"):
            start = gr.Button("Lay the map under the pen", size="sm", elem_id="over-start")
            drawing = canvas(label="Map to draw over", elem_id="over-map", visible=False)
            legend = gr.HTML(visible=False, elem_id="over-legend")
            with gr.Row():
                take = gr.Button("Take the strokes", size="sm", elem_id="over-take", min_width=120)
                remove = gr.Button("Remove the strokes", size="sm", elem_id="over-remove", min_width=120)
            gr.Markdown(ABOUT)
            sheet = gr.State(None)
        changed = [shown, status, made, self.kept]
        start.click(guarded(lay), [made], [drawing, legend, sheet], **QUIET)
        take.click(guarded(take_strokes), [drawing, sheet, made, self.kept], changed, **QUIET)
        remove.click(guarded(remove_strokes), [made, self.kept], changed, **QUIET)


def words_about(made: Made, kept: Kept) -> str:
    """One line about a map: its kind and size, and where the strokes are."""
    width, height = made.plain.size
    words = f"{made.condition.capitalize() or 'A'} map of {width} x {height} pixels"
    words += ", drawn over." if made.strokes else "."
    if all(low == high for low, high in made.map.getextrema()):
        words += " It is blank: there is nothing of this kind in the picture."
    if kept and not made.strokes:
        words += " Your strokes wait with the map they were drawn over."
    return words


def lay(made: Made | None) -> tuple[Any, ...]:
    """Put the map on the sheet, with a pen of colours that belong on it."""
    if made is None:
        raise LisaError(NO_MAP)
    named = made.condition == "segmentation"
    colors = tuple(_CLASS_COLORS.values()) if named else pens(made.map)
    words = " ".join(f'<span style="color:{color}">&#9632;</span> {name}' for name, color in _CLASS_COLORS.items())
    sheet = canvas(enlarge(made.map), colors, visible=True)
    legend = gr.update(value=words if named else "", visible=named)
    return sheet, legend, Sheet(made.place, colors, made.strokes)


def take_strokes(value: dict[str, Any] | None, sheet: Sheet | None, made: Made | None, kept: Kept) -> tuple[Any, ...]:
    """Put the strokes on the present map, unless they were drawn over another one."""
    if sheet is None:
        raise LisaError("No map lies under the pen yet: press 'Lay the map under the pen' first.")
    if made is None or made.place != sheet.place:
        raise LisaError(
            "Under the pen lies a map of another picture or kind: lay the present one under it, or go back to that one."
        )
    strokes = read_strokes(value, made.plain.size, sheet.colors)
    if sheet.strokes is not None:
        strokes = Image.alpha_composite(sheet.strokes, strokes)
    earlier = [(place, each) for place, each in kept.items() if place != made.place]
    return _changed(replace(made, strokes=strokes), dict([*earlier, (made.place, strokes)][-MOST_KEPT:]))


def remove_strokes(made: Made | None, kept: Kept) -> tuple[Any, ...]:
    """Show the map without its strokes, and keep them no longer; those on the sheet can be taken again."""
    if made is None or made.strokes is None:
        raise LisaError("There are no strokes on this map.")
    return _changed(replace(made, strokes=None), {at: each for at, each in kept.items() if at != made.place})


def _changed(made: Made, kept: Kept) -> tuple[Any, ...]:
    return made.map, words_about(made, kept), made, kept
