"""`Tx`: documents, ledger, outbox, change notices and cursors that commit together or not at all."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa

from soc.errors import Conflict, StoreError
from soc.model.clock import Clock
from soc.model.ledger import LedgerEntry
from soc.model.message import Message
from soc.store.cases import outbox, tables
from soc.store.cases.head import Head, HeadFile
from soc.store.cases.ledger import Appender
from soc.store.cases.outbox import OutboxItem

Keys = Mapping[str, str | Collection[str]]
"""What a document is found by: a name with a value, or with several values."""
_documents, _keys = tables.documents, tables.keys


@dataclass(frozen=True)
class Stored:
    """A document as it stands, with the version to name when it is changed (1 for a new one)."""

    document: dict[str, Any]
    version: int
    unit: str | None = None


class Tx:
    """One transaction of one actor. It ends with the `with` block that `Cases.begin` opened."""

    def __init__(
        self, connection: sa.Connection, clock: Clock, head_file: HeadFile, actor: str, via: str, *, writable: bool
    ) -> None:
        self.actor = actor
        self.via = via
        self._connection = connection
        self._clock = clock
        self._head_file = head_file
        self._writable = writable
        self._appender: Appender | None = None

    @property
    def now_us(self) -> int:
        """The clock's time, µs UTC."""
        return self._clock.now_ns() // 1000

    @property
    def new_head(self) -> Head | None:
        """The end of the chain when this transaction wrote to the ledger, else None."""
        return None if self._appender is None else self._appender.last

    def _write(self) -> sa.Connection:
        if not self._writable:
            raise StoreError("this transaction only reads; use Cases.begin to change something")
        return self._connection

    # Documents

    def get(self, kind: str, id: str) -> Stored | None:
        """The document, or None."""
        statement = sa.select(_documents).where(_documents.c.kind == kind, _documents.c.id == id)
        row = self._connection.execute(statement).first()
        return None if row is None else _stored(row)

    def several(self, kind: str, ids: Collection[str]) -> dict[str, Stored]:
        """Those of these documents that there are, by id, with one question for all."""
        statement = sa.select(_documents).where(_documents.c.kind == kind, _documents.c.id.in_(sorted(ids)))
        return {row.id: _stored(row) for row in self._connection.execute(statement)}

    def put(
        self,
        kind: str,
        id: str,
        document: Mapping[str, Any],
        expected_version: int | None,
        *,
        unit: str | None = None,
        keys: Keys | None = None,
    ) -> int:
        """Write a document and give its new version; `expected_version` None means it must be new.

        `unit` or `keys` left out keep what an existing document has; `unit=""` and `keys={}` clear it.
        Raises Conflict when somebody else changed (or made) it first.
        """
        connection = self._write()
        text = orjson.dumps(dict(document)).decode()
        if expected_version is None:
            version = self._insert(kind, id, text, unit)
        else:
            version = self._update(kind, id, text, unit, expected_version)
        if keys is not None:
            _replace_keys(connection, kind, id, keys)
        return version

    def _insert(self, kind: str, id: str, text: str, unit: str | None) -> int:
        if self.get(kind, id) is not None:
            raise Conflict(f"{kind} '{id}' exists already")
        now = self.now_us
        self._connection.execute(
            sa.insert(_documents).values(
                kind=kind, id=id, version=1, document=text, unit=unit or None, created_us=now, updated_us=now
            )
        )
        return 1

    def _update(self, kind: str, id: str, text: str, unit: str | None, expected_version: int) -> int:
        values: dict[str, Any] = {"version": expected_version + 1, "document": text, "updated_us": self.now_us}
        if unit is not None:
            values["unit"] = unit or None
        mine = (_documents.c.kind == kind, _documents.c.id == id, _documents.c.version == expected_version)
        if self._connection.execute(sa.update(_documents).where(*mine).values(**values)).rowcount != 1:
            raise self._conflict(kind, id, expected_version)
        return expected_version + 1

    def _conflict(self, kind: str, id: str, expected_version: int) -> Conflict:
        found = self.get(kind, id)
        if found is None:
            return Conflict(f"{kind} '{id}' does not exist, version {expected_version} was expected")
        return Conflict(
            f"{kind} '{id}' was changed by somebody else: version {found.version}, not {expected_version}",
            hint="read it again and repeat the change",
        )

    def delete(self, kind: str, id: str, expected_version: int) -> bool:
        """Delete a document; False, and nothing happens, when it was changed since that version, or is gone."""
        mine = (_documents.c.kind == kind, _documents.c.id == id, _documents.c.version == expected_version)
        if self._write().execute(sa.delete(_documents).where(*mine)).rowcount != 1:
            return False
        self._connection.execute(sa.delete(_keys).where(_keys.c.kind == kind, _keys.c.id == id))
        return True

    def find(
        self,
        kind: str,
        *,
        keys: Keys | None = None,
        units: Collection[str] | None = None,
        limit: int = 100,
        order: str = "desc",
        before: str | None = None,
    ) -> list[tuple[str, Stored]]:
        """Documents by id, newest first for time-ordered ids; `before` is the last id of the page before.

        A key with several values matches any of them; several keys must all match. `units` None means all units.
        """
        statement = _selection(sa.select(_documents), kind, keys, units)
        descending = order == "desc"
        if before is not None:
            statement = statement.where(_documents.c.id < before if descending else _documents.c.id > before)
        statement = statement.order_by(_documents.c.id.desc() if descending else _documents.c.id).limit(limit)
        return [(row.id, _stored(row)) for row in self._connection.execute(statement)]

    def count(self, kind: str, keys: Keys | None = None, units: Collection[str] | None = None) -> int:
        """How many documents `find` would give without a limit."""
        statement = _selection(sa.select(sa.func.count()).select_from(_documents), kind, keys, units)
        return int(self._connection.execute(statement).scalar_one())

    # Ledger, change notices, cursors

    def ledger(
        self,
        act: str,
        object: str,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
        reason: str = "",
    ) -> LedgerEntry:
        """Note an act (`noun.verb`) on an object (`kind:id`). Raises ValueError for fractions in before or after."""
        connection = self._write()
        if self._appender is None:
            self._appender = Appender(connection, self._head_file)
        return self._appender.add(
            at_us=self.now_us, actor=self.actor, via=self.via, act=act, object=object,
            before=before, after=after, reason=reason,
        )  # fmt: skip

    def change(self, kind: str, id: str, what: str, *, unit: str | None = None) -> int:
        """Tell the live screens; the notice's number. The unit is the document's own unless it is given."""
        connection = self._write()
        if unit is None:
            statement = sa.select(_documents.c.unit).where(_documents.c.kind == kind, _documents.c.id == id)
            unit = connection.execute(statement).scalar()
        values = {"kind": kind, "id": id, "what": what, "at_us": self.now_us, "unit": unit}
        result = connection.execute(sa.insert(tables.changes).values(**values))
        key = result.inserted_primary_key
        assert key is not None  # an autoincrement table always gives one
        return int(key[0])

    def cursor(self, name: str) -> dict[str, Any] | None:
        """What `set_cursor` kept under this name, or None."""
        statement = sa.select(tables.cursors.c.document).where(tables.cursors.c.name == name)
        text = self._connection.execute(statement).scalar()
        return None if text is None else dict(orjson.loads(text))

    def set_cursor(self, name: str, document: Mapping[str, Any]) -> None:
        """Keep a consumer's progress with the changes it made."""
        connection = self._write()
        text = orjson.dumps(dict(document)).decode()
        connection.execute(sa.delete(tables.cursors).where(tables.cursors.c.name == name))
        connection.execute(sa.insert(tables.cursors).values(name=name, document=text))

    # Outbox

    def outbox(self, message: Message) -> int:
        """Send a message with this transaction; its sequence number at that destination for its system."""
        return outbox.add(self._write(), message)

    def outbox_due(self, destination: str, now_us: int, limit: int = 100) -> list[OutboxItem]:
        """The first open message of each system, if it is due."""
        return outbox.due(self._connection, destination, now_us, limit)

    def outbox_mark(
        self,
        id: str,
        state: str,
        *,
        receipt: Mapping[str, Any] | None = None,
        error: str | None = None,
        next_try_us: int | None = None,
    ) -> None:
        """Note what became of an attempt: pending, sent, acked or rejected. Raises NotFound."""
        outbox.mark(self._write(), id, state, receipt=receipt, error=error, next_try_us=next_try_us)

    def outbox_counts(self) -> dict[str, dict[str, int]]:
        """`{destination: {state: n}}`."""
        return outbox.counts(self._connection)

    def outbox_items(
        self, destination: str | None = None, state: str | None = None, limit: int = 100
    ) -> list[OutboxItem]:
        """What lies in the outbox, in order of destination, system and sequence."""
        return outbox.items(self._connection, destination, state, limit)


def _stored(row: Any) -> Stored:
    return Stored(orjson.loads(row.document), row.version, row.unit)


def _values(value: str | Collection[str]) -> Iterable[str]:
    return (value,) if isinstance(value, str) else value


def _replace_keys(connection: sa.Connection, kind: str, id: str, keys: Keys) -> None:
    connection.execute(sa.delete(_keys).where(_keys.c.kind == kind, _keys.c.id == id))
    rows = [
        {"kind": kind, "id": id, "key": key, "value": value}
        for key, values in keys.items()
        for value in dict.fromkeys(_values(values))
    ]
    if rows:
        connection.execute(sa.insert(_keys), rows)


def _selection(statement: Any, kind: str, keys: Keys | None, units: Collection[str] | None) -> Any:
    statement = statement.where(_documents.c.kind == kind)
    if units is not None:
        statement = statement.where(_documents.c.unit.in_(sorted(units)))
    for key, values in (keys or {}).items():
        found = sa.select(_keys.c.id).where(
            _keys.c.kind == kind, _keys.c.key == key, _keys.c.value.in_(sorted(_values(values)))
        )
        statement = statement.where(_documents.c.id.in_(found))
    return statement
