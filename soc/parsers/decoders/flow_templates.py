"""Templates of NetFlow v9 and IPFIX, and the layout that reads their records as columns (RFC 3954 section 5, RFC
7011 sections 3.4 and 7)."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from soc.model.flow_elements import ELEMENTS, NTOP, REVERSE, Element
from soc.model.lazy import LazyMapping
from soc.parsers.decoders import flow_text
from soc.parsers.decoders.flow_values import (
    HEX,
    Array,
    Number,
    Values,
    cell_format,
    column,
    number_at,
    numbers,
    scalars,
)

VARIABLE = 65535
"""The length of an element that carries its own length."""
V9_SCOPE = -1
"""The enterprise under which we keep scope fields of NetFlow v9 that no information element stands for."""
_V9_SCOPES = {2: (0, 10), 3: (0, 141), 5: (0, 145)}  # interface, line card, template: RFC 3954 section 6.1
_V9_NTOP = 57472  # ntop's elements in NetFlow v9 start here
_PADDING = (0, 210)
MIN_RECORD = 4
"""So many octets a record has on average at least: less cannot be told from padding, and one datagram would fill the
memory with events."""
Spec = tuple[int, int, int]
"""Enterprise (0 = IANA), number, length in octets or `VARIABLE`."""


@dataclass(frozen=True)
class Template:
    """`number` is 256 to 65535. The records of options describe the exporter instead of flows."""

    number: int
    is_options: bool
    fields: tuple[Spec, ...]

    @functools.cached_property
    def layout(self) -> Layout:
        """Made ready; templates of the same fields share one."""
        return layout_of(self.fields)


@dataclass(frozen=True)
class Slot:
    """Where a field of a record goes: `key` in our own tables, `field` in the event."""

    key: str
    field: str
    kind: str
    length: int
    form: str


class Cut(NamedTuple):
    """The records of one set: the fixed octets of all, the variable pieces by slot, where each record ends (nothing
    where all are equally long), how many octets of the set are records."""

    n: int
    fixed: bytes
    pieces: tuple[list[bytes], ...]
    ends: list[int]
    used: int


class Layout:
    """A template made ready: fixed slots as one numpy dtype, variable slots beside."""

    def __init__(self, fields: Sequence[Spec]) -> None:
        self.slots: list[Slot] = []
        self.variable: list[Slot] = []
        self._steps: list[tuple[int, bool]] = []  # fixed octets, then whether a variable field follows
        self._cells: list[tuple[Slot, str, int]] = []
        self._compile(fields)
        self.fixed_length = sum(octets for octets, _ in self._steps)
        self.least = self.fixed_length + sum(follows for _, follows in self._steps)
        """The shortest record: a variable field is at least its length octet."""
        self.keys = frozenset(slot.key for slot in self.slots)
        self.is_keyless = _is_keyless(self.keys)
        self.has_lists = any(slot.kind in LISTS for slot in self.slots)
        self.numbers = self._numbers()
        self._dtype = np.dtype({
            "names": [name for _, name, _ in self._cells],
            "formats": [slot.form for slot, _, _ in self._cells],
            "offsets": [offset for _, _, offset in self._cells],
            "itemsize": max(self.fixed_length, 1),
        })  # fmt: skip

    def _compile(self, fields: Sequence[Spec]) -> None:
        offset = start = 0
        for slot, spec in _slots(fields):
            if spec[2] == VARIABLE:
                self._steps.append((offset - start, True))
                start = offset
                self.variable.append(slot)
            elif spec[2]:
                if spec[:2] != _PADDING:
                    self._cells.append((slot, f"f{len(self._cells)}", offset))
                offset += spec[2]
            if spec[2] and spec[:2] != _PADDING:
                self.slots.append(slot)
        self._steps.append((offset - start, False))

    def cut(self, body: bytes, shortest: int = MIN_RECORD) -> Cut:
        """The whole records of a set; what is left behind the last one is padding, or a lie.

        Records have so many octets on average, `shortest`, or are none.
        """
        if not self.variable and self.fixed_length < shortest:
            return Cut(0, b"", (), [], 0)
        if not self.variable:
            n = len(body) // self.fixed_length
            used = n * self.fixed_length
            return Cut(n, body[:used], (), [], used)
        return self._walk(body, shortest)

    def _walk(self, body: bytes, shortest: int) -> Cut:
        fixed: list[bytes] = []
        pieces: tuple[list[bytes], ...] = tuple([] for _ in self.variable)
        ends: list[int] = []
        at, size = 0, len(body)
        while at + self.least <= size and len(ends) * shortest <= at:
            record: list[bytes] = []
            for octets, follows in self._steps:
                if octets:
                    fixed.append(body[at : at + octets])
                    at += octets
                if not follows:
                    continue
                if at >= size:
                    return _whole(len(ends), fixed, self.fixed_length, pieces, ends)
                length = body[at]
                at += 1
                if length == 255:  # RFC 7011 section 7: the length follows in two octets
                    length = int.from_bytes(body[at : at + 2], "big")
                    at += 2
                record.append(body[at : at + length])
                at += length
            if at > size:
                break
            for several, piece in zip(pieces, record, strict=True):
                several.append(piece)
            ends.append(at)
        return _whole(len(ends), fixed, self.fixed_length, pieces, ends)

    def _numbers(self) -> dict[str, tuple[str, Number]]:
        """The cells that the compiled kernel reads, by slot key: kind and place."""
        found = ((slot, number_at(slot.kind, slot.length, offset)) for slot, _, offset in self._cells)
        return {slot.key: (slot.kind, number) for slot, number in found if number is not None}

    def cells(self, fixed: bytes) -> dict[str, tuple[Slot, Array]]:
        """The fixed slots of all records, by slot key: its octets in the format of the slot."""
        records = np.frombuffer(fixed, self._dtype) if self.fixed_length else np.empty(0, self._dtype)
        return {slot.key: (slot, records[name]) for slot, name, _ in self._cells}


class Elements(LazyMapping[Values]):
    """The columns of some records by slot key: numbers and what varies in length are there, the others are made when
    they are asked for. Lists (RFC 6313) stay octets.

    `unfit` has by field name the hexadecimal text of what did not fit, None where it did. `fixed` are the fixed octets
    of all records.
    """

    def __init__(self, layout: Layout, cuts: Sequence[Cut]) -> None:
        super().__init__()
        self.fixed = b"".join(cut.fixed for cut in cuts)
        self.unfit: dict[str, list[Any]] = {}
        self._layout, self._cells = layout, layout.cells(self.fixed)
        wanted = list(layout.numbers)
        made = numbers(self.fixed, layout.fixed_length, list(layout.numbers.values()))
        self._made |= {wanted[place]: row for place, row in made.items()}
        for i, slot in enumerate(layout.variable):
            self._made[slot.key] = self._pieces(slot, [piece for cut in cuts for piece in cut.pieces[i]])

    def _pieces(self, slot: Slot, pieces: list[bytes]) -> Values:
        if slot.kind in LISTS:
            return pieces
        found, wrong = scalars(slot.kind, pieces)
        if wrong:
            self.unfit[slot.field] = [wrong.get(k) for k in range(len(pieces))]
        return found

    def names(self) -> Iterable[str]:
        return (slot.key for slot in self._layout.slots)

    def make(self, name: str) -> Values | None:
        if name not in self._cells:
            return None
        slot, cells = self._cells[name]
        return cells.tolist() if slot.kind in LISTS else column(slot.kind, cells)

    def octets(self, name: str) -> Array | None:
        """The octets of a fixed address, a row a record; None of any other slot."""
        found = self._cells.get(name)
        return None if found is None or found[0].kind not in ADDRESSES else flow_text.octets(found[1])


def _is_keyless(keys: frozenset[str]) -> bool:
    """RFC 5103 section 4: elements of the reverse direction, and none that says whose direction it is."""
    is_biflow = any(key.startswith(("reverse", f"other.{REVERSE}.")) for key in keys)
    return is_biflow and not any(key.startswith(("source", "destination")) for key in keys)


ADDRESSES = ("ipv4Address", "ipv6Address")
LISTS = ("basicList", "subTemplateList", "subTemplateMultiList")


def _whole(n: int, fixed: list[bytes], length: int, pieces: tuple[list[bytes], ...], ends: list[int]) -> Cut:
    return Cut(n, b"".join(fixed)[: n * length], pieces, ends, ends[-1] if ends else 0)


def _slots(fields: Sequence[Spec]) -> Iterator[tuple[Slot, Spec]]:
    seen: dict[tuple[int, int], int] = {}
    for enterprise, number, length in fields:
        count = seen[enterprise, number] = seen.get((enterprise, number), 0) + 1
        element = ELEMENTS.get((enterprise, number))
        yield _slot(element, enterprise, number, length, count), (enterprise, number, length)


def _slot(element: Element | None, enterprise: int, number: int, length: int, count: int) -> Slot:
    """A second field of the same element, and what has no name or no such length, goes to `netflow.other.*`."""
    form = cell_format(element.kind, length) if element is not None and length != VARIABLE else None
    if element is not None and count == 1 and (form is not None or length in (0, VARIABLE)):
        return Slot(element.field.removeprefix("netflow."), element.field, element.kind, length, form or "")
    place = f"other.{'scope' if enterprise == V9_SCOPE else enterprise}.{number}{f'.{count}' if count > 1 else ''}"
    return Slot(place, f"netflow.{place}", HEX, length, f"V{length}" if 0 < length < VARIABLE else "")


@functools.lru_cache(maxsize=1024)
def layout_of(fields: tuple[Spec, ...]) -> Layout:
    """The layout of a template's fields."""
    return Layout(fields)


def v9_spec(number: int, length: int, *, is_scope: bool = False) -> Spec:
    """A field of a v9 template, a scope field as the information element that means the same."""
    if is_scope:
        enterprise, number = _V9_SCOPES.get(number, (V9_SCOPE, number))
        return enterprise, number, length
    if number >= _V9_NTOP:
        return NTOP, number - _V9_NTOP, length
    return 0, number, length
