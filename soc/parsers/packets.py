"""What a sensor made of packets, to events: a record is a JSON object whose `kind` has a definition of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from soc.model.batch import Column, EventBatch
from soc.model.fields import FieldDictionary, FieldType
from soc.parsers import times, wire
from soc.parsers.decoders import packet_datagrams, packet_file, packet_sensor
from soc.parsers.definition import Definition, FieldMap
from soc.parsers.mapping import Mapped
from soc.parsers.work import UNPARSED, Flags, Work, make_batch

FORMAT = "packet"
"""`RawBlock.format` of a sensor's records; `recognise: {format: packet-<kind>}` of the definitions."""
_UNREAD = "unread"
Items = list[tuple[int, dict[str, Any]]]


def records(stream: packet_file.Stream) -> Iterator[bytes]:
    """The records of a capture file, in order."""
    return packet_sensor.read(packet_file.read(stream))


def datagrams(stream: packet_file.Stream) -> Iterator[packet_datagrams.Heard]:
    """The UDP datagrams in a capture file, in order."""
    return packet_datagrams.datagrams(packet_file.read(stream))


def batches(work: Work, data: Sequence[bytes], definitions: Mapping[str, Definition]) -> list[EventBatch]:
    """One batch for each kind; what no definition reads stays unparsed."""
    by_kind: dict[str, Items] = {}
    unfit: dict[int, str] = {}
    for row, record in enumerate(data):
        try:
            values = orjson.loads(record)
            by_kind.setdefault(values["kind"], []).append((row, values))
        except (ValueError, TypeError, KeyError):
            unfit[row] = "no record of a sensor"
    result = []
    for kind, items in by_kind.items():
        definition = definitions.get(f"{FORMAT}-{kind}")
        if kind == _UNREAD:
            result.append(_unread(work, items))
        elif definition is None:
            unfit |= {row: f"no definition reads what a sensor calls {str(kind)[:64]!r}" for row, _ in items}
        else:
            result.append(_mapped(work, definition, items, data))
    return result + wire.refused(work, data, unfit)


def _mapped(work: Work, definition: Definition, items: Items, data: Sequence[bytes]) -> EventBatch:
    rows = [row for row, _ in items]
    columns: dict[str, list[Any]] = {}
    names = dict.fromkeys(name for _, values in items for name in values)
    for name in names:
        columns[name] = [values.get(name) for _, values in items]
    mapped = Mapped(len(rows), work.zone)
    mapped.constants(definition.constants)
    mapped.fields(definition.maps, columns.get, definition.missing)
    layer = {"event.original": Column.of(FieldType.TEXT, [data[row].decode() for row in rows])}
    if "data_hex" in columns:
        layer["soc.original_bytes"] = _octets(columns["data_hex"])
    flags: Flags = {
        k: tuple(map(str, marks)) for k, (_, v) in enumerate(items) if isinstance(marks := v.get("marks"), list)
    }
    return make_batch(
        work, rows, definition.id, definition.dataset, stamps=_stamps(items), layers=(layer,), mapped=mapped,
        flags=flags,
    )  # fmt: skip


def _unread(work: Work, items: Items) -> EventBatch:
    layer = {
        "soc.original_bytes": _octets([values.get("data") for _, values in items]),
        "error.message": Column.of(FieldType.KEYWORD, [str(values.get("why")) for _, values in items]),
    }
    mapped = Mapped(len(items), work.zone)
    mapped.fields(_pointers(work.fields), lambda name: [values.get(name) for _, values in items], frozenset())
    marks: Flags = dict.fromkeys(range(len(items)), (UNPARSED,))
    return make_batch(
        work, [row for row, _ in items], "", UNPARSED, stamps=_stamps(items), layers=(layer,), mapped=mapped,
        flags=marks, kind="pipeline_error",
    )  # fmt: skip


def _pointers(fields: FieldDictionary) -> list[FieldMap]:
    """Where the packet is that an unread record is about."""
    names = ("number", "offset", "file")
    return [FieldMap(field, (name,)) for name in names if (field := fields.get(f"{FORMAT}.{name}")) is not None]


def _stamps(items: Items) -> list[times.Stamp | None]:
    """A capture file may have no times; then that of the receipt stands."""
    found = [values.get("at_us") for _, values in items]
    return [(at, times.DEVICE) if isinstance(at, int) and 0 < at < 1 << 62 else None for at in found]


def _octets(texts: Sequence[Any]) -> Column:
    return Column.of(FieldType.BINARY, [_bytes(text) for text in texts])


def _bytes(text: Any) -> bytes | None:
    try:
        return bytes.fromhex(text) or None
    except (TypeError, ValueError):
        return None
