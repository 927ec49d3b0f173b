"""Models: which networks are here, side networks from elsewhere, and side networks for others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from app import controls
from app.guard import guarded
from app.shared import Shared
from app.tabs._models_page import (
    CAN_PUSH,
    NO_PAIRS,
    NO_SIDES,
    ModelsPage,
    best_arm,
    main_rows,
    missing_words,
    side_rows,
    size_words,
)
from lisa.errors import LisaError
from lisa.lab import Lab

TITLE = "Models"
ORDER = 60
QUIET = {"show_progress": "hidden", "api_visibility": "private"}


def build(lab: Lab, shared: Shared) -> None:
    """Draw the tab and wire it."""
    Models(lab, shared)


class Models:
    """What happens between the components of the tab."""

    def __init__(self, lab: Lab, shared: Shared) -> None:
        self.lab = lab
        self.ui = ModelsPage(lab)
        self._wire(shared)

    def _wire(self, shared: Shared) -> None:
        ui = self.ui
        lists = [ui.mains, ui.missing, ui.sides, ui.none, ui.run, ui.pack, ui.push]
        share = [ui.run, ui.step, ui.arm]
        one = {"concurrency_id": "models", "concurrency_limit": 1, "api_visibility": "private"}
        ui.upload.upload(guarded(self.take_zip), [ui.upload], [ui.source, ui.imported], **QUIET)
        ui.go.click(
            guarded(self.bring), [ui.source, ui.family, ui.condition, ui.name, ui.main], [ui.imported, ui.name],
            show_progress_on=[ui.imported], **one,
        ).success(guarded(self.refresh), [ui.run], lists, **QUIET)  # fmt: skip
        ui.run.change(guarded(self.choose), [ui.run], [ui.step, ui.arm], **QUIET)
        gr.on([each.change for each in share], self.forget, None, [ui.download, ui.card, ui.packed], **QUIET)
        ui.pack.click(guarded(self.pack), share, [ui.download, ui.card, ui.packed], show_progress_on=[ui.packed], **one)
        ui.push.click(
            guarded(self.push), [*share, ui.repository, ui.private], [ui.pushed], show_progress_on=[ui.pushed], **one
        )
        shared.on_open(guarded(self.refresh), [ui.run], lists, **QUIET)
        shared.page.load(guarded(self.reason), None, [ui.pushed], **QUIET)

    def take_zip(self, path: str | None) -> tuple[Any, ...]:
        """Take an uploaded zip as the source."""
        if not path:
            raise LisaError("There is no file yet: choose a .zip of a side network.")
        words = f"**{Path(path).name}** ({size_words(Path(path).stat().st_size)}) is here: press **Import**."
        return path, words

    def bring(self, source: str, family: str, condition: str, name: str, main: str) -> tuple[Any, ...]:
        """Make a run of a side network from elsewhere."""
        if not (source or "").strip():
            raise LisaError("There is nothing to import yet: name a folder, a .zip or a hub repository.")
        run = self.lab.models.import_side(
            source, family or "", condition or "", (name or "").strip(), main=(main or "").strip()
        )
        gr.Info(f"The side network is here as {run}.")
        words = (
            f"**{run}** fits and is here. **Compare**, **Features** and **Evaluate** list it as soon as you reload "
            "the page; it can be deleted on the **Train** tab."
        )
        return words, ""

    def refresh(self, run: str | None) -> tuple[Any, ...]:
        """List everything again; keep the run that is chosen."""
        desk, pairs = self.lab.models, self.lab.pairs()
        mains, sides = desk.installed(), side_rows(desk.sides())
        choice = controls.relisted(controls.pair_choices(pairs), run)
        pack, push = gr.update(interactive=bool(pairs)), gr.update(interactive=bool(pairs) and not desk.why_no_push())
        table = gr.update(value=sides, visible=bool(sides))
        return main_rows(mains), missing_words(mains), table, "" if sides else NO_SIDES, choice, pack, push

    def reason(self) -> str:
        """Say why nothing can be pushed from here, or who can."""
        return self.lab.models.why_no_push() or CAN_PUSH

    def choose(self, run: str | None) -> tuple[Any, ...]:
        """List the training steps and networks of a run."""
        pair = controls.find_pair(self.lab.pairs(), run or "")
        steps = controls.step_choices(pair)
        return (
            gr.update(choices=steps, value=steps[0][1] if steps else None),
            gr.update(choices=list(pair.arms) if pair else [], value=best_arm(pair)),
        )

    def forget(self) -> tuple[Any, ...]:
        """Take away the zip of what was chosen before."""
        return gr.update(visible=False), gr.update(visible=False), ""

    def pack(self, run: str, step: str, arm: str) -> tuple[Any, ...]:
        """Make the zip of one side network and show its model card."""
        chosen = self._chosen(run, step, arm)
        zipped = self.lab.models.package(*chosen)
        # Gradio serves only what lies in its own cache, which is swept after a day: one copy is enough.
        file = self.ui.download.move_resource_to_block_cache(str(zipped))
        words = f"**{zipped.name}**, {size_words(zipped.stat().st_size)}."
        zipped.unlink()
        return (
            gr.update(value=file, visible=True),
            gr.update(value=self.lab.models.card(*chosen), visible=True),
            words,
        )

    def push(self, run: str, step: str, arm: str, repository: str, private: bool) -> str:
        """Upload one side network to the hub."""
        url = self.lab.models.push(
            *self._chosen(run, step, arm), (repository or "").strip(), private=private is not False
        )
        gr.Info("The side network is on the hub.")
        return f"It is at [{url}]({url})."

    def _chosen(self, run: str, step: str, arm: str) -> tuple[str, int, str]:
        pair = controls.find_pair(self.lab.pairs(), run or "")
        if pair is None:
            raise LisaError(NO_PAIRS)
        return pair.id, pair.step_named(step or ""), arm or ""
