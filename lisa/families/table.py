"""What every family supports, as a table made from the registry."""

from __future__ import annotations

from pathlib import Path

from lisa.families.base import FAMILIES, FamilySpec

_COLUMNS = (
    "Name", "Main network", "Makes", "Learns", "Side network", "Default LISA", "Learning rate", "Computed once",
    "Several controls", "Text encoders",
)  # fmt: skip
_ROOT = Path(__file__).resolve().parents[2]


def markdown() -> str:
    """One row for each family, in Markdown."""
    rows = [_COLUMNS, ("---",) * len(_COLUMNS), *(_row(FAMILIES.get(name)) for name in FAMILIES.names())]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(spec: FamilySpec) -> tuple[str, ...]:
    taps = " + ".join(spec.default_lisa.taps) or "the middle block"
    size = f"{spec.resolution} px"
    return (
        f"`{spec.name}`", f"{spec.title}<br>`{_place(spec.source)}`",
        f"clips of {spec.frames} frames, {size}" if spec.frames else f"images, {size}", spec.objective,
        spec.side_class, f"lambda {spec.default_lisa.weight:g} at {taps}", f"{spec.learning_rate:g}", spec.shares,
        "yes" if spec.composes else "no", "freed after caching" if spec.drop_text_encoders else "kept",
    )  # fmt: skip


def _place(source: str) -> str:
    """A folder of this project as seen from its root."""
    path = Path(source)
    return path.relative_to(_ROOT).as_posix() if path.is_relative_to(_ROOT) else source
