"""Every failure reaches the person as one plain sentence; what nobody foresaw goes to the server's log."""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
from collections.abc import Callable, Iterator
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
    """Decorate an event's function, or generator, so that it can only fail with a sentence.

    Args:
        function: what an event calls.

    Returns:
        The same function; it raises gr.Error and nothing else.
    """

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with _plainly(function.__qualname__):
            return function(*args, **kwargs)

    @functools.wraps(function)
    def generator(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with _plainly(function.__qualname__):
            yield from function(*args, **kwargs)

    return generator if inspect.isgeneratorfunction(function) else wrapper  # type: ignore[return-value]


@contextlib.contextmanager
def _plainly(name: str) -> Iterator[None]:
    try:
        yield
    except gr.Error:
        raise
    except LisaError as error:
        raise plain_error(error) from error
    except Exception as error:
        log.exception("%s failed", name)
        raise plain_error(UNFORESEEN) from error
