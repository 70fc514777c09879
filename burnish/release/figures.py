"""An evaluation's figures as a reader wants them, for page and card alike. Reads evaluation.json, computes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from burnish.release.clauses import estimate_in, number
from burnish.types import Estimate

Unit = Literal["share", "grade", "score"]
"""share: of cases, shown in percent. grade: from 0 to 1. score: without natural ends."""
SHOWN_AT = 0.05
"""Adjusted p below which a difference is said to be there."""
Reading = Literal["better", "worse", "changed", "same", "doubted"]
MODELS = {
    "base": "Base",
    "sft": "SFT",
    "dpo": "DPO",
    "kto": "KTO",
    "distill": "Distilled",
    "rft": "RFT",
    "online_dpo": "Online DPO",
    "ppo": "PPO",
    "grpo": "GRPO",
}
WIN_RATES = "winrate"
VARIANTS = {
    "": "",
    "_length_matched": "only answers of like length",
    "_length_controlled": "expected at equal lengths",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """One hazard or quality, measured on every model."""

    title: str
    says: str
    better: Literal["higher", "lower", "zero", "neither"]
    unit: Unit
    models: Mapping[str, Estimate]
    too_few: bool

    @property
    def signed(self) -> bool:
        return self.better == "zero"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What one model has over another in a suite, unit by unit."""

    suite: Suite
    title: str
    colour: str
    """The later model's name."""
    estimate: Estimate
    p: float | None
    """Adjusted for all tests of the evaluation (Holm)."""
    doubted: bool = False
    """What measured it may be guessing."""

    @property
    def reading(self) -> Reading:
        """What is shown; "same" where the interval holds zero, or p does not survive the number of tests made.

        That shows no difference, and does not show equality.
        """
        if self.doubted:
            return "doubted"
        if self.estimate.low <= 0 <= self.estimate.high or (self.p is not None and self.p >= SHOWN_AT):
            return "same"
        if self.suite.better not in ("higher", "lower"):
            return "changed"
        return "better" if (self.estimate.value > 0) == (self.suite.better == "higher") else "worse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How often the later model's answer is preferred to the earlier's."""

    title: str
    note: str
    colour: str
    estimate: Estimate
    too_few: bool
    doubted: bool = False
    """What preferred it may be guessing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """All of an evaluation."""

    suites: tuple[Suite, ...] = ()
    differences: tuple[Difference, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    """The latest model against the one before it first."""
    says: str = ""
    """How comparisons were made."""


def read_figures(evaluation: Mapping[str, Any], doubtful: Collection[str] = ()) -> Figures:
    """From the JSON of `burnish.evals.report.Evaluation`; of an empty one, no figures. `doubtful`: suites from which
    nothing is concluded."""
    models: list[str] = evaluation.get("models", [])
    suites: Mapping[str, Any] = evaluation.get("suites", {})
    measured = {name: _suite(found, models) for name, found in suites.items() if name != WIN_RATES}
    duels: Mapping[str, Any] = suites.get(WIN_RATES, {})
    return Figures(
        suites=tuple(measured.values()),
        differences=tuple(
            replace(each, doubted=name in doubtful)
            for name, suite in measured.items()
            for each in _differences(suite, suites[name]["figures"], models)
        ),
        comparisons=tuple(
            replace(each, doubted=WIN_RATES in doubtful) for each in _comparisons(duels.get("figures", {}), models)
        ),
        says=duels.get("says", ""),
    )


def title_of(model: str) -> str:
    return MODELS.get(model, model)


def shown(value: float, unit: str) -> str:
    """A figure in its unit; a difference ("points", "change") with its sign, points being hundredths."""
    if unit == "share":
        return f"{100 * value:.1f}%"
    if unit == "grade":
        return f"{value:.2f}".replace("-", "−")
    signed = f"{100 * value:+.1f}" if unit == "points" else f"{value:+.3g}" if unit == "change" else number(value)
    return signed.replace("-", "−")


def spread(value: float, unit: str) -> str:
    """A size without direction, as the smallest detectable effect: that of shares in points."""
    return f"{100 * value:.1f} pt" if unit == "share" else shown(value, unit).removeprefix("+")


def _estimate(figure: Mapping[str, Any]) -> Estimate:
    found = estimate_in(figure)
    assert found is not None, "a figure has an interval"
    return found


def _suite(found: Mapping[str, Any], models: Iterable[str]) -> Suite:
    figures = found["figures"]
    return Suite(
        title=found["title"],
        says=found["says"],
        better=found["better"],
        unit=found["unit"],
        models={model: _estimate(figures[model]) for model in models if model in figures},
        too_few=found["too_few"],
    )


def _differences(suite: Suite, figures: Mapping[str, Any], models: list[str]) -> list[Difference]:
    if suite.better == "neither":
        return []
    return [
        Difference(
            suite=suite,
            title=f"{title_of(later)} − {title_of(earlier)}",
            colour=later,
            estimate=_estimate(figures[name]),
            p=figures[name].get("p_holm"),
        )
        for later, earlier in _latest_first(models)
        if (name := f"{later}-{earlier}") in figures
    ]


def _comparisons(figures: Mapping[str, Any], models: list[str]) -> list[Comparison]:
    return [
        Comparison(
            title=f"{title_of(later)} against {title_of(earlier)}",
            note=note,
            colour=later,
            estimate=_estimate(figures[name]),
            too_few=figures[name]["too_few"],
        )
        for later, earlier in _latest_first(models)
        for variant, note in VARIANTS.items()
        if (name := f"{later}_vs_{earlier}{variant}") in figures
    ]


def _latest_first(models: list[str]) -> list[tuple[str, str]]:
    """(later, earlier): the last with the one before it, then with those before that, and so on."""
    return [(models[i], models[j]) for i in reversed(range(len(models))) for j in reversed(range(i))]
