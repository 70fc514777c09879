"""What people's judgements say of the models that wrote the answers, two by two. Knows models' names; no statistics.

A board of a million judgements would take minutes. Where a campaign has more items than MOST, it rests on a part that
is spread evenly over the campaign and is the same whenever it is asked for; how large a part, `Duels` says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from sqlalchemy import BigInteger, ColumnElement, cast, func, literal_column, select
from sqlalchemy.orm import Session

from burnish.store import leases
from burnish.store.queries import AT_ONCE, campaign_row
from burnish.store.schema import AnswerRow, ItemRow, JudgementRow, TurnRow

MOST = 2000
"""Items that are read."""
GOLDEN, TURN = 40503, 65536
"""position x GOLDEN mod TURN goes round by the golden ratio, so that no rhythm in a campaign's order is met."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duel:
    """Two answers of one item by two models, as all who judged it saw them."""

    item: int
    """Or the conversation that it is a turn of: what is counted once for how sure a board can be."""
    a: str
    b: str
    won: int
    """How many placed a's answer above b's."""
    tied: int
    lost: int
    lengths: tuple[int, int]
    """Characters of a's answer and of b's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duels:
    """The duels of a campaign, or of a part of it."""

    duels: tuple[Duel, ...]
    items: int
    """Items that were read."""
    judged: int
    """Items that somebody judged."""
    judgements: int
    """Judgements that were read."""
    models: frozenset[str]
    """Who wrote the answers of the items that were read."""
    languages: tuple[str, ...]
    """Of all items of the campaign."""


def duels(session: Session, campaign: int, language: str | None = None) -> Duels:
    """A campaign's duels, or those in one language. Answers of one and the same model are not compared."""
    campaign_row(session, campaign)
    which = [ItemRow.campaign_id == campaign, leases.NOT_GOLD, ItemRow.judged > literal_column("0")]
    if language:
        which.append(ItemRow.language == language)
    judged = session.scalar(select(func.count()).where(*which)) or 0
    items = list(session.scalars(select(ItemRow.id).where(*which, _spread(judged)).order_by(ItemRow.id)))
    tongues = select(ItemRow.language).where(ItemRow.campaign_id == campaign, ItemRow.language.is_not(None)).distinct()
    found, judgements, models = list[Duel](), 0, set[str]()
    for start in range(0, len(items), AT_ONCE):
        part = items[start : start + AT_ONCE]
        votes, written, talks = _votes(session, part), _answers(session, part), _conversations(session, part)
        judgements += sum(map(len, votes.values()))
        models |= {model for answers in written.values() for model, _ in answers}
        found += [
            duel for item, answers in written.items() for duel in _met(talks.get(item, item), answers, votes[item])
        ]
    return Duels(
        duels=tuple(found),
        items=len(items),
        judged=judged,
        judgements=judgements,
        models=frozenset(models),
        languages=tuple(sorted(filter(None, session.scalars(tongues)))),
    )


def _spread(judged: int) -> ColumnElement[bool]:
    """Of an ItemRow: it is among MOST of `judged`, or nearly."""
    return cast(ItemRow.position, BigInteger) * GOLDEN % TURN < TURN * min(1.0, MOST / max(1, judged))


def _votes(session: Session, items: Sequence[int]) -> Mapping[int, list[list[int]]]:
    found: dict[int, list[list[int]]] = defaultdict(list)
    said = select(JudgementRow.item_id, JudgementRow.ranks)
    for item, ranks in session.execute(
        said.where(JudgementRow.item_id.in_(items), JudgementRow.ranks.is_not(None), leases.COUNTS)
    ):
        found[item].append(ranks or [])
    return found


def _conversations(session: Session, items: Sequence[int]) -> Mapping[int, int]:
    """Of items that are turns: their conversations. A live campaign has no others, so that the numbers never meet."""
    found = select(TurnRow.item_id, TurnRow.conversation_id).where(TurnRow.item_id.in_(items))
    return {item: talk for item, talk in session.execute(found) if item is not None}


def _answers(session: Session, items: Sequence[int]) -> Mapping[int, list[tuple[str, int]]]:
    """(model, characters) of each answer, in the answers' own order."""
    found: dict[int, list[tuple[str, int]]] = defaultdict(list)
    answers = select(AnswerRow.item_id, AnswerRow.model, func.length(AnswerRow.text))
    answers = answers.where(AnswerRow.item_id.in_(items)).order_by(AnswerRow.item_id, AnswerRow.position)
    for item, model, length in session.execute(answers):
        found[item].append((model, length))
    return found


def _met(item: int, answers: Sequence[tuple[str, int]], votes: Sequence[Sequence[int]]) -> Iterator[Duel]:
    for i, j in combinations(range(len(answers)), 2):
        (a, longer), (b, other) = answers[i], answers[j]
        if a != b:
            won, lost = (sum(ranks[x] < ranks[y] for ranks in votes) for x, y in ((i, j), (j, i)))
            tied = len(votes) - won - lost
            yield Duel(item=item, a=a, b=b, won=won, tied=tied, lost=lost, lengths=(longer, other))
