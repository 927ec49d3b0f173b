"""What several verbs share: printing settings, progress bars."""

from __future__ import annotations

import json
import sys
from typing import Any

from tqdm.auto import tqdm

from lisa.options import to_dict
from lisa.report import Report


def print_settings(settings: Any) -> None:
    """Print resolved settings as JSON, which is all that ``--dry-run`` does."""
    print(json.dumps(to_dict(settings), indent=2))


def bars() -> Report:
    """A reporter that shows one progress bar for each piece of work, and a line for what cannot be counted."""
    shown: dict[str, tqdm] = {}

    def report(what: str, done: int, total: int) -> None:
        if total <= 1:
            tqdm.write(what, file=sys.stderr)
            return
        bar = shown.get(what) or shown.setdefault(what, tqdm(total=total, desc=what))
        bar.update(done - bar.n)
        if done >= total:
            shown.pop(what).close()

    return report
