"""Accounts: roles, languages, passwords, invitations, visits. Whoever is there keeps their name as their handle."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

ROLES = "role in ('owner', 'manager', 'adjudicator', 'annotator', 'viewer')"


def upgrade() -> None:
    op.add_column("item", sa.Column("language", sa.String(35), nullable=True))
    op.add_column("annotator", sa.Column("handle", sa.String(200), nullable=True))
    op.execute("update annotator set handle = name")
    with op.batch_alter_table("annotator") as table:
        table.alter_column("handle", nullable=False)
        table.add_column(sa.Column("role", sa.String(20), nullable=False, server_default="annotator"))
        table.add_column(sa.Column("languages", sa.JSON(), nullable=False, server_default="[]"))
        table.add_column(sa.Column("standing", sa.String(20), nullable=False, server_default="active"))
        table.add_column(sa.Column("password", sa.String(200), nullable=True))
        table.add_column(sa.Column("removed", sa.DateTime(), nullable=True))
        table.create_unique_constraint(op.f("uq_annotator_handle"), ["handle"])
        table.create_check_constraint(op.f("ck_annotator_role"), ROLES)
        table.create_check_constraint(op.f("ck_annotator_standing"), "standing in ('active', 'held', 'withdrawn')")
    op.create_table(
        "invitation",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("languages", sa.JSON(), nullable=False),
        sa.Column("annotator_id", sa.Integer(), nullable=True),
        sa.Column("until", sa.DateTime(), nullable=False),
        sa.CheckConstraint(ROLES, name=op.f("ck_invitation_role")),
        sa.ForeignKeyConstraint(["annotator_id"], ["annotator.id"], name=op.f("fk_invitation_annotator_id")),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_invitation")),
    )
    op.create_table(
        "visit",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("annotator_id", sa.Integer(), nullable=False),
        sa.Column("until", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["annotator_id"], ["annotator.id"], name=op.f("fk_visit_annotator_id")),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_visit")),
    )
    op.create_index(op.f("ix_visit_annotator_id"), "visit", ["annotator_id"])
