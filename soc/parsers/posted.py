"""What shippers post: bulk documents of Elasticsearch, events of Splunk's HEC, GELF messages.

A document is taken by its names; a line of text inside it is read by the product that wrote it, and the document's own
names fill in what the line does not say. Windows events, and those of products that are known by their JSON, go the way
that they go elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from soc.model.batch import Column, EventBatch
from soc.model.fields import FieldType
from soc.parsers import ecs, times
from soc.parsers.decoders.syslog import Headers
from soc.parsers.definition import Definition
from soc.parsers.documents import JsonRecords, read
from soc.parsers.mapping import Mapped, Rest, over
from soc.parsers.posted_records import READERS, Found, beside_event, entries
from soc.parsers.text import TextRecords
from soc.parsers.work import UNPARSED, Flags, Work, make_batch

FORMATS = ("elastic", "document", "hec", "gelf", "journal")
"""`document` is a JSON object alone, `elastic` one behind its action line."""
# A document with one of these was understood by whoever made it.
_DONE = ("event.category", "event.action", "event.type")
_LONGEST = 64


def batches(work: Work, form: str) -> list[EventBatch]:
    """The events of a block of this format."""
    if form == "journal":
        texts, each = entries(work)
    else:
        texts = work.envelope.texts()
        each = [READERS[form](row, text) for row, text in enumerate(texts)]
    definition = work.index.formats.get("elastic" if form == "document" else form)
    found: list[Found] = []
    unread: list[int] = []
    for row, one in enumerate(each):
        if one is None:
            unread.append(row)
            continue
        if one.event is None and (known := _known(work, one)) is not None:
            beside = {} if known is one.document else beside_event(one.names)
            one.names, one.line, one.event = beside, None, known
        if definition is not None and one.event is None:
            _look(one, definition)
        found.append(one)
    result: list[EventBatch] = []
    records = TextRecords(work, [""] * len(texts))
    records.texts = list(texts)
    events = [one for one in found if one.event is not None]
    if events:
        result += _events(work, records, events, definition)
    others = [one for one in found if one.event is None]
    left = others
    lines = [one for one in others if one.line is not None]
    if lines:
        parsed, left = _lines(work, texts, others, definition)
        result += parsed
    if left:
        result += _documents(work, records, left, definition)
    if unread:
        records = TextRecords(work, texts)
        result.append(records.unparsed(unread, "not_journal" if form == "journal" else "not_json"))
    return result


def _known(work: Work, one: Found) -> Mapping[str, Any] | None:
    """The event of a product that is known by its JSON: the document, or the one in its message. What speaks ECS was
    understood by whoever made it."""
    if any(name in one.names for name in _DONE):
        return None
    message = one.names.get("message", one.line)
    inside = read(message) if isinstance(message, str) and message[:1] == "{" else None
    for document in (one.document, inside):
        if document is not None and work.index.of_document(document) is not None:
            return document
    return None


def _look(one: Found, definition: Definition) -> None:
    """Give the definition what it maps, unless the document has the ECS name itself; find the line and its program."""
    said: dict[str, Any] = {}
    for spec in definition.maps:
        name = spec.field.name
        if name in one.names:
            said[name] = one.names[name]
            continue
        for source in spec.sources:
            if source in one.names and source not in one.meta:
                one.meta[source] = one.names[source] if _is_ecs(source) else one.names.pop(source)
            if (value := one.meta.get(source)) is not None:
                said[name] = value
                break  # the others stay under their own names
    if any(name in one.names for name in _DONE):
        one.line = None
    elif one.line is None and isinstance(said.get("message"), str):
        one.line = said["message"]
    program, pid = said.get("process.name"), said.get("process.pid")
    one.program = program if isinstance(program, str) and len(program) <= _LONGEST else None
    one.pid = str(pid) if isinstance(pid, str | int) and len(str(pid)) <= _LONGEST else None


def _is_ecs(name: str) -> bool:
    """A name that is kept under itself too."""
    return name.startswith("log.syslog.")


def _events(
    work: Work, records: TextRecords, events: Sequence[Found], definition: Definition | None
) -> list[EventBatch]:
    documents = [one.event for one in events if one.event is not None]
    layers = _layers(work, UNPARSED, events, definition)
    for one, own in zip(events, layers.stamps, strict=True):
        if own is not None:  # the event's own time comes before it
            records.headers.at_us[one.row], records.headers.basis[one.row] = own
    place = {one.row: k for k, one in enumerate(events)}
    return [_filled(work, b, layers, place) for b in JsonRecords(work, records).batches(list(place), documents)]


@dataclass
class _Layers:
    """What the names of some records say, ready to be laid under or over other columns."""

    mapped: Mapped
    columns: dict[str, Column]
    rest: Rest
    flags: Flags
    stamps: list[times.Stamp | None]


def _layers(work: Work, dataset: str, found: Sequence[Found], definition: Definition | None) -> _Layers:
    mapped = Mapped(len(found), work.zone)
    used: frozenset[str] = frozenset()
    product = definition.id if definition is not None else "json"
    if definition is not None:
        used = frozenset(source for spec in definition.maps for source in spec.sources)
        mapped.constants(definition.constants)

        def values(name: str) -> Sequence[Any] | None:
            column = [_plain(one.meta.get(name)) for one in found]
            return column if any(value is not None for value in column) else None

        mapped.fields(definition.maps, values, definition.missing)
    flat = []
    stamps: list[times.Stamp | None] = []
    for i, one in enumerate(found):
        names = dict(one.names)
        for name, value in one.meta.items():
            if name not in used and value is not None and not (one.header is not None and name[:1] == "_"):
                names.setdefault(name if name not in work.fields else f"{product}.{name}", value)
        own, under = ecs.stamp(names, work)
        if mapped.stamps is not None and (at := mapped.stamps[i]) is not None and at[0] is not None:
            own = at
        stamps.append(own)
        if under == "@timestamp":
            del names[under]
        flat.append(names)
    mapped.stamps = None
    columns, rest, flags = ecs.columns(work, dataset, flat)
    return _Layers(mapped, columns, rest, flags, stamps)


def _plain(value: Any) -> Any:
    """A definition maps plain values; what a stranger nests goes along as text, and then fits or does not."""
    return orjson.dumps(value).decode() if isinstance(value, dict | list) else value


def _documents(
    work: Work, records: TextRecords, found: Sequence[Found], definition: Definition | None
) -> list[EventBatch]:
    default = definition.dataset if definition is not None else ecs.DATASET
    datasets = [name if (name := ecs.claimed(one.names, one.extra)) != ecs.DATASET else default for one in found]
    product = definition.id if definition is not None else "json"
    result = []
    for dataset, places in ecs.grouped(work, datasets).items():
        mine = [found[k] for k in places]
        rows = [one.row for one in mine]
        layers = _layers(work, dataset, mine, definition)
        originals = work.envelope.text_columns(rows, records.texts)
        result.append(
            make_batch(
                work,
                rows,
                product,
                dataset,
                stamps=layers.stamps,
                layers=(originals, layers.columns),
                mapped=layers.mapped,
                rest=layers.rest,
                flags=layers.flags,
            )
        )
    return result


def _lines(
    work: Work, texts: Sequence[str], found: Sequence[Found], definition: Definition | None
) -> tuple[list[EventBatch], list[Found]]:
    """The events of lines that a product recognises, and the records that are left."""
    by_row = {one.row: one for one in found if one.line is not None}
    records = TextRecords(work, [by_row[i].line or "" if i in by_row else "" for i in range(len(texts))])
    for row, one in by_row.items():
        if one.header is not None:
            records.say(row, *one.header, one.line or "")
        else:
            _head(records.headers, row, one)
    groups = records.groups(list(by_row), None)
    groups.pop("", None)
    known = sorted(row for _, rows in groups.values() for row in rows)
    if not known:
        return [], list(found)
    layers = _layers(work, UNPARSED, [by_row[row] for row in known], definition)
    for row, own in zip(known, layers.stamps, strict=True):
        # The line's own stamp is nearer to the event than when somebody read it.
        if own is not None and records.headers.at_us[row] is None:
            records.headers.at_us[row], records.headers.basis[row] = own
    records.texts = list(texts)
    place = {row: k for k, row in enumerate(known)}
    result = [_filled(work, batch, layers, place) for batch in records.batches(known, None)]
    return result, [one for one in found if one.row not in place]


def _head(headers: Headers, row: int, one: Found) -> None:
    """A line that came without its header has it beside, in the document."""
    if one.program is None or headers.priority[row] is not None or headers.at_us[row] is not None:
        return
    headers.host[row], headers.program[row], headers.pid[row] = None, one.program, one.pid
    headers.message[row] = one.line or ""


def _filled(work: Work, batch: EventBatch, layers: _Layers, place: Mapping[int, int]) -> EventBatch:
    """The batch with what its documents say beside the line, where the line says nothing."""
    places = [place[row] for row in work.envelope.rows_at(batch.columns["soc.position"].to_list())]
    columns = dict(batch.columns)
    for layer in (layers.mapped.columns, layers.columns):
        for name, column in layer.items():
            values = column.to_list()
            under = Column.of(column.type, [values[k] for k in places], many=column.many)
            columns[name] = over(under, columns[name]) if name in columns else under
    rest = [layers.rest.get(k, {}) | layers.mapped.misfits.get(k, {}) for k in places]
    if any(rest):
        own = columns["soc.rest"].to_list() if "soc.rest" in columns else [None] * batch.n
        both = [(a | (b or {})) or None for a, b in zip(rest, own, strict=True)]
        columns["soc.rest"] = Column.of(FieldType.OBJECT, both)
    if layers.flags or layers.mapped.misfits:
        own = columns["soc.flags"].to_list()
        marks = [
            (*(b or ()), *layers.flags.get(k, ()), *(("type_mismatch",) if k in layers.mapped.misfits else ()))
            for k, b in zip(places, own, strict=True)
        ]
        columns["soc.flags"] = Column.of(FieldType.KEYWORD, [tuple(dict.fromkeys(m)) or None for m in marks], many=True)
    return EventBatch(batch.dataset, batch.n, columns)
