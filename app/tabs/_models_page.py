"""What is on the Models tab: the networks that are here, a form to import one, a form to share one."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from app import controls
from lisa.lab import Lab, PairView
from lisa.sharing.inventory import MainView, SideView

# Headers and widths in pixels, together those of the page: a narrow screen scrolls the table and breaks no word.
MAIN = {"Family": 300, "Here": 130, "Where from": 420, "Size": 130, "Parameters": 156}
SIDE = {
    "Run": 250, "Family": 125, "Condition": 140, "Networks": 150, "Training steps": 200, "Size": 95, "Where from": 176,
}  # fmt: skip
NO_SIDES = "There is no side network yet: import one below, or train one on the **Train** tab."
NO_PAIRS = "There is nothing to share yet: a run needs a finished checkpoint first."
CAN_PUSH = "HF_TOKEN is set: everybody who can open this page can push with it."
ABOUT_IMPORT = (
    "A `ControlNetModel` in the layout of diffusers: `config.json` beside `.safetensors` weights. Pickles (`.bin`, "
    "`.pt`) are never read. It must fit the family's main network, which is checked first."
)
ABOUT_SHARE = (
    "A plain diffusers folder with the weights in float16 and a model card made from the run's files; decoder and "
    "optimizer stay here."
)


class ModelsPage:
    """The components of the tab, as attributes.

    Args:
        lab: the facade; asked for networks, pairs and families.
    """

    def __init__(self, lab: Lab) -> None:
        gr.Markdown("### Main networks")
        mains = lab.models.installed()
        self.mains = _table(MAIN, main_rows(mains), "main-table")
        self.missing = gr.Markdown(missing_words(mains), elem_id="main-missing")
        gr.Markdown("### Side networks")
        rows = side_rows(lab.models.sides())
        self.sides = _table(SIDE, rows, "side-table")
        self.none = gr.Markdown("" if rows else NO_SIDES, elem_id="side-none")
        with gr.Row():
            with gr.Column(min_width=300):
                self._draw_import(lab)
            with gr.Column(min_width=300):
                self._draw_share(lab.pairs(), lab.models.why_no_push())

    def _draw_import(self, lab: Lab) -> None:
        gr.Markdown(f"### Import a side network\n{ABOUT_IMPORT}")
        self.source = gr.Textbox(
            label="From", max_lines=1, placeholder="owner/name",
            info="A folder or .zip on this computer, or a hub repository such as owner/name or owner/name@revision.",
        )  # fmt: skip
        self.upload = gr.UploadButton("Upload a .zip", file_types=[".zip"], size="sm", elem_id="models-upload")
        families = lab.families()
        with gr.Row():
            self.family = controls.Choice(
                controls.family_choices(families), value=families[0].name if families else None, label="Fits family",
                info="Whose main network it was trained with.", min_width=240,
            )  # fmt: skip
            self.condition = controls.Choice(
                list(lab.training.conditions()), value="canny", label="Reads condition", allow_custom_value=True,
                info="Kind of map that it follows.", min_width=140,
            )  # fmt: skip
        with gr.Row():
            self.name = gr.Textbox(
                label="Name of the new run", info="a-z, 0-9, dot, _ and -.", max_lines=1, placeholder="mine",
                min_width=140,
            )  # fmt: skip
            self.main = gr.Textbox(
                label="Main network", info="Hub id or folder; empty takes the family's.", max_lines=1, min_width=140
            )
        self.go = gr.Button("Import", variant="primary", size="lg", elem_id="import")
        self.imported = gr.Markdown("", elem_id="import-status")

    def _draw_share(self, pairs: tuple[PairView, ...], reason: str) -> None:
        pair = pairs[0] if pairs else None
        gr.Markdown(f"### Share a side network\n{ABOUT_SHARE}")
        self.run = controls.Choice(
            controls.pair_choices(pairs), value=pair.id if pair else None, label="Run", elem_id="share-run",
            info="Those with a finished checkpoint.",
        )  # fmt: skip
        steps = controls.step_choices(pair)
        with gr.Row():
            self.step = controls.Choice(
                steps, value=steps[0][1] if steps else None, label="Training step", info="The last, or an earlier one.",
                min_width=140,
            )  # fmt: skip
            self.arm = controls.Choice(
                list(pair.arms) if pair else [], value=best_arm(pair), label="Network", info="Of this run.",
                min_width=140,
            )  # fmt: skip
        self.pack = gr.Button("Make the zip", size="lg", interactive=bool(pair), elem_id="pack")
        self.packed = gr.Markdown("" if pair else NO_PAIRS, elem_id="share-status")
        self.download = gr.DownloadButton("Download the zip", size="sm", visible=False, elem_id="share-download")
        self.card = gr.Textbox(
            label="Model card", info="README.md of the package; add a licence before you publish it.", lines=8,
            max_lines=16, interactive=False, visible=False, buttons=["copy"], elem_id="card",
        )  # fmt: skip
        with gr.Row():
            self.repository = gr.Textbox(
                label="Hub repository", placeholder="owner/name", max_lines=1, scale=2, min_width=160,
                info="Made if it does not exist; the token in HF_TOKEN must be allowed to write it.",
            )  # fmt: skip
            self.private = gr.Checkbox(True, label="Private", info="Only its owner sees it.", min_width=110)
        self.push = gr.Button("Push to the hub", size="lg", interactive=not reason and bool(pair), elem_id="push")
        self.pushed = gr.Markdown(reason or CAN_PUSH, elem_id="push-status")


def _table(columns: dict[str, int], rows: list[list[str]], name: str) -> gr.Dataframe:
    return gr.Dataframe(
        rows, headers=list(columns), column_widths=[f"{width}px" for width in columns.values()], datatype="str",
        interactive=False, wrap=True, show_label=False, visible=bool(rows), max_height=2000, elem_id=name,
    )  # fmt: skip


def best_arm(pair: PairView | None) -> str | None:
    """The network that is offered first: lisa where the run has it."""
    if pair is None:
        return None
    return "lisa" if "lisa" in pair.arms else pair.arms[0]


def main_rows(views: tuple[MainView, ...]) -> list[list[str]]:
    """The table of main networks that are here; of the others missing_words() tells why not."""
    return [
        [
            view.title, view.place, _shown_source(view), size_words(view.bytes),
            f"{view.parameters / 1e6:,.1f} M" if view.parameters else "",
        ]
        for view in views
        if view.place
    ]  # fmt: skip


def _shown_source(view: MainView) -> str:
    """A hub id as it is; of a folder its name, since the way to it is nobody's business."""
    path = Path(view.source)
    return path.name if path.is_absolute() else view.source


def missing_words(views: tuple[MainView, ...]) -> str:
    """Why the others cannot be used here, as a list."""
    return "\n".join(f"- **{view.title}**: {view.reason}" for view in views if view.reason)


def side_rows(views: tuple[SideView, ...]) -> list[list[str]]:
    """The table of side networks."""
    return [
        [view.id, view.family, view.condition, ", ".join(view.arms), _steps(view), size_words(view.bytes), view.origin]
        for view in views
    ]


def _steps(view: SideView) -> str:
    if view.origin == "imported":
        return "not known"
    return ", ".join(f"{step:,}" for step in view.steps) or "none kept yet"


def size_words(count: int) -> str:
    """Bytes as kB, MB or GB."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"
