"""One answer for everybody who asks the same within a moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any


class Recent:
    """Remembers the last answer to each question for a while; who asks meanwhile waits for it.

    Args:
        seconds: how old an answer may be.
        most: answers to remember.
        clock: tells the time in seconds.
    """

    def __init__(self, seconds: float, most: int = 16, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self.most, self.clock = seconds, most, clock
        self._answers: dict[tuple[Any, ...], tuple[float, Any]] = {}
        self._lock = threading.Lock()

    def __call__(self, ask: Callable[..., Any], *question: Any) -> Any:
        """``ask(*question)``, or what it gave to the same question a moment ago; an error is not remembered."""
        with self._lock:
            made, answer = self._answers.get(question, (float("-inf"), None))
            if self.clock() - made > self.seconds:
                answer = ask(*question)
                self._answers.pop(question, None)
                self._answers[question] = self.clock(), answer
                if len(self._answers) > self.most:
                    del self._answers[next(iter(self._answers))]
            return answer
