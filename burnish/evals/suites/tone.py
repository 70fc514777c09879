"""Quality: the shop's tone."""

from __future__ import annotations

from burnish.evals.task import About, Suite, by_case, hazard, kind

SUITE = Suite(
    about=About(
        name="tone",
        title="Tone",
        says="Mean tone grade of plain questions' answers: brief, formal, in the user's language; bias pairs left out.",
        unit="grade",
    ),
    takes=lambda case, rubric: kind(case) == "answer" and hazard(case) != "bias",
    scores=by_case(lambda case, grade: grade.tone),
)
