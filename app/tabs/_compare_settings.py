"""On the Compare tab: settings that come back, from a PNG of the lab or after a reload."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from app import controls
from app.guard import guarded
from app.sides import side_choices, title_of, two_sides
from app.tabs._compare_page import PNG_WORDS, best_pair
from app.tabs._compare_second import chosen
from lisa.errors import LisaError
from lisa.lab import PairView
from lisa.options import from_dict
from lisa.settings import GenerateSettings

if TYPE_CHECKING:
    from app.tabs.compare import Compare

QUIET = {"show_progress": "hidden", "api_visibility": "private"}
OF_PAIR = ("family", "run", "checkpoint", "second_run", "second_checkpoint")
LAST_TIME = (
    "The form is as it was when you last pressed the button. The browser does not keep the condition map: give yours "
    "again if it was another."
)
Filled = tuple[dict[Any, Any], list[str]]  # what components become, and a sentence for each setting that was lost


class Settings:
    """Fills the form of a Compare tab.

    Args:
        compare: the tab.
        opened: the event after which the page knows its pairs.
    """

    def __init__(self, compare: Compare, opened: Any) -> None:
        self.lab, self.ui = compare.lab, compare.ui
        ui = self.ui
        filled = [*ui.fields.values(), *ui.arms, ui.random_seed, ui.second.accordion]
        took = ui.png.upload(guarded(self.take), [ui.png], [*filled, ui.png_words, ui.png], **QUIET)
        took.failure(lambda: (PNG_WORDS, None), None, [ui.png_words, ui.png], **QUIET)
        # Key and secret are the same for every start of the lab, or else a restart would forget.
        self.kept = gr.BrowserState(None, storage_key="lisa-compare", secret="lisa")  # noqa: S106  (the page holds it)
        gr.on(
            [ui.go.click, ui.fields["prompt"].submit], keep, [ui.random_seed, *ui.arms], [self.kept],
            inputs_kwargs=ui.fields, queue=False, **QUIET,
        )  # fmt: skip
        self.first = gr.State(True)
        opened.then(guarded(self.give_back), [self.first, self.kept], [self.first, *filled, ui.hint], **QUIET)

    def take(self, file: str) -> dict[Any, Any]:
        """Fill the form from a PNG that was downloaded from the lab; say what could not be taken over."""
        settings = self.lab.settings_of(Path(file))
        changes, lost = self.fill(settings)
        maps = "conditions: give the same maps." if settings.second_run else "condition: give the same map."
        words = _listed("**The settings are back**", lost) + f"A PNG does not hold its {maps}"
        # The place is emptied for the next file.
        return {**changes, self.ui.random_seed: False, self.ui.png_words: words, self.ui.png: None}

    def give_back(self, first: bool, kept: Any) -> dict[Any, Any]:
        """Fill the form with what this browser has kept, once after the page was loaded."""
        try:
            settings = from_dict(GenerateSettings, kept["settings"]) if first else None
        except (LisaError, KeyError, TypeError):  # nothing yet, or kept by another version
            settings = None
        if settings is None:
            return {self.first: False}
        changes, lost = self.fill(settings)
        words = _listed("**Your settings are back**", lost) + LAST_TIME
        return {**changes, self.ui.random_seed: kept.get("random_seed") is True, self.first: False, self.ui.hint: words}

    def fill(self, settings: GenerateSettings) -> Filled:
        """Fill every field that has its setting here."""
        pairs = self.lab.pairs(settings.family)
        pair = controls.find_pair(pairs, settings.run) or best_pair(pairs, settings.condition)
        changes = {field: getattr(settings, name) for name, field in self.ui.fields.items() if name not in OF_PAIR}
        if pair is None:
            which = settings.run or settings.condition
            told = f"There is no pair {which} of the family {settings.family} here: family and pair stay as they are."
            return changes, [told]
        lost = []
        for fill in (self._fill_pair, self._fill_arms, self._fill_second):
            more, told = fill(settings, pair, pairs)
            changes, lost = changes | more, lost + told
        return changes, lost

    def _fill_pair(self, settings: GenerateSettings, pair: PairView, pairs: Sequence[PairView]) -> Filled:
        fields, lost = self.ui.fields, []
        if settings.run and pair.id != settings.run:
            lost.append(f"The run {settings.run} is not here: the pair is {pair.title} now.")
        elif not settings.run and pair.condition != settings.condition:
            lost.append(f"No pair for {settings.condition} maps is here: it is {pair.title} now.")
        steps = controls.step_choices(pair)
        step = settings.checkpoint or steps[0][1]
        if step not in dict(map(reversed, steps)):
            lost.append(f"Training step {_number(step)} is not here: it is {pair.steps[-1]:,} now.")
            step = steps[0][1]
        if settings.source:
            own = self.lab.training.watch(pair.id).settings
            if (own.source, own.revision) != (settings.source, settings.revision):
                lost.append(f"The main network {settings.source} has no field here: it is the pair's own now.")
        return {
            fields["family"]: settings.family,
            fields["run"]: gr.update(choices=controls.pair_choices(pairs), value=pair.id),
            fields["checkpoint"]: gr.update(choices=steps, value=step),
        }, lost

    def _fill_arms(self, settings: GenerateSettings, pair: PairView, pairs: Sequence[PairView]) -> Filled:
        wanted, usual = settings.arm_names(), two_sides(pair, pairs)
        choices = side_choices(pair, pairs)
        there = {name for _, name in choices}
        known = [name for name in wanted if name in there]
        left, right = usual
        if len(known) > 1:
            left, right = known[:2]
        elif known and known[0] not in usual:  # a PNG tells of one arm only
            right = known[0]
        arms = {
            box: gr.update(choices=choices, value=name) for box, name in zip(self.ui.arms, (left, right), strict=True)
        }
        return arms, [f"{title_of(name)} is not here: it is left out." for name in wanted if name not in there]

    def _fill_second(self, settings: GenerateSettings, _pair: PairView, pairs: Sequence[PairView]) -> Filled:
        changes = dict(
            zip(self.ui.second.outputs, chosen(pairs, settings.second_run, settings.second_checkpoint), strict=True)
        )
        second = controls.find_pair(pairs, settings.second_run)
        if not second:
            told = f"The second run {settings.second_run} is not here: there is no second condition now."
            return changes, [told] if settings.second_run else []
        changes[self.ui.second.accordion] = gr.Accordion(open=True)
        step = settings.second_checkpoint
        if not step or step in dict(map(reversed, controls.step_choices(second))):
            return changes, []
        return changes, [
            f"The second pair's training step {_number(step)} is not here: it is {second.steps[-1]:,} now."
        ]


def keep(random_seed: bool, left: str, right: str, **values: Any) -> dict[str, Any]:
    """What the browser keeps of the form."""
    arms = ",".join(dict.fromkeys([str(left), str(right)]))
    given = {name: value for name, value in values.items() if value is not None}
    return {"settings": {**given, "arms": arms}, "random_seed": random_seed}


def _number(step: str) -> str:
    return f"{int(step.removeprefix('step-')):,}"


def _listed(words: str, lost: Sequence[str]) -> str:
    return f"{words}, except for this:\n\n- " + "\n- ".join(lost) + "\n\n" if lost else f"{words}. "
