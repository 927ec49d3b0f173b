"""Compare: one prompt, one condition, one noise; baseline and LISA side by side."""

from __future__ import annotations

import html
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from app import controls
from app.guard import guarded, plain_error
from app.intake import SafeImage, looks_like_map
from app.plots import overlay
from app.shared import Carried, Shared
from lisa.errors import LisaError
from lisa.lab import Example, Lab, PairView
from lisa.options import from_dict
from lisa.settings import SEED_LIMIT, GenerateSettings

TITLE = "Compare"
ORDER = 10
OPACITY = 0.6
ABOUT_ARMS = {"baseline": "trained plainly", "lisa": "trained with score alignment"}
NO_PAIRS = (
    "There is no trained pair for this family yet: train one with `python -m lisa train`, "
    "or choose another family."
)


@dataclass(frozen=True)
class Shown:
    """The pair on screen, for the views that are made from it."""

    condition: Image.Image
    images: tuple[Image.Image, Image.Image]


def build(lab: Lab, shared: Shared) -> None:
    """Draw the tab and wire it."""
    Compare(lab, shared)


def title_of(arm: str) -> str:
    """An arm's name for people."""
    return "LISA" if arm == "lisa" else arm.capitalize()


def heading(kind: str, title: str, about: str) -> str:
    """The line above a picture: a dot in the arm's colour, its name, what it is."""
    colour = kind if kind in ("condition", "baseline") else "lisa"
    title, about = html.escape(title), html.escape(about)
    return f'<p class="heading {colour}"><i class="mark {colour}"></i><b>{title}</b> <span>{about}</span></p>'


def arm_heading(arm: str) -> str:
    """The line above an arm's picture."""
    return heading(arm, title_of(arm), ABOUT_ARMS.get(arm, "another arm of the run"))


def two_arms(pair: PairView | None) -> tuple[str, str]:
    """The arms that are compared at first: baseline and lisa where the pair has them."""
    known = pair.arms if pair else ()
    ordered = [arm for arm in ("baseline", "lisa") if arm in known]
    ordered += [arm for arm in known if arm not in ordered]
    ordered = ordered or ["baseline", "lisa"]
    return ordered[0], ordered[1] if len(ordered) > 1 else ordered[0]


class Compare:
    """The components of the tab, and what happens between them."""

    def __init__(self, lab: Lab, shared: Shared) -> None:
        self.lab = lab
        self.fields: dict[str, gr.components.Component] = {}
        example = lab.example()
        settings = example.settings if example else GenerateSettings()
        pairs = lab.pairs(settings.family)
        pair = controls.find_pair(pairs, settings.run) or self._best(pairs, settings.condition)
        self._draw_prompt(settings)
        self._draw_stage(example, pair)
        self._draw_settings(settings, pairs, pair)
        self._draw_expert(settings, pair)
        self._draw_close_up(example)
        self._wire_generation()
        self._wire_choices(shared)
        self._wire_close_up()

    # What is on the page

    def _draw_stage(self, example: Example | None, pair: PairView | None) -> None:
        arms = tuple(example.settings.arm_names()[:2]) if example else two_arms(pair)
        images = [example.images[arm] for arm in arms] if example else [None, None]
        condition = example.condition if example else self.lab.render_scene(0).maps["canny"]
        frame = {"format": "png", "show_label": False, "elem_classes": "picture"}
        with gr.Row(elem_classes="stage"):
            with gr.Column(min_width=100, elem_classes="condition"):
                gr.HTML(heading("condition", "Condition", "what both must follow"), padding=False)
                self.condition = SafeImage(
                    condition, label="Condition map", type="pil", sources=["upload", "clipboard"],
                    buttons=["fullscreen"], placeholder="Drop a condition map here, or make one on the Condition tab",
                    **frame,
                )  # fmt: skip
            self.headings, self.pictures, self.downloads = [], [], []
            for arm, image, side in zip(arms, images, ("left", "right"), strict=True):
                with gr.Column(min_width=100, elem_classes=side):
                    self.headings.append(gr.HTML(arm_heading(arm), padding=False))
                    self.pictures.append(
                        gr.Image(image, label=title_of(arm), type="pil", interactive=False, buttons=["fullscreen"],
                                 elem_id=f"{side}-picture", alt_text=f"Image by {title_of(arm)}", **frame)
                    )  # fmt: skip
                    self.downloads.append(
                        gr.DownloadButton(f"Download {title_of(arm)}", size="sm", interactive=False)
                    )
            with gr.Column(min_width=100, elem_classes="words"):
                self.status = gr.Markdown(self._first_words(example), elem_id="status")
                self.hint = gr.Markdown("", elem_id="hint")
        self.shown = gr.State(Shown(condition, tuple(images)) if example else None)

    def _first_words(self, example: Example | None) -> str:
        if not example:
            return "Nothing has been generated yet: press the button to see a first pair."
        made = example.settings
        return (
            f"**A finished example** for you to change: *{made.prompt}*, seed {made.seed}, "
            f"{made.steps} steps. Press the button to make your own."
        )

    def _draw_prompt(self, settings: GenerateSettings) -> None:
        with gr.Row(elem_classes="prompt", equal_height=False):
            self.fields["prompt"] = controls.control(
                GenerateSettings, "prompt", value=settings.prompt, scale=4, max_lines=3, min_width=240,
                info="What the image should show. The embedded world knows spheres, cubes, cylinders, cones and "
                     "mannequins.",
            )  # fmt: skip
            self.go = gr.Button("Generate the pair", variant="primary", size="lg", scale=1, min_width=200, elem_id="go")

    def _draw_settings(self, settings: GenerateSettings, pairs: tuple[PairView, ...], pair: PairView | None) -> None:
        families = dict.fromkeys([settings.family, *(each.family for each in self.lab.pairs())])
        with gr.Row(elem_classes="settings"):
            self.fields["family"] = controls.control(
                GenerateSettings, "family", choices=list(families), value=settings.family, min_width=150
            )
            self.fields["run"] = controls.control(
                GenerateSettings, "run", choices=controls.pair_choices(pairs), value=pair.id if pair else None,
                label="Pair", info="Condition and run of both networks.", min_width=150,
            )  # fmt: skip
            steps = controls.step_choices(pair)
            self.fields["checkpoint"] = controls.control(
                GenerateSettings, "checkpoint", choices=steps, value=steps[0][1] if steps else None,
                label="Training step", info="Earlier steps show who learns sooner.", min_width=150,
            )  # fmt: skip
            with gr.Column(min_width=150, elem_classes="seed"):
                self.fields["seed"] = controls.control(GenerateSettings, "seed", value=settings.seed)
                self.random_seed = gr.Checkbox(label="New seed each time", container=False)
        with gr.Row(elem_classes="settings"):
            self.fields["steps"] = controls.control(
                GenerateSettings, "steps", value=settings.steps, min_width=200, info="More steps take longer."
            )
            for name in ("guidance", "strength"):
                self.fields[name] = controls.control(
                    GenerateSettings, name, value=getattr(settings, name), min_width=200
                )

    def _draw_expert(self, settings: GenerateSettings, pair: PairView | None) -> None:
        arms = two_arms(pair)
        known = list(pair.arms) if pair else list(arms)
        with gr.Accordion("Expert settings", open=False):
            self.fields["negative_prompt"] = controls.control(
                GenerateSettings, "negative_prompt", value=settings.negative_prompt
            )
            with gr.Row():
                for name in ("control_start", "control_end"):
                    self.fields[name] = controls.control(GenerateSettings, name, value=getattr(settings, name))
            with gr.Row():
                self.arms = [
                    controls.Choice(known, value=arm, label=f"Arm on the {side}", info="Which network of the run draws.")
                    for arm, side in zip(arms, ("left", "right"), strict=True)
                ]
            with gr.Row():
                self.png = gr.UploadButton("Take the settings from a PNG of the lab", file_types=[".png"], size="sm")
            self.families_note = gr.Markdown("")

    def _draw_close_up(self, example: Example | None) -> None:
        images = tuple(self.shown.value.images) if example else None
        over = overlay(images[1], example.condition, OPACITY) if example else None
        gr.Markdown("## Look closer", elem_classes="closer")
        with gr.Row(elem_classes="close-up"):
            with gr.Column(min_width=280):
                self.slider = gr.ImageSlider(
                    images, format="png", type="pil", interactive=False, label="Baseline under LISA",
                    show_label=False, buttons=["fullscreen"], slider_position=50, elem_classes="picture",
                )  # fmt: skip
                self.divider = gr.Slider(
                    0, 100, 50, step=1, label="Divider", elem_id="divider",
                    info="Left of it is the left picture, right of it the right one; drag it, or use the arrow keys.",
                )  # fmt: skip
            with gr.Column(min_width=280):
                self.over = gr.Image(
                    over, format="png", type="pil", interactive=False, label="Condition over the image",
                    show_label=False, buttons=["fullscreen"], elem_id="overlay", elem_classes="picture",
                    alt_text="Condition over the image",
                )  # fmt: skip
                with gr.Row():
                    self.opacity = gr.Slider(
                        0, 1, OPACITY, step=0.05, label="Opacity of the condition", elem_id="opacity", scale=2,
                        info="How strongly the map is laid over the image; edges are drawn in pink.", min_width=160,
                    )  # fmt: skip
                    self.under = gr.Radio(
                        [("Left", 0), ("Right", 1)], value=1, label="Over which image", min_width=120,
                        info="The picture that lies below.",
                    )  # fmt: skip

    # What happens

    def _wire_generation(self) -> None:
        gr.on(
            [self.go.click, self.fields["prompt"].submit],
            guarded(self.generate),
            [self.condition, self.random_seed, *self.arms],
            [*self.pictures, self.status, *self.downloads, self.slider, self.over, *self.headings, self.fields["seed"],
             self.shown],
            inputs_kwargs=self.fields,
            validator=validate_form,
            api_name="generate",
            concurrency_id="gpu",
            concurrency_limit=1,
            show_progress_on=self.pictures,
        )  # fmt: skip

    def _wire_choices(self, shared: Shared) -> None:
        quiet = {"show_progress": "hidden", "api_visibility": "private"}
        family, run = self.fields["family"], self.fields["run"]
        of_pair = [self.fields["checkpoint"], *self.arms, self.hint]
        shared.page.load(guarded(self.refresh), [family, run], [family, run, self.families_note], **quiet)
        family.input(guarded(self.choose_family), [family], [run, *of_pair], **quiet)
        run.input(guarded(self.choose_pair), [run], of_pair, **quiet)
        self.condition.upload(guarded(self.judge_upload), [self.condition], [self.hint], **quiet)
        shared.carried.change(
            guarded(self.receive),
            [shared.carried, family],
            [self.condition, self.fields["prompt"], run, *of_pair],
            **quiet,
        )
        self.png.upload(
            guarded(self.take_settings), [self.png], [*self.fields.values(), *self.arms, self.hint], **quiet
        )

    def _wire_close_up(self) -> None:
        quiet = {"show_progress": "hidden", "api_visibility": "private", "trigger_mode": "always_last"}
        self.divider.input(move_divider, [self.divider], [self.slider], **quiet)
        gr.on(
            [self.opacity.input, self.under.input],
            guarded(lay_over),
            [self.shown, self.opacity, self.under],
            [self.over],
            **quiet,
        )

    def generate(
        self,
        condition: Image.Image | None,
        random_seed: bool,
        left_arm: str,
        right_arm: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  (how Gradio hands it over)
        **values: Any,
    ) -> tuple[Any, ...]:
        """Generate one image with each of two side networks, from the same prompt, condition and noise."""
        if condition is None:
            raise LisaError("There is no condition yet: upload a map, or make one on the Condition tab.")
        pair = controls.find_pair(self.lab.pairs(), values.get("run") or "")
        if pair is None:
            raise LisaError(f"There is no pair {values.get('run')!r}: choose one from the list.")
        if random_seed is True:
            values["seed"] = secrets.randbelow(SEED_LIMIT + 1)
        arms = (left_arm, right_arm)
        values |= {"condition": pair.condition, "arms": ",".join(dict.fromkeys(map(str, arms)))}
        settings = from_dict(GenerateSettings, values)
        results = {
            result.arm: result
            for result in self.lab.generate(
                settings, condition, lambda done, total, what: progress((done, total), desc=what, unit="steps")
            )
        }
        pair_of_results = [results[arm] for arm in arms]
        files = [self._keep(result) for result in pair_of_results]
        shown = Shown(condition, tuple(result.image for result in pair_of_results))
        words = self._report(settings, pair, list(results.values()))
        buttons = [gr.DownloadButton(f"Download {title_of(arm)}", value=file, interactive=True)
                   for arm, file in zip(arms, files, strict=True)]  # fmt: skip
        pictures = [gr.Image(file, label=title_of(arm), alt_text=f"Image by {title_of(arm)}")
                    for arm, file in zip(arms, files, strict=True)]  # fmt: skip
        headings = [arm_heading(arm) for arm in arms]
        over = overlay(shown.images[1], condition, OPACITY)
        return (*pictures, words, *buttons, tuple(files), over, *headings, settings.seed, shown)

    def _keep(self, result: Any) -> str:
        """Write the PNG with its settings where Gradio may serve it, and where it is swept after a day."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"lisa-seed-{result.seed:06d}-{result.arm}.png"
            self.lab.save(result, path)
            return self.downloads[0].move_resource_to_block_cache(str(path))

    def _report(self, settings: GenerateSettings, pair: PairView, results: list[Any]) -> str:
        each = ", ".join(f"{title_of(result.arm)} {result.seconds:.1f} s" for result in results)
        step = int(settings.checkpoint.removeprefix("step-") or pair.steps[-1])
        return (
            f"**Done in {sum(result.seconds for result in results):.1f} s** ({each}): seed {settings.seed}, "
            f"{settings.steps} steps, {pair.condition} at training step {step:,}."
        )

    def refresh(self, family: str, run: str) -> tuple[Any, ...]:
        """Look up families and pairs again: runs may have finished since the app was started."""
        families = self.lab.families()
        missing = [f"- {view.title}: {view.reason}" for view in families if not view.installed]
        note = "**Families that cannot be used here**\n\n" + "\n".join(missing) if missing else ""
        pairs = controls.pair_choices(self.lab.pairs(family))
        return gr.update(choices=controls.family_choices(families)), gr.update(choices=pairs), note

    def choose_family(self, family: str) -> tuple[Any, ...]:
        """List the pairs of a family and take the first."""
        pairs = self.lab.pairs(family)
        pair = pairs[0] if pairs else None
        choices = gr.update(choices=controls.pair_choices(pairs), value=pair.id if pair else None)
        return choices, *self._of_pair(pair, "" if pair else NO_PAIRS)

    def choose_pair(self, run: str) -> tuple[Any, ...]:
        """List what belongs to a pair: training steps and arms."""
        return self._of_pair(controls.find_pair(self.lab.pairs(), run), "")

    def _of_pair(self, pair: PairView | None, hint: str) -> tuple[Any, ...]:
        steps = controls.step_choices(pair)
        arms = [gr.update(choices=list(pair.arms) if pair else [], value=arm) for arm in two_arms(pair)]
        return gr.update(choices=steps, value=steps[0][1] if steps else None), *arms, hint

    def _best(self, pairs: tuple[PairView, ...], condition: str) -> PairView | None:
        return next((pair for pair in pairs if pair.condition == condition), pairs[0] if pairs else None)

    def receive(self, carried: Carried | None, family: str) -> tuple[Any, ...]:
        """Take a map from the Condition tab, and the pair that learned this kind of map."""
        if carried is None:
            return (gr.skip(),) * 7
        pairs = self.lab.pairs(family)
        fitting = [pair for pair in pairs if pair.condition == carried.condition]
        hint = "" if fitting or not carried.condition else (
            f"No pair of this family has learned **{carried.condition}** maps: the chosen one will not understand it."
        )  # fmt: skip
        prompt = carried.caption or gr.skip()
        if not fitting:
            return carried.map, prompt, *(gr.skip(),) * 4, hint
        choices = gr.update(choices=controls.pair_choices(pairs), value=fitting[0].id)
        return carried.map, prompt, choices, *self._of_pair(fitting[0], hint)

    def judge_upload(self, image: Image.Image | None) -> str:
        """Warn when a photograph was given where a map belongs."""
        if image is None or looks_like_map(image):
            return ""
        return "This looks like a picture rather than a condition map: the **Condition** tab makes a map of it."

    def take_settings(self, file: str) -> tuple[Any, ...]:
        """Fill the form from a PNG that was downloaded from the lab."""
        settings = self.lab.settings_of(Path(file))
        pairs = self.lab.pairs(settings.family)
        pair = controls.find_pair(pairs, settings.run) or self._best(pairs, settings.condition)
        if pair is None:
            raise LisaError(f"There is no pair for {settings.family} here: train one first.")
        values: dict[str, Any] = {name: getattr(settings, name) for name in self.fields}
        values["run"] = gr.update(choices=controls.pair_choices(pairs), value=pair.id)
        steps, *arms, _ = self._of_pair(pair, "")
        if settings.checkpoint in dict(map(reversed, steps["choices"])):
            steps["value"] = settings.checkpoint
        values["checkpoint"] = steps
        return *values.values(), *arms, "The settings are back. A PNG does not hold its condition: give the same map."


def validate_form(condition: Any, random_seed: Any, left_arm: Any, right_arm: Any, **values: Any) -> list[dict]:
    """Check the form before it queues: a mistake is shown at its field, which may be out of sight, and as a toast."""
    verdicts = controls.validate(GenerateSettings, values)
    for verdict in verdicts:
        if not verdict["is_valid"]:
            gr.Warning(verdict["message"])
    return [gr.validate(True, "")] * 4 + verdicts


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
