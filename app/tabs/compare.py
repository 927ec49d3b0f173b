"""Compare: one prompt, one condition, one noise; baseline and LISA side by side."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Sequence
from typing import Any

import gradio as gr
from PIL import Image

from app import controls
from app.clips import map_under, picture_of, player
from app.guard import guarded, plain_error
from app.plots import overlay
from app.shared import Shared
from app.sides import arm_heading, side_choices, title_of, two_sides
from app.tabs._compare_blind import BlindTest
from app.tabs._compare_grid import Grid
from app.tabs._compare_maps import Maps
from app.tabs._compare_page import NO_PAIRS, ComparePage, Shown, save_png
from app.tabs._compare_second import chosen, given_map, second_choices, second_steps
from app.tabs._compare_settings import Settings
from app.waiting import reporter
from lisa.errors import LisaError
from lisa.lab import Lab, PairView
from lisa.options import from_dict, options
from lisa.report import Report, tell_nobody
from lisa.settings import SEED_LIMIT, GenerateSettings

TITLE = "Compare"
ORDER = 10
QUIET = {"show_progress": "hidden", "api_visibility": "private"}


def build(lab: Lab, shared: Shared) -> None:
    """Draw the tab and wire it."""
    Compare(lab, shared)


class Compare:
    """What happens between the components of the tab."""

    def __init__(self, lab: Lab, shared: Shared) -> None:
        self.lab = lab
        self.ui = ComparePage(lab)
        self.of_pair = [self.ui.fields["checkpoint"], *self.ui.arms, self.ui.hint]
        self._wire_generation()
        opened = self._wire_choices(shared)
        self._wire_close_up()
        self.maps = Maps(self, shared)
        self.settings_back = Settings(self, opened)
        self.grid, self.blind = Grid(self), BlindTest(self)

    def _wire_generation(self) -> None:
        ui = self.ui
        form = [ui.condition, ui.random_seed, *ui.arms, ui.second.map, ui.start.picture]
        gpu = {"inputs_kwargs": ui.fields, "concurrency_id": "gpu", "concurrency_limit": 1}
        # What programs ask for: the same form, and the files in the place of what the page shows of them.
        gr.Button(visible=False).click(
            guarded(self.answer), form, [*ui.pictures, ui.status, ui.fields["seed"]], api_name="generate", **gpu
        )
        gr.on(
            [ui.go.click, ui.fields["prompt"].submit],
            guarded(self.generate),
            form,
            [*ui.pictures, *ui.headings, *ui.downloads, ui.slider, ui.status, ui.fields["seed"], ui.shown],
            api_visibility="private",
            show_progress_on=ui.pictures,
            **gpu,
        ).success(guarded(lay_over), [ui.shown, ui.opacity, ui.under], [ui.over], **QUIET).success(
            lambda shown: player(shown.frames), [ui.shown], [ui.player], **QUIET
        )

    def _wire_choices(self, shared: Shared) -> Any:
        family, run = self.ui.fields["family"], self.ui.fields["run"]
        second, step = self.ui.second, self.ui.fields["checkpoint"]
        # A map that is carried here opens the tab and changes what is chosen at the same time: look after that.
        opened = shared.on_open(lambda: None, None, None, **QUIET).then(
            guarded(self.refresh), [family, run, step, *second.outputs],
            [family, run, step, *second.outputs, self.ui.families_note], **QUIET,
        )  # fmt: skip
        family.input(
            guarded(self.choose_family),
            [family, self.ui.condition],
            [run, *second.outputs, *self.of_pair, self.ui.condition, self.ui.fields["prompt"]],
            **QUIET,
        )
        second.fields["second_run"].input(
            guarded(self.choose_second), [family, second.fields["second_run"]], second.outputs, **QUIET
        )
        second.clear.click(
            guarded(lambda name: (None, *self.choose_second(name, ""))),
            [family],
            [second.map, *second.outputs],
            **QUIET,
        )
        self.ui.start.follow(family)
        run.input(guarded(self.choose_pair), [run], self.of_pair, **QUIET)
        return opened

    def _wire_close_up(self) -> None:
        self.ui.divider.input(move_divider, [self.ui.divider], [self.ui.slider], **QUIET, trigger_mode="always_last")
        gr.on(
            [self.ui.opacity.input, self.ui.under.input],
            guarded(lay_over),
            [self.ui.shown, self.ui.opacity, self.ui.under],
            [self.ui.over],
            **QUIET,
            trigger_mode="always_last",
        )

    def generate(
        self,
        condition: Image.Image | None,
        random_seed: bool,
        left_arm: str,
        right_arm: str,
        second: Image.Image | None = None,
        first_frame: Image.Image | None = None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  (how Gradio hands it over)
        **values: Any,
    ) -> tuple[Any, ...]:
        """Generate with each of two side networks and show it."""
        report = reporter(progress)
        results, words, seed = self._draw(
            condition, random_seed, (left_arm, right_arm), second, first_frame, values, report
        )
        frames = len(results[0].clip)
        shown = Shown(map_under(condition, frames), tuple(picture_of(result) for result in results), frames)
        return *self._pictures(results), words, seed, shown

    def answer(
        self,
        condition: Image.Image | None,
        random_seed: bool,
        left_arm: str,
        right_arm: str,
        second: Image.Image | None = None,
        first_frame: Image.Image | None = None,
        **values: Any,
    ) -> tuple[str, str, str, int]:
        """Generate one image with each of two side networks, from the same prompt, condition and noise.

        The files are PNGs that carry their settings, of clips animated ones; then what was done, and the seed.
        """
        arms = (left_arm, right_arm)
        results, words, seed = self._draw(condition, random_seed, arms, second, first_frame, values, tell_nobody)
        left, right = (self._keep(result) for result in results)
        return left, right, words, seed

    def _draw(
        self,
        condition: Image.Image | None,
        random_seed: bool,
        arms: tuple[str, str],
        second: Image.Image | None,
        first_frame: Image.Image | None,
        values: dict[str, Any],
        report: Report,
    ) -> tuple[list[Any], str, int]:
        """What the left and the right network drew, what there is to say of it, and the seed."""
        if not isinstance(random_seed, bool):
            raise LisaError(f"'New seed each time' is {str(random_seed)[:40]!r}, but must be true or false.")
        if random_seed:
            values["seed"] = secrets.randbelow(SEED_LIMIT + 1)
        settings = self.settings(condition, arms, values)
        images = self.drawn(settings, condition, second, first_frame, report)
        results = {result.arm: result for result in images}
        return [results[arm] for arm in arms], self._report(settings, images), settings.seed

    def drawn(
        self,
        settings: GenerateSettings,
        condition: Image.Image,
        second: Image.Image | None,
        first_frame: Image.Image | None,
        report: Report,
    ) -> Sequence[Any]:
        """What the lab generates for settings of the form, with what of the other pictures they have a use for."""
        start = self.ui.start.given(settings.family, first_frame)
        return self.lab.generate(settings, condition, report, given_map(settings, second), first_frame=start)

    def settings(
        self, condition: Image.Image | None, arms: tuple[str, str], values: dict[str, Any]
    ) -> GenerateSettings:
        """What the form asks for.

        Args:
            condition: the map, which must be there.
            arms: on the left and on the right.
            values: of the form's fields.

        Raises:
            LisaError: if something is missing or wrong.
        """
        if condition is None:
            raise LisaError("There is no condition yet: upload a map, or make one on the Condition tab.")
        names = ",".join(dict.fromkeys(map(str, arms)))
        asked = {**values, "condition": self._pair(values).condition, "arms": names}
        return from_dict(GenerateSettings, asked)

    def _pair(self, values: dict[str, Any]) -> PairView:
        """Check the form, and find the pair that it names."""
        if not values.get("run"):
            raise LisaError(
                "No pair of checkpoints is chosen: choose one from the list, or train one on the Train tab first."
            )
        controls.check_form(GenerateSettings, values)
        pair = controls.find_pair(self.lab.pairs(), values["run"])
        if pair is None:
            raise LisaError(f"There is no pair {values['run'][:80]!r}: choose one from the list.")
        return pair

    def _pictures(self, results: list[Any]) -> tuple[Any, ...]:
        """The pictures, their headings and downloads, and the two under the divider."""
        files = [self._keep(result) for result in results]
        titles = [title_of(result.arm) for result in results]
        shown = [picture_of(each) if each.clip else file for each, file in zip(results, files, strict=True)]
        pictures = [
            gr.Image(each, label=title, alt_text=f"Drawn by {title}") for each, title in zip(shown, titles, strict=True)
        ]
        downloads = [
            gr.DownloadButton(f"Download {title}", value=file, interactive=True)
            for file, title in zip(files, titles, strict=True)
        ]
        return *pictures, *(arm_heading(result.arm) for result in results), *downloads, tuple(shown)

    def _keep(self, result: Any) -> str:
        """Write the PNG with its settings where Gradio may serve it, and where it is swept after a day."""
        with tempfile.TemporaryDirectory() as folder:
            return self.ui.downloads[0].move_resource_to_block_cache(save_png(self.lab, result, folder))

    def _report(self, settings: GenerateSettings, results: Sequence[Any]) -> str:
        pair = controls.find_pair(self.lab.pairs(), settings.run)
        each = ", ".join(f"{title_of(result.arm)} {result.seconds:.1f} s" for result in results)
        step = int(settings.checkpoint.removeprefix("step-") or pair.steps[-1])
        return (
            f"**Done in {sum(result.seconds for result in results):.1f} s** ({each}): seed {settings.seed}, "
            f"{settings.steps} steps, {pair.condition} at training step {step:,}{self._and_second(settings)}."
            + "".join(f" {_cut_words(name, *count)}" for name, count in results[0].cut.items())
        )

    def _and_second(self, settings: GenerateSettings) -> str:
        pair = controls.find_pair(self.lab.pairs(), settings.second_run)
        return f", and {pair.condition} at strength {settings.second_strength:g}" if pair else ""

    def refresh(
        self, family: str, run: str | None, step: str | None, second_run: str | None, second_step: str | None
    ) -> tuple[Any, ...]:
        """Look up families, pairs and their training steps again; keep what is chosen."""
        families = self.lab.families()
        missing = [f"- {view.title}: {view.reason}" for view in families if not view.installed]
        note = "**Families that cannot be used here**\n\n" + "\n".join(missing) if missing else ""
        pairs = self.lab.pairs(family)
        choices = controls.pair_choices(pairs)
        steps = controls.step_choices(controls.find_pair(pairs, controls.kept(choices, run) or ""))
        return (
            gr.update(choices=controls.family_choices(families)),
            controls.relisted(choices, run),
            controls.relisted(steps, step),
            controls.relisted(second_choices(pairs), second_run or ""),
            controls.relisted(second_steps(pairs, second_run), second_step or ""),
            note,
        )

    def choose_second(self, family: str, run: str | None) -> tuple[Any, ...]:
        """List the training steps of the second pair."""
        return chosen(self.lab.pairs(family), run or "")

    def choose_family(self, family: str, condition: Image.Image | None) -> tuple[Any, ...]:
        """List the pairs of a family and take the first; clips get a moving scene to begin with, images a still one."""
        pairs = self.lab.pairs(family)
        pair = pairs[0] if pairs else None
        choices = gr.update(choices=controls.pair_choices(pairs), value=pair.id if pair else None)
        map_, caption, words = self.maps.fitting(family, pair, condition)
        return choices, *chosen(pairs, ""), *self.choices_of(pair), words if pair else NO_PAIRS, map_, caption

    def choose_pair(self, run: str) -> tuple[Any, ...]:
        """List what belongs to a pair: training steps and arms."""
        return *self.choices_of(controls.find_pair(self.lab.pairs(), run)), ""

    def choices_of(self, pair: PairView | None) -> tuple[Any, ...]:
        """The training steps and the arms of a pair as choices, at first the last step, baseline and LISA."""
        steps = controls.step_choices(pair)
        pairs = self.lab.pairs(pair.family) if pair else ()
        arms = [gr.update(choices=side_choices(pair, pairs), value=name) for name in two_sides(pair, pairs)]
        return gr.update(choices=steps, value=steps[0][1] if steps else None), *arms


def _cut_words(name: str, given: int, read: int) -> str:
    """Say that the end of a prompt was not read."""
    label = next(declared.label for field, declared, *_ in options(GenerateSettings) if field == name)
    return f"**{label} cut**: it has {given} tokens, of which the first {read} were read; put what matters there."


def move_divider(position: float) -> gr.ImageSlider:
    """Move the divider between the two pictures, 0 to 100 %."""
    return gr.ImageSlider(slider_position=position)


def lay_over(shown: Shown | None, opacity: float, under: int) -> Image.Image:
    """Lay the condition over one of the pictures."""
    if shown is None:
        raise LisaError("There is no image yet: generate a pair first.")
    if not 0 <= opacity <= 1 or under not in (0, 1):
        raise plain_error("The opacity is a number from 0 to 1, and the image is the left or the right one.")
    return overlay(shown.images[under], shown.condition, opacity)
