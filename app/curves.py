"""Curves of a run as plotly figures: slate blue is the baseline, amber is LISA, on every page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

GREY = "#8b8782"  # readable on the light page and on the dark one
ARMS = {"baseline": "#5f86b8", "lisa": "#d97706"}
OTHERS = ("#0f9d7a", "#b0489c", "#7e57c2", "#c0392b", "#26a69a", "#8f7700")
Curve = tuple[np.ndarray, np.ndarray]


def arm_colours(arms: list[str]) -> dict[str, str]:
    """One colour for each arm; baseline and LISA always have theirs."""
    others = iter(OTHERS * (1 + len(arms) // len(OTHERS)))
    return {arm: ARMS.get(arm) or next(others) for arm in arms}


def smoothed(values: np.ndarray, amount: float) -> np.ndarray:
    """Exponential moving average without the bias of its start (Kingma and Ba 2015).

    Args:
        values: (n,).
        amount: 0 leaves them as they are, 0.99 is very smooth.
    """
    out, mean, weight = np.empty(len(values)), 0.0, 0.0
    for i, value in enumerate(values):
        mean, weight = amount * mean + (1 - amount) * value, amount * weight + (1 - amount)
        out[i] = mean / weight
    return out


def differences(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    """What every other arm has more than the first.

    Arms see the same samples, noise and timesteps, so that most of a curve's noise cancels.
    """
    first, *others = curves or [""]
    # Of thinned curves one may be a line ahead of the other for a moment, hence the interpolation.
    return {arm: (curves[arm][0], curves[arm][1] - np.interp(curves[arm][0], *curves[first])) for arm in others}


def curves_figure(
    title: str, curves: Mapping[str, Curve], smoothing: float, log: bool, level: float | None = None
) -> go.Figure:
    """Draw one quantity of every arm.

    Args:
        title: what it is.
        curves: arm -> steps and values.
        smoothing: 0 to 0.99; the raw curve stays visible, faintly.
        log: whether the value axis is logarithmic.
        level: a value to mark with a line, if any.
    """
    figure = go.Figure()
    for arm, colour in arm_colours(list(curves)).items():
        steps, values = curves[arm]
        name = "LISA" if arm == "lisa" else arm.capitalize()
        mode = "lines+markers" if len(steps) < 30 else "lines"
        if smoothing and len(steps) >= 30:
            figure.add_scatter(
                x=steps, y=values, mode="lines", line={"color": colour, "width": 1}, opacity=0.25, hoverinfo="skip",
                showlegend=False,
            )  # fmt: skip
            values = smoothed(values, smoothing)
        figure.add_scatter(x=steps, y=values, mode=mode, name=name, line={"color": colour, "width": 2})
    if level is not None:
        figure.add_hline(y=level, line={"color": GREY, "dash": "dot", "width": 1})
    _dress(figure, title, "log" if log else "linear")
    return figure


def fidelity_figure(title: str, rows: Sequence[Mapping[str, Any]], key: str) -> go.Figure:
    """Draw one measured quantity of every arm over training steps.

    The interval of the paired difference is drawn at the arms that are compared with the first.

    Args:
        title: what it is.
        rows: with step, arm, the quantity and, for all arms but the first, ``<key>_difference`` and ``<key>_interval``.
        key: name of the quantity.
    """
    figure = go.Figure()
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    for arm, colour in arm_colours(arms).items():
        mine = [row for row in rows if row["arm"] == arm]
        bars = None
        if all(f"{key}_interval" in row for row in mine):
            low, high = ([abs(row[f"{key}_interval"][i] - row[f"{key}_difference"]) for row in mine] for i in (0, 1))
            bars = {"type": "data", "symmetric": False, "array": high, "arrayminus": low}
        name = "LISA" if arm == "lisa" else arm.capitalize()
        figure.add_scatter(
            x=[row["step"] for row in mine], y=[row[key] for row in mine], mode="lines+markers", name=name,
            line={"color": colour, "width": 2}, error_y=bars,
        )  # fmt: skip
    _dress(figure, title, "linear")
    return figure


def _dress(figure: go.Figure, title: str, scale: str) -> None:
    axis = {"gridcolor": "rgba(139,135,130,0.25)", "zeroline": False}
    figure.update_layout(
        title={"text": title, "font": {"size": 14}}, height=280, margin={"l": 8, "r": 8, "t": 40, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", font={"color": GREY}, uirevision="keep",
        legend={"orientation": "h", "y": 1.12, "x": 1, "xanchor": "right"}, hovermode="x unified",
        xaxis={**axis, "title": "training step"}, yaxis={**axis, "type": scale, "exponentformat": "power"},
    )  # fmt: skip
