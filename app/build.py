"""The page: header, tabs in their order, and how it is served."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Any

import gradio as gr

import app.tabs
from app.shared import Shared
from app.theme import STYLE, theme
from lisa.errors import LisaError
from lisa.lab import Lab

ROOT = Path(__file__).resolve().parent.parent
PRIVATE = (".git", "checkpoints", "runs")
HOUR = 3600
HEADER = """
<header>
  <h1><i class="mark baseline"></i><i class="mark lisa"></i>LISA Lab</h1>
  <p><b class="lisa">LISA</b> adds one loss to the training of a ControlNet so that it learns to follow edges,
  depth or a pose sooner; here it draws beside the plainly trained baseline, from the same noise.</p>
</header>
"""


def find_tabs() -> list[ModuleType]:
    """Import every module in ``app/tabs`` and put them in the order they ask for.

    Returns:
        Modules with TITLE, ORDER and build(lab, shared).

    Raises:
        LisaError: if two tabs have the same title.
    """
    names = [module.name for module in pkgutil.iter_modules(app.tabs.__path__)]
    tabs = [importlib.import_module(f"app.tabs.{name}") for name in names if not name.startswith("_")]
    titles = [tab.TITLE for tab in tabs]
    for title in titles:
        if titles.count(title) > 1:
            raise LisaError(f"There are two tabs with the title {title!r}: rename one of them.")
    return sorted(tabs, key=lambda tab: (tab.ORDER, tab.TITLE))


def build(lab: Lab) -> gr.Blocks:
    """Make the page.

    Args:
        lab: the facade that does all work.

    Returns:
        The page, not yet served.
    """
    with gr.Blocks(title="LISA Lab", analytics_enabled=False, delete_cache=(HOUR, 24 * HOUR)) as page:
        gr.HTML(HEADER, padding=False)
        carried = gr.State(None)
        with gr.Tabs(elem_id="tabs") as tabs:
            shared = Shared(page, tabs, carried)
            for module in find_tabs():
                with gr.Tab(module.TITLE, id=module.__name__.rpartition(".")[2]):
                    module.build(lab, shared)
    return page


def launch(page: gr.Blocks, **options: Any) -> tuple[Any, str, str]:
    """Serve the page.

    Args:
        page: from ``build``.
        **options: further arguments of gr.Blocks.launch.

    Returns:
        What gr.Blocks.launch returns.
    """
    page.queue(max_size=32, default_concurrency_limit=4)
    return page.launch(
        theme=theme(),
        css_paths=[STYLE],
        footer_links=[],
        run_history=False,  # would keep every input and output in the visitor's browser
        show_error=False,  # would show raw exceptions; guard.py writes the sentences
        enable_monitoring=False,
        max_file_size="40mb",
        blocked_paths=[str(ROOT / name) for name in PRIVATE],
        **options,
    )
