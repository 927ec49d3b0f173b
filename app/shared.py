"""What the tabs have in common: the page, the row of tabs, and the map that one hands to another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image


@dataclass(frozen=True, eq=False)
class Carried:
    """A condition map on its way to the Compare tab. Compared by identity, so that each handing over counts.

    Attributes:
        map: RGB image.
        condition: kind of map, such as "depth"; empty when it is not known.
        caption: prompt that goes with it; empty keeps the present one.
        second: whether it becomes the second condition.
    """

    map: Image.Image
    condition: str
    caption: str
    second: bool = False


@dataclass(frozen=True)
class Made:
    """The map on the Condition tab.

    Attributes:
        plain: RGB image, as it was made.
        condition: kind of map; empty when it is not known.
        picture: mark of the picture it was made of, equal for equal pictures.
        strokes: RGBA image of the map's size, drawn over it by hand; None for none.
    """

    plain: Image.Image
    condition: str
    picture: str = ""
    strokes: Image.Image | None = None

    @property
    def map(self) -> Image.Image:
        """RGB image, the strokes upon it."""
        drawn = self.plain.convert("RGB")
        if self.strokes is not None:
            drawn.paste(self.strokes, mask=self.strokes)
        return drawn

    @property
    def place(self) -> tuple[str, str, tuple[int, int]]:
        """Equal for maps of one kind of one picture: strokes that fit the one fit the other."""
        return self.picture, self.condition, self.plain.size


@dataclass(frozen=True)
class Shared:
    """Handed to every tab's build().

    Attributes:
        page: the page, for what happens when it is opened.
        tabs: the row of tabs; their ids are the names of their modules.
        tab: the one that is built.
        carried: state that holds a ``Carried`` or None; the Compare tab listens to its change.
    """

    page: gr.Blocks
    tabs: gr.Tabs
    tab: gr.Tab
    carried: gr.State

    def on_open(self, call: Callable[..., Any], inputs: Any, outputs: Any, **options: Any) -> Any:
        """Call something when the page is loaded and whenever the tab is opened: runs may have come or gone.

        Returns:
            The event.
        """
        return gr.on([self.page.load, self.tab.select], call, inputs, outputs, **options)
