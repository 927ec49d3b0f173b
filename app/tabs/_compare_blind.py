"""Below the pair: a blind test that counts votes, apart for everything that is compared."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import gradio as gr
from PIL import Image

from app import controls
from app.clips import picture_of, player
from app.guard import guarded
from app.sides import title_of
from app.waiting import reporter
from lisa.errors import LisaError
from lisa.settings import SEED_LIMIT, GenerateSettings

if TYPE_CHECKING:
    from app.tabs.compare import Compare

QUIET = {"show_progress": "hidden", "api_visibility": "private"}
NEITHER = "No difference"


@dataclass(frozen=True)
class Blind:
    """A blind test.

    Attributes:
        about: what is compared, in words; empty before the first pair.
        order: which arm is on the left and on the right; empty after the vote.
        votes: by what was compared, how often each title was preferred.
    """

    about: str = ""
    order: tuple[str, ...] = ()
    votes: Mapping[str, Counter] = field(default_factory=dict)


class BlindTest:
    """The blind test of a Compare tab.

    Args:
        compare: the tab; its form says what to generate.
    """

    def __init__(self, compare: Compare) -> None:
        self.compare, self.lab = compare, compare.lab
        self._draw()
        self._wire()

    def _draw(self) -> None:
        with gr.Accordion("Blind test: which follows the condition better?", open=False):
            gr.Markdown("Both networks draw from a new seed, in an order that is not told until you have voted.")
            self.blind = gr.State(Blind())
            self.new = gr.Button("Show a pair", size="lg", elem_id="blind-new")
            with gr.Row(elem_classes="blind"):
                self.left, self.asked, self.right = (
                    gr.Image(
                        format="png", type="pil", interactive=False, label=name, elem_classes=["picture", name.lower()],
                        min_width=100, elem_id=f"blind-{name.lower()}", alt_text=f"{name} image of the blind test",
                        buttons=["fullscreen"],
                    )
                    for name in ("Left", "Condition", "Right")
                )  # fmt: skip
            with gr.Row(elem_classes="votes"):
                self.votes = [
                    gr.Button(words, interactive=False, min_width=100, elem_id=f"vote-{i}")
                    for i, words in enumerate(("Left is better", "Right is better", NEITHER))
                ]
            self.tally = gr.Markdown("", elem_id="blind-tally")
            self.over = gr.Button("Start the count over", size="sm", interactive=False, elem_id="blind-over")

    def _wire(self) -> None:
        ui = self.compare.ui
        told = [self.blind, *self.votes, self.tally, self.over]
        self.new.click(
            guarded(self.show), [ui.condition, ui.second.map, ui.start.picture, *ui.arms, self.blind],
            [self.left, self.asked, self.right, ui.player, *told],
            inputs_kwargs=ui.fields, show_progress_on=[self.left, self.right],
            concurrency_id="gpu", concurrency_limit=1, api_visibility="private",
        )  # fmt: skip
        for i, button in enumerate(self.votes):
            button.click(guarded(self.voting(i)), [self.blind], told, **QUIET)
        self.over.click(guarded(start_over), [self.blind], told, **QUIET)

    def show(
        self,
        condition: Image.Image | None,
        second: Image.Image | None,
        first_frame: Image.Image | None,
        left: str,
        right: str,
        blind: Blind,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  (how Gradio hands it over)
        **form: Any,
    ) -> tuple[Any, ...]:
        """Generate a pair from a new seed and show it in an order that is not told."""
        if left == right:
            raise LisaError(f"Both sides are {left}: choose two different arms under Expert settings.")
        form["seed"] = secrets.randbelow(SEED_LIMIT + 1)
        settings = self.compare.settings(condition, (left, right), form)
        drawn = self.compare.drawn(settings, condition, second, first_frame, reporter(progress))
        images = {image.arm: picture_of(image) for image in drawn}
        order = (left, right) if secrets.randbelow(2) else (right, left)
        now = replace(blind, about=self._about(settings), order=order)
        shown, frames = [images[arm] for arm in order], len(drawn[0].clip)
        return shown[0], condition, shown[1], player(frames) if frames else gr.skip(), *_told(now, "")

    def _about(self, settings: GenerateSettings) -> str:
        """What is compared: votes are only added up where this is the same."""
        pairs = self.lab.pairs()
        words = []
        for run, step in (
            (settings.run, settings.checkpoint),
            (settings.second_run, settings.second_checkpoint),
        ):
            if pair := controls.find_pair(pairs, run):
                words.append(f"{pair.family}, {pair.title}, training step {pair.step_named(step):,}")
        return f"{' and '.join(map(title_of, sorted(settings.arm_names())))} of {', with '.join(words)}"

    def voting(self, choice: int) -> Any:
        """What the vote for left (0), right (1) or neither (2) does."""

        def vote(blind: Blind) -> tuple[Any, ...]:
            if not blind.order:
                raise LisaError("There is no pair to vote on: press Show a pair first.")
            chosen = title_of(blind.order[choice]) if choice < 2 else NEITHER
            votes = {**blind.votes, blind.about: blind.votes.get(blind.about, Counter()) + Counter([chosen])}
            told = f"Left was {title_of(blind.order[0])}, right was {title_of(blind.order[1])}."
            return _told(Blind(blind.about, (), votes), told)

        return vote


def start_over(blind: Blind) -> tuple[Any, ...]:
    """Forget the votes on what is compared now; a pair that is on screen can still be voted on."""
    kept = {about: votes for about, votes in blind.votes.items() if about != blind.about}
    return _told(replace(blind, votes=kept), "The count starts over.")


def _told(blind: Blind, words: str) -> tuple[Any, ...]:
    """The state, whether there is something to vote on, the tally in words, whether there is something to forget."""
    votes = blind.votes.get(blind.about, Counter())
    counted = ", ".join(f"{name} {number}" for name, number in votes.most_common())
    tally = f"**Votes** on {blind.about}: {counted}" if counted else f"No votes yet on {blind.about}."
    asked = gr.update(interactive=bool(blind.order))
    over = gr.update(interactive=bool(votes))
    return blind, asked, asked, asked, "  \n".join(filter(None, [words, tally])), over
