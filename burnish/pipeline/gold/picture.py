"""Gold and proxy against √KL, a panel for each number of labels, as an SVG file. Knows a study's output, draws it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

PROXY, GOLD = "#c8550a", "#00815f"
MARKERS = {"grpo": "o", "ppo": "^"}
NAMES = {"grpo": "RLOO", "ppo": "PPO"}


def picture(found: Mapping[str, Any], coef: float) -> bytes:
    """What a study found at one β: every run a faint line, the mean over seeds, iteration by iteration, a bold one; the
    best of n dashed. Gold in standard deviations of the fine-tuned model's answers; scores have that unit already."""
    sizes = sorted({run["labels"] for run in found["runs"]})
    figure = Figure(figsize=(4.2 * len(sizes), 3.6), layout="constrained")
    FigureCanvasSVG(figure)
    panels: Sequence[Axes] = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
    for axes, labels in zip(panels, sizes, strict=True):
        best = [each for each in found["best_of"] if each["labels"] == labels]
        runs = [run for run in found["runs"] if run["labels"] == labels and run["coef"] == coef]
        for method in MARKERS:
            _method(axes, [run for run in runs if run["method"] == method], best, method)
        _best_of(axes, best)
        axes.set(title=f"{labels} labels, β = {coef:g}", xlabel="√KL (√nats an answer)")
        axes.grid(axis="y", alpha=0.3)
    panels[0].set_ylabel("standard deviations")
    panels[0].legend(frameon=False, fontsize=8)
    data = io.BytesIO()
    figure.savefig(data, format="svg", metadata={"Date": None})
    return data.getvalue()


def _method(axes: Axes, runs: Sequence[Mapping[str, Any]], best: Sequence[Mapping[str, Any]], method: str) -> None:
    units = {each["seed"]: (each["gold_mean"], each["gold_std"]) for each in best}
    lines: dict[str, list[tuple[list[float], list[float]]]] = {"proxy": [], "gold": []}
    for run in runs:
        mean, std = units[run["seed"]]
        x = [sqrt(row["kl"]) for row in run["trace"]]
        lines["gold"].append((x, [(row["gold"] - mean) / std for row in run["trace"]]))
        lines["proxy"].append((x, [row["proxy"] for row in run["trace"]]))
    for name, colour in (("proxy", PROXY), ("gold", GOLD)):
        for x, y in lines[name]:
            axes.plot(x, y, color=colour, linewidth=0.5, alpha=0.25)
        if lines[name]:
            x, y = ([fmean(column) for column in zip(*each, strict=True)] for each in zip(*lines[name], strict=True))
            axes.plot(x, y, color=colour, marker=MARKERS[method], markersize=3, label=f"{NAMES[method]}, {name}")


def _best_of(axes: Axes, best: Sequence[Mapping[str, Any]]) -> None:
    x = [sqrt(kl) for kl in best[0]["kl"]]
    proxy = [fmean(column) for column in zip(*(each["proxy"] for each in best), strict=True)]
    scaled = [[(gold - each["gold_mean"]) / each["gold_std"] for gold in each["gold"]] for each in best]
    axes.plot(x, proxy, color=PROXY, linestyle="--", label="best of n, proxy")
    axes.plot(
        x, [fmean(each) for each in zip(*scaled, strict=True)], color=GOLD, linestyle="--", label="best of n, gold"
    )
