"""Records of a stream that wait for those that go on with them (stack traces over syslog).

A record may go on until its program says something else, so the last one of each waits with the parser's state: the
queue has the lines, the state has those behind the cursor whose event is still to come. A state is saved before the
cursor moves, so it may be ahead of it by a step: it keeps what was closed until the store has it, and `at` takes back
what the cursor has not passed. So a crash at any moment neither loses nor doubles a line.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from soc.model.multiline import WAIT_S
from soc.model.position import Partition, Position
from soc.model.record import RawBlock

PAUSE = "pause"
"""`RawBlock.format` of a block without records: what waits for its source, and has waited long enough, is closed."""
MAX_AGE_NS = 60_000_000_000
"""Nothing is waited for longer than this, also when it goes on and on."""
EARLY = "multiline_early"
"""In `soc.flags`: closed for want of room or after `MAX_AGE_NS`; more may have followed."""
SECOND = 1_000_000_000

Source = tuple[str, str, str]
Who = tuple[str | None, str | None, str | None]
"""Host, program and process, as the header says; lines of a trace without a header have none."""
Cursors = Mapping[Partition, Position]


@dataclass(frozen=True)
class Waiting:
    """A record whose event is still to come."""

    at: Position
    receipt_ns: int
    flags: int
    data: bytes


@dataclass(frozen=True)
class Group:
    """Records that are one event. `since_ns` and `heard_ns` are our clock, when the first and the last one were read;
    `closed_by` is the frame with which it was complete."""

    source: Source
    who: Who
    format: str
    origin: Mapping[str, str]
    records: tuple[Waiting, ...]
    since_ns: int
    heard_ns: int
    in_traceback: bool = False
    closed_by: Position | None = None
    flags: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of its records."""
        return sum(len(record.data) for record in self.records)

    def is_overdue(self, now_ns: int) -> bool:
        """Whether nothing more is waited for; a clock that went back waits for nothing."""
        wait_ns = int(self.origin[WAIT_S]) * SECOND
        return not (0 <= now_ns - self.heard_ns < wait_ns and now_ns - self.since_ns < MAX_AGE_NS)

    def is_closed_by(self, block: RawBlock) -> bool:
        """Whether it was complete with this frame."""
        return self.closed_by == Position(block.node, block.log, block.seq)

    def closed(self, block: RawBlock, *flags: str) -> Group:
        """The same, complete with this frame."""
        return replace(self, closed_by=Position(block.node, block.log, block.seq), flags=(*self.flags, *flags))

    def block(self) -> RawBlock:
        """Its records as a block at the place of the first."""
        first, (site, listener, peer) = self.records[0], self.source
        return RawBlock(
            site, listener, peer, self.format,
            np.array([record.receipt_ns for record in self.records], np.int64),
            np.cumsum([len(record.data) for record in self.records], dtype=np.uint32),
            b"".join(record.data for record in self.records), self.origin,
            bytes(record.flags for record in self.records), first.at.node, first.at.log, first.at.seq,
        )  # fmt: skip


@dataclass(frozen=True)
class Groups:
    """What waits in one partition (`open`, that which was heard last at the end), and what was closed and may not be in
    the store yet."""

    open: Mapping[tuple[Source, Who], Group] = field(default_factory=dict)
    closed: tuple[Group, ...] = ()

    def of(self, block: RawBlock) -> list[Group]:
        """What waits for the source of this block."""
        source = (block.site, block.listener, block.peer)
        return [group for group in self.open.values() if group.source == source]

    def without(self, gone: Collection[Group]) -> Groups:
        """What else waits."""
        keys = {(group.source, group.who) for group in gone}
        return replace(self, open={key: group for key, group in self.open.items() if key not in keys})

    def overdue(self, now_ns: int) -> list[Source]:
        """The sources that have something that has waited long enough."""
        return list(dict.fromkeys(group.source for group in self.open.values() if group.is_overdue(now_ns)))

    def settled(self, cursors: Cursors, number: int) -> Groups:
        """Without what the store has."""
        left = tuple(group for group in self.closed if not _is_passed(group.closed_by, cursors, number))
        return self if len(left) == len(self.closed) else replace(self, closed=left)

    def at(self, cursors: Cursors, number: int) -> Groups:
        """As it was when these were the cursors of partition `number`."""
        found = {}
        for group in (*self.settled(cursors, number).closed, *self.open.values()):
            passed = tuple(record for record in group.records if _is_passed(record.at, cursors, number))
            if passed:
                found[group.source, group.who] = replace(group, records=passed, closed_by=None, flags=())
        return Groups(found)

    def snapshot(self) -> bytes:
        """As JSON."""
        return json.dumps([_document(group) for group in (*self.closed, *self.open.values())]).encode()

    @classmethod
    def restore(cls, data: bytes) -> Self:
        """The inverse of `snapshot`. Raises ValueError."""
        try:
            groups = [_group(document) for document in json.loads(data)]
        except (KeyError, TypeError) as error:
            raise ValueError(f"no records that wait: {error!r}") from error
        is_open = {(group.source, group.who): group for group in groups if group.closed_by is None}
        return cls(is_open, tuple(group for group in groups if group.closed_by is not None))


NONE = Groups()


def _is_passed(position: Position | None, cursors: Cursors, number: int) -> bool:
    if position is None:
        return False
    cursor = cursors.get(Partition(position.node, position.log, number))
    return cursor is not None and position.seq <= cursor.seq


def _document(group: Group) -> dict[str, Any]:
    records = [
        [str(record.at), record.receipt_ns, record.flags, record.data.decode("utf-8", "surrogateescape")]
        for record in group.records
    ]
    return {**vars(group), "records": records, "closed_by": str(group.closed_by) if group.closed_by else None}


def _group(document: dict[str, Any]) -> Group:
    records = tuple(
        Waiting(Position.parse(at), receipt_ns, flags, text.encode("utf-8", "surrogateescape"))
        for at, receipt_ns, flags, text in document["records"]
    )
    closed_by = document["closed_by"]
    return Group(
        **document
        | {
            "source": tuple(document["source"]),
            "who": tuple(document["who"]),
            "records": records,
            "closed_by": Position.parse(closed_by) if closed_by else None,
            "flags": tuple(document["flags"]),
        }
    )


def close_overdue(block: RawBlock, groups: Groups, now_ns: int) -> tuple[list[Group], Groups]:
    """What has waited long enough for the source of this block, and what is left."""
    return close(block, groups, [group for group in groups.of(block) if group.is_overdue(now_ns)], now_ns)


def close(block: RawBlock, groups: Groups, done: Sequence[Group], now_ns: int) -> tuple[list[Group], Groups]:
    """Some that wait are complete with this block, and what is left."""
    if not done:
        return [], groups
    closed = [group.closed(block, *((EARLY,) if now_ns - group.since_ns >= MAX_AGE_NS else ())) for group in done]
    left = groups.without(done)
    return closed, replace(left, closed=(*groups.closed, *closed))
