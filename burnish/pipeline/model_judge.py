"""A model as an annotator of a campaign: asked about every two answers in both orders, and written down as a model.

What it says is kept with its chances. It stands beside the people: it takes no seat and goes into no snapshot, unless
it is to count. Which model it is and what it was told to judge by is kept with it, and shown wherever it is.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from burnish.errors import ConfigError, Problem
from burnish.judge.pairwise import Comparison, compare_by_model
from burnish.records.durable import digest_value
from burnish.store import elsewhere, leases, queries
from burnish.store.ranks import dense
from burnish.store.session import Store
from burnish.store.views import Item
from burnish.types import Generator, Progress, Sampling

CHUNK = 8
"""Items that are asked about together, and kept together: what a kill can cost."""
LONGEST = 4000
"""Characters of the principles."""
UNREADABLE = "the model's reply could not be read"
"""Why an item is skipped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adviser:
    """A model that judges, and on which terms."""

    model: str
    """As the user names it."""
    principles: str
    """What makes an answer good, in whole sentences."""
    samples: int = 1
    """Replies an order: one is greedy, more are drawn at temperature 1, and their shares are the chances."""
    counts: bool = False
    name: str | None = None
    """What it is called after "model "; without it, the model."""

    @property
    def called(self) -> str:
        return f"model {self.name or self.model}"

    @property
    def sampling(self) -> Sampling:
        return Sampling(temperature=0.0 if self.samples == 1 else 1.0, max_new_tokens=4)

    def about(self) -> dict[str, Any]:
        return {"model": self.model, "principles": self.principles, "replies": 2 * self.samples}


def principles(text: str) -> str:
    """What a file says, or the text itself. Raises ConfigError where there is nothing, or too much to show people."""
    file = Path(text)
    found = (file.read_text(encoding="utf-8") if len(text) < 500 and file.is_file() else text).strip()
    if not 1 <= len(found) <= LONGEST:
        mend = "Say in some sentences what makes an answer good."
        raise ConfigError(Problem("--rubric", f"{len(found)} characters; 1 to {LONGEST} are wanted", mend))
    return found


def advise(store: Store, campaign: str, judge: Generator, adviser: Adviser, progress: Progress) -> dict[str, Any]:
    """Let a model judge what it has not judged yet: counts. The same again goes on where it was killed.

    Raises StoreError where there is no such campaign, or where the model judges there already on other terms.
    """
    with store.transaction() as session:
        found = queries.named(session, campaign)
        elsewhere.require_order(found)
        annotator = queries.add_annotator(
            session, adviser.called, "model", counts=adviser.counts, about=adviser.about()
        )
        done = queries.answered_by(session, found.id, annotator)
        items = [item for item in queries.items(session, found.id) if item.id not in done]
    counts = {"judged": 0, "unreadable": 0, "full": 0, "consistent": 0, "pairs": 0}
    progress.start(f"{adviser.called} judges", len(items))
    for start in range(0, len(items), CHUNK):
        chunk = items[start : start + CHUNK]
        began = time.monotonic()
        said = _asked(judge, chunk, adviser)
        seconds = (time.monotonic() - began) / len(chunk)
        with store.transaction() as session:
            for item, comparisons in zip(chunk, said, strict=True):
                if adviser.counts and not leases.has_seat(session, item.id, annotator, queries.clock(None)):
                    counts["full"] += 1
                    continue
                readable = all(each.readable for each in comparisons)
                elsewhere.record(
                    session,
                    item=item.id,
                    annotator=annotator,
                    submission=digest_value([found.key, item.prompt.id, adviser.called]),
                    ranks=_ranks(len(item.answers), comparisons) if readable else None,
                    skip=None if readable else UNREADABLE,
                    chances=[each.chance for each in comparisons] if readable else None,
                    seconds=seconds,
                )
                counts["judged" if readable else "unreadable"] += 1
                counts["consistent"] += sum(each.consistent for each in comparisons)
                counts["pairs"] += len(comparisons)
        progress.advance(len(chunk))
    progress.finish()
    return {"campaign": found.name, "annotator": adviser.called, "counts": adviser.counts, **counts}


def _asked(judge: Generator, items: Sequence[Item], adviser: Adviser) -> list[list[Comparison]]:
    """Of each item, the comparisons of every two of its answers."""
    pairs = [(item.prompt, a, b) for item in items for a, b in combinations(item.answers, 2)]
    found = iter(compare_by_model(judge, pairs, adviser.sampling, criteria=adviser.principles, n=adviser.samples))
    return [[next(found) for _ in combinations(item.answers, 2)] for item in items]


def _ranks(answers: int, comparisons: Sequence[Comparison]) -> tuple[int, ...]:
    """By what each answer wins against the others, the outcomes added up (Borda's count of a round robin)."""
    won = [0.0] * answers
    for (i, j), comparison in zip(combinations(range(answers), 2), comparisons, strict=True):
        won[i] += comparison.outcome
        won[j] -= comparison.outcome
    return dense([-round(each, 9) for each in won])
