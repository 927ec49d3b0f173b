"""On the Compare tab: the picture that clips go on from, for families that start from one."""

from __future__ import annotations

from typing import Any

import gradio as gr
from PIL import Image

from app.guard import guarded
from app.intake import SafeImage, refuse_unreadable
from lisa.lab import Lab
from lisa.strips import frames_of

QUIET = {"show_progress": "hidden", "api_visibility": "private"}


class StartPicture:
    """The components, as attributes; out of sight for all other families.

    Args:
        lab: the facade; asked which families start from a picture.
        family: that is chosen at first.
    """

    def __init__(self, lab: Lab, family: str) -> None:
        self.lab = lab
        with gr.Row(visible=self.is_needed(family), elem_classes="settings") as self.panel:
            self.picture = SafeImage(
                label="First frame", type="pil", format="png", sources=["upload", "clipboard"],
                buttons=["fullscreen"], elem_classes="picture", elem_id="first-frame",
                placeholder="Drop the picture that the clip goes on from",
            )  # fmt: skip
            refuse_unreadable(self.picture)
            gr.Markdown("**First frame**: this family makes clips that go on from a picture, for every arm the same.")

    def follow(self, family: gr.Dropdown) -> None:
        """Come and go with the chosen family."""
        family.change(guarded(self.choose), [family, self.picture], [self.panel, self.picture], **QUIET)

    def is_needed(self, family: str) -> bool:
        """Whether the family's clips start from a picture."""
        return any(view.starts_from_picture for view in self.lab.families() if view.name == family)

    def choose(self, family: str, picture: Image.Image | None) -> tuple[Any, Any]:
        """Show the field where it is needed; it begins with the first frame of the scene that the map begins with."""
        needed = self.is_needed(family)
        if needed and picture is None:
            frames = self.lab.frames_of(family)
            picture = frames_of(self.lab.render_scene(0, frames).image, frames)[0]
        return gr.update(visible=needed), picture

    def given(self, family: str, picture: Image.Image | None) -> Image.Image | None:
        """The picture, unless the family has no use for it: then it only lies there."""
        return picture if self.is_needed(family) else None
