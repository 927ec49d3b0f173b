"""Below the pair: a grid over one knob with its images as a zip, and a blind test that counts votes."""

from __future__ import annotations

import json
import secrets
import tempfile
import zipfile
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from PIL import Image

from app import controls
from app.clips import picture_of
from app.guard import guarded
from app.tabs._compare_page import title_of
from app.tabs._compare_second import given_map
from app.waiting import part_of, reporter
from lisa.errors import LisaError
from lisa.options import check, options, parse_text
from lisa.settings import SEED_LIMIT, GenerateSettings

if TYPE_CHECKING:
    from app.tabs.compare import Compare

QUIET = {"show_progress": "hidden", "api_visibility": "private"}
MOST = 12
KNOBS = {
    "Seed": ("seed", "0, 1, 2, 3"),
    "Control strength": ("strength", "0, 0.5, 1, 1.5"),
    "Second strength": ("second_strength", "0, 0.5, 1, 1.5"),
    "Guidance": ("guidance", "1, 2, 3, 5"),
    "Sampling steps": ("steps", "5, 10, 20, 40"),
    "Training step": ("checkpoint", ""),
    "Arm: lambda or tap": ("arms", ""),
}


@dataclass
class Blind:
    """A blind test: which arm is on which side of the pair on screen, and the votes so far."""

    order: tuple[str, ...] = ()
    votes: Counter = field(default_factory=Counter)


class More:
    """The grid and the blind test of a Compare tab.

    Args:
        compare: the tab; its form says what to generate.
    """

    def __init__(self, compare: Compare) -> None:
        self.compare, self.lab = compare, compare.lab
        self._draw_grid()
        self._draw_blind()
        self._wire()

    def _draw_grid(self) -> None:
        with gr.Accordion("A grid over one setting", open=False):
            with gr.Row(elem_classes="settings"):
                self.knob = controls.Choice(
                    list(KNOBS), value="Seed", label="Setting", info="What changes from left to right."
                )
                self.values = gr.Textbox(
                    KNOBS["Seed"][1], label="Values", max_lines=1, elem_id="grid-values",
                    info=f"Up to {MOST}, joined by commas; of training steps and arms empty takes all.",
                )  # fmt: skip
                self.draw = gr.Button("Draw the grid", size="lg", elem_id="draw-grid")
            self.grid = gr.Gallery(
                label="One row for each network", height="auto", format="png", object_fit="contain", interactive=False,
                visible=False, elem_id="grid",
            )  # fmt: skip
            self.zip = gr.DownloadButton("Download all as a zip", size="sm", visible=False)

    def _draw_blind(self) -> None:
        with gr.Accordion("Blind test: which follows the condition better?", open=False):
            gr.Markdown("Both networks draw from a new seed, in an order that is not told until you have voted.")
            self.blind = gr.State(None)
            self.new = gr.Button("Show a pair", size="lg", elem_id="blind-new")
            with gr.Row(elem_classes="blind"):
                self.left, self.asked, self.right = (
                    gr.Image(
                        format="png", type="pil", interactive=False, label=name, elem_classes="picture", min_width=100,
                        elem_id=f"blind-{name.lower()}", alt_text=f"{name} image of the blind test",
                        buttons=["fullscreen"],
                    )
                    for name in ("Left", "Condition", "Right")
                )  # fmt: skip
            with gr.Row():
                self.votes = [
                    gr.Button(words, interactive=False, elem_id=f"vote-{i}")
                    for i, words in enumerate(("Left is better", "Right is better", "No difference"))
                ]
            self.tally = gr.Markdown("", elem_id="blind-tally")

    def _wire(self) -> None:
        ui = self.compare.ui
        form = [ui.condition, ui.second.map, *ui.arms]
        gpu = {"concurrency_id": "gpu", "concurrency_limit": 1, "api_visibility": "private"}
        first = json.dumps({name: values for name, (_, values) in KNOBS.items()})
        # In the browser: an answer of the server could come after values that were typed meanwhile.
        self.knob.input(None, [self.knob], [self.values], js=f"name => ({first})[name]", **QUIET)
        self.draw.click(
            guarded(self.draw_grid), [*form, self.knob, self.values], [self.grid, self.zip], inputs_kwargs=ui.fields,
            show_progress_on=[self.grid], **gpu,
        )  # fmt: skip
        self.new.click(
            guarded(self.show_blind), [*form, self.blind],
            [self.left, self.asked, self.right, self.blind, *self.votes, self.tally],
            inputs_kwargs=ui.fields, show_progress_on=[self.left, self.right], **gpu,
        )  # fmt: skip
        for i, button in enumerate(self.votes):
            button.click(guarded(self._voting(i)), [self.blind], [self.blind, *self.votes, self.tally], **QUIET)

    def draw_grid(
        self,
        condition: Image.Image | None,
        second: Image.Image | None,
        left: str,
        right: str,
        knob: str,
        values: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  (how Gradio hands it over)
        **form: Any,
    ) -> tuple[Any, ...]:
        """Generate every value of one setting with both networks."""
        settings = self.compare.settings(condition, (left, right), form)
        variants = self._variants(settings, knob, values)
        images: dict[str, list[Any]] = {}
        told = reporter(progress)
        lengths = [each.steps * len(each.arm_names()) for _, each in variants]
        for number, (title, each) in enumerate(variants):
            report = part_of(told, "drawing the grid", sum(lengths[:number]), sum(lengths))
            for image in self.lab.generate(each, condition, report, given_map(form, second)):
                images.setdefault(image.arm, []).append((image, title))
        shown = [
            (picture_of(image), title_of(arm) if title == arm else f"{title_of(arm)}, {title}")
            for arm, row in images.items()
            for image, title in row
        ]
        return (
            gr.Gallery(shown, columns=len(variants), visible=True),
            gr.DownloadButton(value=self._zip(images, condition, given_map(form, second)), visible=True),
        )

    def _variants(self, settings: GenerateSettings, knob: str, values: str) -> list[tuple[str, GenerateSettings]]:
        if knob not in KNOBS:
            raise LisaError(f"There is no setting {str(knob)[:40]!r} to change: choose one from the list.")
        name = KNOBS[knob][0]
        if name == "second_strength" and not settings.second_run:
            raise LisaError("There is no second condition whose strength could change: choose its pair and map first.")
        words = [part.strip() for part in (values or "").split(",") if part.strip()]
        pair = controls.find_pair(self.lab.pairs(), settings.run)
        if name == "checkpoint":
            words = [f"step-{int(word):06d}" if word.isdecimal() else word for word in words or map(str, pair.steps)]
        if name == "arms":
            words = pair.choose(",".join(words or pair.arms))
        if not 1 <= len(words) <= MOST:
            raise LisaError(f"There are {len(words)} values: give 1 to {MOST}, joined by commas.")
        hint = next(hint for field, _, hint, _ in options(GenerateSettings) if field == name)
        return [(_caption(word), check(replace(settings, **{name: parse_text(name, word, hint)}))) for word in words]

    def _zip(self, images: dict[str, list[Any]], condition: Image.Image, second: Image.Image | None) -> str:
        """Pack the PNGs, which carry their settings, with their conditions."""
        maps = {"condition.png": condition, **({"second-condition.png": second} if second else {})}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "lisa-grid.zip"
            with zipfile.ZipFile(path, "w") as pack:
                for name, image in maps.items():
                    image.save(Path(folder) / name)
                    pack.write(Path(folder) / name, name)
                for arm, row in images.items():
                    for number, (image, _) in enumerate(row):
                        self.lab.save(image, Path(folder) / "one.png")
                        pack.write(Path(folder) / "one.png", f"{number:02d}-{arm}.png")
            return self.zip.move_resource_to_block_cache(str(path))

    def show_blind(
        self,
        condition: Image.Image | None,
        second: Image.Image | None,
        left: str,
        right: str,
        blind: Blind | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  (as above)
        **form: Any,
    ) -> tuple[Any, ...]:
        """Generate a pair from a new seed and show it in an order that is not told."""
        if left == right:
            raise LisaError(f"Both sides are {left}: choose two different arms under Expert settings.")
        form["seed"] = secrets.randbelow(SEED_LIMIT + 1)
        settings = self.compare.settings(condition, (left, right), form)
        drawn = self.lab.generate(settings, condition, reporter(progress), given_map(form, second))
        images = {image.arm: picture_of(image) for image in drawn}
        order = (left, right) if secrets.randbelow(2) else (right, left)
        kept = blind.votes if blind else Counter()
        asked = gr.update(interactive=True)
        left, right = (images[arm] for arm in order)
        return left, condition, right, Blind(order, kept), asked, asked, asked, _tally(kept, "")

    def _voting(self, choice: int) -> Any:
        def vote(blind: Blind | None) -> tuple[Any, ...]:
            if blind is None or not blind.order:
                raise LisaError("There is no pair to vote on: press Show a pair first.")
            chosen = blind.order[choice] if choice < 2 else "neither"
            votes = blind.votes + Counter([chosen])
            told = f"Left was {title_of(blind.order[0])}, right was {title_of(blind.order[1])}."
            done = gr.update(interactive=False)
            return Blind((), votes), done, done, done, _tally(votes, told)

        return vote


def _caption(word: str) -> str:
    """A value as it stands under its pictures: "step 200" for "step-000200"."""
    return f"step {int(word.removeprefix('step-')):,}" if word.startswith("step-") else word


def _tally(votes: Counter, told: str) -> str:
    counted = ", ".join(f"{title_of(name)} {number}" for name, number in votes.most_common())
    return "  \n".join(filter(None, [told, f"**Votes**: {counted}" if counted else ""]))
