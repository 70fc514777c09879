"""Oversight: how far people are at odds stands where the item is, and the worst items are found by an index."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import combinations, groupby

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0003"

SAID = """
select said.item_id, said.ranks from judgement said join annotator who on who.id = said.annotator_id
where said.item_id > :above and said.item_id <= :upto and said.ranks is not null and who.standing <> 'withdrawn'
and not exists (select 1 from judgement later where later.supersedes = said.id) order by said.item_id
"""
AT_ONCE = 5000
"""Items whose judgements are read at once."""


def upgrade() -> None:
    op.add_column("item", sa.Column("opposed", sa.Float(), nullable=False, server_default="0"))
    for above, upto in _stretches():
        _count(above, upto)
    some = sa.text("opposed > 0")
    op.create_index("ix_item_opposed", "item", ["campaign_id", "opposed"], sqlite_where=some, postgresql_where=some)


def _stretches() -> Iterator[tuple[int, int]]:
    last = op.get_bind().scalar(sa.text("select max(id) from item")) or 0
    for above in range(0, last, AT_ONCE):
        yield above, above + AT_ONCE


def _count(above: int, upto: int) -> None:
    rows = op.get_bind().execute(sa.text(SAID), {"above": above, "upto": upto})
    shares = [(item, _opposed([_read(ranks) for _, ranks in said])) for item, said in groupby(rows, lambda row: row[0])]
    if found := [{"item": item, "share": share} for item, share in shares if share]:
        op.get_bind().execute(sa.text("update item set opposed = :share where id = :item"), found)


def _read(ranks: str | list[int]) -> list[int]:
    """JSON: text in SQLite, a list from PostgreSQL's driver."""
    return json.loads(ranks) if isinstance(ranks, str) else ranks


def _opposed(votes: list[list[int]]) -> float:
    """As `store.ranks.opposed` was when this was written: a migration never changes with the code."""
    signs = [
        (one[i] - one[j]) * (other[i] - other[j])
        for one, other in combinations(votes, 2)
        for i, j in combinations(range(len(one)), 2)
    ]
    return sum(sign < 0 for sign in signs) / len(signs) if signs else 0.0
