"""Compare: one prompt, one condition, one noise; baseline and LISA side by side."""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from app import controls
from app.clips import map_under, picture_of, player
from app.guard import guarded, plain_error
from app.intake import looks_like_map
from app.plots import overlay
from app.shared import Carried, Shared
from app.tabs._compare_more import More
from app.tabs._compare_page import NO_PAIRS, ComparePage, Shown, arm_heading, best_pair, title_of, two_arms
from app.tabs._compare_second import chosen, given_map
from app.waiting import reporter
from lisa.errors import LisaError
from lisa.lab import Lab, PairView
from lisa.options import from_dict
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
        self._wire_generation()
        self._wire_choices(shared)
        self._wire_close_up()
        More(self)

    def _wire_generation(self) -> None:
        ui = self.ui
        gr.on(
            [ui.go.click, ui.fields["prompt"].submit],
            guarded(self.generate),
            [ui.condition, ui.random_seed, *ui.arms, ui.second.map],
            [*ui.pictures, *ui.headings, *ui.downloads, ui.slider, ui.status, ui.fields["seed"], ui.shown],
            inputs_kwargs=ui.fields,
            api_name="generate",
            concurrency_id="gpu",
            concurrency_limit=1,
            show_progress_on=ui.pictures,
        ).success(guarded(lay_over), [ui.shown, ui.opacity, ui.under], [ui.over], **QUIET)

    def _wire_choices(self, shared: Shared) -> None:
        family, run = self.ui.fields["family"], self.ui.fields["run"]
        of_pair = [self.ui.fields["checkpoint"], *self.ui.arms, self.ui.hint]
        second, step = self.ui.second, self.ui.fields["checkpoint"]
        shared.on_open(
            guarded(self.refresh), [family, run, step, *second.outputs],
            [family, run, step, *second.outputs, self.ui.families_note], **QUIET,
        )  # fmt: skip
        family.input(
            guarded(self.choose_family),
            [family, self.ui.condition],
            [run, *second.outputs, *of_pair, self.ui.condition, self.ui.fields["prompt"]],
            **QUIET,
        )
        family.change(guarded(self.play), [family], [self.ui.player], **QUIET)
        second.fields["second_run"].input(
            guarded(self.choose_second), [family, second.fields["second_run"]], second.outputs, **QUIET
        )
        second.clear.click(
            guarded(lambda name: (None, *self.choose_second(name, ""))),
            [family],
            [second.map, *second.outputs],
            **QUIET,
        )
        run.input(guarded(self.choose_pair), [run], of_pair, **QUIET)
        self.ui.condition.upload(guarded(self.judge_upload), [self.ui.condition], [self.ui.hint], **QUIET)
        shared.carried.change(
            guarded(self.receive),
            [shared.carried, family],
            [second.map, *second.outputs, self.ui.condition, self.ui.fields["prompt"], run, *of_pair],
            **QUIET,
        )
        self.ui.png.upload(
            guarded(self.take_settings),
            [self.ui.png],
            [*self.ui.fields.values(), *self.ui.arms, self.ui.hint],
            **QUIET,
        )

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
        progress: gr.Progress = gr.Progress(),  # noqa: B008  (how Gradio hands it over)
        **values: Any,
    ) -> tuple[Any, ...]:
        """Generate one image with each of two side networks, from the same prompt, condition and noise."""
        if random_seed is True:
            values["seed"] = secrets.randbelow(SEED_LIMIT + 1)
        arms = (left_arm, right_arm)
        settings = self.settings(condition, arms, values)
        pair = self._pair(values)
        images = self.lab.generate(settings, condition, reporter(progress), given_map(values, second))
        results = {result.arm: result for result in images}
        frames = len(results[arms[0]].clip)
        shown = Shown(map_under(condition, frames), tuple(picture_of(results[arm]) for arm in arms), frames)
        words = self._report(settings, pair, list(results.values()))
        return *self._pictures([results[arm] for arm in arms]), words, settings.seed, shown

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
            raise LisaError("No pair of checkpoints is chosen: choose one from the list, or train one first.")
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
            path = Path(folder) / f"lisa-seed-{result.seed:06d}-{result.arm}.png"
            self.lab.save(result, path)
            return self.ui.downloads[0].move_resource_to_block_cache(str(path))

    def _report(self, settings: GenerateSettings, pair: PairView, results: list[Any]) -> str:
        each = ", ".join(f"{title_of(result.arm)} {result.seconds:.1f} s" for result in results)
        step = int(settings.checkpoint.removeprefix("step-") or pair.steps[-1])
        return (
            f"**Done in {sum(result.seconds for result in results):.1f} s** ({each}): seed {settings.seed}, "
            f"{settings.steps} steps, {pair.condition} at training step {step:,}{self._and_second(settings)}."
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
        choice = controls.relisted(controls.pair_choices(pairs), run)
        steps = controls.step_choices(controls.find_pair(pairs, choice["value"] or ""))
        return (
            gr.update(choices=controls.family_choices(families)),
            choice,
            controls.relisted(steps, step),
            *chosen(pairs, second_run or "", second_step or ""),
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
        of_pair = self._of_pair(pair, "" if pair else NO_PAIRS)
        return choices, *chosen(pairs, ""), *of_pair, *self._fitting(family, pair, condition)

    def _fitting(self, family: str, pair: PairView | None, condition: Image.Image | None) -> tuple[Any, Any]:
        """A scene's map and caption where the present map is a picture and the family wants a strip, or the reverse."""
        frames = self.lab.frames_of(family)
        is_strip = condition is not None and condition.width > condition.height
        if pair is None or is_strip == bool(frames):
            return gr.skip(), gr.skip()
        scene = self.lab.render_scene(0, frames)
        if pair.condition not in scene.maps:
            return gr.skip(), gr.skip()
        return scene.maps[pair.condition], scene.caption

    def play(self, family: str) -> str:
        """Let the pictures of a family of clips move."""
        return player(self.lab.frames_of(family))

    def choose_pair(self, run: str) -> tuple[Any, ...]:
        """List what belongs to a pair: training steps and arms."""
        return self._of_pair(controls.find_pair(self.lab.pairs(), run), "")

    def _of_pair(self, pair: PairView | None, hint: str) -> tuple[Any, ...]:
        steps = controls.step_choices(pair)
        arms = [gr.update(choices=list(pair.arms) if pair else [], value=arm) for arm in two_arms(pair)]
        return gr.update(choices=steps, value=steps[0][1] if steps else None), *arms, hint

    def receive(self, carried: Carried | None, family: str) -> tuple[Any, ...]:
        """Take a map from the Condition tab, and the pair that learned this kind of map."""
        if carried is None:
            return (gr.skip(),) * 10
        pairs = self.lab.pairs(family)
        fitting = [pair for pair in pairs if pair.condition == carried.condition]
        if carried.second:
            return carried.map, *chosen(pairs, fitting[0].id if fitting else ""), *(gr.skip(),) * 7
        hint = ""
        if carried.condition and not fitting:
            hint = f"No pair of this family has learned **{carried.condition}** maps: this one will not follow."
        prompt = carried.caption or gr.skip()
        first = (*(gr.skip(),) * 3, carried.map, prompt)
        if not fitting:
            return *first, *(gr.skip(),) * 4, hint
        choices = gr.update(choices=controls.pair_choices(pairs), value=fitting[0].id)
        return *first, choices, *self._of_pair(fitting[0], hint)

    def judge_upload(self, image: Image.Image | None) -> str:
        """Warn when a photograph was given where a map belongs."""
        if image is None or looks_like_map(image):
            return ""
        return "This looks like a picture rather than a condition map: the **Condition** tab makes a map of it."

    def take_settings(self, file: str) -> tuple[Any, ...]:
        """Fill the form from a PNG that was downloaded from the lab."""
        settings = self.lab.settings_of(Path(file))
        pairs = self.lab.pairs(settings.family)
        pair = controls.find_pair(pairs, settings.run) or best_pair(pairs, settings.condition)
        if pair is None:
            raise LisaError(f"There is no pair for {settings.family} here: train one first.")
        values: dict[str, Any] = {name: getattr(settings, name) for name in self.ui.fields}
        values["run"] = gr.update(choices=controls.pair_choices(pairs), value=pair.id)
        steps, *arms, _ = self._of_pair(pair, "")
        if settings.checkpoint in dict(map(reversed, steps["choices"])):
            steps["value"] = settings.checkpoint
        values["checkpoint"] = steps
        values["second_run"], values["second_checkpoint"] = chosen(
            pairs, settings.second_run, settings.second_checkpoint
        )
        return (
            *values.values(),
            *arms,
            "The settings are back. A PNG does not hold its condition: give the same map.",
        )


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
