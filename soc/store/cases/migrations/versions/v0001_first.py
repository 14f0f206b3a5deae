"""Documents with their keys, the ledger that refuses changes, the outbox, change notices and cursors."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the first tables."""
    _documents()
    _ledger()
    _outbox()
    _notices()


def _documents() -> None:
    op.create_table(
        "documents",
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("unit", sa.Text),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("updated_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("kind", "id"),
    )
    op.create_index("documents_unit", "documents", ["kind", "unit", "id"])
    op.create_table(
        "keys",
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("kind", "key", "value", "id"),
        sa.ForeignKeyConstraint(["kind", "id"], ["documents.kind", "documents.id"], ondelete="CASCADE"),
    )
    op.create_index("keys_of_document", "keys", ["kind", "id"])


def _ledger() -> None:
    op.create_table(
        "ledger",
        sa.Column("chain", sa.Text, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("actor", "via", "act", "object")),
        sa.Column("before", sa.Text),
        sa.Column("after", sa.Text),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("reason", "prev", "hash")),
        sa.PrimaryKeyConstraint("chain", "seq"),
    )
    op.create_index("ledger_object", "ledger", ["object", "seq"])
    for act in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER ledger_no_{act.lower()} BEFORE {act} ON ledger "
            "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
        )


def _outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("system_id", sa.Text, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("next_try_us", sa.BigInteger, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("receipt", sa.Text),
        sa.Column("error", sa.Text),
        sa.UniqueConstraint("destination", "system_id", "sequence"),
    )
    # Only what still has to go out is looked for every second; it stays small while the table grows for years.
    op.create_index(
        "outbox_open",
        "outbox",
        ["destination", "system_id", "sequence"],
        sqlite_where=sa.text("state IN ('pending', 'sent')"),
    )


def _notices() -> None:
    op.create_table(
        "changes",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("unit", sa.Text),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "cursors",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
    )
