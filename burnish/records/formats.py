"""The four kinds of data file, with the columns that TRL documents, and one of our own for rankings.

read_examples: `messages`; or `prompt`, `completion`; with `tools`, where the assistant may call some.
read_prompts: `messages`; or `prompt`.
read_rankings: `prompt`, `completions`, `ranks` (1 is best, equal is a tie); or `prompt`, `chosen`, `rejected`; or
`chosen` and `rejected` alone, as whole conversations or as HH-RLHF transcripts; or OpenAssistant's trees of messages.
read_labelled: `prompt`, `completion`, `label` (true is good, false is bad); or `messages` and `label`, of its last.

A prompt is text (one user turn, or a transcript) or a list of turns; so is a completion, of one assistant turn. What
else a row says goes into `meta`, but for what a model was to see, which is refused (`burnish/records/beside.py`).
Every reader collects one problem a row before it raises DataError; nothing is mended or dropped in silence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, overload

from burnish.errors import DataError, Problem, nearest, plain
from burnish.records.beside import check_beside
from burnish.records.calls import TOOLS, answered, called, names_of, tools_of
from burnish.records.dialects import ASKED, asking, beyond, ordering, translation, unanswered
from burnish.records.durable import digest_value
from burnish.records.jsonl import Row, kind, sift
from burnish.records.rows import first_row, read_as, read_rows
from burnish.records.trees import is_tree, tree_rankings
from burnish.records.turns import (
    Calling,
    Messages,
    at,
    conversation,
    ends_with_user,
    fault,
    is_transcript,
    messages_of,
    spoken,
    text_of,
    transcript,
)
from burnish.types import Example, Labelled, Message, Prompt, Ranking

T = TypeVar("T")

_EXAMPLE = ("messages", "prompt", "completion")
_PROMPT = ("messages", "prompt")
_RANKING = ("prompt", "completions", "ranks", "chosen", "rejected", "prompt_id", "judgements")
_LABELLED = ("messages", "prompt", "completion", "label", "prompt_id")
_EXAMPLES_WANTED = 'Give "messages", or "prompt" and "completion".'
_RANKINGS_WANTED = 'Give "prompt", "chosen" and "rejected", or "prompt", "completions" and "ranks".'
_LABELS_WANTED = 'Give "prompt", "completion" and "label".'


def holds_rankings(path: Path) -> bool:
    """Whether the rows of a file are rankings rather than conversations: its first row tells."""
    return orders(first_row(path))


def orders(row: Row) -> bool:
    """Whether a row is a ranking, of whatever form."""
    return is_tree(row) or bool({"chosen", "completions"} & row.value.keys())


def read_examples(path: Path) -> list[Example]:
    """Conversations that end with a turn of the assistant's to learn."""
    return _unique(_read(path, _example))


def read_prompts(path: Path, column: str | None = None) -> list[Prompt]:
    """Conversations that end with the user's turn; in a column of another name where one is given."""
    return _unique(_read(path, partial(_prompt, column=column)))


@overload
def read_rankings(path: Path, *, drop_bad: Literal[False] = False, strength: str | None = None) -> list[Ranking]: ...
@overload
def read_rankings(
    path: Path, *, drop_bad: Literal[True], strength: str | None = None
) -> tuple[list[Ranking], list[Problem]]: ...
def read_rankings(
    path: Path, *, drop_bad: bool = False, strength: str | None = None
) -> list[Ranking] | tuple[list[Ranking], list[Problem]]:
    """Prompts with ordered answers. Rankings of one prompt share its id (`prompt_id`, else a digest of its turns; of
    OpenAssistant's trees, the tree's), so that a split by prompt keeps them together.

    `strength`: a column that says how good each answer is, as a list of numbers or, of two answers, how far the better
    is ahead; a row without it is unfit.

    With `drop_bad`, rows whose content is unfit are left out and come back as problems, for the caller to count and
    say; lines that are no JSON raise even then: a damaged file is not to be trusted.
    """
    found, problems = sift(read_rows(path), partial(rankings_of, strength=strength))
    rankings = [ranking for of_row in found for ranking in of_row]
    if drop_bad:
        return rankings, problems
    if problems:
        raise DataError(*problems)
    return rankings


def read_labelled(path: Path) -> list[Labelled]:
    """Answers called good or bad. Those to one prompt share its id (`prompt_id`, else a digest of its turns).

    Raises DataError also where all labels are the same: from one kind alone nothing can be told apart.
    """
    found = _read(path, labelled_of)
    (first, one), labels = found[0], {each.desirable for _, each in found}
    if len(labels) == 1:
        said = f"the label is {str(one.desirable).lower()}, and so it is in all {len(found)} rows"
        raise DataError(Problem(first.where("label"), said, "Give good answers and bad ones."))
    return [each for _, each in found]


def _read(path: Path, parse: Callable[[Row], T]) -> list[tuple[Row, T]]:
    return read_as(path, lambda row: (row, parse(row)))


Named = TypeVar("Named", Example, Prompt)


def _unique(found: list[tuple[Row, Named]]) -> list[Named]:
    first: dict[str, Row] = {}
    problems: list[Problem] = []
    for row, noun in found:
        known = first.setdefault(noun.id, row)
        if known is not row:
            said = f'the id "{noun.id}" stands in line {known.line} already'
            problems.append(Problem(row.where("id"), said, "Give each row its own, or rename the column."))
    if problems:
        raise DataError(*problems)
    return [noun for _, noun in found]


def _example(row: Row) -> Example:
    if row.value.get("label") is False:
        found = 'the answer is called bad ("label" is false), and here it would be learned'
        mend = "Let kto learn from the file, or leave the row out; rename the column if it says something else."
        raise fault(row, found, mend, "label")
    tools = tools_of(row)
    calling = partial(called, tools=names_of(tools))
    columns = (*_EXAMPLE, TOOLS) if tools else _EXAMPLE
    if "messages" not in row.value and "prompt" in row.value:
        _require(row, "completion", told=translation)
        prompt = ends_with_user(row, conversation(row, "prompt", calling=calling), "prompt")
        answer = _answering(row, "completion", prompt, calling)
        turn = partial(_place, len(prompt))
        messages = answered(row, (*prompt, answer), turn)
        return Example(id=_id(row), messages=messages, meta=meta_of(row, columns, prompt), tools=tools)
    _require(row, "messages", wanted=_EXAMPLES_WANTED, told=translation)
    messages = answered(row, messages_of(row, "messages", calling=calling), lambda number: ("messages", number))
    _check_learnable(row, messages)
    return Example(id=_id(row), messages=messages, meta=meta_of(row, columns, messages), tools=tools)


def _place(asked: int, number: int) -> tuple[str | int, ...]:
    """Where a turn stands in a row whose prompt has so many."""
    return ("prompt", number) if number < asked else ("completion", number - asked)


def _check_learnable(row: Row, messages: Messages) -> None:
    last = len(messages) - 1
    if messages[last].role != "assistant":
        found = f"no assistant turn to learn at the end: the conversation ends with the {messages[last].role}'s"
        raise fault(row, found, "Add the answer, or remove the last turn.", "messages", last)
    for number, message in enumerate(messages):
        if message.role == "assistant" and not message.content.strip() and not message.calls:
            found = f"the assistant's turn {number + 1} is empty"
            raise fault(row, found, "Write the answer, or leave the row out.", "messages", number, "content")


def _prompt(row: Row, column: str | None) -> Prompt:
    key = column or ("messages" if "messages" in row.value else "prompt")
    if column:
        _require(row, column)
    elif key not in row.value:
        _require(row, key, wanted=_where_prompts_stand(row), told=asking)
    messages = conversation(row, key)
    if key == "messages" and messages[-1].role == "assistant" and len(messages) > 1:
        found = "the prompt ends with the assistant's turn; the user's is wanted"
        raise fault(row, found, f"Remove that turn. Of all rows: {unanswered(row)}", key, len(messages) - 1)
    messages = ends_with_user(row, messages, key)
    if column == "instruction" and (more := beyond(row, column)):
        found = f'what is asked stands in "{more}" too, and "instruction" alone would be read'
        raise fault(row, found, f"Leave prompt_column out, and run: {asking(row)}", more)
    meta = meta_of(row, (*_PROMPT, key), messages)
    return Prompt(id=_id(row), messages=messages, meta=meta, as_text=_as_text(row, key))


def _as_text(row: Row, key: str) -> bool:
    return isinstance(row.value.get(key), str) and not is_transcript(row.value[key])


def _where_prompts_stand(row: Row) -> str:
    """The mend for prompts in columns of other names: one that is known for it, else the only text of the row."""
    texts = [key for key, value in row.value.items() if isinstance(value, str) and key != "id"]
    alone = len(texts) == 1 and not any(isinstance(value, list | dict) for value in row.value.values())
    known = next((name for name in ASKED if name in texts and not beyond(row, name)), texts[0] if alone else "COLUMN")
    column = plain(known)
    said = f"prompt_column: {column} in a recipe, --prompt-column {column} of sample and best-of-n"
    return f'Call the column "prompt", or name it: {said}.'


def rankings_of(row: Row, *, strength: str | None = None) -> list[Ranking]:
    """What a row ranks: a tree of messages as often as it has ranked replies, any other row once."""
    found = tree_rankings(row) if is_tree(row) else [_ranking(row)]
    return found if strength is None else [replace(each, strengths=_strengths(row, each, strength)) for each in found]


def _strengths(row: Row, ranking: Ranking, column: str) -> tuple[float, ...]:
    nested = column not in row.value and isinstance(row.value.get("meta"), dict)
    keys = ("meta", column) if nested else (column,)
    if column not in (row.value["meta"] if nested else row.value):
        raise fault(row, f'"{column}" is missing, which says how good the answers are', "Add it, or leave the row out.")
    value, count = at(row, *keys), len(ranking.completions)
    other: Any = row.value.get(column.replace("chosen", "rejected")) if "chosen" in column else None
    if count == 2 and _number(value) and _number(other):
        return (float(value), float(other))
    if count == 2 and _number(value):
        return (float(value), 0.0) if ranking.ranks[0] <= ranking.ranks[1] else (0.0, float(value))
    if not isinstance(value, list) or len(cast("list[Any]", value)) != count or not all(map(_number, value)):
        found = f'"{column}" is {kind(value)}; one number for each of the {count} answers is wanted'
        raise fault(row, found, "Give a list of numbers." if count > 2 else "Give a number or a list.", *keys)
    return tuple(float(each) for each in cast("list[float]", value))


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _ranking(row: Row) -> Ranking:
    if "completions" in row.value or "ranks" in row.value:
        return _native(row)
    _require(row, "chosen", "rejected", wanted=_RANKINGS_WANTED, told=ordering)
    if "prompt" not in row.value and (line := ordering(row)):
        raise fault(row, "the prompt of the pair stands in columns of other names", f"Run: {line}")
    messages, completions = _pair(row)
    for key, completion in zip(("chosen", "rejected"), completions, strict=True):
        if not completion.strip():
            raise fault(row, f'"{key}" is empty', "Write the answer, or leave the row out.", key)
    if completions[0].strip() == completions[1].strip():
        raise fault(row, '"chosen" and "rejected" are the same', "Leave the row out: it prefers nothing.", "rejected")
    return Ranking(prompt=_ranked(row, messages), completions=completions, ranks=(1, 2))


def labelled_of(row: Row) -> Labelled:
    """The answer of a row that is called good or bad."""
    said = row.value
    whole = "messages" in said and "prompt" not in said
    _require(row, *(("messages", "label") if whole else ("prompt", "completion", "label")), wanted=_LABELS_WANTED)
    if not isinstance(said["label"], bool):
        found = f'"label" is {kind(said["label"])}; true (good) or false (bad) is wanted'
        raise fault(row, found, "Write true or false, without quotes.", "label")
    messages, answer = _last(row) if whole else _asked(row)
    return Labelled(prompt=_ranked(row, messages, _LABELLED), completion=answer, desirable=said["label"])


def _last(row: Row) -> tuple[Messages, str]:
    """A conversation whose last turn is what is meant."""
    messages = messages_of(row, "messages")
    _check_learnable(row, messages)
    if len(messages) == 1:
        raise fault(row, "nothing was said before the answer", "Leave the row out.", "messages")
    return ends_with_user(row, messages[:-1], "messages"), messages[-1].content


def _asked(row: Row) -> tuple[Messages, str]:
    messages = ends_with_user(row, conversation(row, "prompt"), "prompt")
    return messages, _answer(row, "completion", messages)


def _pair(row: Row) -> tuple[Messages, tuple[str, str]]:
    if "prompt" in row.value:
        messages = ends_with_user(row, conversation(row, "prompt"), "prompt")
        return messages, (_answer(row, "chosen", messages), _answer(row, "rejected", messages))
    chosen, rejected = _dialogue(row, "chosen"), _dialogue(row, "rejected")
    if chosen[:-1] != rejected[:-1]:
        found = "the prompts of the two sides differ: all turns but the last must be the same"
        raise fault(row, found, "Leave the row out.", "rejected")
    for key, turns in (("chosen", chosen), ("rejected", rejected)):
        if turns[-1].role != "assistant" or len(turns) == 1:
            raise fault(row, f'"{key}" does not end with an answer to a prompt', "Leave the row out.", key)
    prompt = ends_with_user(row, chosen[:-1], "chosen")
    return prompt, (chosen[-1].content, rejected[-1].content)


def _dialogue(row: Row, key: str, calling: Calling | None = None) -> Messages:
    return transcript(row, key) if isinstance(row.value[key], str) else messages_of(row, key, calling=calling)


def _native(row: Row) -> Ranking:
    _require(row, "prompt", "completions", "ranks")
    messages = ends_with_user(row, conversation(row, "prompt"), "prompt")
    count = _check_lists(row)
    completions = tuple(_said(row, "completions", number) for number in range(count))
    if len(set(completions)) == 1:
        raise fault(row, "all completions are the same", "Leave the row out: it prefers nothing.", "completions")
    ranks = tuple(_whole(row, "ranks", number) for number in range(count))
    judgements = tuple(str(judgement) for judgement in _list(row, "judgements")) if "judgements" in row.value else ()
    return Ranking(prompt=_ranked(row, messages), completions=completions, ranks=ranks, judgements=judgements)


def _check_lists(row: Row) -> int:
    completions, ranks = _list(row, "completions"), _list(row, "ranks")
    if len(completions) < 2:
        raise fault(row, "a ranking needs two completions or more", "Leave the row out.", "completions")
    if len(completions) != len(ranks):
        found = f"{len(completions)} completions and {len(ranks)} ranks"
        raise fault(row, found, "Give each completion one rank; 1 is best, equal is a tie.", "ranks")
    return len(completions)


def _list(row: Row, key: str) -> list[Any]:
    value = row.value[key]
    if not isinstance(value, list):
        raise fault(row, f'"{key}" is {kind(value)}; a list is wanted', "", key)
    return cast("list[Any]", value)


def _whole(row: Row, *keys: str | int) -> int:
    value = at(row, *keys)
    if type(value) is not int or value < 1:
        shown = value if type(value) in (int, float) else kind(value)
        raise fault(row, f"a rank is {shown}; whole numbers from 1 (best) are wanted", "", *keys)
    return value


def _answer(row: Row, key: str, prompt: Messages) -> str:
    return _answering(row, key, prompt).content


def _answering(row: Row, key: str, prompt: Messages, calling: Calling | None = None) -> Message:
    """One assistant turn: text, a list of that turn, or the whole conversation with it at the end, perhaps as a
    transcript."""
    if isinstance(row.value[key], str) and not is_transcript(row.value[key]):
        answer = Message(role="assistant", content=_said(row, key))
    else:
        turns = _dialogue(row, key, calling)
        turns = turns[len(prompt) :] if turns[: len(prompt)] == prompt else turns
        if len(turns) != 1 or turns[0].role != "assistant":
            found = f'"{key}" holds {len(turns)} turns after the prompt; one of the assistant\'s is wanted'
            raise fault(row, found, "Move the others into the prompt.", key)
        answer = turns[0]
    if key == "completion" and not answer.content.strip() and not answer.calls:
        raise fault(row, f'"{key}" is empty: nothing to learn', "Write the answer, or leave the row out.", key)
    return answer


def _said(row: Row, *keys: str | int) -> str:
    """An answer that is text, without the spaces around it where a transcript asks for it."""
    text = spoken(row, text_of(row, *keys), *keys)
    return text.strip() if is_transcript(row.value.get("prompt")) else text


def _ranked(row: Row, messages: Messages, columns: tuple[str, ...] = _RANKING) -> Prompt:
    given = row.value.get("prompt_id")
    named = str(given) if given is not None else digest_value([message.as_json() for message in messages])[:16]
    meta = meta_of(row, columns, messages)
    return Prompt(id=named, messages=messages, meta=meta, as_text=_as_text(row, "prompt"))


def _id(row: Row) -> str:
    given = row.value.get("id")
    if given is None:
        return row.name
    if isinstance(given, bool | list | dict):
        raise fault(row, f'"id" is {kind(given)}; text or a number is wanted', "", "id")
    return str(given)


def meta_of(row: Row, columns: tuple[str, ...], messages: Messages) -> dict[str, Any]:
    """The columns that have no meaning here; an object under "meta" is spread among them. Raises DataError where one
    of them was to be shown to a model beside the turns."""
    check_beside(row, messages, columns)
    meta = {key: value for key, value in row.value.items() if key not in columns}
    if isinstance(meta.get("meta"), dict):
        meta |= cast("dict[str, Any]", meta.pop("meta"))
    return meta


def _require(row: Row, *keys: str, wanted: str = "", told: Callable[[Row], str | None] | None = None) -> None:
    """Raises DataError where one of the keys is missing. `told`: the shell line for a row that has others in their
    place, if one is known. `wanted`: the mend for a row that has none of them."""
    missing = [key for key in keys if key not in row.value]
    for key in missing[:1]:
        names = [plain(name) for name in row.value]
        near, line = nearest(key, names, cutoff=0.8) if names else "", told(row) if told else None
        mend = f"{near} Add it, or rename the column." if near.startswith("Did") else "Add it, or leave the row out."
        if len(missing) == len(keys):
            mend = f"Run: {line}" if line else wanted if wanted and not near.startswith("Did") else mend
        raise fault(row, f'"{key}" is missing (keys here: {", ".join(names) or "none"})', mend)
