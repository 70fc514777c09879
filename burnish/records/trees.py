"""OpenAssistant's trees of messages (Köpf et al. 2023): one row a tree, each ranked set of replies a ranking.

A message has `text`, `role` (prompter or assistant), `rank` (0 is best among its siblings, null where nobody ranked it)
and `replies`. Every prompter's message whose replies were ranked gives a ranking; the turns that lead to it are its
prompt. Deleted messages are left out with all that hangs on them, replies without a rank are left out alone. All
rankings of a tree have its id as their prompt's, since they share turns: a split by prompt never cuts a tree.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from burnish.records.durable import digest_value
from burnish.records.jsonl import Row, kind
from burnish.records.turns import at, fault, text_of
from burnish.types import Message, Prompt, Ranking, Role

Keys = tuple[str | int, ...]
"""Where a message stands in its row."""
_ROLES: dict[str, Role] = {"prompter": "user", "assistant": "assistant"}


def is_tree(row: Row) -> bool:
    """Whether a row is a tree of messages: its prompt is a message with replies."""
    prompt = row.value.get("prompt")
    return isinstance(prompt, dict) and "replies" in prompt


def tree_rankings(row: Row) -> list[Ranking]:
    """A ranking for each message that has two ranked replies or more, from the root down. None at all is an error."""
    if row.value["prompt"].get("role") != "prompter":
        raise fault(row, "the tree does not begin with a prompter's message", "Leave the row out.", "prompt")
    if row.value["prompt"].get("deleted"):
        raise fault(row, "the tree's first message was deleted", "Leave the row out.", "prompt")
    named = str(row.value.get("message_tree_id") or digest_value(text_of(row, "prompt", "text"))[:16])
    found = list(_under(row, ("prompt",), (), named))
    if not found:
        raise fault(row, "no message of the tree has two ranked replies", "Leave the row out.", "prompt", "replies")
    return found


def _under(row: Row, keys: Keys, before: tuple[Message, ...], named: str) -> Iterator[Ranking]:
    """Those of a message and of all that follows it."""
    message = at(row, *keys)
    turns = (*before, Message(role=_role(row, keys), content=text_of(row, *keys, "text")))
    if before and before[-1].role == turns[-1].role:
        raise fault(row, f"a reply to the {turns[-1].role}'s message is the {turns[-1].role}'s too", "", *keys)
    replies = [(*keys, "replies", place) for place in range(len(_replies(row, keys)))]
    kept = [each for each in replies if not at(row, *each).get("deleted")]
    if turns[-1].role == "user":
        ranked = [each for each in kept if at(row, *each).get("rank") is not None]
        yield from _ranked(row, message, turns, ranked, named)
    for each in kept:
        yield from _under(row, each, turns, named)


def _ranked(
    row: Row, message: dict[str, Any], turns: tuple[Message, ...], replies: list[Keys], named: str
) -> Iterator[Ranking]:
    texts = tuple(text_of(row, *each, "text") for each in replies)
    if len(set(texts)) > 1:
        by_people = not any(at(row, *each).get("synthetic") for each in replies)
        meta = {"lang": message.get("lang"), "turns": len(turns), "by_people": by_people}
        yield Ranking(
            prompt=Prompt(id=named, messages=turns, meta=meta),
            completions=texts,
            ranks=tuple(_rank(row, each) + 1 for each in replies),
        )


def _role(row: Row, keys: Keys) -> Role:
    role = at(row, *keys).get("role")
    if role not in _ROLES:
        raise fault(row, f'a message has the role "{role}"; prompter or assistant is wanted', "", *keys)
    return _ROLES[role]


def _replies(row: Row, keys: Keys) -> list[Any]:
    found = at(row, *keys).get("replies", [])
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in cast("list[Any]", found)):
        raise fault(row, f'"replies" is {kind(found)}; a list of messages is wanted', "", *keys)
    return cast("list[Any]", found)


def _rank(row: Row, keys: Keys) -> int:
    rank = at(row, *keys)["rank"]
    if type(rank) is not int or rank < 0:
        found = (
            f"a rank is {rank if type(rank) in (int, float) else kind(rank)}; whole numbers from 0 (best) are wanted"
        )
        raise fault(row, found, "", *keys, "rank")
    return rank
