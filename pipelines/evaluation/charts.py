"""Curves and dots as inline SVG that takes its ink from the page around it."""

import io
import re
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

_INK = "#010203"
"""Stands for the page's own text color until the drawing is finished."""

_COLORS = ("#4c8dff", "#e0793a", "#35a873", "#b06ad9", "#d6506f", "#8a8f98")
"""Readable on white and on black."""

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "font.size": 10,
}

Curves = Mapping[str, Sequence[tuple[float, float]]]
"""Name of a curve to its points (step, value)."""


def curve_chart(curves: Curves, *, name: str, value: str) -> str:
    """Draw curves over steps: what was measured faintly, a running mean firmly.

    Args:
        curves: At least one, of at least one point each.
        name: Tells this drawing's inner names from those of others on the page.
        value: What the vertical axis shows.

    Returns:
        An ``<svg>`` element that needs nothing from outside the page.
    """
    with mpl.rc_context(_STYLE | {"svg.hashsalt": name}):
        figure = Figure(figsize=(6.4, 3.2), layout="constrained")
        axes = figure.add_subplot()
        for color, (label, points) in zip(_COLORS * len(curves), curves.items(), strict=False):
            steps, values = zip(*points, strict=True)
            smooth = running_mean(values)
            axes.plot(steps, values, color=color, alpha=0.25, linewidth=0.8)
            axes.plot(steps, smooth, color=color, linewidth=1.6, label=label)
            axes.plot(steps[-1:], smooth[-1:], "o", color=color, markersize=3)
        axes.set_xlabel("step")
        axes.set_ylabel(value)
        axes.grid(alpha=0.15, color=_INK)
        if len(curves) > 1:
            figure.legend(loc="outside upper left", frameon=False, ncols=min(4, len(curves)))
        return _inline(figure)


def dot_chart(
    groups: Mapping[str, Sequence[float]], *, name: str, value: str, floor: float | None = None
) -> str:
    """Draw a row of dots for each group, with a stroke at its mean.

    Args:
        groups: Name of a group to its values, at least one each; the first group is on top.
        name: Tells this drawing's inner names from those of others on the page.
        value: What the horizontal axis shows.
        floor: Where a dashed line stands for what chance alone makes.

    Returns:
        An ``<svg>`` element that needs nothing from outside the page.
    """
    with mpl.rc_context(_STYLE | {"svg.hashsalt": name}):
        figure = Figure(figsize=(6.4, 0.7 + 0.42 * len(groups)), layout="constrained")
        axes = figure.add_subplot()
        for place, (color, values) in enumerate(
            zip(_COLORS * len(groups), groups.values(), strict=False)
        ):
            axes.plot(values, [place] * len(values), "o", color=color, alpha=0.6, markersize=6)
            axes.plot([fmean(values)], [place], "|", color=color, markersize=20, markeredgewidth=2)
        if floor is not None:
            axes.axvline(floor, color=_INK, linewidth=0.8, linestyle="--", alpha=0.5)
        axes.set_yticks(range(len(groups)), list(groups))
        axes.set_ylim(len(groups) - 0.4, -0.6)
        axes.set_xlabel(value)
        axes.grid(alpha=0.15, color=_INK, axis="x")
        return _inline(figure)


def running_mean(values: Sequence[float]) -> list[float]:
    """Mean over about a tenth of the curve around each point; narrower towards both ends."""
    reach, last = len(values) // 20, len(values) - 1
    smooth = []
    for place in range(len(values)):
        side = min(reach, place, last - place)
        smooth.append(fmean(values[place - side : place + side + 1]))
    return smooth


def _inline(figure: Figure) -> str:
    stream = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
    drawing = stream.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"|(<svg)', r"\1\2", drawing, count=1)
    return drawing.replace(_INK, "currentColor")
