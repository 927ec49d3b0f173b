"""On the Compare tab: maps that arrive from elsewhere, and whether they suit the family that draws from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr
from PIL import Image

from app import controls
from app.clips import player
from app.guard import guarded
from app.intake import looks_like_map
from app.shared import Carried, Shared
from app.tabs._compare_page import Shown
from app.tabs._compare_second import chosen
from lisa.lab import Lab, PairView
from lisa.strips import length_of

if TYPE_CHECKING:
    from app.tabs.compare import Compare

QUIET = {"show_progress": "hidden", "api_visibility": "private"}
NO_MAP_YET = "This looks like a picture rather than a condition map: the **Condition** tab makes a map of it."
SQUARE = 0.05  # how far from 1 the ratio of the sides may be


def clip_length(lab: Lab, image: Image.Image | None) -> int:
    """Frames of a strip, if there are families whose clips are so long; else 0, as for any wide picture."""
    length = length_of(image) if image is not None else 0
    return length if length and any(view.frames == length for view in lab.families()) else 0


def shape_words(lab: Lab, family: str, image: Image.Image) -> str:
    """What to know about a map's shape before a family draws from it; empty where it fits."""
    view = next((view for view in lab.families() if view.name == family), None)
    length = clip_length(lab, image)
    if view is None or (length and length == view.frames):
        return ""
    if length:
        makes = f"clips of {view.frames} frames" if view.frames else "single pictures, and would squeeze it into one"
        return (
            f"This map is a clip of {length} frames, but **{view.title}** makes {makes}: choose a family of such "
            "clips, or give another map."
        )
    if abs(image.width / image.height - 1) > SQUARE:
        return (
            f"This map is {image.width} x {image.height} pixels and is squeezed into the picture, which is square "
            "unless *Width* and *Height* under **Expert settings** say otherwise."
        )
    return f"This map stands still: all {view.frames} frames of a clip follow it." if view.frames else ""


class Maps:
    """Takes in maps for a Compare tab.

    Args:
        compare: the tab.
        shared: brings the maps of the Condition tab.
    """

    def __init__(self, compare: Compare, shared: Shared) -> None:
        self.compare, self.lab, self.ui = compare, compare.lab, compare.ui
        ui, second = compare.ui, compare.ui.second
        family = ui.fields["family"]
        shared.carried.change(
            guarded(self.receive),
            [shared.carried, family],
            [second.map, second.accordion, *second.outputs, ui.condition, ui.fields["prompt"], family,
             ui.fields["run"], *compare.of_pair],
            **QUIET,
        )  # fmt: skip
        ui.condition.upload(guarded(self.judge), [ui.condition, family], [ui.hint], **QUIET)
        gr.on(
            [family.change, ui.condition.change], guarded(self.play), [family, ui.condition, ui.shown], [ui.player],
            **QUIET,
        )  # fmt: skip

    def receive(self, carried: Carried | None, family: str) -> dict[Any, Any]:
        """Take a map from the Condition tab, and the pair that learned this kind of map."""
        ui = self.ui
        if carried is None:
            return {ui.hint: gr.skip()}
        if carried.second:
            return self._receive_second(carried, family)
        home = self._home(carried, family)
        pairs = self.lab.pairs(home)
        fitting = [pair for pair in pairs if pair.condition == carried.condition]
        words = [shape_words(self.lab, home, carried.map)]
        if home != family:
            words.append(f"The map is a clip, so the family is **{self._title(home)}** now.")
        if carried.condition and not fitting:
            words.append(f"No pair of this family has learned **{carried.condition}** maps: this one will not follow.")
        changes = {ui.condition: carried.map, ui.fields["prompt"]: carried.caption or gr.skip()}
        if home != family:
            changes |= {ui.fields["family"]: home} | dict(zip(ui.second.outputs, chosen(pairs, ""), strict=True))
        if fitting:
            of_pair = self.compare.choices_of(fitting[0])
            changes |= dict(zip(self.compare.of_pair, (*of_pair, ""), strict=True))
            changes[ui.fields["run"]] = gr.update(choices=controls.pair_choices(pairs), value=fitting[0].id)
        return changes | {ui.hint: "  \n".join(filter(None, words))}

    def _receive_second(self, carried: Carried, family: str) -> dict[Any, Any]:
        ui, pairs = self.ui, self.lab.pairs(family)
        fitting = next((pair for pair in pairs if pair.condition == carried.condition), None)
        kind = f"**{carried.condition}** map" if carried.condition else "map"
        words = f"The {kind} lies under **A second condition** now, "
        words += f"with the pair *{fitting.title}*." if fitting else "but no pair of this family has learned such maps."
        return {
            ui.second.map: carried.map,
            ui.second.accordion: gr.Accordion(open=True),
            **dict(zip(ui.second.outputs, chosen(pairs, fitting.id if fitting else ""), strict=True)),
            ui.hint: "  \n".join(filter(None, [words, shape_words(self.lab, family, carried.map)])),
        }

    def _home(self, carried: Carried, family: str) -> str:
        """The family that draws from a map: the one that is chosen, unless the map moves and that one cannot."""
        length = clip_length(self.lab, carried.map)
        if not length or self.lab.frames_of(family) == length:
            return family
        for view in self.lab.families():
            if view.installed and view.frames == length and self.lab.pairs(view.name, carried.condition):
                return view.name
        return family

    def _title(self, family: str) -> str:
        return next(view.title for view in self.lab.families() if view.name == family)

    def judge(self, image: Image.Image | None, family: str) -> str:
        """Warn when a photograph was given where a map belongs, or a map of another shape than the pictures."""
        if image is None:
            return ""
        return shape_words(self.lab, family, image) if looks_like_map(image) else NO_MAP_YET

    def fitting(self, family: str, pair: PairView | None, condition: Image.Image | None) -> tuple[Any, Any, str]:
        """A scene's map and caption where the map is a picture and the family makes clips, or the reverse.

        Returns:
            What becomes of condition and prompt, and what to say about it.
        """
        frames = self.lab.frames_of(family)
        if pair is None or clip_length(self.lab, condition) == frames:
            return gr.skip(), gr.skip(), ""
        scene = self.lab.render_scene(0, frames)
        if pair.condition not in scene.maps:
            return gr.skip(), gr.skip(), shape_words(self.lab, family, condition) if condition is not None else ""
        which = "in motion" if frames else "that stands still"
        told = f"The map did not suit this family: condition and prompt are those of a scene {which} now."
        return scene.maps[pair.condition], scene.caption, told

    def play(self, family: str, condition: Image.Image | None, shown: Shown | None) -> str:
        """Let the clips that are on the page move: those that were drawn, or else the map alone."""
        if shown is not None and shown.frames:
            return player(shown.frames)
        frames = self.lab.frames_of(family)
        moves = frames and clip_length(self.lab, condition) == frames
        return player(frames, f"The condition map is a clip of {frames} frames.") if moves else ""
