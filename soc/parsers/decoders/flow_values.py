"""Bytes of an information element to a value: whole columns by numpy, single values where lengths vary.

Encodings: RFC 7011 section 6.1 (and 6.2 for integers and floats in fewer octets than their type has).
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

from soc.model import kernel
from soc.parsers.decoders import flow_text

Array = np.ndarray[Any, Any]
Values: TypeAlias = "Array | list[Any] | pa.Array"
"""A numpy array (nothing missing), an Arrow array, or a list with None where a value is missing."""
HEX = "hex"
"""The kind of what no table names, or of a length that its type cannot have: kept as hexadecimal text."""
I64_MAX = 2**63 - 1
U64_MAX = 2**64 - 1
_NTP_UNIX_S = 2_208_988_800
_NTP_ERA_S = 1 << 32
_MICRO_BITS = 0xFFFF_FFFF_FFFF_F800
"""The lowest 11 bits of dateTimeMicroseconds mean nothing (RFC 7011 section 6.1.9)."""
_UNSIGNED = ("unsigned8", "unsigned16", "unsigned32", "unsigned64")
_SIGNED = ("signed8", "signed16", "signed32", "signed64")
_NTP = ("dateTimeMicroseconds", "dateTimeNanoseconds")
_MACHINE = (1, 2, 4, 8)
_FACTORS = {"dateTimeSeconds": 1_000_000, "dateTimeMilliseconds": 1000}
"""To µs."""


def cell_format(kind: str, length: int) -> str | None:
    """The numpy format of a cell of so many octets, or None when the kind cannot have that length."""
    if kind in _UNSIGNED or kind in _SIGNED:
        sign = "u" if kind in _UNSIGNED else "i"
        return f">{sign}{length}" if length in _MACHINE else f"V{length}" if 0 < length < 8 else None
    exact = _EXACT.get(kind)
    if exact is not None:
        return exact.get(length)
    return f"V{length}" if length > 0 else None


_EXACT: dict[str, dict[int, str]] = {
    "float32": {4: ">f4", 8: ">f8"}, "float64": {4: ">f4", 8: ">f8"}, "boolean": {1: "u1"}, "macAddress": {6: "V6"},
    "dateTimeSeconds": {4: ">u4", 8: ">u8"}, "dateTimeMilliseconds": {8: ">u8"},
    "dateTimeMicroseconds": {8: ">u8"}, "dateTimeNanoseconds": {8: ">u8"}, "ipv4Address": {4: ">u4"},
    "ipv6Address": {16: "V16"},
}  # fmt: skip


def column(kind: str, cells: Array) -> Values:
    """The values of one element over many records; `cells` is in the format that `cell_format` gave."""
    if kind in _UNSIGNED or kind in _SIGNED:
        return _integers(kind, cells)
    if kind in ("float32", "float64"):
        return cells.astype(np.float64)
    if kind in _FACTORS:
        return _scaled(cells, _FACTORS[kind])
    if kind in _NTP:
        return ntp_us(cells & _MICRO_BITS if kind == "dateTimeMicroseconds" else cells)
    if kind == "ipv4Address" and len(cells) > 1 and cells[0] == cells[-1] and (cells == cells[0]).all():
        text = flow_text.ipv4_texts(flow_text.octets(cells[:1]))
        return pa.DictionaryArray.from_arrays(np.zeros(len(cells), np.int32), text)
    whole = _WHOLE.get(kind)
    if whole is not None:
        return whole(flow_text.octets(cells))
    reader = _READERS.get(kind, bytes.hex)
    return list(map(reader, cells.tolist()))


class Number(NamedTuple):
    """A number of a record for the compiled kernel: where it stands, whether it is signed, by what it is multiplied,
    and up to which value an int64 (of unsigned64: an uint64) can hold it."""

    offset: int
    length: int
    is_signed: bool
    factor: int
    most: int


def number_at(kind: str, length: int, offset: int) -> Number | None:
    """How the kernel reads a cell that `cell_format` has a format for; None for what it leaves to `column`."""
    if kind in _SIGNED:
        return Number(offset, length, True, 1, I64_MAX)
    if kind in _UNSIGNED:
        return Number(offset, length, False, 1, U64_MAX if kind == "unsigned64" else I64_MAX)
    factor = _FACTORS.get(kind)
    return None if factor is None else Number(offset, length, False, factor, I64_MAX // factor)


def numbers(fixed: bytes, size: int, cells: Sequence[tuple[str, Number]]) -> dict[int, Array]:
    """By its place in `cells` (kind, number) what `column` makes of each, as far as the kernel is there and holds it.

    `fixed` are records of `size` octets.
    """
    if kernel.kernel is None or not cells:
        return {}
    table = np.empty((len(cells), len(fixed) // size), np.int64)
    fits = kernel.asked("flow_columns", fixed, size, [number for _, number in cells], table)
    if fits is None:
        return {}
    return {
        place: row.view(np.uint64) if kind == "unsigned64" else row
        for place, (row, (kind, _), fit) in enumerate(zip(table, cells, fits, strict=True))
        if fit
    }


def scalar(kind: str, data: bytes) -> Any:
    """One value; None for no octets. Raises ValueError for a length that the kind cannot have."""
    if not data:
        return None
    if kind in _UNSIGNED or kind in _SIGNED:
        if len(data) > 8:
            raise ValueError(f"{len(data)} octets for an {kind}")
        number = int.from_bytes(data, "big", signed=kind in _SIGNED)
        if number > I64_MAX and kind != "unsigned64":
            raise ValueError(f"{number} for an {kind}")
        return number
    reader = _READERS.get(kind)
    if reader is not None and kind not in _EXACT:
        return reader(data)
    form = cell_format(kind, len(data))
    if form is None:
        raise ValueError(f"{len(data)} octets for {kind}")
    return flow_text.plain(column(kind, np.frombuffer(data, form)))[0]


def scalars(kind: str, pieces: Sequence[bytes]) -> tuple[list[Any], dict[int, str]]:
    """One value for each piece, and as hexadecimal text those that are none."""
    result: list[Any] = []
    unfit: dict[int, str] = {}
    for i, data in enumerate(pieces):
        try:
            value = scalar(kind, data)
        except ValueError:
            unfit[i] = data.hex()
            value = None
        result.append(value)
    return result, unfit


def _integers(kind: str, cells: Array) -> Values:
    if cells.dtype.kind == "V":
        signed = kind in _SIGNED
        cells = np.array([int.from_bytes(cell, "big", signed=signed) for cell in cells.tolist()], np.int64)
    if kind == "unsigned64":
        return cells.astype(np.uint64)
    if cells.dtype.itemsize == 8 and cells.dtype.kind == "u" and len(cells) and int(cells.max()) > I64_MAX:
        return [number if number <= I64_MAX else None for number in cells.tolist()]
    return cells.astype(np.int64)


def _scaled(cells: Array, factor: int) -> Values:
    if cells.dtype.itemsize == 8 and len(cells) and int(cells.max()) > I64_MAX // factor:
        return [number * factor if number <= I64_MAX // factor else None for number in cells.tolist()]
    return cells.astype(np.int64) * factor


def ntp_us(cells: Array) -> Array:
    """µs UTC of 64-bit NTP stamps (RFC 5905); seconds below 2**31 belong to the era that begins in 2036."""
    seconds = (cells >> 32).astype(np.int64)
    fraction = (cells & 0xFFFF_FFFF).astype(np.int64)
    seconds = np.where(seconds < 1 << 31, seconds + _NTP_ERA_S, seconds) - _NTP_UNIX_S
    return np.asarray(seconds * 1_000_000 + (fraction * 1_000_000 + (1 << 31) >> 32))


@functools.lru_cache(maxsize=65536)
def ipv4_text(number: int) -> str:
    """Dotted text of a 32-bit address."""
    return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


@functools.lru_cache(maxsize=65536)
def ipv6_text(data: bytes) -> str:
    """RFC 5952 text of 16 octets."""
    return str(ipaddress.IPv6Address(data))


def mac_text(data: bytes) -> str:
    """As ECS writes MAC addresses: upper case, hyphens (RFC 7042)."""
    return data.hex("-").upper()


def text(data: bytes) -> str | None:
    """UTF-8 text without the NULs that fill a fixed length; None when nothing is left."""
    return data.rstrip(b"\0").decode("utf-8", "backslashreplace") or None


def truth(number: int) -> bool | None:
    """RFC 7011 section 6.1.5: 1 is true, 2 is false."""
    return {1: True, 2: False}.get(number)


_READERS: dict[str, Callable[[Any], Any]] = {
    "macAddress": mac_text, "string": text, "octetArray": bytes.hex, "ipv6Address": ipv6_text, "boolean": truth,
    HEX: bytes.hex,
}  # fmt: skip
_WHOLE: dict[str, Callable[[Array], Any]] = {
    "ipv4Address": flow_text.ipv4_texts, "ipv6Address": lambda table: flow_text.ipv6_texts(table, ipv6_text),
    "macAddress": flow_text.mac_texts, "octetArray": flow_text.hex_texts, HEX: flow_text.hex_texts,
}  # fmt: skip
