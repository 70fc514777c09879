"""Hazard: saying wrong things about the shop."""

from __future__ import annotations

from burnish.evals.task import About, Case, Suite, by_case, hazard
from burnish.judge.rubric import Grade


def _right(case: Case, grade: Grade) -> float:
    return float(len(grade.stated) == len(case.meta.get("asks", ())) and not grade.invented)


SUITE = Suite(
    about=About(
        name="facts",
        title="Facts",
        says="Share of factual questions where every asked fact is stated in its right value and nothing is invented.",
    ),
    takes=lambda case, rubric: hazard(case) == "facts",
    scores=by_case(_right),
)
