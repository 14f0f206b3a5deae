"""The Merkle root over the events of a segment, independent of how they are stored.

    leaf = SHA-256(event.id || original bytes), in the order of event.id
    node = SHA-256(0xFF || left || right); an odd one moves up unchanged

0xFF keeps nodes and leaves apart (RFC 6962, section 2.1, for the reason): an event id begins with the receipt's
milliseconds, whose first byte is 0xFF only after the year 10,000.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np

_sha256 = hashlib.sha256
_ROWS = 2_048
"""So many events are Python objects at a time."""


def leaf(event_id: bytes, original: bytes) -> bytes:
    """The digest of one event; 16 bytes of id and the record as it was received."""
    return _sha256(event_id + original).digest()


def merkle_root(leaves: Iterable[bytes]) -> bytes:
    """The root over leaves in order; of none, SHA-256 of nothing. Only the nodes on the way to the root are kept."""
    standing: list[tuple[int, bytes]] = []
    for digest in leaves:
        height, node = 0, digest
        while standing and standing[-1][0] == height:
            node = _sha256(b"\xff" + standing.pop()[1] + node).digest()
            height += 1
        standing.append((height, node))
    if not standing:
        return _sha256(b"").digest()
    _, root = standing.pop()
    while standing:
        root = _sha256(b"\xff" + standing.pop()[1] + root).digest()
    return root


def root_of(events: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The root of (event id, original bytes) pairs in any order."""
    return merkle_root(leaf(i, original) for i, original in sorted(events))


class Leaves:
    """The leaves of a segment, table by table in any order: 48 bytes of memory an event."""

    def __init__(self) -> None:
        self._ids, self._digests = bytearray(), bytearray()

    def add(self, table: Any) -> None:
        """Events: `soc.original_bytes` where there are any, else `event.original` as UTF-8."""
        for start in range(0, table.num_rows, _ROWS):
            self._add(table.slice(start, _ROWS))

    def _add(self, table: Any) -> None:
        ids = table.column("event.id").to_pylist()
        texts, raws = _bytes(table, "event.original"), _bytes(table, "soc.original_bytes")
        self._ids += b"".join(ids)
        self._digests += b"".join(
            leaf(i, raw if raw is not None else text or b"") for i, text, raw in zip(ids, texts, raws, strict=True)
        )

    def _order(self) -> Any:
        halves = np.frombuffer(self._ids, ">u8").reshape(-1, 2)
        return np.lexsort((halves[:, 1], halves[:, 0]))

    def root(self) -> str:
        """Hex root."""
        order, digests = self._order(), memoryview(self._digests)
        return merkle_root(bytes(digests[32 * i : 32 * i + 32]) for i in order.tolist()).hex()

    def ids(self) -> tuple[str, str]:
        """The first and the last id, hex."""
        order = self._order()
        first, last = (bytes(self._ids[16 * i : 16 * i + 16]) for i in (order[0], order[-1]))
        return first.hex(), last.hex()


def _bytes(table: Any, name: str) -> list[bytes | None]:
    if name not in table.column_names:
        return [None] * table.num_rows
    return [v.encode() if isinstance(v, str) else v for v in table.column(name).to_pylist()]
