"""Where a side network came from that was not trained here; kept as ``origin.json`` in its run folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from lisa.files import read_json, write_json

ORIGIN = "origin.json"
IMPORTED = "imported"
"""Name of the only arm of an imported run, and its status."""


@dataclass(frozen=True)
class Origin:
    """What an import left on record.

    Attributes:
        kind: "folder", "zip" or "hub".
        source: name of the folder or zip without the way to it, or the hub id.
        revision: commit of the hub repository; empty for the others.
    """

    kind: str
    source: str
    revision: str = ""

    @property
    def words(self) -> str:
        """One sentence without what tells about this computer."""
        place = {"folder": "the folder", "zip": "the file", "hub": "the hub repository"}[self.kind]
        at = f" at revision {self.revision}" if self.revision else ""
        return f"It was imported from {place} {self.source}{at}."

    def write(self, folder: Path) -> None:
        """Leave the record in a run folder."""
        write_json(folder / ORIGIN, asdict(self))


def read_origin(folder: Path) -> Origin | None:
    """Read the record of a run folder; None for a run that was trained."""
    path = folder / ORIGIN
    return Origin(**read_json(path)) if path.exists() else None
