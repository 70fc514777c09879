"""Who made a link; targets of the log as long as an item's; languages of items, and handles of people who were removed,
that 0003 left out."""

from __future__ import annotations

import re
import secrets

import sqlalchemy as sa
from alembic import op

from burnish.records.languages import language

revision = "0004"
down_revision = "0003"

AT_ONCE = 1000
"""Items read in one statement: their `meta` may be long."""
APPEND_ONLY = (
    "create trigger event_no_{act} before {act} on event begin select raise(abort, 'event is append-only'); end"
)
ITEM = sa.table("item", sa.column("id"), sa.column("meta", sa.JSON()), sa.column("language"))
PEOPLE = sa.table("annotator", *map(sa.column, ("id", "name", "handle", "removed")))


def upgrade() -> None:
    with op.batch_alter_table("invitation") as table:
        table.add_column(sa.Column("invited_by", sa.Integer(), nullable=True))
        table.create_foreign_key(op.f("fk_invitation_invited_by"), "annotator", ["invited_by"], ["id"])
    with op.batch_alter_table("event") as table:
        table.alter_column("target", type_=sa.String(401), existing_type=sa.String(200), existing_nullable=False)
    if op.get_bind().dialect.name == "sqlite":  # which made the table anew, without its triggers
        for act in ("update", "delete"):
            op.execute(APPEND_ONLY.format(act=act))
    _languages()
    _removed()


def _languages() -> None:
    database, last = op.get_bind(), 0
    some = sa.select(ITEM.c.id, ITEM.c.meta).where(ITEM.c.language.is_(None)).order_by(ITEM.c.id).limit(AT_ONCE)
    while rows := database.execute(some.where(ITEM.c.id > last)).all():
        last = rows[-1].id
        found = ((row.id, language(str(row.meta.get("language") or ""))) for row in rows)
        known = [{"item": item, "tag": tag} for item, tag in found if tag]
        if known:
            by_id = sa.update(ITEM).where(ITEM.c.id == sa.bindparam("item"))
            database.execute(by_id.values(language=sa.bindparam("tag")), known)


def _removed() -> None:
    """A person of a database before 0003 had their name for a handle, and kept it when they were removed."""
    database = op.get_bind()
    gone = sa.select(PEOPLE.c.id, PEOPLE.c.name, PEOPLE.c.handle).where(PEOPLE.c.removed.is_not(None))
    for person in database.execute(gone).all():
        handle = person.handle if re.fullmatch("p-[0-9a-f]{12}", person.handle) else f"p-{secrets.token_hex(6)}"
        renamed = sa.update(PEOPLE).where(PEOPLE.c.id == person.id)
        database.execute(renamed.values(name=f"removed {person.id}", handle=handle))
