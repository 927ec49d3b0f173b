"""On the Condition tab: correct or extend the map by hand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
from PIL import Image

from app.guard import guarded
from app.intake import canvas, draw_over, enlarge, pens
from app.shared import Made
from lisa.errors import LisaError
from lisa.scenes.vocabulary import CLASSES

QUIET = {"show_progress": "hidden", "api_visibility": "private"}
NO_MAP = "There is no map yet: choose a picture and make its map first."
# The only condition whose colours have names.
_CLASS_COLORS = {name: f"#{bytes(color).hex()}" for name, color in CLASSES}


@dataclass(frozen=True)
class Sheet:
    """The map that lies under the pen, and the pen's colours."""

    made: Made
    colors: tuple[str, ...]


class DrawOver:
    """The panel; it changes the tab's map.

    Args:
        made: state with the tab's ``Made``.
        shown: the tab's picture of the map.
        status: the tab's line about it.
    """

    def __init__(self, made: gr.State, shown: gr.Image, status: gr.Markdown) -> None:
        with gr.Accordion("Draw over the map", open=False, elem_id="over"):
            start = gr.Button("Lay the map under the pen", size="sm", elem_id="over-start")
            drawing = canvas(label="Map to draw over", elem_id="over-map", visible=False)
            legend = gr.HTML(visible=False, elem_id="over-legend")
            take = gr.Button("Take the strokes", size="sm", elem_id="over-take")
            sheet = gr.State(None)
        start.click(guarded(lay), [made], [drawing, legend, sheet], **QUIET)
        take.click(guarded(strokes), [drawing, sheet], [shown, status, made], **QUIET)


def lay(made: Made | None) -> tuple[Any, ...]:
    """Put the map on the sheet, with a pen of colours that belong on it."""
    if made is None:
        raise LisaError(NO_MAP)
    named = made.condition == "segmentation"
    colors = tuple(_CLASS_COLORS.values()) if named else pens(made.map)
    words = " ".join(f'<span style="color:{color}">&#9632;</span> {name}' for name, color in _CLASS_COLORS.items())
    sheet = canvas(enlarge(made.map), colors, visible=True)
    return sheet, gr.update(value=words if named else "", visible=named), Sheet(made, colors)


def strokes(value: dict[str, Any] | None, sheet: Sheet | None) -> tuple[Image.Image, str, Made]:
    """Put the strokes on the map."""
    if sheet is None:
        raise LisaError("No map lies under the pen yet: press 'Lay the map under the pen' first.")
    drawn = draw_over(sheet.made.map, value, sheet.colors)
    kind = sheet.made.condition.capitalize() or "A"
    return drawn, f"{kind} map of {drawn.width} x {drawn.height} pixels, drawn over.", replace(sheet.made, map=drawn)
