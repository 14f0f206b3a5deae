"""Many SNMP notifications at once: those that look alike are read by slicing (see `soc.model.alike`).

`snmp.decode` is the plain reader. What it makes of a message teaches us where the values of the next one stand that
has the same sender's words, object identifiers and lengths; both readers say the same (the tests compare them).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from operator import itemgetter
from typing import Any, NamedTuple

from soc.model.alike import Alike, Span
from soc.model.ber import INTEGER, NULL, OCTETS, OID, SEQUENCE, BadBer, expect, header
from soc.model.values import json_text
from soc.parsers.decoders import snmp
from soc.parsers.decoders.snmp import ABSENT, ADDRESS, KNOWN, OPAQUE, TRAP_OID, TRAP_V1, UNSIGNED, UPTIME
from soc.parsers.decoders.snmp_names import Names

MAX_KNOWN = 8192
"""Notifications that are remembered, all lengths together; when it is full, all are forgotten."""
MAX_LEARNED = 256
"""Notifications that are learned from one block: senders that never repeat themselves cost no more than reading."""
OPEN = (
    "request_id", "uptime", "agent_address", "interface_index", "interface_name", "interface_description",
    "interface_alias", "interface_admin_status", "interface_oper_status",
)  # fmt: skip
"""What differs between notifications that look alike, beside their variables; the names of `snmp.decode`."""
VARBINDS = "varbinds"
_PLACE = {name: i for i, name in enumerate(OPEN)}
_HEAD = struct.Struct(">BBHHHH")  # see soc.model.snmp_record
_NUMBERS = {(1, True): "b", (2, True): "h", (4, True): "i", (8, True): "q",
            (1, False): "B", (2, False): "H", (4, False): "I", (8, False): "Q"}  # fmt: skip

Convert = Callable[[bytes], tuple[Any, Any]]
"""Octets to their value, and to the value as JSON shows it."""
MAX_TEXTS, MAX_TEXT = 8192, 64
"""Texts that are remembered, and their longest: the names of a device's interfaces come again and again."""


class Texts(dict[bytes, tuple[str, str]]):
    """Octets to text and JSON; when it is full, all are forgotten."""

    def __missing__(self, octets: bytes) -> tuple[str, str]:
        value = snmp.text(octets)
        found = (value, json_text(value))
        if len(octets) <= MAX_TEXT:
            if len(self) >= MAX_TEXTS:
                self.clear()
            self[octets] = found
        return found


class _Known(NamedTuple):
    """A notification we met: what is always the same, and how the open values of another one like it are read.

    `unpack` gives them in order, those of the variables last, from `first` on. `convert` is for those that are no
    numbers of 1, 2, 4 or 8 bytes, `labels` has words for numbers, as they are named and as they are shown. `open`
    picks those of `OPEN`, and `shown` is the JSON of all variables with a `%s` for each open value.
    """

    fixed: Mapping[str, Any]
    unpack: Callable[[bytes], tuple[Any, ...]]
    convert: tuple[tuple[int, Convert], ...]
    labels: tuple[tuple[int, Mapping[int, str], Mapping[int, str]], ...]
    open: Callable[[list[Any]], tuple[Any, ...]]
    first: int
    shown: str

    def read(self, data: bytes) -> tuple[tuple[Any, ...], str]:
        """The values of `OPEN`, and the variables as JSON."""
        values: list[Any] = [*self.unpack(data), None]
        shown = values.copy()
        for i, convert in self.convert:
            values[i], shown[i] = convert(values[i])
        for i, labels, words in self.labels:
            value = values[i]
            shown[i] = words.get(value, value)
            values[i] = labels.get(value, value)
        return self.open(values), self.shown % tuple(shown[self.first : -1])


@dataclass
class Notifications:
    """`rows` are the records that could be read; for each of them `fixed` (by name), `open` (by place in `OPEN`), the
    variables as JSON, and the datagram. `refused` says of each other record why not, `datagrams` has its bytes."""

    rows: list[int] = field(default_factory=list)
    fixed: list[Mapping[str, Any]] = field(default_factory=list)
    open: list[tuple[Any, ...]] = field(default_factory=list)
    varbinds: list[str] = field(default_factory=list)
    originals: list[bytes] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    datagrams: dict[int, bytes] = field(default_factory=dict)

    @cached_property
    def _columns(self) -> list[tuple[Any, ...]]:
        return list(zip(*self.open, strict=True))

    @cached_property
    def _distinct(self) -> list[Mapping[str, Any]]:
        return list({id(fixed): fixed for fixed in self.fixed}.values())

    def column(self, name: str) -> tuple[bool, Any]:
        """True and the one value that all rows have, or False and a list of values; None = missing."""
        place = _PLACE.get(name)
        if place is not None:
            values = self._columns[place]
            return (True, None) if values.count(None) == len(values) else (False, list(values))
        first = next(iter(self._distinct), {}).get(name)
        if all(fixed.get(name) == first for fixed in self._distinct):
            return True, first
        return False, [fixed.get(name) for fixed in self.fixed]


class Reader:
    """Reads notifications with the names of one table."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._known: Alike[_Known] = Alike(MAX_KNOWN)
        self._texts = Texts()
        self._same: dict[tuple[tuple[str, Any], ...], Mapping[str, Any]] = {}

    def read(self, records: Sequence[bytes], *, is_verified: bool) -> Notifications:
        """Datagrams, or with `is_verified` records of format `snmp-v3`. Never raises for what is in them."""
        result = Notifications()
        rows, originals, same, values_of, shown = (
            result.rows, result.originals, result.fixed, result.open, result.varbinds,
        )  # fmt: skip
        find = self._known.find
        room = MAX_LEARNED
        for i, record in enumerate(records):
            data = _message(record) if is_verified else record
            known = find(data)
            if known is not None:
                values, varbinds = known.read(data)
                rows.append(i)
                originals.append(record[len(data) :] if is_verified else record)
                same.append(known.fixed)
                values_of.append(values)
                shown.append(varbinds)
                continue
            original, found, why = self._plain(record, is_verified)
            if found is None:
                result.refused[i], result.datagrams[i] = why, original
                continue
            fixed = {name: value for name, value in found.items() if name not in _PLACE and name != VARBINDS}
            rows.append(i)
            originals.append(original)
            same.append(fixed)
            values_of.append(tuple(found.get(name) for name in OPEN))
            shown.append(json_text(found[VARBINDS]))
            if room:
                room -= 1
                self._learn(data, is_verified, found, fixed)
        return result

    def _plain(self, record: bytes, is_verified: bool) -> tuple[bytes, dict[str, Any] | None, str]:
        try:
            if is_verified:
                return snmp.decode_verified(record, self._names)
            return record, snmp.decode(record, self._names), ""
        except BadBer as error:
            return record, None, str(error)

    def _learn(self, data: bytes, is_verified: bool, found: Mapping[str, Any], fixed: Mapping[str, Any]) -> None:
        try:
            outline = _outline(data, _plain_at(data) if is_verified else 0, is_verified)
        except BadBer:
            return
        if outline is None:
            return
        plan = _plan(data, outline, found, self._names, self._texts)
        if plan is not None:
            if len(self._same) >= MAX_KNOWN:
                self._same.clear()
            fixed = self._same.setdefault(tuple(fixed.items()), fixed)  # one object for all ports of a device
            spans = [(start, stop) for start, stop, _ in plan.spans]
            self._known.learn(data, [*spans, *outline.unread], plan.known(len(data), fixed))


def _message(record: bytes) -> bytes:
    """The part of an `snmp-v3` record that is read: all but the datagram it came from."""
    if len(record) < _HEAD.size:
        return record
    return record[: _HEAD.size + sum(_HEAD.unpack_from(record)[2:])]


def _plain_at(data: bytes) -> int:
    _, _, reason, user, engine_id, _ = _HEAD.unpack_from(data)
    return int(_HEAD.size + reason + user + engine_id)


# learning what is new -------------------------------------------------------------------------------------------------


class _Outline(NamedTuple):
    """Where values stand: open ones by name, variables as (identifier, tag, value), and what nobody reads."""

    named: tuple[tuple[str, int, Span], ...]
    binds: tuple[tuple[Span, int, Span], ...]
    unread: tuple[Span, ...]


def _outline(data: bytes, at: int, is_scoped: bool) -> _Outline | None:
    """Of a v1 or v2c message, or of a ScopedPDU at `at`; None for what is not built as senders do. Raises BadBer."""
    at, end = expect(data, at, len(data), SEQUENCE)
    unread = [(end, len(data))]
    if is_scoped:
        _, at = expect(data, at, end, OCTETS)
    else:
        start, at = expect(data, at, end, INTEGER)
        if data[start:at] not in (b"\0", b"\1"):
            return None
    _, at = expect(data, at, end, OCTETS)
    tag, start, stop = header(data, at, end)
    unread.append((stop, end))
    named: list[tuple[str, int, Span]] = []
    if tag == TRAP_V1:
        _, at = expect(data, start, stop, OID)
        first, at = expect(data, at, stop, ADDRESS)
        named.append(("agent_address", ADDRESS, (first, at)))
        for _ in ("generic-trap", "specific-trap"):
            _, at = expect(data, at, stop, INTEGER)
        tag, first, at = header(data, at, stop)
        named.append(("uptime", tag, (first, at)))
    else:
        first, at = expect(data, start, stop, INTEGER)
        named.append(("request_id", INTEGER, (first, at)))
        for _ in ("error-status", "error-index"):
            first, at = expect(data, at, stop, INTEGER)
            unread.append((first, at))
    at, end = expect(data, at, stop, SEQUENCE)
    unread.append((end, stop))
    return _Outline(tuple(named), tuple(_variables(data, at, end)), tuple(unread))


def _variables(data: bytes, at: int, end: int) -> Iterator[tuple[Span, int, Span]]:
    while at < end:
        start, at = expect(data, at, end, SEQUENCE)
        identifier = expect(data, start, at, OID)
        tag, first, last = header(data, identifier[1], at)
        yield identifier, tag, (first, last)


@dataclass
class _Plan:
    """How the values of a message are read in another that looks like it."""

    names: Names
    texts: Texts
    spans: list[tuple[int, int, str]] = field(default_factory=list)
    convert: list[tuple[int, Convert]] = field(default_factory=list)
    labels: list[tuple[int, Mapping[int, str], Mapping[int, str]]] = field(default_factory=list)
    places: list[int] = field(default_factory=lambda: [-1] * len(OPEN))
    first: int = 0
    shown: list[str] = field(default_factory=list)

    def open(self, tag: int, span: Span) -> None:
        """One more open value."""
        start, stop = span
        code = _NUMBERS.get((stop - start, tag == INTEGER)) if tag == INTEGER or tag in UNSIGNED else None
        if code is None:
            self.convert.append((len(self.spans), _converter(tag, self.names, self.texts)))
        self.spans.append((start, stop, code or f"{stop - start}s"))

    def known(self, length: int, fixed: Mapping[str, Any]) -> _Known:
        """All of it, for messages of this length."""
        codes, at = [">"], 0
        for start, stop, code in self.spans:
            codes += [f"{start - at}x", code]
            at = stop
        unpack = struct.Struct("".join((*codes, f"{length - at}x"))).unpack
        shown = f"[{','.join(self.shown)}]"
        return _Known(
            fixed, unpack, tuple(self.convert), tuple(self.labels), itemgetter(*self.places), self.first, shown
        )  # fmt: skip


def _number(octets: bytes, *, signed: bool) -> tuple[int, int]:
    value = int.from_bytes(octets, "big", signed=signed)
    return value, value


def _other(octets: bytes, *, tag: int, names: Names) -> tuple[Any, str]:
    value = snmp.read_value(octets, tag, 0, len(octets), names)[1]
    return value, json_text(value)


def _converter(tag: int, names: Names, texts: Texts) -> Convert:
    if tag == OCTETS:
        return texts.__getitem__
    if tag in UNSIGNED or tag == INTEGER:
        return partial(_number, signed=tag == INTEGER)
    return partial(_other, tag=tag, names=names)


def _plan(data: bytes, outline: _Outline, found: Mapping[str, Any], names: Names, texts: Texts) -> _Plan | None:
    """None for a message whose reading depends on more than its headers, or that is not in the usual order."""
    if any(bind["type"].startswith("0x") for bind in found[VARBINDS]):
        return None
    plan = _Plan(names, texts)
    given = {"trap_oid", "enterprise"} if "enterprise" in found and "request_id" not in found else set()
    for name, tag, span in outline.named:
        given.add(name)
        plan.places[_PLACE[name]] = len(plan.spans)
        plan.open(tag, span)
    plan.first = len(plan.spans)
    binds = iter(found[VARBINDS])
    for identifier, tag, span in outline.binds:
        oid, object_name, _, labels = names.named(data[slice(*identifier)])
        is_number = tag == INTEGER or tag in UNSIGNED
        if tag == OPAQUE or (oid == TRAP_OID and "trap_oid" not in given and tag != OID):
            return None
        if oid == UPTIME and "uptime" not in given and is_number:
            if plan.shown:
                return None
            given.add("uptime")
            plan.places[_PLACE["uptime"]] = len(plan.spans)
            plan.open(tag, span)
            plan.first += 1
        elif oid == TRAP_OID and "trap_oid" not in given:
            given.add("trap_oid")
        elif not _variable(plan, given, next(binds), object_name, tag, span, labels):
            return None
    return plan


def _variable(
    plan: _Plan,
    given: set[str],
    bind: Mapping[str, Any],
    name: str | None,
    tag: int,
    span: Span,
    labels: Mapping[int, str],
) -> bool:
    """Whether another one like it can be read without looking at its identifier."""
    is_fixed = tag in (OID, NULL) or tag in ABSENT
    place, known = None, KNOWN.get(name or "")
    if known is not None and known not in given:
        given.add(known)
        place = _PLACE.get(known)
        if (place is None and tag != OID) or (place is not None and is_fixed):
            return False
    if is_fixed:
        plan.shown.append(json_text(dict(bind)).replace("%", "%%"))
        return True
    head = json_text({key: value for key, value in bind.items() if key not in ("value", "label")})
    plan.shown.append(f'{head[:-1].replace("%", "%%")},"value":%s}}')
    if place is not None:
        plan.places[place] = len(plan.spans)
    if labels and tag == INTEGER:
        words = {number: f'{number},"label":{json_text(label)}' for number, label in labels.items()}
        plan.labels.append((len(plan.spans), labels, words))
    plan.open(tag, span)
    return True
