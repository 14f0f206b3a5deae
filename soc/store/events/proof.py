"""The Merkle root over the events of a segment, independent of how they are stored.

    leaf = SHA-256(event.id || original bytes), in the order of event.id
    node = SHA-256(0xFF || left || right); an odd one moves up unchanged

0xFF keeps nodes and leaves apart (RFC 6962, section 2.1, for the reason): an event id begins with the receipt's
milliseconds, whose first byte is 0xFF only after the year 10,000.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

_sha256 = hashlib.sha256


def leaf(event_id: bytes, original: bytes) -> bytes:
    """The digest of one event; 16 bytes of id and the record as it was received."""
    return _sha256(event_id + original).digest()


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """The root over leaves in order; of none, SHA-256 of nothing."""
    level = list(leaves)
    if not level:
        return _sha256(b"").digest()
    while len(level) > 1:
        paired = [_sha256(b"\xff" + a + b).digest() for a, b in zip(level[::2], level[1::2], strict=False)]
        level = paired + level[-1:] if len(level) % 2 else paired
    return level[0]


def root_of(events: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The root of (event id, original bytes) pairs in any order."""
    return merkle_root([leaf(i, original) for i, original in sorted(events)])


def _bytes(table: Any, name: str) -> list[bytes | None]:
    if name not in table.column_names:
        return [None] * table.num_rows
    return [v.encode() if isinstance(v, str) else v for v in table.column(name).to_pylist()]


def table_root(table: Any) -> str:
    """Hex root of a table of events: of `soc.original_bytes` where there are any, else `event.original` as UTF-8."""
    texts, raws = _bytes(table, "event.original"), _bytes(table, "soc.original_bytes")
    originals = [r if r is not None else t or b"" for t, r in zip(texts, raws, strict=True)]
    return root_of(zip(table.column("event.id").to_pylist(), originals, strict=True)).hex()
