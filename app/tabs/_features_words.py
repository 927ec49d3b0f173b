"""What the Features tab says of a study and of the likelihood score: sentences, captions and cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from app.sides import title_of
from lisa.lab import PairView
from lisa.options import options
from lisa.settings import FeatureSettings

_LABELS = {"run": "Pair", "checkpoint": "Training step"}
_OF_THE_PAIR = ("family", "condition", "arms")  # follow from the pair
STALE = "**The choice above is not what is shown here**: {differs} {verb} changed since. Press **{button}** to see it."


@dataclass(frozen=True)
class Asked:
    """What was asked for when something was shown."""

    settings: FeatureSettings

    def __str__(self) -> str:
        """Condition, family, run and training step."""
        step = self.settings.checkpoint.removeprefix("step-")
        return pair_words(self.settings) + (f", step {int(step):,}" if step.isdecimal() else "")


def pair_words(settings: FeatureSettings, before_run: str = ", ") -> str:
    """Condition, family and run of a pair."""
    return f"{settings.condition}, {settings.family}{before_run}{settings.run}"


def stale(asked: Asked | None, now: FeatureSettings, button: str, relevant: Sequence[str] = ()) -> str:
    """Say when what is chosen now is not what is shown.

    Args:
        asked: what is shown; None for nothing.
        now: what is chosen.
        button: that shows it.
        relevant: settings that matter; empty for all.
    """
    if asked is None:
        return ""
    labels = [
        _LABELS.get(name, declared.label)
        for name, declared, _, _ in options(FeatureSettings)
        if name not in _OF_THE_PAIR
        and (not relevant or name in relevant)
        and getattr(asked.settings, name) != getattr(now, name)
    ]
    if not labels:
        return ""
    return STALE.format(differs=", ".join(labels), verb="has" if len(labels) == 1 else "have", button=button)


def left_out_words(pairs: Sequence[PairView]) -> str:
    """Why some pairs are not in the list; empty where all are."""
    if not pairs:
        return ""
    families = ", ".join(dict.fromkeys(pair.family for pair in pairs))
    count = f"{len(pairs)} pairs of {families} are" if len(pairs) > 1 else f"1 pair of {families} is"
    return f"{count} not listed: features and scores are shown for images only, and that family makes clips."


def facts(study: Any) -> list[str]:
    """One line for each row: where in the design it stands, and its caption."""
    factors, captions = study.probe.factors, study.probe.captions
    return [
        f"point {i}, scene {scene}: {captions[scene]}<br>{factors['prompt'][i]} prompt, noise {factors['noise'][i]}, "
        f"timestep {factors['timestep'][i]}"
        for i, scene in enumerate(factors["scene"])
    ]


def headers(arms: Sequence[str]) -> list[str]:
    """Heads of the table's columns."""
    minus = [f"{title_of(arm)} minus {title_of(arms[0])}" for arm in arms[1:]]
    return ["Measure", "Of", *map(title_of, arms), *minus, f"Chance ({', '.join(map(title_of, arms))})"]


def table(rows: Sequence[Any], arms: Sequence[str]) -> list[list[str]]:
    """Rows of the table: measure, factor, a cell for each arm and each difference, what chance reaches in each arm.

    Args:
        rows: of one training step and tap.
        arms: the first one is what the others are held against.
    """
    cells: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        cells.setdefault((row.measure, row.factor), {})[row.arm] = row
    return [
        [
            measure,
            factor,
            *(_cell(of[arm].figure, of[arm].figure.above_null) for arm in arms),
            *(_cell(of[arm].difference, of[arm].difference.excludes_zero, "+") for arm in arms[1:]),
            ", ".join("none" if math.isnan(of[arm].figure.null) else number(of[arm].figure.null) for arm in arms),
        ]
        for (measure, factor), of in cells.items()
    ]


def verdict(rows: Sequence[Any], arms: Sequence[str]) -> str:
    """Whether the other arm's features are more disentangled than the first one's, as far as this table tells."""
    if len(arms) < 2:
        return ""
    first, other = (title_of(arm) for arm in arms[:2])
    of_other = [row for row in rows if row.arm == arms[1] and row.difference]
    found = {row.factor: row.difference for row in of_other if row.measure == "DCI"}
    apart = found["disentanglement"]
    said = "yes" if apart.low > 0 else "no, less" if apart.high < 0 else "not shown"
    beyond = sum(row.difference.excludes_zero for row in of_other)
    return (
        f"**Is {other} more disentangled than {first}?** At this layer and training step: **{said}**. DCI "
        f"disentanglement differs by {_cell(apart, False, '+')}. Of all {len(of_other)} differences {beyond} "
        f"{'leaves' if beyond == 1 else 'leave'} out 0; without any difference about {0.05 * len(of_other):.0f} would."
    )


def number(value: float, sign: str = "") -> str:
    """Three digits after the point; a zero has no sign."""
    text = f"{value:{sign}.3f}"
    return text.lstrip("+-") if float(text) == 0 else text


def _cell(figure: Any, bold: bool, sign: str = "") -> str:
    value = number(figure.value, sign)
    return f"{f'**{value}**' if bold else value} ({number(figure.low, sign)} to {number(figure.high, sign)})"


def reader_titles(readers: Any) -> dict[Any, str]:
    """A heading for each decoder; the layer is named where there are several."""
    several = len({reader.tap for reader in readers}) > 1
    return {each: title_of(each.arm) + (f" at {each.tap}" if several else "") for each in readers}


def about_readers(readers: dict[Any, str]) -> str:
    """Where the decoders come from."""
    taps = ", ".join(dict.fromkeys(reader.tap for reader in readers))
    fitted = {title: reader.fitted for reader, title in readers.items() if reader.fitted}
    if not fitted:
        return f"Read at {taps}, by the decoders that were trained with the networks."
    each = "; ".join(
        f"{title}: alignment ratio {fit.ratio:.3f} on {fit.held_out} scenes that it had not seen, fitted to "
        f"{fit.samples}"
        for title, fit in fitted.items()
    )
    return (
        f"Read at {taps}. **A probe was fitted** to the frozen features of {', '.join(fitted)}, which came without a "
        f"decoder ({each})."
    )


def score_pictures(views: Any, readers: dict[Any, str]) -> tuple[list[tuple[Image.Image, str]], str]:
    """Pictures row by row, one column for each timestep; and which row shows what.

    Returns:
        Pictures with the number of their row and their timestep, and the sentence that names the rows.
    """
    rows: list[tuple[str, list[Image.Image]]] = [
        ("target", [view.target for view in views]),
        ("prior", [view.prior for view in views]),
    ]
    for reader, title in readers.items():
        rows.append((f"what {title}'s decoder says", [view.decoded[reader] for view in views]))
        rows.append((f"what it leaves of the target ({title})", [view.difference[reader] for view in views]))
    pictures = [
        (image, f"{number}\u2009·\u2009{view.timestep}")
        for number, (_, images) in enumerate(rows, 1)
        for image, view in zip(images, views, strict=True)
    ]
    named = "; ".join(f"**{number}** {name}" for number, (name, _) in enumerate(rows, 1))
    return pictures, f"Rows: {named}. Under each picture: row · timestep."
