"""How far a campaign is, and who has done how much, are counted from indexes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    every, counts = sa.text("judged >= 0"), ["campaign_id", "judged", "skipped", "open_seats"]
    op.create_index("ix_item_counts", "item", counts, sqlite_where=every, postgresql_where=every)
    some = sa.text("skip is not null")
    columns = ["annotator_id", "item_id"]
    op.create_index("ix_judgement_skipped", "judgement", columns, sqlite_where=some, postgresql_where=some)
