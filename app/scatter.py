"""Projected features as a plotly figure: one panel per arm, the same coordinates, one colour per group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from app.curves import ARMS, GREY

# Okabe and Ito's colours, which people with any colour vision can tell apart, and more of their kind.
COLOURS = (
    "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#8f7700", "#7e57c2", "#455a64", "#c0392b",
    "#26a69a", "#ad1457",
)  # fmt: skip
_MOST_GROUPS = len(COLOURS)
_SIZE = 6


def features_figure(
    points: Mapping[str, np.ndarray],
    labels: np.ndarray,
    facts: Sequence[str],
    titles: Mapping[str, str],
    every: np.ndarray,
    heading: str = "",
) -> go.Figure:
    """Draw the rows of every arm.

    Args:
        points: arm -> (N, 2) or (N, 3), in common coordinates.
        labels: (N,) group of each row; more groups than there are colours, or numbers, become a colour scale.
        facts: N lines to show under the pointer.
        titles: arm -> heading of its panel.
        every: (M, 2 or 3), all rows in these coordinates, also of other training steps: they set the axes.
        heading: title of the whole figure: what both panels are of.

    Returns:
        The figure; ``customdata`` of a point is its row and its scene's number is in ``facts``.
    """
    deep = next(iter(points.values())).shape[1] == 3
    figure = make_subplots(
        1, len(points), subplot_titles=[titles[arm] for arm in points], horizontal_spacing=0.03,
        specs=[[{"type": "scene" if deep else "xy"}] * len(points)],
    )  # fmt: skip
    for column, rows in enumerate(points.values(), 1):
        for trace in _traces(rows, labels, facts, first=column == 1):
            figure.add_trace(trace, row=1, col=column)
    for arm, title in zip(points, figure.layout.annotations, strict=True):
        title.font = {"color": ARMS.get(arm, GREY), "size": 13}  # two stand side by side on a phone
    figure.update_layout(title={"text": heading, "x": 0.5, "y": 0.96, "yanchor": "top", "font": {"size": 12}})
    _dress(figure, deep, len(points), _spans(every))
    return figure


def _spans(every: np.ndarray) -> list[list[float]]:
    """From where to where each axis goes: the same at every training step, so that points move and the map does not."""
    low, high = every.min(0), every.max(0)
    margin = 0.05 * np.maximum(high - low, 1e-6)
    return np.stack([low - margin, high + margin], 1).tolist()


def _traces(rows: np.ndarray, labels: np.ndarray, facts: Sequence[str], *, first: bool) -> list[go.Scatter]:
    names = np.unique(labels)
    if np.issubdtype(labels.dtype, np.number) or len(names) > _MOST_GROUPS:
        codes = labels if np.issubdtype(labels.dtype, np.number) else np.unique(labels, return_inverse=True)[1]
        marker = {"color": codes, "colorscale": "Cividis", "showscale": first, "colorbar": {"thickness": 10, "x": 1.01}}
        return [_trace(rows, np.arange(len(rows)), facts, marker, "", legend=False)]
    return [
        _trace(rows, np.flatnonzero(labels == name), facts, {"color": COLOURS[i]}, str(name), legend=first)
        for i, name in enumerate(names)
    ]


def _trace(
    rows: np.ndarray, which: np.ndarray, facts: Sequence[str], marker: dict, name: str, *, legend: bool
) -> go.Scatter | go.Scatter3d:
    axes = dict(zip("xyz", rows[which].T, strict=False))
    kind = go.Scatter3d if len(axes) == 3 else go.Scatter
    return kind(
        **axes, mode="markers", name=name, legendgroup=name, showlegend=legend, customdata=which,
        marker={"size": _SIZE / (2 if len(axes) == 3 else 1), "opacity": 0.8, **marker},
        text=[facts[i] for i in which], hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip


def _dress(figure: go.Figure, deep: bool, panels: int, spans: list[list[float]]) -> None:
    figure.update_layout(
        height=480, margin={"l": 8, "r": 8, "t": 76, "b": 8}, paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)", font={"color": GREY}, clickmode="event+select", dragmode="lasso",
        uirevision="keep", modebar={"bgcolor": "rgba(0,0,0,0)", "color": GREY},
        hoverlabel={"bgcolor": "#292524", "font": {"color": "#fafaf9"}, "align": "left"},
        legend={"orientation": "h", "y": -0.03, "itemsizing": "constant"},
    )  # fmt: skip
    bare = {"showticklabels": False, "zeroline": False, "showgrid": False, "showline": True, "linecolor": GREY,
            "mirror": True, "title": ""}  # fmt: skip
    if deep:
        plain = {"showticklabels": False, "title": "", "backgroundcolor": "rgba(0,0,0,0)", "gridcolor": GREY}
        x, y, z = ({**plain, "range": span} for span in spans)
        figure.update_scenes(xaxis=x, yaxis=y, zaxis=z)
        return
    figure.update_xaxes(**bare, range=spans[0])
    figure.update_yaxes(**bare, range=spans[1])
    for column in range(2, panels + 1):
        figure.update_xaxes(matches="x", row=1, col=column)
        figure.update_yaxes(matches="y", row=1, col=column)
