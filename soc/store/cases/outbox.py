"""The outbox: messages that wait in the case database until another system has taken them, in order per system."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import orjson
import sqlalchemy as sa

from soc.errors import NotFound
from soc.model.message import Message
from soc.store.cases import tables

STATES = ("pending", "sent", "acked", "rejected")
OPEN = ("pending", "sent")
_table = tables.outbox


@dataclass(frozen=True)
class OutboxItem:
    """One message on its way. `document` is the `Message` as a dict; `next_try_us` is µs UTC, 0 at once.

    `tries` counts attempts; `receipt` is what the destination answered; `error` is the last failure.
    """

    id: str
    destination: str
    system_id: str
    sequence: int
    kind: str
    state: str
    tries: int
    next_try_us: int
    document: dict[str, Any]
    receipt: dict[str, Any] | None
    error: str | None

    def message(self) -> Message:
        """The message again."""
        return Message(**self.document)


def _item(row: Any) -> OutboxItem:
    values = dict(row._mapping)
    values["document"] = orjson.loads(values["document"])
    values["receipt"] = None if values["receipt"] is None else orjson.loads(values["receipt"])
    return OutboxItem(**values)


def add(connection: sa.Connection, message: Message) -> int:
    """Put a message in; its sequence number. The same id again changes nothing and answers the number it has."""
    known = connection.execute(sa.select(_table.c.sequence).where(_table.c.id == message.id)).scalar()
    if known is not None:
        return int(known)
    system_id = str(message.system.get("id") or "")
    mine = (_table.c.destination == message.destination, _table.c.system_id == system_id)
    sequence = int(connection.execute(sa.select(sa.func.max(_table.c.sequence)).where(*mine)).scalar() or 0) + 1
    body = {**asdict(message), "sequence": sequence}
    connection.execute(
        sa.insert(_table).values(
            id=message.id, destination=message.destination, system_id=system_id, sequence=sequence,
            kind=message.kind, state="pending", tries=0, next_try_us=0, document=orjson.dumps(body).decode(),
        )
    )  # fmt: skip
    return sequence


def due(connection: sa.Connection, destination: str, now_us: int, limit: int) -> list[OutboxItem]:
    """The first open message of each system of a destination, if its time has come; a later one never overtakes."""
    first = (
        sa.select(_table.c.system_id, sa.func.min(_table.c.sequence).label("sequence"))
        .where(_table.c.destination == destination, _table.c.state.in_([sa.literal_column(f"'{s}'") for s in OPEN]))
        .group_by(_table.c.system_id)
        .subquery()
    )
    statement = (
        sa.select(_table)
        .join(first, (_table.c.system_id == first.c.system_id) & (_table.c.sequence == first.c.sequence))
        .where(_table.c.destination == destination, _table.c.next_try_us <= now_us)
        .order_by(_table.c.next_try_us, _table.c.id)
        .limit(limit)
    )
    return [_item(row) for row in connection.execute(statement)]


def mark(
    connection: sa.Connection,
    id: str,
    state: str,
    *,
    receipt: Mapping[str, Any] | None = None,
    error: str | None = None,
    next_try_us: int | None = None,
) -> None:
    """Note what became of an attempt. Raises NotFound; ValueError for an unknown state.

    An attempt counts once: when it is marked `sent`, or when a pending message goes straight to its outcome.
    """
    if state not in STATES:
        raise ValueError(f"unknown state '{state}'; one of {', '.join(STATES)}")
    old = connection.execute(sa.select(_table.c.state).where(_table.c.id == id)).scalar()
    if old is None:
        raise NotFound(f"no message '{id}' in the outbox")
    values: dict[str, Any] = {"state": state, "error": error}
    if state == "sent" or old == "pending":
        values["tries"] = _table.c.tries + 1
    if receipt is not None:
        values["receipt"] = orjson.dumps(dict(receipt)).decode()
    if next_try_us is not None:
        values["next_try_us"] = next_try_us
    connection.execute(sa.update(_table).where(_table.c.id == id).values(**values))


def counts(connection: sa.Connection) -> dict[str, dict[str, int]]:
    """`{destination: {state: n}}`, every state named, also with 0."""
    statement = sa.select(_table.c.destination, _table.c.state, sa.func.count()).group_by(
        _table.c.destination, _table.c.state
    )
    result: dict[str, dict[str, int]] = {}
    for destination, state, n in connection.execute(statement):
        result.setdefault(destination, dict.fromkeys(STATES, 0))[state] = int(n)
    return result


def items(connection: sa.Connection, destination: str | None, state: str | None, limit: int) -> list[OutboxItem]:
    """What lies in the outbox, by destination, system and sequence."""
    statement = sa.select(_table).order_by(_table.c.destination, _table.c.system_id, _table.c.sequence).limit(limit)
    if destination is not None:
        statement = statement.where(_table.c.destination == destination)
    if state is not None:
        statement = statement.where(_table.c.state == state)
    return [_item(row) for row in connection.execute(statement)]
