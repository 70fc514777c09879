"""Curves as SVG that stands inside a page: no fonts, no links, no fixed colours. Knows numbers, not what they mean.

Colours leave here as CSS variables: one picture serves a light and a dark page, and a model keeps its colour.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

_INK, _FAINT, _LINE = "#010203", "#040506", "#070809"
_BESIDE = ("#0a0b0c", "#0d0e0f")
"""Stand-ins that no picture uses otherwise; `_inline` turns them into CSS variables."""
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "burnish",
    "font.size": 10.5,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.formatter.useoffset": False,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "grid.color": _FAINT,
    "grid.alpha": 0.35,
    "grid.linewidth": 0.6,
}
SMOOTH_FROM = 30
"""From this many points on, a running mean is drawn over the points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Another quantity at the same places."""

    name: str
    y: Sequence[float]
    colour: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One quantity against another."""

    title: str
    x: Sequence[float]
    y: Sequence[float]
    x_label: str
    y_label: str
    caption: str
    colour: str = "ppo"
    """The CSS variable's name, without its dashes."""
    share: bool = False
    """y is a share: the axis runs from 0 to 1."""
    noisy: bool = True
    """Whether a running mean helps."""
    joined: bool = True
    """Whether neighbouring points belong together; otherwise a cloud of points, later ones darker."""
    ends: Sequence[tuple[float, float]] = ()
    """Of each point, the interval of its y; drawn where the points are few."""
    diagonal: bool = False
    """Whether a dashed line shows where y is x, all along the axis."""
    x_from: float | None = None
    x_to: float | None = None
    """Where the x axis begins and ends; None: a little beyond the points."""
    name: str = ""
    """What y is, where something stands beside it."""
    beside: Sequence[Series] = ()
    """Two at most."""
    mark: float | None = None
    """A place on the x axis that was chosen."""

    @property
    def window(self) -> int:
        """Points that one value of the running mean covers, odd; 1 where none is drawn."""
        return (max(3, len(self.x) // 15) | 1) if self.joined and self.noisy and len(self.x) >= SMOOTH_FROM else 1


def draw(curve: Curve) -> str:
    """An `<svg>` element, about 3:2, with a title for those who listen."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.3, 2.7), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        _lines(axes, curve) if curve.joined else _cloud(axes, curve)
        _frame(axes, curve)
        text = io.StringIO()
        figure.savefig(
            text, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Type", "Format"))
        )
    return _inline(text.getvalue(), curve)


def smooth(y: Sequence[float], window: int) -> np.ndarray:
    """Centred running mean; at the ends over what is there."""
    weights = np.ones(window)
    return np.convolve(y, weights, "same") / np.convolve(np.ones(len(y)), weights, "same")


def _lines(axes: Axes, curve: Curve) -> None:
    if curve.window == 1:
        marker = "o" if len(curve.x) < SMOOTH_FROM else ""
        axes.plot(curve.x, curve.y, color=_LINE, linewidth=1.8, marker=marker, markersize=2.6)
        for x, (low, high) in zip(curve.x, curve.ends, strict=False):
            axes.vlines(x, low, high, color=_LINE, linewidth=2.4, alpha=0.4)
        if curve.diagonal:
            axes.axline((0, 0), slope=1, color=_FAINT, linestyle=(0, (3, 3)))
        return
    axes.plot(curve.x, curve.y, color=_LINE, linewidth=0.8, alpha=0.35)
    axes.plot(curve.x, smooth(curve.y, curve.window), color=_LINE, linewidth=2.0)


def _cloud(axes: Axes, curve: Curve) -> None:
    for y, colour in [(curve.y, _LINE), *((each.y, own) for each, own in zip(curve.beside, _BESIDE, strict=False))]:
        shades = [to_rgba(colour, alpha) for alpha in np.linspace(0.25, 0.95, len(curve.x))]
        axes.scatter(curve.x, y, s=18, color=shades, linewidths=0, clip_on=False)
    if curve.beside:
        for name, colour in zip([curve.name, *(each.name for each in curve.beside)], (_LINE, *_BESIDE), strict=False):
            axes.plot([], [], "o", color=colour, label=name)
        axes.legend(frameon=False, labelcolor=_INK, handletextpad=0.2, borderaxespad=0.2)
    if curve.mark is not None:
        axes.axvline(curve.mark, color=_INK, linewidth=1.0, linestyle=(0, (4, 3)))


def _frame(axes: Axes, curve: Curve) -> None:
    axes.set_xlabel(curve.x_label)
    axes.set_ylabel(curve.y_label)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=curve.x_label == "step"))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="y")
    axes.margins(x=0.03, y=0.12)
    axes.set_xlim(left=curve.x_from, right=curve.x_to)
    if curve.share:
        axes.set_ylim(-0.03, 1.03)


def _inline(svg: str, curve: Curve) -> str:
    """Without XML head, metadata, sizes, fonts and unused ids; colours named, ids unlike any other picture's."""
    body = re.sub(r"\s+", " ", svg[svg.index("<svg") :])
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->|<defs>\s*</defs>", "", body)
    body = re.sub(
        r'(<svg)[^>]*( viewBox="[^"]*")[^>]*>', rf'\1\2 role="img" aria-label="{escape(curve.title)}">', body, count=1
    )
    body = re.sub(
        r"font(?:-family)?: (?:([\d.]+px) )?[^;\"]*'[^;\"]*", lambda hit: f"font-size: {hit[1]}" if hit[1] else "", body
    )
    used, prefix = set(re.findall(r"#([\w.-]+)", body)), re.sub(r"\W", "", curve.colour + curve.title)
    body = re.sub(r' id="([^"]+)"', lambda hit: f' id="{prefix}-{hit[1]}"' if hit[1] in used else "", body)
    body = re.sub(r'(xlink:href="|url\()#', rf"\1#{prefix}-", body)
    others = zip(_BESIDE, (each.colour for each in curve.beside), strict=False)
    for sentinel, name in ((_INK, "ink"), (_FAINT, "faint"), (_LINE, curve.colour), *others):
        body = body.replace(sentinel, f"var(--{name})")
    return body.strip()
