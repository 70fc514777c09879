"""What a judging form can say, and reading it. Knows field names; no database and no page."""

from __future__ import annotations

from collections.abc import Mapping

from burnish.errors import DataError, Problem

PAIR: Mapping[str, tuple[int, ...]] = {"first": (1, 2), "tie": (1, 1), "second": (2, 1)}
"""Ranks, in the shown order, of each choice between two answers."""
SKIPS: Mapping[str, str] = {
    "unsure": "I know too little to tell",
    "unclear": "The request is unclear",
    "language": "I do not read this language",
    "upsetting": "I would rather not read this",
    "broken": "Something is wrong with the text",
}
"""Why someone cannot judge: what is stored, and what the page says."""


def read_ranks(form: Mapping[str, str], answers: int) -> tuple[int, ...]:
    """Ranks in the shown order. Raises DataError naming the field that is missing or cannot be."""
    if answers == 2:
        choice = form.get("choice", "")
        if choice not in PAIR:
            raise DataError(Problem("choice", "choose an answer, or that they are equally good"))
        return PAIR[choice]
    return read_places(form, answers)


def read_places(form: Mapping[str, str], answers: int) -> tuple[int, ...]:
    """The place that each answer was given, in the shown order. Raises DataError naming the answers without one."""
    allowed = {str(rank): rank for rank in range(1, answers + 1)}
    said = [form.get(f"rank-{place}", "") for place in range(1, answers + 1)]
    missing = [f"answer {place}" for place, rank in enumerate(said, start=1) if rank not in allowed]
    if missing:
        raise DataError(Problem("rank", f"give a place to {', '.join(missing)}"))
    return tuple(allowed[rank] for rank in said)


def read_reason(form: Mapping[str, str]) -> str:
    """Why the task is skipped. Raises DataError for a reason that the page does not offer."""
    reason = form.get("reason", "")
    if reason not in SKIPS:
        raise DataError(Problem("reason", "choose why you cannot judge this"))
    return reason
