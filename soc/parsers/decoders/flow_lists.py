"""Structured data of IPFIX: basicList, subTemplateList and subTemplateMultiList (RFC 6313), as JSON values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from soc.model.flow_elements import ELEMENTS
from soc.model.values import iso
from soc.parsers.decoders.flow_templates import LISTS, MIN_RECORD, VARIABLE, Elements, Template
from soc.parsers.decoders.flow_text import plain
from soc.parsers.decoders.flow_values import HEX, scalars

MAX_DEPTH = 4
"""Lists inside lists are read down to here; deeper ones stay hexadecimal."""
MAX_SHORT = 4096
"""So many octets of a list are read as records that may be shorter than `MIN_RECORD`; there is no padding in a list."""
_HEAD = 4
_SEMANTICS = {0: "noneOf", 1: "exactlyOneOf", 2: "oneOrMoreOf", 3: "allOf", 4: "ordered", 255: "undefined"}
Lookup = Callable[[int], Template | None]
Read = dict[str, Any]


def read(kind: str, data: bytes, lookup: Lookup, depth: int = 0) -> Read | None:
    """A list as a JSON object with its `semantic`; what cannot be read is in `hex`. None for no octets."""
    if not data:
        return None
    if depth >= MAX_DEPTH:
        return {"hex": data.hex()}
    return _KINDS[kind](data, lookup, depth)


def _basic(data: bytes, lookup: Lookup, depth: int) -> Read:
    if len(data) < (9 if data[1:2] >= b"\x80" else 5):
        return {"hex": data.hex()}
    semantic, (number, length), at, enterprise = data[0], _shorts(data, 1), 5, 0
    if number & 0x8000:
        number, enterprise, at = number & 0x7FFF, int.from_bytes(data[5:9], "big"), 9
    element = ELEMENTS.get((enterprise, number))
    kind = element.kind if element is not None else HEX
    result: Read = {
        "semantic": _semantic(semantic), "element": element.name if element else f"{enterprise}.{number}",
    }  # fmt: skip
    pieces, rest = _pieces(data[at:], length)
    result["values"] = _plain(kind, pieces, lookup, depth)
    if rest:
        result["hex"] = rest.hex()
    return result


def _shorts(data: bytes, at: int) -> tuple[int, int]:
    return int.from_bytes(data[at : at + 2], "big"), int.from_bytes(data[at + 2 : at + 4], "big")


def _pieces(data: bytes, length: int) -> tuple[list[bytes], bytes]:
    if length == 0:
        return [], data
    if length != VARIABLE:
        whole = len(data) // length * length
        return [data[i : i + length] for i in range(0, whole, length)], data[whole:]
    pieces: list[bytes] = []
    at = 0
    while at < len(data):
        start, size = at + 1, data[at]
        if size == 255:
            start, size = at + 3, int.from_bytes(data[at + 1 : at + 3], "big")
        if start + size > len(data):
            break
        pieces.append(data[start : start + size])
        at = start + size
    return pieces, data[at:]


def _plain(kind: str, pieces: list[bytes], lookup: Lookup, depth: int) -> list[Any]:
    if kind in LISTS:
        return [read(kind, piece, lookup, depth + 1) for piece in pieces]
    values, unfit = scalars(kind, pieces)
    values = [unfit.get(i, value) for i, value in enumerate(values)]
    return [iso(v) if kind.startswith("dateTime") and isinstance(v, int) else v for v in values]


def _sub_template(data: bytes, lookup: Lookup, depth: int) -> Read:
    if len(data) < 3:
        return {"hex": data.hex()}
    number = int.from_bytes(data[1:3], "big")
    return {"semantic": _semantic(data[0]), **_records(number, data[3:], lookup, depth)}


def _sub_template_multi(data: bytes, lookup: Lookup, depth: int) -> Read:
    lists: list[Read] = []
    result: Read = {"semantic": _semantic(data[0]), "lists": lists}
    at = 1
    while at + _HEAD <= len(data):
        number, length = _shorts(data, at)
        length = length or _HEAD  # section 4.5.3: no records, and a length of zero
        if length < _HEAD or at + length > len(data):
            break
        lists.append(_records(number, data[at + _HEAD : at + length], lookup, depth))
        at += length
    if at < len(data):
        result["hex"] = data[at:].hex()
    return result


def _records(number: int, data: bytes, lookup: Lookup, depth: int) -> Read:
    template = lookup(number)
    if template is None:
        return {"template": number, "hex": data.hex()}
    layout = template.layout
    cut = layout.cut(data if layout.least >= MIN_RECORD else data[:MAX_SHORT], 1)
    elements = Elements(layout, [cut])
    records: list[Read] = [{} for _ in range(cut.n)]
    for slot in layout.slots:
        column = elements[slot.key]
        items = plain(column)
        if slot.kind in LISTS:
            items = [read(slot.kind, value, lookup, depth + 1) for value in items]
        elif slot.kind.startswith("dateTime"):
            items = [None if value is None else iso(value) for value in items]
        for record, value in zip(records, items, strict=True):
            if value is not None:
                record[slot.key] = value
    for field, texts in elements.unfit.items():
        for record, hexadecimal in zip(records, texts, strict=True):
            if hexadecimal is not None:
                record[field] = hexadecimal
    result: Read = {"template": number, "records": records}
    if cut.used < len(data):
        result["hex"] = data[cut.used :].hex()
    return result


def _semantic(number: int) -> str:
    return _SEMANTICS.get(number, str(number))


_KINDS: dict[str, Callable[[bytes, Lookup, int], Read]] = {
    "basicList": _basic, "subTemplateList": _sub_template, "subTemplateMultiList": _sub_template_multi,
}  # fmt: skip
