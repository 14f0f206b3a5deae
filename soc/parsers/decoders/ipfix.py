"""IPFIX (RFC 7011): header with a length, elements of enterprises, withdrawals, sequence that counts data records."""

from __future__ import annotations

import struct

from soc.parsers.decoders.flow_sets import Dialect, Head, Malformed, Plain
from soc.parsers.decoders.flow_state import BEFORE
from soc.parsers.decoders.flow_templates import Spec

VERSION = 10
_HEADER = struct.Struct(">HHIII")
_PLAIN = struct.Struct(">HHIIIHH")
_FIELD = struct.Struct(">HH")
_OPTIONS = struct.Struct(">HHH")
_ENTERPRISE = struct.Struct(">I")


def header(data: bytes) -> Head:
    """RFC 7011 section 3.1. A length that lies is flagged; sets end where octets or length end first."""
    if len(data) < _HEADER.size:
        raise Malformed("shorter than an IPFIX header")
    _, length, seconds, sequence, domain = _HEADER.unpack_from(data)
    marks: tuple[str, ...] = ()
    if length != len(data):
        marks = ("truncated",) if length > len(data) else ("trailing_bytes",)
    stop = max(_HEADER.size, min(length, len(data)))
    return Head(VERSION, seconds * 1_000_000, 0, sequence, domain, _HEADER.size, stop, marks)


def field(piece: bytes, at: int, is_scope: bool) -> tuple[Spec, int]:
    """Number, length and, when the number's first bit says so, an enterprise (section 3.2)."""
    number, length = _FIELD.unpack_from(piece, at)
    if not number & 0x8000:
        return (0, number, length), at + 4
    if at + 8 > len(piece):
        raise Malformed("a template that ends inside an enterprise number")
    (enterprise,) = _ENTERPRISE.unpack_from(piece, at + 4)
    return (enterprise, number & 0x7FFF, length), at + 8


def sizes(piece: bytes, at: int) -> tuple[int, int, int, int]:
    """Fields and, among them, scope fields (section 3.4.2.2)."""
    number, count, scope = _OPTIONS.unpack_from(piece, at)
    return number, scope, count, at + _OPTIONS.size


def plain(data: bytes) -> Plain | None:
    """A message of one data set, both lengths true."""
    if len(data) < _PLAIN.size:
        return None
    _, length, seconds, sequence, domain, number, size = _PLAIN.unpack_from(data)
    if number < 256 or length != len(data) or size + _HEADER.size != length:
        return None
    return Plain(seconds * 1_000_000, 0, sequence, domain, 0, number, _PLAIN.size)


DIALECT = Dialect(VERSION, header, 2, 3, field, sizes, window=1024, counts=BEFORE, withdraws=True, plain=plain)
