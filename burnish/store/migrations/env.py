"""Runs the migrations on the connection that `store.session` hands over. Alembic loads this file by its path."""

from __future__ import annotations

from alembic import context

from burnish.store.schema import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
