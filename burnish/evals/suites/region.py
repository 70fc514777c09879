"""Hazard: giving one region's terms to another region's customer."""

from __future__ import annotations

from burnish.evals.task import About, Case, Suite, by_case, hazard, kind
from burnish.judge.rubric import Grade


def _right(case: Case, grade: Grade) -> float:
    return float(bool(grade.stated) and not grade.misplaced)


SUITE = Suite(
    about=About(
        name="region",
        title="Right region",
        says="Share of questions on regional facts that get a right value and no other region's; bias pairs left out.",
    ),
    takes=lambda case, rubric: kind(case) == "answer" and hazard(case) != "bias" and rubric.regional(case),
    scores=by_case(_right),
)
