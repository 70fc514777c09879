"""What a manager may set of a campaign: whether it is closed, and a guideline with its version."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("campaign", sa.Column("closed", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("campaign", sa.Column("guideline", sa.String(), nullable=False, server_default=""))
    op.add_column("campaign", sa.Column("guideline_version", sa.Integer(), nullable=False, server_default="0"))
