"""Critiques beside answers: what models said, who was shown it when, and which judgements were made with it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

GIVEN = "check (assistance in ('none', 'before', 'after'))"


def upgrade() -> None:
    _critiques()
    for table, more in (("campaign", "not null default 'none' "), ("assignment", "")):  # no table is copied for a check
        name = f"constraint ck_{table}_assistance"
        op.execute(f"alter table {table} add column assistance varchar(10) {more}{name} {GIVEN}")
    op.add_column("campaign", sa.Column("assisted", sa.Float(), nullable=False, server_default="0.5"))
    op.add_column("assignment", sa.Column("advised", sa.DateTime(), nullable=True))
    op.add_column("judgement", sa.Column("aided", sa.Boolean(), nullable=False, server_default=sa.false()))


def _critiques() -> None:
    op.create_table(
        "critique",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("answer_id", sa.Integer(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("is_right", sa.Boolean(), nullable=True),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["answer_id"], ["answer.id"], name=op.f("fk_critique_answer_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_critique")),
        sa.UniqueConstraint("answer_id", name=op.f("uq_critique_answer_id")),
    )
    refusal = "begin select raise(abort, 'critique is append-only'); end"
    if op.get_bind().dialect.name != "sqlite":
        refusal = "for each statement execute function refuse_change()"
    for act in ("update", "delete"):
        op.execute(f"create trigger critique_no_{act} before {act} on critique {refusal}")
