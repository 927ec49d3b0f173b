"""The one error that is meant for the person at the screen."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class LisaError(ValueError):
    """A mistake the user can mend, told in one sentence: the value seen, the limit, what to do."""


def unknown_name(kind: str, name: object, known: Iterable[str]) -> LisaError:
    """Build the error for a name that is not in a list, with the nearest known names first.

    Args:
        kind: What the name stands for, such as "annotator".
        name: The name that was asked for.
        known: Every name that would have been accepted.

    Returns:
        The error, ready to be raised.
    """
    names = sorted(known)
    near = get_close_matches(str(name), names, n=3)
    asked = f"Unknown {kind} {str(name)[:80]!r}"
    if not names:
        return LisaError(f"{asked}: there is none yet.")
    hint = f"did you mean {' or '.join(near)}? Use" if near else "use"
    return LisaError(f"{asked}: {hint} one of {', '.join(names)}.")
