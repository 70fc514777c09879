"""Figures of an evaluation: estimates, comparisons of models on the same units, adjusted p values, JSON and text.

A figure's name is the model ("ppo"), two models with a minus for a paired difference ("ppo-sft"), or with _vs_ for a
win rate ("ppo_vs_sft", "ppo_vs_sft_length_matched", "ppo_vs_sft_length_controlled"). Together with its suite it is a
path: "refusal.ppo". p values are of exact sign tests over the units that differ (McNemar's test where numbers are 0 or
1), and `p_holm` holds over all tests of the evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from burnish.evals.suites import winrate
from burnish.evals.task import About, Measure, Scores
from burnish.stats.intervals import mean_interval, paired_difference, wilson
from burnish.stats.paired import holm, sign_test, win_rate
from burnish.types import Estimate

ENOUGH = 100
"""Units below which a figure is marked `too_few`: a gate does not decide by it."""
WORST = 12
"""Units named for each model where it did worst."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One estimate, and what tells it from chance where it is a comparison."""

    estimate: Estimate
    p: float | None = None
    p_holm: float | None = None

    @property
    def too_few(self) -> bool:
        return self.estimate.n < ENOUGH

    def as_json(self) -> dict[str, Any]:
        tested = {} if self.p is None else {"p": self.p, "p_holm": self.p_holm}
        return {**self.estimate.as_json(), "too_few": self.too_few, **tested}


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteReport:
    """All figures of one suite."""

    about: About
    figures: Mapping[str, Figure]
    worst: Mapping[str, tuple[str, ...]]
    """Model -> ids of the units where it did worst, worst first; none that are as good as can be."""

    @property
    def n(self) -> int:
        return max(figure.estimate.n for figure in self.figures.values())

    def as_json(self) -> dict[str, Any]:
        about = self.about
        return {
            "title": about.title,
            "says": about.says,
            "better": about.better,
            "unit": about.unit,
            "of": about.of,
            "n": self.n,
            "too_few": self.n < ENOUGH,
            "figures": {name: figure.as_json() for name, figure in self.figures.items()},
            "worst": {model: list(units) for model, units in self.worst.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What the cases showed of each model."""

    cases: int
    models: tuple[str, ...]
    suites: Mapping[str, SuiteReport]

    def as_json(self) -> dict[str, Any]:
        """evaluation.json: {"cases", "models", "suites": {name: {..., "figures": {name: estimate with n, mde, p}}}}."""
        return {
            "cases": self.cases,
            "models": list(self.models),
            "suites": {name: suite.as_json() for name, suite in self.suites.items()},
        }

    def lines(self) -> list[str]:
        """A line a suite, for a terminal."""
        return [_line(suite) for suite in self.suites.values()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Duel:
    """One model's answers against another's, prompt by prompt."""

    later: str
    earlier: str
    outcomes: Sequence[float]
    """+1 where the later model's is better."""
    words: tuple[Sequence[int], Sequence[int]]
    """Lengths of the later model's answers, and of the earlier's."""


def pairs(models: Sequence[str]) -> list[tuple[str, str]]:
    """Which models are compared, earlier first: all with all, neighbours first."""
    places = sorted(combinations(range(len(models)), 2), key=lambda pair: pair[1] - pair[0])
    return [(models[earlier], models[later]) for earlier, later in places]


def assemble(
    cases: int, models: Sequence[str], measures: Sequence[Measure], duels: Sequence[Duel], seed: int = 0
) -> Evaluation:
    """Estimates and tests of all measures; win rates first, where there are any."""
    reports = [_duels(duels)] if duels else []
    reports += [_suite(measure, models, seed) for measure in measures]
    suites = {report.about.name: report for report in _adjusted(reports)}
    return Evaluation(cases=cases, models=tuple(models), suites=suites)


def _suite(measure: Measure, models: Sequence[str], seed: int) -> SuiteReport:
    about, by_model = measure.about, measure.by_model
    figures = {model: Figure(estimate=_estimate(list(by_model[model].values()), about)) for model in models}
    for earlier, later in pairs(models):
        figures[f"{later}-{earlier}"] = _difference(by_model[later], by_model[earlier], about, seed)
    return SuiteReport(about=about, figures=figures, worst={model: _worst(by_model[model], about) for model in models})


def _estimate(values: Sequence[float], about: About) -> Estimate:
    if about.unit == "share":
        return wilson(sum(values), len(values))
    return mean_interval(values, about.bounds or (min(values), max(values) + 1e-9))


def _difference(later: Scores, earlier: Scores, about: About, seed: int) -> Figure:
    ours, theirs = list(later.values()), [earlier[unit] for unit in later]
    ends = about.bounds or (min(ours + theirs), max(ours + theirs))
    estimate = paired_difference(ours, theirs, seed=seed, span=ends[1] - ends[0])
    return Figure(estimate=estimate, p=None if about.better == "neither" else _sign_p(ours, theirs))


def _sign_p(ours: Sequence[float], theirs: Sequence[float]) -> float:
    outcomes = winrate.outcomes(ours, theirs)
    return sign_test(sum(each > 0 for each in outcomes), sum(each < 0 for each in outcomes))


def _worst(scores: Scores, about: About) -> tuple[str, ...]:
    """By badness, then by id."""
    if about.better == "neither":
        return ()
    least, most = about.bounds or (min(scores.values()), max(scores.values()))
    best = {"higher": most, "lower": least, "zero": 0.0}[about.better]
    bad = sorted((-abs(score - best), unit) for unit, score in scores.items() if abs(score - best) > 1e-9)
    return tuple(unit for _, unit in bad[:WORST])


def _duels(duels: Sequence[Duel]) -> SuiteReport:
    figures: dict[str, Figure] = {}
    for duel in duels:
        name = f"{duel.later}_vs_{duel.earlier}"
        wins, losses = (sum(sign * each > 0 for each in duel.outcomes) for sign in (1, -1))
        figures[name] = Figure(estimate=win_rate(duel.outcomes), p=sign_test(wins, losses))
        for variant, rate in (("length_matched", winrate.matched), ("length_controlled", winrate.controlled)):
            estimate = rate(duel.outcomes, *duel.words)
            figures |= {f"{name}_{variant}": Figure(estimate=estimate)} if estimate else {}
    return SuiteReport(about=winrate.ABOUT, figures=figures, worst={})


def _adjusted(reports: Sequence[SuiteReport]) -> list[SuiteReport]:
    """The same with Holm's p over all tests."""
    tested = [
        (report.about.name, name) for report in reports for name, each in report.figures.items() if each.p is not None
    ]
    raw = [figure.p for report in reports for figure in report.figures.values() if figure.p is not None]
    adjusted = dict(zip(tested, holm(raw), strict=True))
    return [
        replace(
            report,
            figures={
                name: replace(figure, p_holm=adjusted.get((report.about.name, name)))
                for name, figure in report.figures.items()
            },
        )
        for report in reports
    ]


def _line(suite: SuiteReport) -> str:
    said = [
        f"{name} {_shown(each.estimate, suite.about)}" for name, each in suite.figures.items() if "length" not in name
    ]
    few = f" (only {suite.n})" if suite.n < ENOUGH else ""
    return f"{suite.about.title}{few}: {', '.join(said)}"


def _shown(estimate: Estimate, about: About) -> str:
    scale, sign, digits = (100, "%", 0) if about.unit == "share" else (1, "", 2)
    value, low, high = (f"{scale * each:.{digits}f}" for each in (estimate.value, estimate.low, estimate.high))
    return f"{value}{sign} [{low}, {high}]"
