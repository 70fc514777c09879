"""What a judging form can say, and reading it. Knows field names; no database and no page. What is particular to a kind
of campaign stands in `store.kinds`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from burnish.errors import DataError, Problem, Said
from burnish.store.details import FLAGS, LONGEST_EDIT, LONGEST_RATIONALE, Details
from burnish.store.kinds import KINDS, Form, Ranks
from burnish.store.live import LONGEST_MESSAGE
from burnish.store.views import Campaign, Judgement, Task

SKIPS: Mapping[str, str] = {
    "unsure": "I know too little to tell",
    "unclear": "The request is unclear",
    "language": "I do not read this language",
    "upsetting": "I would rather not read this",
    "broken": "Something is wrong with the text",
}
"""Why someone cannot judge: what is stored, and what the page says."""
HARMS: Mapping[str, str] = {flag: words for flag, words in FLAGS.items() if flag.startswith("harmful:")}
"""Of these an answer has one at most."""
OTHERS: Mapping[str, str] = {flag: words for flag, words in FLAGS.items() if flag not in HARMS}


def read(form: Form, campaign: Campaign, task: Task) -> tuple[Ranks | None, Details]:
    """Ranks, where the kind of campaign takes them, and what else is said, in the shown order. Raises DataError naming
    the field that is missing or cannot be."""
    ranks, details = KINDS[campaign.kind].read(form, len(task.answers), campaign.asks)
    places = range(1, len(task.answers) + 1)
    flags = tuple(_read_flags(form, place) for place in places)
    edits = tuple(_read_edit(form, place, text) for place, text in enumerate(task.answers, start=1))
    return ranks, replace(
        details,
        flags=flags if any(flags) else (),
        rationale=_read_rationale(form, campaign),
        edits=edits if campaign.asks.edits and any(edits) else (),
    )


def fill(said: Judgement, campaign: Campaign, task: Task) -> dict[str, str]:
    """The fields of a form that says this again."""
    if said.ranks is None:
        return {"act": "skip", "reason": said.skip or ""}
    shown = tuple(said.ranks[position] for position in task.order)
    details = said.details.shown_order(task.order)
    found = {**KINDS[campaign.kind].fill(shown, details, campaign.asks), "rationale": details.rationale}
    for place, flags in enumerate(details.flags, start=1):
        found |= {f"harm-{place}" if flag in HARMS else f"flag-{place}-{flag}": flag for flag in flags}
    for place, text in enumerate(details.edits, start=1):
        found |= {} if text is None else {f"edit-{place}": text}
    return found


def _read_edit(form: Form, place: int, answer: str) -> str | None:
    """The better text; None where it is empty, or that of the answer."""
    text = _text(form, f"edit-{place}")
    if text in ("", _lines(answer)):
        return None
    if len(text) > LONGEST_EDIT:
        said = {"place": place, "number": len(text), "most": LONGEST_EDIT}
        found = Said("your answer %(place)s has %(number)s characters; %(most)s are kept", **said)
        raise DataError(Problem("edit", found))
    return text


def _text(form: Form, name: str) -> str:
    return _lines(form.get(name, ""))


def _lines(text: str) -> str:
    """With line ends of one kind, which a browser makes CRLF, and nothing around it."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def _read_flags(form: Form, place: int) -> tuple[str, ...]:
    harm = form.get(f"harm-{place}", "")
    if harm and harm not in HARMS:
        raise DataError(Problem("flags", Said("choose how answer %(place)s is harmful", place=place)))
    said = [harm] if harm else []
    return tuple(sorted(said + [flag for flag in OTHERS if f"flag-{place}-{flag}" in form]))


def _read_rationale(form: Form, campaign: Campaign) -> str:
    text = _text(form, "rationale")
    if campaign.asks.rationale and not text:
        raise DataError(Problem("rationale", "say why, in a few words"))
    if len(text) > LONGEST_RATIONALE:
        said = {"number": len(text), "most": LONGEST_RATIONALE}
        found = Said("your reason has %(number)s characters; %(most)s are kept", **said)
        raise DataError(Problem("rationale", found))
    return text


def read_message(form: Form) -> str:
    """What somebody writes to a live campaign's models. Raises DataError for nothing, and for more than is kept."""
    text = _text(form, "message").replace("\x00", "\ufffd")
    if not 1 <= len(text) <= LONGEST_MESSAGE:
        raise DataError(Problem("message", Said("a message has 1 to %(most)s characters", most=LONGEST_MESSAGE)))
    return text


def read_reason(form: Form) -> str:
    """Why the task is skipped. Raises DataError for a reason that the page does not offer."""
    reason = form.get("reason", "")
    if reason not in SKIPS:
        raise DataError(Problem("reason", "choose why you cannot judge this"))
    return reason


def whole(form: Mapping[str, str], field: str, most: int) -> int:
    """A whole number from 0 to `most`."""
    text = form.get(field, "")
    if not (text.isascii() and text.isdigit() and len(text) < 5 and int(text) <= most):
        found = Said("a whole number from 0 to %(most)s is needed, not “%(text)s”", most=most, text=text)
        raise DataError(Problem(field, found))
    return int(text)
