"""What several verbs share: printing settings, progress bars."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tqdm.auto import tqdm

from lisa.options import to_dict


def print_settings(settings: Any) -> None:
    """Print resolved settings as JSON, which is all that ``--dry-run`` does."""
    print(json.dumps(to_dict(settings), indent=2))


def bars() -> Callable[[str, int, int], None]:
    """A reporter for (what, done, in all) that shows one progress bar per kind of work."""
    shown: dict[str, tqdm] = {}

    def report(what: str, done: int, total: int) -> None:
        bar = shown.get(what) or shown.setdefault(what, tqdm(total=total, desc=what))
        bar.update(done - bar.n)
        if done >= total:
            bar.close()

    return report
