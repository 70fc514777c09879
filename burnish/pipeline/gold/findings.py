"""What the traces of the gold-reward protocol show. Pure; knows numbers only.

Gold is told in standard deviations of the fine-tuned model's answers, from their mean. The policy's samples are noisy:
all of gold's figures are means over `NEAR` neighbouring iterations, and a peak is looked for in one half of the answers
and measured on the other, so that it is not a lucky draw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from burnish.train.watch import Reading, Rule, decide

NEAR = 5
"""Neighbouring iterations that are averaged, the one that is meant in the middle."""
Trace = Sequence[Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One run."""

    peak: float
    """Gold where it is highest."""
    peak_kl: float
    end: float
    """Gold at the last iteration."""
    end_kl: float
    kept: float
    """Gold of the weights that the watch keeps."""
    kept_kl: float
    iteration: int
    """Which iteration's they are."""
    ended_by: str | None

    @property
    def share(self) -> float:
        """Of the peak's gain, how much the watch has."""
        return self.kept / self.peak


def finding(trace: Trace, rule: Rule, mean: float, std: float) -> Finding:
    """Args: mean and std, those of gold over the fine-tuned model's answers."""
    whole, even, odd = (_smooth([(row[name] - mean) / std for row in trace]) for name in HALVES)
    kls = [row["kl"] for row in trace]
    places = [_highest(even), _highest(odd)]
    decision = decide([Reading(kl=row["kl"], score=row["held_out"]) for row in trace], rule)
    return Finding(
        peak=(odd[places[0]] + even[places[1]]) / 2,
        peak_kl=sum(kls[place] for place in places) / 2,
        end=whole[-1],
        end_kl=kls[-1],
        kept=whole[decision.kept],
        kept_kl=kls[decision.kept],
        iteration=decision.kept,
        ended_by=decision.ending.value if decision.ending else None,
    )


HALVES = ("gold", "gold_even", "gold_odd")


def summary(found: Mapping[str, Any], rule: Rule) -> list[dict[str, Any]]:
    """One row for each method, number of labels and β: medians over seeds. `found`: what a study gives."""
    gold = {(each["seed"], each["labels"]): (each["gold_mean"], each["gold_std"]) for each in found["best_of"]}
    groups: dict[tuple[int, str, float], list[Finding]] = {}
    for run in found["runs"]:
        measured = finding(run["trace"], rule, *gold[run["seed"], run["labels"]])
        groups.setdefault((run["labels"], run["method"], run["coef"]), []).append(measured)
    return [
        {"labels": labels, "method": method, "coef": coef, "seeds": len(seeds), **_medians(seeds)}
        for (labels, method, coef), seeds in sorted(groups.items())
    ]


def as_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The summary as a table."""
    head = "labels  method   beta   peak at KL   watch at KL     end at KL   kept"
    lines = [
        f"{row['labels']:>6}  {row['method']:<6}  {row['coef']:>5g}  {row['peak']:>5.2f} {row['peak_kl']:>5.1f}  "
        f"{row['kept']:>6.2f} {row['kept_kl']:>5.1f}  {row['end']:>6.2f} {row['end_kl']:>5.1f}  {row['share']:>5.0%}"
        for row in rows
    ]
    note = "gold in standard deviations of the fine-tuned model's answers; medians over seeds; kept: of the peak's gain"
    return "\n".join([head, *lines, note])


def _medians(found: Sequence[Finding]) -> dict[str, float]:
    names = ("peak", "peak_kl", "end", "end_kl", "kept", "kept_kl", "share")
    return {name: round(median(getattr(each, name) for each in found), 3) for name in names}


def _smooth(values: Sequence[float]) -> list[float]:
    reach = NEAR // 2
    parts = [values[max(0, place - reach) : place + reach + 1] for place in range(len(values))]
    return [sum(part) / len(part) for part in parts]


def _highest(values: Sequence[float]) -> int:
    return max(range(len(values)), key=lambda place: values[place])
