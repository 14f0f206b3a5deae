"""A record of format `snmp-v3`: what the collector, which has the secrets, found out about an SNMPv3 message.

The parser is pure and has no secrets. So the collector verifies and decrypts, and queues the message as it came
together with the plaintext. Layout, big endian: version (1 byte) · security level (1) · four lengths (2 each) ·
reason · user · authoritative engine id · plaintext ScopedPDU · the message itself up to the end.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

FORMAT = "snmp-v3"
LEVELS = ("noAuthNoPriv", "authNoPriv", "authPriv")
_HEAD = struct.Struct(">BBHHHH")
_VERSION = 1


class SnmpRecord(NamedTuple):
    """`reason` is empty when the message is what its user sent; else why not, and `plain` is empty.

    `level` is an index of `LEVELS`. `original` is the datagram, byte for byte.
    """

    original: bytes
    plain: bytes = b""
    user: bytes = b""
    engine_id: bytes = b""
    level: int = 0
    reason: str = ""

    def pack(self) -> bytes:
        """The record as it stands in the queue."""
        parts = (self.reason.encode(), self.user, self.engine_id, self.plain)
        return b"".join((_HEAD.pack(_VERSION, self.level, *map(len, parts)), *parts, self.original))


def unpack(data: bytes) -> SnmpRecord:
    """The inverse of `pack`. Raises ValueError for anything else."""
    if len(data) < _HEAD.size:
        raise ValueError("shorter than the head of an snmp-v3 record")
    version, level, *lengths = _HEAD.unpack_from(data)
    if version != _VERSION or level >= len(LEVELS):
        raise ValueError(f"an snmp-v3 record of version {version}, level {level}")
    a = _HEAD.size
    b = a + lengths[0]
    c = b + lengths[1]
    d = c + lengths[2]
    e = d + lengths[3]
    if e > len(data):
        raise ValueError("an snmp-v3 record that was cut")
    return SnmpRecord(data[e:], data[d:e], data[b:c], data[c:d], level, data[a:b].decode("utf-8", "replace"))
