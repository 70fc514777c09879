"""What a labelling campaign asks about: prompts with two or more answers, and what others said of them, if they did.

Rows have `prompt` (or `messages`) and `completions`, a list of texts or of objects with a `text` as `burnish sample`
writes them, and perhaps `models`, a list of who wrote each. Rankings and pairs of every kind that `records.formats`
reads will do too. Any of them may have `critiques`, a text or null for each answer (of a pair: what was chosen comes
first), `critiques_right`, true or false of all of them or a list, and `critic`, who wrote them. Single answers that are
known to be good or bad come in the rows that `kto` learns from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from burnish.errors import DataError, Problem
from burnish.records.durable import digest_value
from burnish.records.formats import labelled_of, meta_of, orders, rankings_of
from burnish.records.jsonl import Row, kind, sift
from burnish.records.rows import read_rows
from burnish.records.turns import Messages, at, conversation, ends_with_user, fault, text_of
from burnish.types import SINGLE, Critique, Prompt, Ranking

_CRITIQUES = ("critiques", "critiques_right", "critic")
_COLUMNS = ("prompt", "messages", "completions", "models", "id", *_CRITIQUES)
UNKNOWN = "unknown"
"""The model of an answer or a critique of which nobody says who wrote it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """What one person said."""

    who: str
    ranks: tuple[int, ...]
    """In the entry's order; 1 is best, equal is a tie. Of a single answer: (1,)."""
    good: bool | None = None
    """Of a single answer, whether it is good."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One prompt with its answers."""

    where: str
    """`file:line:column`."""
    prompt: Prompt
    completions: tuple[str, ...]
    models: tuple[str, ...] = ()
    """Who wrote each; empty where nobody says."""
    votes: tuple[Vote, ...] = ()
    critiques: tuple[Critique | None, ...] = ()
    """Of each answer; empty where there are none."""


def read_entries(path: Path, fewest: int = 2) -> tuple[list[Entry], list[Problem]]:
    """What a file has to ask about, and the problems of rows that are unfit: with fewer than `fewest` answers, for
    example. Two rows of one id are a problem."""
    found, problems = sift(read_rows(path), partial(entries_of, fewest=fewest))
    return _distinct([entry for of_row in found for entry in of_row], problems)


def read_gold(path: Path, *, single: bool = False) -> tuple[list[Entry], list[Problem]]:
    """Rankings whose order is known to be right: it stands in `meta.gold`, in the answers' own order. With `single`,
    answers of which it is known whether they are good: there stand the ranks of `SINGLE`."""
    found, problems = sift(read_rows(path), partial(_known, single=single))
    return _distinct([entry for of_row in found for entry in of_row], problems)


def entries_of(row: Row, fewest: int = 2) -> list[Entry]:
    """What a row asks about: a tree of messages several times, any other row once."""
    if "completions" in row.value and "ranks" not in row.value:
        return [_candidates(row, fewest)]
    return [ranked(row, ranking) for ranking in rankings_of(row)]


def ranked(row: Row, ranking: Ranking) -> Entry:
    """A ranking that stands in a row, with its critiques, and without its ranks."""
    return _asked(row, ranking.prompt, ranking.completions)


def _asked(row: Row, prompt: Prompt, completions: Sequence[str], **known: Any) -> Entry:
    """What a row asks about, with its critiques and, of a list of completions, who wrote each, under a name of its
    texts. `known` joins what else it says."""
    models = _models(row, len(completions)) if "completions" in row.value else ()
    said = (*_CRITIQUES, "models") if models else _CRITIQUES
    meta = {name: value for name, value in prompt.meta.items() if name not in said} | known
    made = entry(row.where(), prompt.messages, completions, meta)
    return replace(made, models=models, critiques=_critiques(row, len(completions)))


def _known(row: Row, single: bool) -> list[Entry]:
    _refuse_other_gold(row, single)
    if single:
        said = labelled_of(row)
        return [_asked(row, said.prompt, (said.completion,), gold=list(SINGLE[said.desirable]))]
    return [_asked(row, each.prompt, each.completions, gold=list(each.ranks)) for each in rankings_of(row)]


def _refuse_other_gold(row: Row, single: bool) -> None:
    """By the reader of the other form alone, a row would seem to be one with a slip in its columns."""
    label, order = "label" in row.value, orders(row)
    if single and order and not label:
        mend = 'Give rows of "prompt", "completion" and "label", which is true for a good answer.'
        raise fault(row, "it orders answers, and this campaign has single ones, which are good or bad", mend)
    if label and not order and not single:
        mend = "Give rankings, or have single answers judged: --kind good_bad."
        raise fault(row, "it calls a single answer good or bad, and this campaign orders answers", mend, "label")


def entry(
    where: str, messages: Messages, completions: Sequence[str], meta: Mapping[str, Any], named: str | None = None
) -> Entry:
    """Without a name of its own, an entry is named after its texts: the same ones are the same entry anywhere."""
    texts = [[message.as_json() for message in messages], list(completions)]
    prompt = Prompt(id=named or digest_value(texts)[:16], messages=messages, meta=meta)
    return Entry(where=where, prompt=prompt, completions=tuple(completions))


def _distinct(entries: list[Entry], problems: list[Problem]) -> tuple[list[Entry], list[Problem]]:
    """The same texts twice are one entry; other texts under a name that was taken are a problem."""
    first: dict[str, Entry] = {}
    problems = list(problems)
    for each in entries:
        known = first.setdefault(each.prompt.id, each)
        if (known.prompt.messages, known.completions) != (each.prompt.messages, each.completions):
            said = f'the id "{each.prompt.id}" stands in {known.where} already, with other texts'
            problems.append(Problem(each.where, said, "Give each row its own."))
    if not first and not problems:
        raise DataError("there is nothing to ask about")
    return list(first.values()), problems


def _candidates(row: Row, fewest: int) -> Entry:
    key = "messages" if "messages" in row.value else "prompt"
    if key not in row.value:
        raise fault(row, f'"prompt" is missing (keys here: {", ".join(row.value)})', "Add it, or leave the row out.")
    messages = ends_with_user(row, conversation(row, key), key)
    texts = tuple(_text(row, place) for place in range(len(_list(row, "completions"))))
    if len(texts) < fewest:
        mend = "Sample more (burnish sample --n 2), leave the row out, or have single answers judged: --kind good_bad."
        found = "no completion" if fewest == 1 else "fewer than two completions"
        raise fault(row, found, mend if fewest > 1 else "Leave the row out.", "completions")
    if len(texts) > 1 and len(set(texts)) == 1:
        raise fault(
            row, "all completions are the same", "Leave the row out: there is nothing to choose.", "completions"
        )
    named = row.value.get("id")
    meta = meta_of(row, _COLUMNS, messages)
    found = entry(row.where(), messages, texts, meta, None if named is None else str(named))
    return replace(found, models=_models(row, len(texts)), critiques=_critiques(row, len(texts)))


def _text(row: Row, place: int) -> str:
    said = at(row, "completions", place)
    keys = ("completions", place, "text") if isinstance(said, dict) and "text" in said else ("completions", place)
    return text_of(row, *keys)


def _models(row: Row, count: int) -> tuple[str, ...]:
    if "models" not in row.value:
        return ()
    names = tuple(text_of(row, "models", place) for place in range(len(_list(row, "models"))))
    if len(names) != count:
        raise fault(row, f"{len(names)} models and {count} completions", "Name one model for each.", "models")
    return names


def _critiques(row: Row, count: int) -> tuple[Critique | None, ...]:
    if "critiques" not in row.value:
        if "critiques_right" in row.value:
            raise fault(row, '"critiques_right" says it of no "critiques"', "Add them.", "critiques_right")
        return ()
    said = _list(row, "critiques")
    if len(said) != count:
        mend = "Give a text for each, or null where nothing is said of one."
        raise fault(row, f"{len(said)} critiques and {count} completions", mend, "critiques")
    critic = text_of(row, "critic") if "critic" in row.value else UNKNOWN
    made = [
        None if text is None else Critique(text=_said(row, place), model=critic, right=right)
        for place, (text, right) in enumerate(zip(said, _rights(row, count), strict=True))
    ]
    return tuple(made) if any(made) else ()


def _said(row: Row, place: int) -> str:
    text = text_of(row, "critiques", place).strip()
    if not text:
        raise fault(row, "a critique is empty", "Write null where nothing is said of an answer.", "critiques", place)
    return text


def _rights(row: Row, count: int) -> list[bool | None]:
    value = row.value.get("critiques_right")
    told = cast("list[Any]", value) if isinstance(value, list) else [value] * count
    if len(told) != count or any(type(each) is not bool and each is not None for each in told):
        found = f'"critiques_right" is {kind(value)}; true, false, or a list of {count} of them is wanted'
        raise fault(row, found, "Write true or false, or null for one of which nobody knows.", "critiques_right")
    return told


def _list(row: Row, key: str) -> list[Any]:
    value = row.value[key]
    if not isinstance(value, list):
        raise fault(row, f'"{key}" is {kind(value)}; a list is wanted', "", key)
    return cast("list[Any]", value)
