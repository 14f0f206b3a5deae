"""The append-only, hash-chained ledger: how an entry is added, and how the whole chain is verified."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa

from soc.model.canonical import canonical_bytes
from soc.model.ledger import GENESIS, LedgerEntry
from soc.store.cases import tables
from soc.store.cases.head import BadHead, Head, HeadFile

HEAD_REPLACED = "ledger.head_replaced"
"""The act that notes, in the chain itself, that the signed head was lost and a new one was begun."""
_PAGE = 1000
MAX_FAULTS = 100
"""A verdict names this many faults and counts the rest."""


@dataclass(frozen=True)
class LedgerVerdict:
    """Whether the chain holds, how many entries were read, and every fault found (the first `MAX_FAULTS`).

    `warnings` are states that a crash leaves and that prove nothing: a head that is some entries behind.
    """

    ok: bool
    entries: int
    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Appender:
    """Adds entries to one chain within one transaction; `last` is the chain's end as this transaction sees it."""

    def __init__(self, connection: sa.Connection, head_file: HeadFile) -> None:
        self._connection = connection
        self._chain = head_file.chain
        self._lost: str | None = None
        self.last = self._begin(head_file)

    def _begin(self, head_file: HeadFile) -> Head:
        stored = last_of(self._connection, self._chain)
        try:
            head = head_file.read()
        except BadHead as error:
            self._lost = str(error)
            return stored
        return self._joined(stored, head)

    def _joined(self, stored: Head, head: Head) -> Head:
        """Where to go on. If entries were removed or rewritten, the next one follows the *signed* head instead.

        Work must go on, and the gap then stays in the chain for ever: no later head can cover it up.
        """
        if head.seq > stored.seq:
            return head
        if head.hash != _hash_at(self._connection, self._chain, head.seq):
            return Head(stored.chain, stored.seq, head.hash)
        return stored

    def add(
        self,
        *,
        at_us: int,
        actor: str,
        via: str,
        act: str,
        object: str,
        before: Mapping[str, Any] | None,
        after: Mapping[str, Any] | None,
        reason: str,
    ) -> LedgerEntry:
        """The sealed entry, written. Raises ValueError for fractions or integers that RFC 8785 cannot carry."""
        if self._lost is not None:
            why, self._lost = self._lost, None
            self.add(
                at_us=at_us, actor="engine", via="engine", act=HEAD_REPLACED, object=f"ledger:{self._chain}",
                before=None, after=None, reason=why,
            )  # fmt: skip
        entry = LedgerEntry(
            self._chain, self.last.seq + 1, at_us, actor, via, act, object, _plain(before), _plain(after), reason,
            self.last.hash,
        ).sealed()  # fmt: skip
        self._connection.execute(sa.insert(tables.ledger).values(**_row(entry)))
        self.last = Head(self._chain, entry.seq, entry.hash)
        return entry


def _plain(value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What will be read back from the database, so that the hash is over exactly that."""
    return None if value is None else orjson.loads(canonical_bytes(dict(value)))


def _row(entry: LedgerEntry) -> dict[str, Any]:
    row = dict(vars(entry))
    for name in ("before", "after"):
        row[name] = None if row[name] is None else orjson.dumps(row[name]).decode()
    return row


def _entry(row: Any) -> LedgerEntry:
    values = dict(row._mapping)
    for name in ("before", "after"):
        values[name] = None if values[name] is None else orjson.loads(values[name])
    return LedgerEntry(**values)


def last_of(connection: sa.Connection, chain: str) -> Head:
    """The last entry stored, number 0 and the genesis hash for an empty chain."""
    table = tables.ledger
    statement = sa.select(table.c.seq, table.c.hash).where(table.c.chain == chain).order_by(table.c.seq.desc()).limit(1)
    row = connection.execute(statement).first()
    return Head(chain, 0, GENESIS) if row is None else Head(chain, row.seq, row.hash)


def _hash_at(connection: sa.Connection, chain: str, seq: int) -> str | None:
    if seq == 0:
        return GENESIS
    table = tables.ledger
    return connection.execute(sa.select(table.c.hash).where(table.c.chain == chain, table.c.seq == seq)).scalar()


def entries_after(connection: sa.Connection, chain: str, after: int, limit: int) -> list[LedgerEntry]:
    """Entries numbered above `after`, oldest first. Raises ValueError when a stored entry is no JSON any more."""
    table = tables.ledger
    statement = sa.select(table).where(table.c.chain == chain, table.c.seq > after).order_by(table.c.seq).limit(limit)
    return [_entry(row) for row in connection.execute(statement)]


def verify(connection: sa.Connection, head_file: HeadFile) -> LedgerVerdict:
    """Recompute every hash, check numbers and links, and compare with the signed head."""
    faults: list[str] = []
    last = Head(head_file.chain, 0, GENESIS)
    count = 0
    hashes = _SignedPlace(head_file)
    for row in _rows(connection, head_file.chain):
        faults.extend(_faults_of(row, last))
        hashes.see(row.seq, row.hash)
        last = Head(last.chain, row.seq, row.hash)
        count += 1
    head_faults, warnings = hashes.judge(last)
    faults.extend(head_faults)
    return LedgerVerdict(not faults, count, _capped(faults), tuple(warnings))


def _rows(connection: sa.Connection, chain: str) -> Iterator[Any]:
    table = tables.ledger
    after: int | None = None
    while True:
        statement = sa.select(table).where(table.c.chain == chain).order_by(table.c.seq).limit(_PAGE)
        rows = connection.execute(statement if after is None else statement.where(table.c.seq > after)).all()
        yield from rows
        if len(rows) < _PAGE:
            return
        after = rows[-1].seq


def _faults_of(row: Any, last: Head) -> Iterator[str]:
    if row.seq != last.seq + 1:
        yield f"entry {row.seq}: entries {last.seq + 1} to {row.seq - 1} are missing"
    if row.prev != last.hash:
        yield f"entry {row.seq}: does not follow the entry before it"
    if row.act == HEAD_REPLACED:
        yield f"entry {row.seq}: the signed head had been lost here ({row.reason})"
    try:
        computed = _entry(row).computed_hash()
    except (ValueError, TypeError):
        computed = None
    if computed != row.hash:
        yield f"entry {row.seq}: its content was changed after it was written"


def _capped(faults: list[str]) -> tuple[str, ...]:
    rest = len(faults) - MAX_FAULTS
    return tuple(faults) if rest <= 0 else (*faults[:MAX_FAULTS], f"and {rest} more faults")


class _SignedPlace:
    """Compares the chain with its signed head while the chain streams by."""

    def __init__(self, head_file: HeadFile) -> None:
        self._head: Head | None = None
        self._fault = ""
        try:
            self._head = head_file.read()
        except BadHead as error:
            self._fault = str(error)
        self._found = GENESIS if self._head is not None and self._head.seq == 0 else ""

    def see(self, seq: int, hash: str) -> None:
        if self._head is not None and seq == self._head.seq:
            self._found = hash

    def judge(self, last: Head) -> tuple[list[str], list[str]]:
        """Faults and warnings."""
        head = self._head
        if head is None:
            return [self._fault], []
        if last.seq < head.seq:
            gone = "the last entry was removed" if head.seq - last.seq == 1 else "the last entries were removed"
            return [f"{gone}: the signed head is at {head.seq}, the database at {last.seq}"], []
        if self._found != head.hash:
            return [f"entry {head.seq}: is not the one that was signed"], []
        if last.seq > head.seq:
            return [], [f"the signed head is at {head.seq}, the database at {last.seq}: a crash came between"]
        return [], []
