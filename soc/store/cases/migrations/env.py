"""Alembic's entry: runs the revisions on the connection, and inside the transaction, that the store opened."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
