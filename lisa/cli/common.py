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
    """A reporter that shows one progress bar for each piece of work, and a line for what cannot be counted.

    As in ``lisa.report.Countdown``, work that goes on under another name keeps its bar.
    """
    bar: tqdm | None = None

    def report(what: str, done: int, total: int) -> None:
        nonlocal bar
        if total <= 1:
            tqdm.write(what, file=sys.stderr)
            return
        if bar is not None and (bar.total != total or done < bar.n):
            bar.close()
            bar = None
        bar = tqdm(total=total) if bar is None else bar
        bar.set_description(what, refresh=False)
        bar.update(done - bar.n)
        if done >= total:
            bar.close()
            bar = None

    return report
