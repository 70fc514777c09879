"""What people can say: campaigns of four kinds that ask more than an order, and judgements that say it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    with op.batch_alter_table("campaign") as table:
        table.add_column(sa.Column("asks", sa.JSON(), nullable=False, server_default="{}"))
        table.drop_constraint(op.f("ck_campaign_kind"), type_="check")
        table.create_check_constraint(op.f("ck_campaign_kind"), "kind in ('pairwise', 'ranking', 'scale', 'good_bad')")
    op.add_column("judgement", sa.Column("details", sa.JSON(), nullable=True))  # the triggers stay: no row is changed
