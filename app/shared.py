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
    """The map on the Condition tab, RGB, and what kind it is; empty when that is not known."""

    map: Image.Image
    condition: str


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
