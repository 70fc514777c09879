"""The task that a person answered last comes from an index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    answered, columns = sa.text("leased_until is null"), ["annotator_id", "campaign_id", "shown", "id"]
    op.create_index("ix_assignment_answered", "assignment", columns, sqlite_where=answered, postgresql_where=answered)
