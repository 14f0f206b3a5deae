"""NetFlow version 5: a fixed record, read as a template that never changes. Layout: Cisco, NetFlow Export Datagram
Format, tables B-3 and B-4."""

from __future__ import annotations

import struct

from soc.parsers.decoders.flow_sets import Dialect, Head, Malformed, Plain
from soc.parsers.decoders.flow_state import BEFORE
from soc.parsers.decoders.flow_templates import Spec, Template

VERSION = 5
_HEADER = struct.Struct(">HHIIIIBBH")
_RECORD_BYTES = 48
_PAD = 210
RECORD = Template(0, False, tuple(
    (0, number, length)
    for number, length in (
        (8, 4), (12, 4), (15, 4), (10, 2), (14, 2), (2, 4), (1, 4), (22, 4), (21, 4), (7, 2), (11, 2), (_PAD, 1),
        (6, 1), (4, 1), (5, 1), (16, 2), (17, 2), (9, 1), (13, 1), (_PAD, 2),
    )
))  # fmt: skip
"""Addresses, next hop, interfaces, packets, octets, first, last, ports, flags, protocol, tos, AS numbers, masks."""


def header(data: bytes) -> Head:
    """The count is believed as far as there are records; the flow sequence counts flows, as IPFIX counts records."""
    if len(data) < _HEADER.size:
        raise Malformed("shorter than a NetFlow v5 header")
    _, count, uptime, seconds, nanoseconds, sequence, kind, engine, sampling = _HEADER.unpack_from(data)
    whole = (len(data) - _HEADER.size) // _RECORD_BYTES
    if not min(count, whole):
        raise Malformed("no whole flow record")
    stop = _HEADER.size + min(count, whole) * _RECORD_BYTES
    marks: tuple[str, ...] = ()
    if count > whole:
        marks = ("truncated",)
    elif len(data) > stop:
        marks = ("trailing_bytes",)
    at_us = seconds * 1_000_000 + nanoseconds // 1000
    # The mode of sampling is in the first two bits; exporters leave it 0 and sample all the same.
    return Head(VERSION, at_us, uptime, sequence, kind << 8 | engine, _HEADER.size, stop, marks, sampling & 0x3FFF)


def _no_field(piece: bytes, at: int, is_scope: bool) -> tuple[Spec, int]:
    raise Malformed("NetFlow v5 has no templates")


def _no_sizes(piece: bytes, at: int) -> tuple[int, int, int, int]:
    raise Malformed("NetFlow v5 has no templates")


def plain(data: bytes) -> Plain | None:
    """A datagram whose count is true."""
    if len(data) < _HEADER.size:
        return None
    _, count, uptime, seconds, nanoseconds, sequence, kind, engine, sampling = _HEADER.unpack_from(data)
    if not count or len(data) != _HEADER.size + count * _RECORD_BYTES:
        return None
    at_us, rate = seconds * 1_000_000 + nanoseconds // 1000, sampling & 0x3FFF
    return Plain(at_us, uptime, sequence, kind << 8 | engine, rate, 0, _HEADER.size)


DIALECT = Dialect(
    VERSION, header, -1, -1, _no_field, _no_sizes, window=1024, counts=BEFORE, withdraws=False, plain=plain,
    record=RECORD,
)  # fmt: skip
