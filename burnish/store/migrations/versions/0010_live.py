"""Live campaigns: conversations with hidden models, and their turns."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("campaign", sa.Column("live", sa.JSON(), nullable=True))
    op.create_table(
        "conversation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("annotator_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(36), nullable=False),
        sa.Column("language", sa.String(35), nullable=True),
        sa.Column("began", sa.DateTime(), nullable=False),
        sa.Column("ended", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name=op.f("fk_conversation_campaign_id")),
        sa.ForeignKeyConstraint(["annotator_id"], ["annotator.id"], name=op.f("fk_conversation_annotator_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_conversation")),
        sa.UniqueConstraint("key", name=op.f("uq_conversation_key")),
    )
    some = sa.text("ended is null")
    op.create_index(
        "uq_conversation_open",
        "conversation",
        ["campaign_id", "annotator_id"],
        unique=True,
        sqlite_where=some,
        postgresql_where=some,
    )
    op.create_index(op.f("ix_conversation_annotator_id"), "conversation", ["annotator_id"])
    op.create_table(
        "turn",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("conversation_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("submission", sa.String(100), nullable=False),
        sa.Column("messages", sa.JSON(), nullable=False),
        sa.Column("models", sa.JSON(), nullable=False),
        sa.Column("sent", sa.DateTime(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("failure", sa.String(20), nullable=True),
        sa.Column("item_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["conversation_id"], ["conversation.id"], name=op.f("fk_turn_conversation_id")),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_turn_item_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_turn")),
        sa.UniqueConstraint("conversation_id", "position", name=op.f("uq_turn_conversation_id_position")),
        sa.UniqueConstraint("submission", name=op.f("uq_turn_submission")),
        sa.UniqueConstraint("item_id", name=op.f("uq_turn_item_id")),
    )
