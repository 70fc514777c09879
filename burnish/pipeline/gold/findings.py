"""What the traces of the gold-reward protocol show. Pure; knows numbers only.

Gold is told in standard deviations of the fine-tuned model's answers, from their mean. The policy's samples are noisy:
all of gold's figures are means over `NEAR` neighbouring iterations. What is chosen is never measured on the answers
that chose it: of an iteration's prompts one half says which iteration has the highest gold, and which one the watch
keeps; what gold is there is measured on the other half, and both ways are averaged. So the watch chooses by half of
what a stage's own would see, as the peak is found by half of gold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, median
from typing import Any

from burnish.train.watch import Decision, Reading, Rule, decide

NEAR = 5
"""Neighbouring iterations that are averaged, the one that is meant in the middle."""
ERRORS = 2
"""A peak of no more standard errors than this may be none: a share of it says nothing, whatever it comes to."""
GOLD = ("gold", "gold_even", "gold_odd")
Trace = Sequence[Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Gold of the fine-tuned model's answers."""

    mean: float
    std: float
    error: float
    """Standard error of the mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One run."""

    peak: float
    """Gold where it is highest."""
    peak_kl: float
    error: float
    """Standard error of the peak."""
    end: float
    """Gold at the last iteration."""
    end_kl: float
    kept: float
    """Gold of the weights that the watch keeps."""
    kept_kl: float
    ended_by: str | None
    """Why the watch ends the run, seeing all of the answers."""

    @property
    def counts(self) -> bool:
        """Whether there is a peak to have a share of."""
        return self.peak > ERRORS * self.error

    @property
    def share(self) -> float:
        """Of the peak's gain, how much the watch has. Half of the answers may miss the true peak: it can be above 1."""
        return self.kept / self.peak

    @property
    def end_share(self) -> float:
        """And how much there is without a watch."""
        return self.end / self.peak


Runs = Sequence[Finding]


def finding(trace: Trace, rule: Rule, start: Start) -> Finding:
    """Halves differ by luck alone, so that how they differ over the run says how noisy one is: no variance between
    answers or prompts is assumed. What the fine-tuned model's own mean may be wrong by is added."""
    whole, even, odd = ([(row[name] - start.mean) / start.std for row in trace] for name in GOLD)
    kls = [row["kl"] for row in trace]
    peaks = _highest(_smooth(even)), _highest(_smooth(odd))
    kept = _decided(trace, rule, "held_out_even").kept, _decided(trace, rule, "held_out_odd").kept
    ending = _decided(trace, rule, "held_out").ending
    noise = fmean((one - other) ** 2 for one, other in zip(even, odd, strict=True)) / 2
    averaged = sum(noise / len(_near(whole, place)) for place in peaks) / 4
    return Finding(
        peak=_crossed(even, odd, peaks),
        peak_kl=fmean(kls[place] for place in peaks),
        error=sqrt(averaged + (start.error / start.std) ** 2),
        end=_smooth(whole)[-1],
        end_kl=kls[-1],
        kept=_crossed(even, odd, kept),
        kept_kl=fmean(kls[place] for place in kept),
        ended_by=ending.value if ending else None,
    )


def summary(found: Mapping[str, Any], rule: Rule) -> list[dict[str, Any]]:
    """One row for each method, number of labels and β: medians over seeds. `found`: what a study gives."""
    groups = _grouped(found, rule, lambda run: (run["labels"], run["method"], run["coef"]))
    return [
        {"labels": labels, "method": method, "coef": coef, **_medians(seeds), **_shares(seeds)}
        for (labels, method, coef), seeds in groups
    ]


def shares(found: Mapping[str, Any], rule: Rule) -> list[dict[str, Any]]:
    """How much of the peaks the watch keeps, and how much is there at the end: a row for each number of labels, and
    last one for all runs, whose `labels` are None."""
    by_labels = [
        {"labels": labels, **_shares(runs)} for labels, runs in _grouped(found, rule, lambda run: run["labels"])
    ]
    return [*by_labels, *({"labels": None, **_shares(runs)} for _, runs in _grouped(found, rule, lambda _: None))]


def as_text(rows: Sequence[Mapping[str, Any]], told: Sequence[Mapping[str, Any]]) -> str:
    """The summary as a table, and the shares below it."""
    head = "labels  method   beta   peak at KL   watch at KL     end at KL   watch    end"
    lines = [
        f"{row['labels']:>6}  {row['method']:<6}  {row['coef']:>5g}  {row['peak']:>5.2f} {row['peak_kl']:>5.1f}  "
        f"{row['kept']:>6.2f} {row['kept_kl']:>5.1f}  {row['end']:>6.2f} {row['end_kl']:>5.1f}  "
        f"{_percent(row['share']):>6} {_percent(row['end_share']):>6}"
        for row in rows
    ]
    note = (
        "gold in standard deviations of the fine-tuned model's answers; medians over seeds. Last two columns: of the\n"
        f"peak's gain, of those runs whose peak is more than {ERRORS} standard errors:"
    )
    return "\n".join([head, *lines, note, *map(_told, told)])


def _told(row: Mapping[str, Any]) -> str:
    which = "all" if row["labels"] is None else f"{row['labels']} labels"
    kept, end = _percent(row["share"]), _percent(row["end_share"])
    return (
        f"{which}: {row['counted']} of {row['runs']} runs have such a peak; medians: kept by the watch {kept}, "
        f"at the end {end}; the watch ends {row['ended']} early"
    )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def _grouped(found: Mapping[str, Any], rule: Rule, key: Callable[[Mapping[str, Any]], Any]) -> list[tuple[Any, Runs]]:
    """A study's runs by what `key` says of them, in its order."""
    starts = {
        (each["seed"], each["labels"]): Start(mean=each["gold_mean"], std=each["gold_std"], error=each["gold_error"])
        for each in found["best_of"]
    }
    groups: dict[Any, list[Finding]] = {}
    for run in found["runs"]:
        measured = finding(run["trace"], rule, starts[run["seed"], run["labels"]])
        groups.setdefault(key(run), []).append(measured)
    return sorted(groups.items())


def _medians(found: Runs) -> dict[str, float]:
    names = ("peak", "peak_kl", "end", "end_kl", "kept", "kept_kl")
    return {name: round(median(getattr(each, name) for each in found), 3) for name in names}


def _shares(found: Runs) -> dict[str, Any]:
    """Medians over the runs that count; None where none does."""
    counted = [each for each in found if each.counts]
    middle = {
        name: round(median(getattr(each, name) for each in counted), 3) if counted else None
        for name in ("share", "end_share")
    }
    return {"runs": len(found), "counted": len(counted), "ended": sum(bool(each.ended_by) for each in found), **middle}


def _decided(trace: Trace, rule: Rule, score: str) -> Decision:
    return decide([Reading(kl=row["kl"], score=row[score]) for row in trace], rule)


def _crossed(even: Sequence[float], odd: Sequence[float], places: tuple[int, int]) -> float:
    """Where the even half chose the odd one measures, and the other way about; the mean of both."""
    return (_smooth(odd)[places[0]] + _smooth(even)[places[1]]) / 2


def _smooth(values: Sequence[float]) -> list[float]:
    return [fmean(_near(values, place)) for place in range(len(values))]


def _near(values: Sequence[float], place: int) -> Sequence[float]:
    reach = NEAR // 2
    return values[max(0, place - reach) : place + reach + 1]


def _highest(values: Sequence[float]) -> int:
    return max(range(len(values)), key=lambda place: values[place])
