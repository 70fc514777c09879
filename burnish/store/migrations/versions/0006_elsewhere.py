"""Judgements that were not made on the pages: imported ones, and a model's with its chances and principles."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

CHECKS = {
    "kind": "kind in ('person', 'simulated', 'model', 'imported')",
    "role": "role in ('owner', 'manager', 'adjudicator', 'annotator', 'viewer')",
    "standing": "standing in ('active', 'held', 'withdrawn')",
}


def upgrade() -> None:
    op.add_column("judgement", sa.Column("chances", sa.JSON(), nullable=True))
    postgres = op.get_bind().dialect.name == "postgresql"
    with op.batch_alter_table("annotator") as table:
        table.add_column(sa.Column("counts", sa.Boolean(), nullable=False, server_default=sa.true()))
        table.add_column(sa.Column("about", sa.JSON(), nullable=True))
        if postgres:
            table.drop_constraint(op.f("ck_annotator_kind"), type_="check")
        for name, holds in CHECKS.items():
            if name == "kind" or not postgres:  # SQLite copies the table, and a copy comes without its checks
                table.create_check_constraint(op.f(f"ck_annotator_{name}"), holds)
