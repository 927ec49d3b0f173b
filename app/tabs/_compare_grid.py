"""Below the pair: a grid over one setting, with its images as a zip."""

from __future__ import annotations

import json
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from PIL import Image

from app import controls
from app.clips import picture_of, player
from app.guard import guarded
from app.sides import title_of
from app.tabs._compare_second import given_map
from app.waiting import part_of, reporter
from lisa.arms import file_word
from lisa.errors import LisaError
from lisa.lab import PairView
from lisa.options import check, check_value, options, parse_text
from lisa.pairs import find_side
from lisa.settings import GenerateSettings

if TYPE_CHECKING:
    from app.tabs.compare import Compare

QUIET = {"show_progress": "hidden", "api_visibility": "private"}
MOST = 12
KNOBS = {
    "Seed": ("seed", "0, 1, 2, 3", "seed {}"),
    "Control strength": ("strength", "0, 0.5, 1, 1.5", "strength {}"),
    "Second strength": ("second_strength", "0, 0.5, 1, 1.5", "second strength {}"),
    "Guidance": ("guidance", "1, 2, 3, 5", "guidance {}"),
    "Sampling steps": ("steps", "5, 10, 20, 40", "{} sampling steps"),
    "Training step": ("checkpoint", "", "training step {}"),
    "Arm: lambda or tap": ("arms", "", ""),
}


class Grid:
    """The grid of a Compare tab.

    Args:
        compare: the tab; its form says what to generate.
    """

    def __init__(self, compare: Compare) -> None:
        self.compare, self.lab = compare, compare.lab
        self._draw()
        self._wire()

    def _draw(self) -> None:
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

    def _wire(self) -> None:
        ui = self.compare.ui
        form = [ui.condition, ui.second.map, ui.start.picture, *ui.arms]
        gpu = {"concurrency_id": "gpu", "concurrency_limit": 1, "api_visibility": "private"}
        first = json.dumps({name: values for name, (_, values, _) in KNOBS.items()})
        # In the browser: an answer of the server could come after values that were typed meanwhile.
        self.knob.input(None, [self.knob], [self.values], js=f"name => ({first})[name]", **QUIET)
        self.draw.click(
            guarded(self.draw_grid), [*form, self.knob, self.values], [self.grid, self.zip, ui.player],
            inputs_kwargs=ui.fields, show_progress_on=[self.grid], **gpu,
        )  # fmt: skip

    def draw_grid(
        self,
        condition: Image.Image | None,
        second: Image.Image | None,
        first_frame: Image.Image | None,
        left: str,
        right: str,
        knob: str,
        values: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  (how Gradio hands it over)
        **form: Any,
    ) -> tuple[Any, ...]:
        """Generate every value of one setting with both networks."""
        settings = self.compare.settings(condition, (left, right), form)
        variants = self.variants(settings, knob, values)
        images: dict[str, list[Any]] = {}
        told = reporter(progress)
        lengths = [each.steps * len(each.arm_names()) for _, each in variants]
        for number, (title, each) in enumerate(variants):
            report = part_of(told, "drawing the grid", sum(lengths[:number]), sum(lengths))
            for image in self.compare.drawn(each, condition, second, first_frame, report):
                images.setdefault(image.arm, []).append((image, title))
        shown = [
            (picture_of(image), ", ".join(filter(None, [title_of(arm), title])))
            for arm, row in images.items()
            for image, title in row
        ]
        clip = next(iter(images.values()))[0][0].clip
        return (
            gr.Gallery(shown, columns=len(variants), visible=True),
            gr.DownloadButton(value=self._zip(images, condition, given_map(settings, second)), visible=True),
            player(len(clip)) if clip else gr.skip(),
        )

    def variants(self, settings: GenerateSettings, knob: str, values: str) -> list[tuple[str, GenerateSettings]]:
        """Take a list of values apart, each once.

        Returns:
            What stands under the pictures, and the settings they are drawn with.

        Raises:
            LisaError: if a value is wrong, or there are none or too many.
        """
        if knob not in KNOBS:
            raise LisaError(f"There is no setting {str(knob)[:40]!r} to change: choose one from the list.")
        name = KNOBS[knob][0]
        if name == "second_strength" and not settings.second_run:
            raise LisaError("There is no second condition whose strength could change: choose its pair and map first.")
        words = [part.strip() for part in (values or "").split(",") if part.strip()]
        pairs = self.lab.pairs()
        pair = controls.find_pair(pairs, settings.run)
        if name == "arms":
            found = words or list(pair.arms)
            for word in found:
                find_side(pairs, pair, word, settings.checkpoint)
        elif name == "checkpoint":
            found = [_step(pair, word) for word in words or map(str, pair.steps)]
        else:
            hint, declared = next((h, o) for field, o, h, _ in options(GenerateSettings) if field == name)
            found = [parse_text(knob, word, hint, declared) for word in words]
            for value in found:
                check_value(knob, value, hint, declared)
        found = list(dict.fromkeys(found))
        if not 1 <= len(found) <= MOST:
            raise LisaError(f"There are {len(found)} different values: give 1 to {MOST}, joined by commas.")
        return [(_caption(knob, value), check(replace(settings, **{name: value}))) for value in found]

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
                        pack.write(Path(folder) / "one.png", f"{number:02d}-{file_word(arm)}.png")
            return self.zip.move_resource_to_block_cache(str(path))


def _step(pair: PairView, word: str) -> str:
    """The name of a checkpoint that is written as its number or as its name."""
    known = {str(step): step for step in pair.steps}
    number = word.removeprefix("step-").lstrip("0") or "0"  # an imported network stands at step 0
    if number not in known:
        raise LisaError(f"There is no training step {word[:40]!r}: choose of {', '.join(known)}.")
    return f"step-{known[number]:06d}"


def _caption(knob: str, value: Any) -> str:
    """What stands under a picture beside the name of its arm, such as "strength 0.5"; nothing where arms change."""
    if KNOBS[knob][0] == "checkpoint":
        value = f"{int(value.removeprefix('step-')):,}"
    return KNOBS[knob][2].format(f"{value:g}" if isinstance(value, float) else value)
