"""A model that criticises the answers of a campaign, so that its word can stand beside them. Knows no page, and not
whether the critiques help: `label.assistance` measures that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from burnish.judge.critique import critiques_by_model
from burnish.store import critiques, events, queries
from burnish.store.critiques import LONGEST_CRITIQUE
from burnish.store.people import SYSTEM
from burnish.store.session import Store
from burnish.store.views import Item
from burnish.types import Critique, Generator, Progress

CHUNK = 8
"""Items that are asked about together, and kept together: what a kill can cost."""


def criticise(
    store: Store, campaign: str, critic: Generator, *, model: str, criteria: str, progress: Progress
) -> dict[str, Any]:
    """Let a model say what is wrong with each answer of items that have no critiques yet and that somebody may still
    judge: counts. The same again goes on where it was killed.

    Raises StoreError where there is no such campaign.
    """
    with store.transaction() as session:
        found = queries.named(session, campaign)
        items = critiques.wanting(session, found.id)
        if items:
            asked = {"model": model, "criteria": criteria, "items": len(items)}
            now = queries.clock(None)
            events.append(session, at=now, actor=SYSTEM, verb="critique.ask", target=found.key, payload=asked)
    counts = {"items": 0, "critiques": 0, "unreadable": 0}
    progress.start(f"{model} criticises", len(items))
    for start in range(0, len(items), CHUNK):
        chunk = items[start : start + CHUNK]
        said = _asked(critic, chunk, model, criteria)
        with store.transaction() as session:
            for item, each in zip(chunk, said, strict=True):
                if any(critiques.of_item(session, item.id)):
                    continue  # another process was faster
                counts["items"] += critiques.add(session, item.id, each)
                counts["critiques"] += sum(critique is not None for critique in each)
                counts["unreadable"] += each.count(None)
        progress.advance(len(chunk))
    progress.finish()
    return {"campaign": found.name, "model": model, **counts}


def _asked(critic: Generator, items: Sequence[Item], model: str, criteria: str) -> list[list[Critique | None]]:
    """Of each item, what is said of its answers in their own order."""
    answers = [(item.prompt, answer) for item in items for answer in item.answers]
    found = iter(critiques_by_model(critic, answers, criteria))
    return [[_made(next(found), model) for _ in item.answers] for item in items]


def _made(text: str | None, model: str) -> Critique | None:
    return None if text is None else Critique(text=text[:LONGEST_CRITIQUE].strip(), model=model)
