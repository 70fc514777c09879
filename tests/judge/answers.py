"""Prompts with good answers, taken from the shipped conversations: what the rubric's tests grade."""

from __future__ import annotations

import json
from pathlib import Path

from burnish.judge.rubric import Rubric
from burnish.types import Message, Prompt

RECIPE = Path(__file__).parents[2] / "recipes" / "support"


def prompt(
    text: str, *, region: str = "EU", kind: str = "answer", asks: tuple[str, ...] = (), language: str = "en"
) -> Prompt:
    messages = (
        Message(role="system", content=f"Juniper & Moss support. Region: {region}."),
        Message(role="user", content=text),
    )
    meta = {"region": region, "kind": kind, "asks": asks, "language": language}
    return Prompt(id=text[:20], messages=messages, meta=meta)


def good_answers(rubric: Rubric) -> list[tuple[Prompt, str]]:
    """One (prompt, good answer) a conversation.

    For answers that is the last assistant turn, asked for the facts that no earlier turn gave; where the shop declines
    or hands over, the turn that does so.
    """
    rows = [json.loads(line) for line in (RECIPE / "conversations.jsonl").read_text("utf-8").splitlines()]
    found = [_good(rubric, row) for row in rows]
    return [pair for pair in found if pair is not None]


def _good(rubric: Rubric, row: dict) -> tuple[Prompt, str] | None:
    turns = row.pop("messages")
    replies = [place for place, turn in enumerate(turns) if turn["role"] == "assistant"]
    if row["kind"] == "answer":
        place = replies[-1]
        earlier = " ".join(turns[reply]["content"] for reply in replies[:-1])
        asks = [key for key in row["asks"] if not rubric.shop.fact(key, row["region"]).match.search(earlier)]
    else:
        phrase = getattr(rubric.shop.phrases, "handover" if row["kind"] == "handover" else "refusal")
        place = next((reply for reply in replies if phrase.search(turns[reply]["content"])), -1)
        asks = []
    if place < 0:
        return None
    messages = tuple(Message(**turn) for turn in turns[:place])
    return Prompt(id=row["id"], messages=messages, meta={**row, "asks": asks}), turns[place]["content"]
