"""Where a record came from, and the identity of an event made of it."""

from __future__ import annotations

import functools
import hashlib
import struct
from dataclasses import dataclass
from typing import Self

PARTITIONS = 64
"""Every source belongs to one of this many partitions; workers lease partitions, so their number may change."""


@dataclass(frozen=True, order=True)
class Position:
    """A place in a log: the node that wrote it, the log, the frame, the record in the frame, the event in the record.

    Positions of one node and log are totally ordered. As text: `node:log:seq:ordinal:part`.
    """

    node: str
    log: str
    seq: int
    ordinal: int = 0
    part: int = 0

    def __str__(self) -> str:
        return f"{self.node}:{self.log}:{self.seq}:{self.ordinal}:{self.part}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of `str`; raises ValueError."""
        node, log, seq, ordinal, part = text.split(":")
        return cls(node, log, int(seq), int(ordinal), int(part))


@dataclass(frozen=True, order=True)
class Partition:
    """What a cursor is kept for: one partition of one log of one node."""

    node: str
    log: str
    number: int

    def __str__(self) -> str:
        return f"{self.node}:{self.log}:{self.number}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of `str`; raises ValueError."""
        node, log, number = text.split(":")
        return cls(node, log, int(number))


@functools.lru_cache(maxsize=4096)
def partition_of(site: str, listener: str, peer: str) -> int:
    """`hash(site, listener, peer) % 64`, the same on every machine and in every process."""
    digest = hashlib.blake2b("\0".join((site, listener, peer)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % PARTITIONS


_MIX = struct.Struct(">QII")
_DIGEST_BITS = 80


def position_prefix(node: str, log: str) -> bytes:
    """The part of an event id's hash input that all positions of one node and log share."""
    return f"{node}\0{log}\0".encode()


def event_id(receipt_ns: int, prefix: bytes, seq: int, ordinal: int, part: int = 0) -> bytes:
    """128 bits: 48 of the receipt's milliseconds, 80 of a hash of the record's position, `part` added. Never of the
    content. Thirty flows of one datagram cost one hash; two records that come so near have odds of 2**-63."""
    digest = hashlib.blake2b(prefix + _MIX.pack(seq, ordinal, 0), digest_size=_DIGEST_BITS // 8).digest()
    if part:
        whole = int.from_bytes(digest, "big") + part & (1 << _DIGEST_BITS) - 1
        digest = whole.to_bytes(_DIGEST_BITS // 8, "big")
    return (receipt_ns // 1_000_000 & 0xFFFF_FFFF_FFFF).to_bytes(6, "big") + digest


def event_id_at(receipt_ns: int, position: Position) -> bytes:
    """`event_id` of a whole position."""
    prefix = position_prefix(position.node, position.log)
    return event_id(receipt_ns, prefix, position.seq, position.ordinal, position.part)
