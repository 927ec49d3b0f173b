"""A button that ends long work of the visitor who started it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import gradio as gr

from lisa.errors import LisaError
from lisa.report import Report

UNSEEN = {"show_progress": "hidden", "api_visibility": "private", "queue": False}


class Cancelled(LisaError):
    """The visitor does not want the work any more."""


class CancelButton:
    """Stands beside the button that starts work, while the work goes on or waits for its turn.

    Gradio's own ``cancels`` takes waiting work out of the queue, but cannot end a function that runs: that one ends
    itself at its next report.

    Args:
        elem_id: of the button.
    """

    def __init__(self, elem_id: str) -> None:
        self.button = gr.Button("Cancel", size="lg", visible=False, elem_id=elem_id, min_width=100)
        self._asked: dict[str, threading.Event] = {}

    def watched(self, request: gr.Request | None, report: Report) -> Report:
        """Make the report of work that begins now.

        Args:
            request: of the event that does the work; None for work that nobody can cancel.
            report: is handed what is reported.

        Returns:
            What the work is to call; it raises Cancelled once the visitor has pressed the button.
        """
        asked = threading.Event()
        if request is not None:
            self._asked[request.session_hash or ""] = asked

        def report_on(what: str, done: int, total: int) -> None:
            if asked.is_set():
                raise Cancelled("Cancelled: nothing was changed.")
            report(what, done, total)

        return report_on

    def starts(self, start: gr.Button, call: Callable[..., Any], *places: Any, **options: Any) -> Any:
        """Do work at the press of a button; this one is shown until it ends.

        Args:
            start: the button that starts it.
            call: does the work; its report is ``watched``.
            *places: inputs and outputs.
            **options: of the event.

        Returns:
            The event.
        """
        # The page does the events of one press one after the other: what takes long comes last.
        start.click(lambda: gr.update(visible=True), None, [self.button], **UNSEEN)
        work = start.click(call, *places, **options)
        for over in (work.then, work.failure):  # Gradio's page does not do what comes "then" where work has failed
            over(self.end, None, [self.button], **UNSEEN)
        # First the page turns away from the work, then the work ends, so that nobody is told of an error.
        self.button.click(None, None, None, cancels=[work], **UNSEEN)
        self.button.click(self.end, None, [self.button], **UNSEEN)
        return work

    def end(self, request: gr.Request) -> Any:
        """End the visitor's work at its next report, if it still goes on."""
        asked = self._asked.pop(request.session_hash or "", None)
        if asked is not None:
            asked.set()
        return gr.update(visible=False)
