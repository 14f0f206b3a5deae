"""A bounded reader and a small writer of the part of BER that SNMP uses (ITU-T X.690, RFC 3417 section 8)."""

from __future__ import annotations

SEQUENCE, INTEGER, OCTETS, NULL, OID = 0x30, 0x02, 0x04, 0x05, 0x06
MAX_OID_PARTS = 128  # RFC 2578 section 3.5
_MAX_SUBIDENTIFIER = 0xFFFF_FFFF


class BadBer(ValueError):
    """The bytes are no BER that SNMP may use."""


# reading: input is never trusted --------------------------------------------------------------------------------------


def header(data: bytes, at: int, end: int) -> tuple[int, int, int]:
    """Tag, first and last offset of the value at `at`. Raises BadBer beyond `end`."""
    if at + 2 > end:
        raise BadBer("the data end inside a header")
    tag, length = data[at], data[at + 1]
    at += 2
    if tag & 0x1F == 0x1F:
        raise BadBer("a tag of several bytes")
    if length & 0x80:
        size = length & 0x7F
        if not 1 <= size <= 4 or at + size > end:
            raise BadBer("a length of no or too many bytes")
        length = int.from_bytes(data[at : at + size], "big")
        at += size
    if at + length > end:
        raise BadBer("a length beyond the data")
    return tag, at, at + length


def expect(data: bytes, at: int, end: int, tag: int) -> tuple[int, int]:
    """First and last offset of a value that must have this tag. Raises BadBer."""
    start = at + 2
    if start <= end and data[at] == tag:
        stop = start + data[at + 1]
        if stop <= end and data[at + 1] < 0x80:  # the usual short length, without another call
            return start, stop
    found, start, stop = header(data, at, end)
    if found != tag:
        raise BadBer(f"tag 0x{found:02x} where 0x{tag:02x} was expected")
    return start, stop


def integer(data: bytes, start: int, stop: int) -> int:
    """A signed integer of 1 to 9 bytes. Raises BadBer."""
    if not 1 <= stop - start <= 9:
        raise BadBer("an integer of no or too many bytes")
    return int.from_bytes(data[start:stop], "big", signed=True)


def unsigned(data: bytes, start: int, stop: int) -> int:
    """An unsigned integer; agents that leave out the leading zero byte are understood. Raises BadBer."""
    if not 1 <= stop - start <= 9:
        raise BadBer("an integer of no or too many bytes")
    return int.from_bytes(data[start:stop], "big")


def oid(data: bytes, start: int, stop: int) -> str:
    """Dotted text of an object identifier (X.690 section 8.19). Raises BadBer."""
    if start == stop:
        raise BadBer("an empty object identifier")
    parts: list[int] = []
    value = 0
    for byte in data[start:stop]:
        value = value << 7 | byte & 0x7F
        if value > _MAX_SUBIDENTIFIER:
            raise BadBer("a sub-identifier beyond 32 bits")
        if not byte & 0x80:
            parts.append(value)
            value = 0
            if len(parts) > MAX_OID_PARTS:
                raise BadBer("too many sub-identifiers")
    if data[stop - 1] & 0x80:
        raise BadBer("an object identifier that does not end")
    first = min(parts[0] // 40, 2)
    return ".".join(map(str, (first, parts[0] - first * 40, *parts[1:])))


# writing -------------------------------------------------------------------------------------------------------------


def tlv(tag: int, *parts: bytes) -> bytes:
    """Tag, definite length in its shortest form, and the parts joined."""
    value = b"".join(parts)
    n = len(value)
    if n < 0x80:
        return bytes((tag, n)) + value
    size = (n.bit_length() + 7) // 8
    return bytes((tag, 0x80 | size)) + n.to_bytes(size, "big") + value


def write_integer(value: int, tag: int = INTEGER) -> bytes:
    """A signed integer in its shortest form; counters and time ticks with their own tag."""
    return tlv(tag, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def write_oid(dotted: str) -> bytes:
    """An object identifier out of our own constants; at least two parts."""
    first, second, *rest = map(int, dotted.split("."))
    return tlv(OID, *(_base128(part) for part in (first * 40 + second, *rest)))


def _base128(value: int) -> bytes:
    result = [value & 0x7F]
    while value := value >> 7:
        result.append(value & 0x7F | 0x80)
    return bytes(reversed(result))
