"""What people judged elsewhere, as other tools and data sets write it down: entries with votes. Knows forms only.

A voter is called by what the file calls them by number, never by a name or address that stands there. Where a file has
one order without saying whose, its voter is the source itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from burnish.errors import Problem
from burnish.records.entries import Entry, Vote, entry, ranked
from burnish.records.formats import labelled_of, rankings_of
from burnish.records.jsonl import Row, sift
from burnish.records.rows import read_rows
from burnish.records.turns import Messages, at, conversation, fault, text_of
from burnish.types import Message

PROMPTS = ("prompt", "instruction", "question", "input", "messages", "chat", "conversation", "context")
"""What another tool's row may call its prompt; the first that is there is taken."""
TIES = {"tie", "equal", "same", "both"}
_VOTER = re.compile(r"annotator(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One kind of file."""

    says: str
    read: Callable[[Row], list[Entry]]


def read_verdicts(path: Path, named: str) -> tuple[list[Entry], list[Problem]]:
    """The entries of a file in the format of that name, and the problems of rows that are unfit. Raises DataError where
    the file itself cannot be read."""
    found, problems = sift(read_rows(path), FORMATS[named].read)
    return [entry for of_row in found for entry in of_row], problems


def _ordered(source: str) -> Callable[[Row], list[Entry]]:
    """Rows that have one order of their answers."""

    def read(row: Row) -> list[Entry]:
        return [
            replace(ranked(row, ranking), votes=(Vote(who=source, ranks=ranking.ranks),))
            for ranking in rankings_of(row)
        ]

    return read


def _labels(row: Row) -> list[Entry]:
    """`prompt`, `completion` and `label`, and perhaps `model`, who wrote the answer."""
    said = labelled_of(row)
    meta = {name: value for name, value in said.prompt.meta.items() if name not in ("model", "id")}
    made = entry(row.where(), said.prompt.messages, (said.completion,), meta, _named("labels", row, "id"))
    models = (text_of(row, "model"),) if "model" in row.value else ()
    return [replace(made, models=models, votes=(Vote(who="imported", ranks=(1,), good=said.desirable),))]


def _pandalm(row: Row) -> list[Entry]:
    """`instruction`, `input`, `response1`, `response2`, and of each annotator 1, 2 or 0 for a tie."""
    _require(row, "instruction", "response1", "response2")
    asked = "\n\n".join(text_of(row, key) for key in ("instruction", "input") if row.value.get(key))
    voters = [found for found in map(_VOTER.fullmatch, row.value) if found]
    if not voters:
        raise fault(row, 'there is no "annotator1"', "Leave the row out: nobody judged it.")
    ranks = {1: (1, 2), 2: (2, 1), 0: (1, 1)}
    for found in voters:
        if type(row.value[found[0]]) is not int or row.value[found[0]] not in ranks:
            raise fault(row, f'"{found[0]}" is none of 0 (a tie), 1 and 2', "Mend it, or leave the row out.", found[0])
    votes = tuple(Vote(who=f"pandalm {found[1]}", ranks=ranks[row.value[found[0]]]) for found in voters)
    meta = {key: row.value[key] for key in ("idx", "motivation_app") if key in row.value}
    texts = (text_of(row, "response1"), text_of(row, "response2"))
    made = entry(row.where(), _user(asked), texts, meta, _named("pandalm", row, "idx"))
    models = tuple(str(row.value.get("cmp_key", "")).split("_"))
    return [replace(made, votes=votes, models=models if len(models) == 2 else ())]


def _argilla(row: Row) -> list[Entry]:
    """A record with `fields` and `responses`: the answers are its fields beside the prompt, and the question counts
    whose values name them, as one choice or as an order."""
    _require(row, "fields", "responses")
    fields, asked, answers = _texts(row, "fields")
    names = {_plain(name): place for place, name in enumerate(answers)}
    questions = {name: _objects(row, "responses", name) for name in _object(row, "responses")}
    about = [name for name, said in questions.items() if any(_argilla_ranks(each.get("value"), names) for each in said)]
    if len(about) > 1 or (not about and any(questions.values())):
        found = f"{len(about)} of its questions put the fields in order ({', '.join(answers)}); one is wanted"
        raise fault(row, found, "Export that question alone, with values that name the fields.", "responses")
    votes = tuple(vote for name in about for vote in _argilla_votes(row, name, questions[name], names))
    made = entry(
        row.where(),
        asked,
        [fields[name] for name in answers],
        _meta(row.value.get("metadata")),
        _named("argilla", row, "id"),
    )
    return [replace(made, votes=votes)]


def _argilla_votes(
    row: Row, question: str, responses: Sequence[Mapping[str, Any]], names: Mapping[str, int]
) -> Iterator[Vote]:
    for place, said in enumerate(responses):
        if said.get("status", "submitted") != "submitted":
            continue
        ranks = _argilla_ranks(said.get("value"), names)
        if ranks is None:
            found = f"{said.get('value')!r} does not put the fields in order (they are {', '.join(names)})"
            raise fault(row, found, "Leave the row out.", "responses", question, place)
        yield Vote(who=f"argilla {said.get('user_id', 'unknown')}", ranks=ranks)


def _argilla_ranks(value: Any, names: Mapping[str, int]) -> tuple[int, ...] | None:
    if isinstance(value, str):
        if _plain(value) in TIES:
            return (1,) * len(names)
        return _first(names[_plain(value)], len(names)) if _plain(value) in names else None
    if not isinstance(value, list):
        return None
    told = [
        (each["value"], each.get("rank")) if isinstance(each, dict) and "value" in each else (each, None)
        for each in cast("list[Any]", value)
    ]
    ranks = {names.get(_plain(name)): rank or place for place, (name, rank) in enumerate(told, start=1)}
    return tuple(ranks[place] for place in range(len(names))) if set(ranks) == set(names.values()) else None


def _label_studio(row: Row) -> list[Entry]:
    """A task with `data` and `annotations`, of which a result is of the type pairwise or ranker."""
    _require(row, "data", "annotations")
    ranked = _ranked_items(row)
    if ranked:
        key, ids = ranked
        asked = _prompt(row, "data")
        texts = [text_of(row, "data", key, place, _body(row, key, place)) for place in range(len(ids))]
    else:
        data, asked, answers = _texts(row, "data")
        texts, ids = [data[name] for name in answers], answers
    votes = tuple(_label_studio_votes(row, ids))
    made = entry(row.where(), asked, texts, _meta(row.value.get("meta")), _named("labelstudio", row, "id"))
    return [replace(made, votes=votes)]


def _label_studio_votes(row: Row, ids: Sequence[str]) -> Iterator[Vote]:
    for number, annotation in enumerate(_objects(row, "annotations")):
        if annotation.get("was_cancelled"):
            continue
        results = _objects(row, "annotations", number, "result")
        judged = [each for each in results if each.get("type") in ("pairwise", "ranker")]
        for result in judged[:1]:
            ranks = _label_studio_ranks(result, ids)
            if ranks is None:
                found = f"what was chosen does not put {', '.join(ids)} in order"
                raise fault(row, found, "Leave the row out.", "annotations", number)
            who = annotation.get("completed_by")
            who = who.get("id") if isinstance(who, dict) else who
            yield Vote(who=f"labelstudio {who}", ranks=ranks, seconds=float(annotation.get("lead_time") or 0.0))


def _label_studio_ranks(result: Mapping[str, Any], ids: Sequence[str]) -> tuple[int, ...] | None:
    value = _meta(result.get("value"))
    if result["type"] == "pairwise":
        named = str(result.get("to_name", "")).split(",")
        sides = named if set(named) == set(ids) else ids
        chosen = {"left": 0, "right": 1}.get(str(value.get("selected")))
        return _first(ids.index(sides[chosen]), 2) if chosen is not None and len(ids) == 2 else None
    order = value.get("ranker")
    if isinstance(order, dict):  # a single bucket is an order; several are classes
        full = [each for each in cast("dict[str, list[str]]", order).values() if each]
        order = full[0] if len(full) == 1 else None
    places = {str(name): place for place, name in enumerate(cast("list[Any]", order or []), start=1)}
    return tuple(places[name] for name in ids) if set(places) == set(ids) else None


def _ranked_items(row: Row) -> tuple[str, list[str]] | None:
    """(the column of `data` that lists what was ranked, the ids in it)."""
    for key, value in _object(row, "data").items():
        if isinstance(value, list) and value and all(isinstance(each, dict) and "id" in each for each in value):
            return key, [str(each["id"]) for each in value]
    return None


def _body(row: Row, key: str, place: int) -> str:
    return next((name for name in ("body", "text", "title") if name in at(row, "data", key, place)), "body")


def _texts(row: Row, key: str) -> tuple[dict[str, str], Messages, list[str]]:
    """(all texts of an object, its prompt, the names of its answers)."""
    found = _object(row, key)
    asked = next((name for name in PROMPTS if name in found), None)
    answers = [name for name, value in found.items() if name != asked and isinstance(value, str)]
    if len(answers) < 2:
        said = f'"{key}" has {len(answers)} texts beside the prompt; two answers or more are wanted'
        raise fault(row, said, "Leave the row out.", key)
    return {name: text_of(row, key, name) for name in answers}, _prompt(row, key), answers


def _prompt(row: Row, key: str) -> Messages:
    found = _object(row, key)
    asked = next((name for name in PROMPTS if name in found), None)
    if asked is None:
        raise fault(row, f'"{key}" has no prompt (wanted: one of {", ".join(PROMPTS)})', "Rename the column.", key)
    return conversation(row, key, asked)


def _object(row: Row, key: str) -> dict[str, Any]:
    if not isinstance(row.value[key], dict):
        raise fault(row, f'"{key}" is no object', "Export it again.", key)
    return cast("dict[str, Any]", row.value[key])


def _objects(row: Row, *keys: str | int) -> list[dict[str, Any]]:
    found = at(row, *keys)
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in cast("list[Any]", found)):
        raise fault(row, f'"{keys[-1]}" is no list of objects', "Export it again.", *keys)
    return cast("list[dict[str, Any]]", found)


def _named(source: str, row: Row, key: str) -> str | None:
    """A row's own id: the same texts may have been judged twice, in two rows."""
    return None if row.value.get(key) is None else f"{source} {row.value[key]}"


def _require(row: Row, *keys: str) -> None:
    for key in keys:
        if key not in row.value:
            found = f'"{key}" is missing (keys here: {", ".join(row.value) or "none"})'
            raise fault(row, found, f"Give another format; there are {', '.join(FORMATS)}.")


def _first(place: int, count: int) -> tuple[int, ...]:
    return tuple(1 if each == place else 2 for each in range(count))


def _user(text: str) -> Messages:
    return (Message(role="user", content=text),)


def _meta(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _plain(name: object) -> str:
    """Response 1, response-1 and response1 are one name."""
    return re.sub(r"[^a-z0-9]", "", str(name).lower())


FORMATS: dict[str, Format] = {
    "rankings": Format(says="ours, or TRL's pairs", read=_ordered("imported")),
    "labels": Format(says="TRL's answers called good or bad, as a deployment's thumbs are", read=_labels),
    "hh": Format(says="Anthropic's pairs of dialogues", read=_ordered("hh")),
    "openassistant": Format(says="OpenAssistant's trees of messages", read=_ordered("openassistant")),
    "pandalm": Format(says="PandaLM's pairs with three votes", read=_pandalm),
    "argilla": Format(says="records that Argilla 2 exports as JSON", read=_argilla),
    "labelstudio": Format(says="tasks that Label Studio exports as JSON", read=_label_studio),
}
"""By the name that `burnish label import` takes."""
