"""Seats are counted where the item is, and found by an index, and a lease ends with its answer.

No judgement is read to find the next task, and none to say how far a person is.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

COUNTED = """
update item set {column} = (
  select count(*) from judgement said where said.item_id = item.id and said.{said} is not null
  and not exists (select 1 from judgement later where later.supersedes = said.id)
)
"""
SEATED = """
update item set open_seats = (
  select case when item.judged < overlap and item.skipped < overlap then overlap - item.judged else 0 end
  from campaign where campaign.id = item.campaign_id
)
"""


def upgrade() -> None:
    for column in ("judged", "skipped", "open_seats"):
        op.add_column("item", sa.Column(column, sa.Integer(), nullable=False, server_default="0"))
    for column, said in (("judged", "ranks"), ("skipped", "skip")):
        op.execute(COUNTED.format(column=column, said=said))
    op.execute(SEATED)
    some = sa.text("open_seats > 0")
    op.create_index("ix_item_open", "item", ["campaign_id", "position"], sqlite_where=some, postgresql_where=some)
    _leases()
    op.drop_index(op.f("ix_judgement_annotator_id"), "judgement")
    op.create_index(op.f("ix_judgement_annotator_id_item_id"), "judgement", ["annotator_id", "item_id"])


def _leases() -> None:
    op.add_column("assignment", sa.Column("campaign_id", sa.Integer(), nullable=True))
    op.execute("update assignment set campaign_id = (select campaign_id from item where item.id = assignment.item_id)")
    op.drop_index(op.f("ix_assignment_annotator_id"), "assignment")
    with op.batch_alter_table("assignment") as table:
        table.alter_column("campaign_id", nullable=False)
        table.alter_column("leased_until", nullable=True)
        table.create_foreign_key(op.f("fk_assignment_campaign_id"), "campaign", ["campaign_id"], ["id"])
    op.execute(
        "update assignment set leased_until = null "
        "where exists (select 1 from judgement said where said.assignment_id = assignment.id)"
    )
    op.create_index(
        op.f("ix_assignment_annotator_id_campaign_id_leased_until"),
        "assignment",
        ["annotator_id", "campaign_id", "leased_until"],
    )
