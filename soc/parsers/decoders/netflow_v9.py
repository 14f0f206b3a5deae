"""NetFlow version 9 (RFC 3954): header, templates with two numbers a field, sequence that counts messages."""

from __future__ import annotations

import struct

from soc.parsers.decoders.flow_sets import Dialect, Head, Malformed, Plain
from soc.parsers.decoders.flow_state import MESSAGES
from soc.parsers.decoders.flow_templates import Spec, v9_spec

VERSION = 9
_HEADER = struct.Struct(">HHIIII")
_PLAIN = struct.Struct(">HHIIIIHH")
_FIELD = struct.Struct(">HH")
_OPTIONS = struct.Struct(">HHH")


def header(data: bytes) -> Head:
    """RFC 3954 section 5.1. Its count is not trusted: exporters count records, or sets, or nothing."""
    if len(data) < _HEADER.size:
        raise Malformed("shorter than a NetFlow v9 header")
    _, _, uptime, seconds, sequence, domain = _HEADER.unpack_from(data)
    return Head(VERSION, seconds * 1_000_000, uptime, sequence, domain, _HEADER.size, len(data))


def field(piece: bytes, at: int, is_scope: bool) -> tuple[Spec, int]:
    """Type and length, two octets each (sections 5.2 and 6.1)."""
    number, length = _FIELD.unpack_from(piece, at)
    return v9_spec(number, length, is_scope=is_scope), at + 4


def sizes(piece: bytes, at: int) -> tuple[int, int, int, int]:
    """The lengths in an options template are octets (section 6.1)."""
    number, scope, options = _OPTIONS.unpack_from(piece, at)
    return number, scope // 4, scope // 4 + options // 4, at + _OPTIONS.size


def plain(data: bytes) -> Plain | None:
    """A message of one data set."""
    if len(data) < _PLAIN.size:
        return None
    _, _, uptime, seconds, sequence, domain, number, length = _PLAIN.unpack_from(data)
    if number < 256 or length + _HEADER.size != len(data):
        return None
    return Plain(seconds * 1_000_000, uptime, sequence, domain, 0, number, _PLAIN.size)


DIALECT = Dialect(VERSION, header, 0, 1, field, sizes, window=64, counts=MESSAGES, withdraws=False, plain=plain)
