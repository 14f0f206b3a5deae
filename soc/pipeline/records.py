"""Documents of the `matched` and `findings` logs: JSON records in frames that name the raw frame they come from."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from soc.model.batch import CLOSED_BY, EventBatch
from soc.model.position import Position
from soc.model.record import RawBlock

INPUT = "input"
PIECE_BYTES = 2 << 20
"""Derived frames stay below the queue's own limit, so that one `append` never splits them again."""
SEEN_FRAMES = 16_384
"""A worker that died repeats at most the frames of its last step; this is many steps of many workers."""


def derived(source: RawBlock, format: str, documents: Sequence[dict[str, Any]], receipt_ns: int) -> list[RawBlock]:
    """Frames of the same site, listener and peer, each naming its raw frame and its piece of it."""
    blocks: list[RawBlock] = []
    held: list[bytes] = []
    size = 0
    for document in documents:
        record = orjson.dumps(document)
        if held and size + len(record) > PIECE_BYTES:
            blocks.append(_block(source, format, held, len(blocks), receipt_ns))
            held, size = [], 0
        held.append(record)
        size += len(record)
    if held:
        blocks.append(_block(source, format, held, len(blocks), receipt_ns))
    return blocks


def naming(source: RawBlock, piece: int = 0) -> dict[str, str]:
    """What a derived frame's origin says of the raw frame it comes from."""
    return {INPUT: f"{source.node}:{source.log}:{source.seq}:{piece}"}


def source_of(block: RawBlock) -> Position:
    """The raw frame that a derived frame comes from."""
    node, log, seq, _ = block.origin[INPUT].split(":")
    return Position(node, log, int(seq))


def _block(source: RawBlock, format: str, records: list[bytes], piece: int, receipt_ns: int) -> RawBlock:
    return RawBlock.of(
        records,
        receipt_ns=receipt_ns,
        site=source.site,
        listener=source.listener,
        peer=source.peer,
        format=format,
        origin=naming(source, piece),
    )


def documents(block: RawBlock) -> Iterator[dict[str, Any]]:
    """The JSON documents of a derived frame."""
    return (orjson.loads(record) for record in block.records())


def closers(batches: Iterable[EventBatch]) -> dict[str, str]:
    """By the position of an event of several records: the frame with which it was complete, where that is another."""
    found = {}
    for batch in batches:
        if CLOSED_BY in batch.columns:
            pairs = zip(batch.values("soc.position"), batch.values(CLOSED_BY), strict=True)
            found.update({position: closer for position, closer in pairs if closer})
    return found


def by_frame(
    items: Iterable[tuple[str, dict[str, Any]]], closers: Mapping[str, str]
) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """Documents by the (node, seq) of the raw frame in their position, or of that which closed them, in order."""
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for text, document in items:
        position = Position.parse(closers.get(text, text))
        found.setdefault((position.node, position.seq), []).append(document)
    return found


class Seen:
    """Which raw frames were taken already, by the name that derived frames carry; the newest `SEEN_FRAMES`.

    A set and not the highest number: after a change of the number of workers, frames of one source may come from two
    writers, and then a later frame can be read first.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._order: deque[str] = deque(maxlen=SEEN_FRAMES)
        self._names: set[str] = set()
        self._fresh: list[str] = []
        for name in names:
            self._note(name)
        self._fresh.clear()

    def is_new(self, block: RawBlock) -> bool:
        """Whether this frame was not met before; from now on it was."""
        name = block.origin.get(INPUT, "")
        if not name or name in self._names:
            return not name
        self._note(name)
        return True

    def _note(self, name: str) -> None:
        if len(self._order) == SEEN_FRAMES:
            self._names.discard(self._order[0])
        self._order.append(name)
        self._names.add(name)
        self._fresh.append(name)

    def names(self) -> list[str]:
        """For the snapshot."""
        self._fresh.clear()
        return list(self._order)

    def fresh(self) -> list[str]:
        """Those since the last call, or since `names`."""
        fresh, self._fresh = self._fresh, []
        return fresh
