"""`Cases`: the case database as the other rooms hold it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from soc.errors import StoreError, TryAgain
from soc.model.clock import Clock
from soc.model.ledger import LedgerEntry
from soc.store.cases import tables
from soc.store.cases.database import BUSY_SECONDS, open_engine, sqlite_path, transaction, translated
from soc.store.cases.head import BadHead, Head, HeadFile, load_key
from soc.store.cases.ledger import LedgerVerdict, entries_after, last_of, verify
from soc.store.cases.transaction import Tx

VIA: ContextVar[str] = ContextVar("via", default="engine")
"""How the work of this thread or task came in (`api`, `api as NAME`, `engine`): what `via` is when nobody names it.

A room begins its own transactions and knows nothing of the door a person came through; the ledger has to.
"""


@dataclass(frozen=True)
class Change:
    """A notice for live screens; `seq` grows in the order of commits, `unit` is the owner unit it belongs to."""

    seq: int
    kind: str
    id: str
    what: str
    at_us: int
    unit: str | None


class Cases:
    """Opens (creates, migrates) a case database. Safe to share between threads; one writer at a time.

    `head_path` is the signed head of the ledger and should lie outside the database's folder, better on another
    disk; `key_path` (default: `ledger.key` beside the head) is its Ed25519 key, made when missing.
    Raises NewerStore when a newer soc wrote the database; StoreError; ConfigError for an engine not built yet.
    """

    def __init__(
        self,
        url_or_path: str | Path,
        clock: Clock,
        chain: str = "main",
        *,
        head_path: Path,
        key_path: Path | None = None,
    ) -> None:
        self.path = sqlite_path(url_or_path)
        self.head_fault: str | None = None
        self._clock = clock
        self._engine = open_engine(self.path)
        self._lock = threading.Lock()
        self._head_file = HeadFile(head_path, chain, load_key(key_path or head_path.with_name("ledger.key")))
        self._first_head()

    def _first_head(self) -> None:
        """A database without any history gets the head of an empty chain; a lost head is never made anew in silence."""
        if self._head_file.path.exists():
            return
        with translated(self.path), transaction(self._engine, write=False) as connection:
            last = last_of(connection, self._head_file.chain)
            used = connection.execute(sa.select(sa.func.max(tables.changes.c.seq))).scalar()
        if last.seq == 0 and used is None:
            try:
                self._head_file.write(last)
            except OSError as error:
                raise StoreError(f"cannot write the signed head {self._head_file.path}: {error.strerror}") from error

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    @contextmanager
    def begin(self, actor: str, via: str | None = None) -> Iterator[Tx]:
        """A transaction that may write: durable when the block ends cleanly, nothing of it remains otherwise.

        Raises TryAgain when another writer holds the database for more than `BUSY_SECONDS`, DiskFull, StoreError.
        """
        if not self._lock.acquire(timeout=BUSY_SECONDS):
            raise TryAgain(f"the case database is busy: {self.path}", hint="try again in a moment")
        try:
            with translated(self.path), transaction(self._engine, write=True) as connection:
                tx = Tx(connection, self._clock, self._head_file, actor, via or VIA.get(), writable=True)
                yield tx
            if tx.new_head is not None:
                self._advance_head(tx.new_head)
        finally:
            self._lock.release()

    @contextmanager
    def read(self, actor: str, via: str | None = None) -> Iterator[Tx]:
        """A transaction that only reads: one snapshot, and no writer waits for it."""
        with translated(self.path), transaction(self._engine, write=False) as connection:
            yield Tx(connection, self._clock, self._head_file, actor, via or VIA.get(), writable=False)

    def _advance_head(self, head: Head) -> None:
        # The commit is durable already; failing here would tell the caller the opposite. A head that is behind is a
        # warning of `verify_ledger`, and the next commit brings it up again.
        try:
            if self._is_behind(head):
                self._head_file.write(head)
            self.head_fault = None
        except OSError as error:
            self.head_fault = f"the signed head {self._head_file.path} could not be written: {error.strerror}"

    def _is_behind(self, head: Head) -> bool:
        try:
            return self._head_file.read().seq < head.seq
        except BadHead:
            return True

    def changes_after(self, seq: int, limit: int = 1000) -> list[Change]:
        """Notices numbered above `seq`, oldest first."""
        table = tables.changes
        statement = sa.select(table).where(table.c.seq > seq).order_by(table.c.seq).limit(limit)
        with translated(self.path), transaction(self._engine, write=False) as connection:
            return [Change(**row._mapping) for row in connection.execute(statement)]

    def last_change(self) -> int:
        """The number of the newest notice, 0 when there is none."""
        with translated(self.path), transaction(self._engine, write=False) as connection:
            return int(connection.execute(sa.select(sa.func.max(tables.changes.c.seq))).scalar() or 0)

    def ledger_entries(self, after: int = 0, limit: int = 1000) -> list[LedgerEntry]:
        """Entries numbered above `after`, oldest first."""
        with translated(self.path), transaction(self._engine, write=False) as connection:
            return entries_after(connection, self._head_file.chain, after, limit)

    def verify_ledger(self) -> LedgerVerdict:
        """Whether the whole chain holds and ends where the signed head says."""
        # The head is read before the snapshot is taken: a commit in between leaves it behind, never ahead.
        with translated(self.path), transaction(self._engine, write=False) as connection:
            verdict = verify(connection, self._head_file)
        if self.head_fault is None:
            return verdict
        return LedgerVerdict(verdict.ok, verdict.entries, verdict.faults, (*verdict.warnings, self.head_fault))
