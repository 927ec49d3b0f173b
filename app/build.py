"""The page: header, tabs in their order, and how it is served."""

from __future__ import annotations

import importlib
import os
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

import app.tabs
from app.endpoints import add_endpoints
from app.gpu import lend_gpu
from app.shared import Shared
from app.theme import STYLE, theme
from lisa.errors import LisaError
from lisa.lab import Lab
from lisa.zero_gpu import NO_TRAINING, on_zero_gpu

ROOT = Path(__file__).resolve().parent.parent
PRIVATE = (".git", "checkpoints", "runs")
LOCAL = ("127.0.0.1", "localhost")
HOUR = 3600
UPLOAD_HERE, UPLOAD_FROM_OTHERS = "1gb", "40mb"  # a file at most: a data set is welcome from this computer only
HEADER = """
<header>
  <h1><i class="mark baseline"></i><i class="mark lisa"></i>LISA Lab</h1>
  <p><b class="lisa">LISA</b> adds one loss to the training of a ControlNet, meant to make it follow edges,
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
    lab = lend_gpu(lab)
    with gr.Blocks(title="LISA Lab", analytics_enabled=False, delete_cache=(HOUR, 24 * HOUR)) as page:
        gr.HTML(HEADER, padding=False)
        if on_zero_gpu():
            gr.Markdown(NO_TRAINING)
        carried = gr.State(None)
        with gr.Tabs(elem_id="tabs") as tabs:
            for module in find_tabs():
                with gr.Tab(module.TITLE, id=module.__name__.rpartition(".")[2]) as tab:
                    module.build(lab, Shared(page, tabs, tab, carried))
        add_endpoints(lab)
    return page


def host_guard(server_name: str | None, share: bool | None) -> list[Middleware]:
    """Answer only to this computer's names when only this computer is meant to ask.

    A page elsewhere can point a name of its own at 127.0.0.1 and so read an app without a password (DNS rebinding).

    Args:
        server_name: address that is listened on; None is Gradio's choice.
        share: whether there is a public link.

    Returns:
        The middleware; none where others are meant to ask: a public link, a Space, another address.
    """
    address = server_name or os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")
    public = share or os.environ.get("GRADIO_SHARE", "").lower() in ("1", "true") or os.environ.get("SPACE_ID")
    if public or address not in LOCAL:
        return []
    more = [name for name in os.environ.get("LISA_ALLOWED_HOSTS", "").split(",") if name]
    return [Middleware(TrustedHostMiddleware, allowed_hosts=[*LOCAL, *more])]


def launch(page: gr.Blocks, **options: Any) -> tuple[Any, str, str]:
    """Serve the page.

    Args:
        page: from ``build``.
        **options: further arguments of gr.Blocks.launch.

    Returns:
        What gr.Blocks.launch returns.
    """
    page.queue(max_size=32, default_concurrency_limit=4)
    guard = host_guard(options.get("server_name"), options.get("share"))
    return page.launch(
        theme=theme(),
        css_paths=[STYLE],
        footer_links=[],
        run_history=False,  # would keep every input and output in the visitor's browser
        show_error=False,  # would show raw exceptions; guard.py writes the sentences
        enable_monitoring=False,
        max_file_size=UPLOAD_HERE if guard else UPLOAD_FROM_OTHERS,
        blocked_paths=[str(ROOT / name) for name in PRIVATE],
        app_kwargs={"middleware": guard},
        **options,
    )
