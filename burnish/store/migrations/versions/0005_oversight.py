"""Oversight: disagreement is counted on the item, items are settled, the log is read by who or what."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import combinations, groupby

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

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
    _settlements()
    _gold()
    for column in ("actor", "verb"):
        op.create_index(op.f(f"ix_event_{column}_seq"), "event", [column, "seq"])


def _gold() -> None:
    """Items of older campaigns are none, whatever their rows say: they were given out as others were."""
    op.add_column("item", sa.Column("gold", sa.JSON(), nullable=True))
    some = sa.text("gold is not null")
    op.create_index("ix_item_gold", "item", ["campaign_id", "position"], sqlite_where=some, postgresql_where=some)
    op.add_column("campaign", sa.Column("training", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("campaign", sa.Column("pass_mark", sa.Float(), nullable=False, server_default="0.7"))


def _settlements() -> None:
    op.create_table(
        "settlement",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("submission", sa.String(100), nullable=False),
        sa.Column("item_id", sa.Integer(), nullable=False),
        sa.Column("annotator_id", sa.Integer(), nullable=False),
        sa.Column("ranks", sa.JSON(), nullable=False),
        sa.Column("note", sa.String(2000), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.Column("supersedes", sa.String(36), nullable=True),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_settlement_item_id")),
        sa.ForeignKeyConstraint(["annotator_id"], ["annotator.id"], name=op.f("fk_settlement_annotator_id")),
        sa.ForeignKeyConstraint(["supersedes"], ["settlement.id"], name=op.f("fk_settlement_supersedes")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_settlement")),
        sa.UniqueConstraint("submission", name=op.f("uq_settlement_submission")),
        sa.UniqueConstraint("supersedes", name=op.f("uq_settlement_supersedes")),
    )
    for column in ("item_id", "annotator_id"):
        op.create_index(op.f(f"ix_settlement_{column}"), "settlement", [column])
    first = sa.text("supersedes is null")
    op.create_index(
        "uq_settlement_first", "settlement", ["item_id"], unique=True, sqlite_where=first, postgresql_where=first
    )
    refusal = "begin select raise(abort, 'settlement is append-only'); end"
    if op.get_bind().dialect.name != "sqlite":
        refusal = "for each statement execute function refuse_change()"
    for act in ("update", "delete"):
        op.execute(f"create trigger settlement_no_{act} before {act} on settlement {refusal}")


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
