"""What a judging form can say, and reading it. Knows field names; no database and no page. What is particular to a kind
of campaign stands in `store.kinds`."""

from __future__ import annotations

from collections.abc import Mapping

from burnish.errors import DataError, Problem
from burnish.store.details import Details
from burnish.store.kinds import KINDS, Form, Ranks
from burnish.store.views import Campaign, Judgement, Task

SKIPS: Mapping[str, str] = {
    "unsure": "I know too little to tell",
    "unclear": "The request is unclear",
    "language": "I do not read this language",
    "upsetting": "I would rather not read this",
    "broken": "Something is wrong with the text",
}
"""Why someone cannot judge: what is stored, and what the page says."""


def read(form: Form, campaign: Campaign, task: Task) -> tuple[Ranks | None, Details]:
    """Ranks, where the kind of campaign takes them, and what else is said, in the shown order. Raises DataError naming
    the field that is missing or cannot be."""
    return KINDS[campaign.kind].read(form, len(task.answers), campaign.asks)


def fill(said: Judgement, campaign: Campaign, task: Task) -> dict[str, str]:
    """The fields of a form that says this again."""
    if said.ranks is None:
        return {"act": "skip", "reason": said.skip or ""}
    shown = tuple(said.ranks[position] for position in task.order)
    return KINDS[campaign.kind].fill(shown, said.details.shown_order(task.order), campaign.asks)


def read_reason(form: Form) -> str:
    """Why the task is skipped. Raises DataError for a reason that the page does not offer."""
    reason = form.get("reason", "")
    if reason not in SKIPS:
        raise DataError(Problem("reason", "choose why you cannot judge this"))
    return reason
