"""Text records: header, product, shape; lines of one shape become columns together."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, Self

from soc.model.batch import Column, EventBatch
from soc.model.fields import FieldType
from soc.parsers import times
from soc.parsers.compile import MATCH_LIMIT
from soc.parsers.decoders import auditd, cef, keyvalue, leef, syslog
from soc.parsers.decoders.syslog import Headers
from soc.parsers.definition import Definition, Shape
from soc.parsers.mapping import Mapped
from soc.parsers.work import UNPARSED, Flags, Work, make_batch

K, L = FieldType.KEYWORD, FieldType.LONG
_PID = re.compile(r"\d{1,10}")
_PAIRS = {"keyvalue": keyvalue.decode, "cef": cef.decode, "leef": leef.decode}
"""Decoders of text to named values. Names with `@` are those that the text does not spell out."""

HEADER_FIELDS = frozenset({
    "event.original", "soc.original_bytes", "message", "host.name", "process.name", "process.pid",
    "log.syslog.appname", "log.syslog.facility.code", "log.syslog.facility.name", "log.syslog.hostname",
    "log.syslog.msgid", "log.syslog.priority", "log.syslog.procid", "log.syslog.severity.code",
    "log.syslog.severity.name", "log.syslog.structured_data", "log.syslog.version",
})  # fmt: skip
"""What `TextRecords.header_columns` may have."""


class TextRecords:
    """The records of a block as text, with their decoded headers; both are made when somebody asks."""

    def __init__(self, work: Work, texts: Sequence[str] | None = None) -> None:
        """The texts are those of the block, where none are given."""
        self.work = work
        self._given = texts

    @functools.cached_property
    def texts(self) -> list[str]:
        """One a record."""
        return list(self._given) if self._given is not None else self.work.envelope.texts()

    @functools.cached_property
    def headers(self) -> Headers:
        """What stands before the messages."""
        return syslog.decode(self.texts, self.work.envelope.receipt_us, self.work.zone)

    def say(self, row: int, program: str | None, pid: str | None, host: str | None, message: str) -> None:
        """What a header says of a record is known from elsewhere, and the whole text is its message."""
        h = self.headers
        h.program[row], h.pid[row], h.host[row], h.message[row] = program, pid, host, message
        h.priority[row], h.at_us[row], h.basis[row] = None, None, times.RECEIVED
        for values in (h.version, h.msgid, h.structured):
            values.pop(row, None)

    @classmethod
    def bare(cls, work: Work, texts: Sequence[str]) -> Self:
        """Records that have no syslog header, whatever they look like."""
        records = cls(work, texts)
        records.headers = syslog.headless(texts)
        return records

    def line(self, row: int) -> str:
        """The message with the white space by which it is set in; a header's decoder takes it for its own end."""
        text, message = self.texts[row].rstrip("\r\n\0"), self.headers.message[row]
        head = text[: len(text) - len(message)]
        stop = len(head.rstrip())
        return (head[stop + 1 :] if stop else head) + message

    def merge(self, rows: Sequence[int], flags: Sequence[str]) -> int:
        """Let these records be one, the first, which is returned: its header, and the messages of all."""
        first = rows[0]
        if len(rows) > 1:
            self.headers.message[first] = "\n".join([self.headers.message[first], *(self.line(i) for i in rows[1:])])
            self.texts[first] = "\n".join([self.texts[i] for i in rows])
        self.work.envelope.merge(rows, flags)
        return first

    def groups(self, rows: Sequence[int], forced: Definition | None) -> dict[str, tuple[Definition | None, list[int]]]:
        """The rows of each product; None for what no definition recognises."""
        found: dict[str, tuple[Definition | None, list[int]]] = {}
        of_text, programs, messages = self.work.index.of_text, self.headers.program, self.headers.message
        for i in rows:
            definition = forced or of_text(programs[i], messages[i])
            key = definition.id if definition else ""
            if key not in found:
                found[key] = (definition, [])
            found[key][1].append(i)
        return found

    def batches(self, rows: Sequence[int], forced: Definition | None) -> list[EventBatch]:
        """One batch for each shape of each product."""
        result: list[EventBatch] = []
        for definition, members in self.groups(rows, forced).values():
            if definition is None:
                result.append(self.unparsed(members))
            elif definition.decode == "auditd":
                result.extend(self._audited(definition, members))
            elif definition.decode in _PAIRS:
                result.extend(self._pairs(definition, members))
            else:
                result.extend(self._lines(definition, members))
        return result

    def unparsed(self, rows: Sequence[int], *flags: str) -> EventBatch:
        """Events of what nothing understands: kept whole, with whatever the header said."""
        marks: Flags = dict.fromkeys(range(len(rows)), (UNPARSED, *flags))
        layers = (self.header_columns(rows),)
        return make_batch(
            self.work, rows, "", UNPARSED, stamps=self.stamps(rows), layers=layers, flags=marks, kind="pipeline_error"
        )  # fmt: skip

    def stamps(self, rows: Sequence[int]) -> list[times.Stamp | None]:
        """What the headers say of the time."""
        at, basis = self.headers.at_us, self.headers.basis
        return [(at[i], basis[i]) if at[i] is not None else None for i in rows]

    def header_columns(self, rows: Sequence[int]) -> dict[str, Column]:
        """Originals, and `log.syslog.*`, `host.name`, `process.*` where a header had them."""
        h = self.headers
        columns = self.work.envelope.text_columns(rows, self.texts)
        priority = [h.priority[i] for i in rows]
        if any(p is not None for p in priority):
            columns |= _priority_columns(priority)
        host = [h.host[i] for i in rows]
        if any(host):
            columns["host.name"] = columns["log.syslog.hostname"] = Column.of(K, host)
        program = [h.program[i] for i in rows]
        if any(program):
            columns["log.syslog.appname"] = columns["process.name"] = Column.of(K, program)
        pid = [h.pid[i] for i in rows]
        if any(pid):
            columns["log.syslog.procid"] = Column.of(K, pid)
            numbers: list[Any] = [int(p) if p is not None and p.isascii() and _PID.fullmatch(p) else None for p in pid]
            columns["process.pid"] = Column.of(L, numbers)
        messages = [h.message[i] for i in rows]
        columns["message"] = Column.of(FieldType.TEXT, messages)
        for name, values, kind in (
            ("log.syslog.version", h.version, K),
            ("log.syslog.msgid", h.msgid, K),
            ("log.syslog.structured_data", h.structured, FieldType.OBJECT),
        ):
            if values and any(i in values for i in rows):
                columns[name] = Column.of(kind, [values.get(i) for i in rows])
        return columns

    def _lines(self, definition: Definition, rows: list[int]) -> list[EventBatch]:
        messages = [self.headers.message[i] for i in rows]
        head, left, lost = _head(definition, messages)
        targets = head.get("message", messages)
        result: list[EventBatch] = []
        for shape in definition.shapes:
            if shape.pattern is None or not left:
                continue
            hits, groups, left = _match(shape, targets, head, left)
            if hits:
                result.append(
                    self._shaped(definition, shape, [rows[k] for k in hits], places=hits, groups=groups, head=head)
                )
        for members, has_head in ((left, bool(head)), (lost, False)):
            if members:
                mine = [rows[k] for k in members]
                result.append(
                    self._shaped(definition, None, mine, places=members, groups=[], head=head if has_head else {})
                )
        return result

    def _shaped(
        self,
        definition: Definition,
        shape: Shape | None,
        rows: list[int],
        *,
        places: list[int],
        groups: list[tuple[str | None, ...]],
        head: Mapping[str, Sequence[Any]],
    ) -> EventBatch:
        columns = list(zip(*groups, strict=True))
        names = shape.pattern.groups if shape is not None and shape.pattern is not None else {}

        def values(name: str) -> Sequence[Any] | None:
            if name in names:
                return columns[names[name]]
            if name in head:
                source = head[name]
                return [source[k] for k in places]
            return self._meta(name, rows)

        return self._batch(definition, shape, rows, values, {})

    def _meta(self, name: str, rows: list[int]) -> Sequence[Any] | None:
        lists: dict[str, Sequence[Any]] = {
            "@host": self.headers.host,
            "@program": self.headers.program,
            "@message": self.headers.message,
        }
        return [lists[name][i] for i in rows] if name in lists else None

    def _batch(
        self, definition: Definition, shape: Shape | None, rows: list[int], values: Any, rest: Any
    ) -> EventBatch:
        mapped = Mapped(len(rows), self.work.zone)
        mapped.constants(definition.constants)
        mapped.fields(definition.maps, values, definition.missing)
        flags: Flags = {}
        if shape is None:
            flags = dict.fromkeys(range(len(rows)), ("no_shape",))
        else:
            mapped.constants(shape.constants)
            mapped.fields(shape.maps, values, definition.missing)
        return make_batch(
            self.work, rows, definition.id, definition.dataset_of(shape), stamps=self.stamps(rows),
            layers=(self.header_columns(rows),), mapped=mapped, rest=rest, flags=flags,
            shape=shape.name if shape else None,
        )  # fmt: skip

    def _pairs(self, definition: Definition, rows: list[int]) -> list[EventBatch]:
        decode = _PAIRS[definition.decode]
        return self.paired(definition, rows, [decode(self.headers.message[i]) for i in rows])

    def _audited(self, definition: Definition, rows: list[int]) -> list[EventBatch]:
        decoded = [auditd.decode(self.headers.message[i]) for i in rows]
        sources = self.work.envelope.of_sources("soc.source", rows)
        self.work.audit.join((source, pairs) for source, pairs in zip(sources, decoded, strict=True) if pairs)
        return self.paired(definition, rows, [pairs or {} for pairs in decoded])

    def paired(
        self, definition: Definition, rows: Sequence[int], decoded: Sequence[Mapping[str, Any]]
    ) -> list[EventBatch]:
        """One batch for each shape of a product whose records were decoded to named values."""
        asked = sorted({key for shape in definition.shapes for key in shape.when})
        groups: dict[int, tuple[Shape | None, list[int]]] = {}
        chosen: dict[tuple[Any, ...], list[int]] = {}
        for k, pairs in enumerate(decoded):
            answers = tuple([pairs.get(key) for key in asked])
            members = chosen.get(answers)
            if members is None:  # once for all records that answer alike
                shape = next((s for s in definition.shapes if _holds(s, pairs)), None)
                _, members = groups.setdefault(id(shape), (shape, []))
                chosen[answers] = members
            members.append(k)
        return [self._paired(definition, shape, members, rows, decoded) for shape, members in groups.values()]

    def _paired(
        self,
        definition: Definition,
        shape: Shape | None,
        members: list[int],
        rows: Sequence[int],
        decoded: Sequence[Mapping[str, Any]],
    ) -> EventBatch:
        mine = [decoded[k] for k in members]
        mapped = (*definition.maps, *(shape.maps if shape else ()))
        used = {source for spec in mapped for source in spec.sources}
        present = frozenset().union(*mine)

        def values(name: str) -> Sequence[Any] | None:
            if name in present:
                return [pairs.get(name) for pairs in mine]
            if name == "@datetime":
                return [_date_time(pairs) for pairs in mine]
            return self._meta(name, [rows[k] for k in members])

        spare = [name for name in sorted(present) if name not in used and name[:1] != "@"]
        left = [{name: pairs[name] for name in spare if pairs.get(name) is not None} for pairs in mine]
        rest = {k: pairs for k, pairs in enumerate(left) if pairs}
        return self._batch(definition, shape, [rows[k] for k in members], values, rest)


def _date_time(pairs: Mapping[str, str]) -> str | None:
    """`date`, `time` and `tz` as one stamp, as firewalls part them."""
    if "date" not in pairs or "time" not in pairs:
        return None
    return f"{pairs['date']} {pairs['time']}{pairs.get('tz', '')}"


def _holds(shape: Shape, pairs: Mapping[str, Any]) -> bool:
    return all(
        (value := pairs.get(key)) in allowed or (value is not None and "*" in allowed)
        for key, allowed in shape.when.items()
    )


def _head(definition: Definition, messages: list[str]) -> tuple[dict[str, list[Any]], list[int], list[int]]:
    """The head's groups by name (a list over all messages), the places it matched, and the places it did not."""
    fit = [k for k, text in enumerate(messages) if len(text) <= MATCH_LIMIT]
    if definition.head is None:
        long = [] if len(fit) == len(messages) else sorted(set(range(len(messages))) - set(fit))
        return {}, fit, long
    matches = {k: m for k in fit if (m := definition.head.fullmatch(messages[k])) is not None}
    head: dict[str, list[Any]] = {name: [None] * len(messages) for name in definition.head.groups}
    for k, found in matches.items():
        groups = found.groups()
        for name, place in definition.head.groups.items():
            head[name][k] = groups[place]
    return head, list(matches), [k for k in range(len(messages)) if k not in matches]


def _match(
    shape: Shape, targets: Sequence[str], head: Mapping[str, Sequence[Any]], left: list[int]
) -> tuple[list[int], list[tuple[str | None, ...]], list[int]]:
    hits: list[int] = []
    groups: list[tuple[str | None, ...]] = []
    missed: list[int] = []
    assert shape.pattern is not None
    fullmatch = shape.pattern.fullmatch
    conditions = [(head.get(key), allowed) for key, allowed in shape.when.items()]
    for k in left:
        if any(values is None or values[k] not in allowed for values, allowed in conditions):
            missed.append(k)
            continue
        found = fullmatch(targets[k])
        if found is None:
            missed.append(k)
        else:
            hits.append(k)
            groups.append(found.groups())
    return hits, groups, missed


def _priority_columns(priority: list[int | None]) -> dict[str, Column]:
    facility = [None if p is None else p >> 3 for p in priority]
    severity = [None if p is None else p & 7 for p in priority]
    return {
        "log.syslog.priority": Column.of(L, priority),
        "log.syslog.facility.code": Column.of(L, facility),
        "log.syslog.severity.code": Column.of(L, severity),
        "log.syslog.facility.name": Column.of(K, [None if f is None else syslog.FACILITIES[f] for f in facility]),
        "log.syslog.severity.name": Column.of(K, [None if s is None else syslog.SEVERITIES[s] for s in severity]),
    }
