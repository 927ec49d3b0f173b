"""Every failure reaches the person as one plain sentence; what nobody foresaw goes to the server's log."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import gradio as gr

from lisa.errors import LisaError

F = TypeVar("F", bound=Callable[..., Any])
log = logging.getLogger(__name__)

UNFORESEEN = "Something went wrong in the lab; its log on the server says what. Your settings are still here."


def plain_error(message: object) -> gr.Error:
    """Build the error that Gradio shows as a toast, without a traceback in the log."""
    return gr.Error(str(message), print_exception=False)


def guarded(function: F) -> F:
    """Decorate an event's function so that it can only fail with a sentence.

    Args:
        function: what an event calls.

    Returns:
        The same function; it raises gr.Error and nothing else.
    """

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except gr.Error:
            raise
        except LisaError as error:
            raise plain_error(error) from error
        except Exception as error:
            log.exception("%s failed", function.__qualname__)
            raise plain_error(UNFORESEEN) from error

    return wrapper  # type: ignore[return-value]
