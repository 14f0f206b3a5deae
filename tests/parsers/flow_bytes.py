"""Builds NetFlow v9, IPFIX and sFlow datagrams octet by octet, as their specifications draw them."""

from __future__ import annotations

import struct
from collections.abc import Sequence

EXPORT_S = 1_795_143_598
Field = tuple[int, ...]
"""Number, length and perhaps an enterprise."""


def ip(text: str) -> bytes:
    """Four octets of dotted text."""
    return bytes(int(part) for part in text.split("."))


def a_set(number: int, body: bytes, *, pad: bool = True) -> bytes:
    """A set (v9: FlowSet), padded to a multiple of four."""
    body += b"\0" * (-len(body) % 4 if pad else 0)
    return struct.pack(">HH", number, len(body) + 4) + body


def fields(specs: Sequence[Field]) -> bytes:
    """Field specifiers; the enterprise bit where an enterprise is given."""
    return b"".join(
        struct.pack(">HH", *spec) if len(spec) == 2 else struct.pack(">HHI", spec[0] | 0x8000, *spec[1:])
        for spec in specs
    )


def v5_of(count: int, records: int, *, version: int = 5, extra: bytes = b"", seq: int = 7, engine: int = 1) -> bytes:
    """A NetFlow v5 datagram that claims `count` flows and holds `records`."""
    head = struct.pack(">HHIIIIBBH", version, count, 100_000, EXPORT_S, 0, seq, 0, engine, 0)
    record = struct.pack(
        ">IIIHHIIIIHHBBBBHHBBH", 1, 2, 0, 1, 2, 10, 4096, 85_000, 95_000, 5, 6, 0, 2, 6, 0, 0, 0, 0, 0, 0
    )
    return head + record * records + extra


def v9(*sets: bytes, seq: int = 1, domain: int = 7, uptime: int = 100_000, count: int | None = None) -> bytes:
    """A NetFlow v9 message (RFC 3954 section 5.1)."""
    n = len(sets) if count is None else count
    return struct.pack(">HHIIII", 9, n, uptime, EXPORT_S, seq, domain) + b"".join(sets)


def v9_template(number: int, specs: Sequence[Field]) -> bytes:
    """A template set with one template."""
    return a_set(0, struct.pack(">HH", number, len(specs)) + fields(specs))


def v9_options(number: int, scope: Sequence[Field], options: Sequence[Field]) -> bytes:
    """An options template set with one template."""
    head = struct.pack(">HHH", number, 4 * len(scope), 4 * len(options))
    return a_set(1, head + fields([*scope, *options]))


def ipfix(*sets: bytes, seq: int = 0, domain: int = 9, length: int | None = None) -> bytes:
    """An IPFIX message (RFC 7011 section 3.1)."""
    body = b"".join(sets)
    return struct.pack(">HHIII", 10, 16 + len(body) if length is None else length, EXPORT_S, seq, domain) + body


def template(number: int, specs: Sequence[Field]) -> bytes:
    """An IPFIX template set with one template; without fields, its withdrawal."""
    return a_set(2, struct.pack(">HH", number, len(specs)) + fields(specs))


def options(number: int, scope: int, specs: Sequence[Field]) -> bytes:
    """An IPFIX options template set with one template."""
    return a_set(3, struct.pack(">HHH", number, len(specs), scope) + fields(specs))


PLAIN: Sequence[Field] = ((8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (6, 1), (1, 4), (2, 4), (22, 4), (21, 4))


def plain(
    source: str = "10.1.1.9", target: str = "203.0.113.9", *, octets: int = 1500, packets: int = 3, port: int = 443
) -> bytes:
    """A record of `PLAIN`: TCP with SYN and ACK, from 10 s to 5 s before an uptime of 100 s."""
    return ip(source) + ip(target) + struct.pack(">HHBBIIII", 51000, port, 6, 0x12, octets, packets, 90_000, 95_000)


def xdr(data: bytes) -> bytes:
    """Opaque octets with their length, filled up to four."""
    return struct.pack(">I", len(data)) + data + b"\0" * (-len(data) % 4)


def sflow(*samples: tuple[int, bytes], seq: int = 1, agent: str = "192.0.2.1", count: int | None = None) -> bytes:
    """An sFlow version 5 datagram."""
    n = len(samples) if count is None else count
    head = struct.pack(">II", 5, 1) + ip(agent) + struct.pack(">IIII", 0, seq, 100_000, n)
    return head + b"".join(struct.pack(">I", kind) + xdr(body) for kind, body in samples)


def flow_sample(*records: tuple[int, bytes], rate: int = 512, output: int = 7) -> bytes:
    """The body of a flow sample."""
    head = struct.pack(">IIIIIIII", 5, 3, rate, 51_200, 0, 3, output, len(records))
    return head + b"".join(struct.pack(">I", kind) + xdr(body) for kind, body in records)


def raw_header(packet: bytes, length: int) -> bytes:
    """The record with the first octets of an Ethernet frame of so many octets."""
    return struct.pack(">III", 1, length, 4) + xdr(packet)
