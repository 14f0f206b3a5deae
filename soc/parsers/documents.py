"""JSON records: Windows events to `winlog.*` and ECS, anything else to the fields it names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from soc.model.batch import Column, EventBatch
from soc.model.fields import FieldType
from soc.parsers import ecs, jsonlogs, times
from soc.parsers.decoders import windows
from soc.parsers.decoders.flat import flatten
from soc.parsers.decoders.windows import System, WindowsEvent
from soc.parsers.definition import Definition, Shape
from soc.parsers.ecs import MAX_COLUMNS
from soc.parsers.mapping import Mapped, Rest
from soc.parsers.text import TextRecords
from soc.parsers.work import Work, make_batch

K, L = FieldType.KEYWORD, FieldType.LONG
_NAME = re.compile(r"[A-Za-z_][\w-]{0,127}", re.ASCII)
_SLUG = re.compile(r"[^a-z0-9]+")
_SYSTEM_FIELDS = {
    "winlog.provider_name": "provider", "winlog.provider_guid": "guid", "winlog.event_id": "event_id",
    "winlog.channel": "channel", "winlog.computer_name": "computer", "winlog.record_id": "record_id",
    "winlog.level": "level", "winlog.task": "task", "winlog.opcode": "opcode", "winlog.keywords": "keywords",
    "winlog.activity_id": "activity", "winlog.user.identifier": "user_sid", "host.name": "computer",
    "event.code": "event_id", "event.provider": "provider", "message": "message",
}  # fmt: skip
_SYSTEM_NUMBERS = {"winlog.version": "version", "winlog.process.pid": "pid", "winlog.process.thread.id": "tid"}
# MS-EVEN6 section 2.2.1 and winmeta.xml: what the level numbers say.
_LEVELS = {"0": "information", "1": "critical", "2": "error", "3": "warning", "4": "information", "5": "verbose"}


def read(text: str) -> dict[str, Any] | None:
    """The JSON object in a text, or None when there is none."""
    try:
        document = orjson.loads(text)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


class JsonRecords:
    """The records of a block that are JSON objects."""

    def __init__(self, work: Work, text: TextRecords) -> None:
        self.work = work
        self.text = text

    def batches(self, rows: Sequence[int], documents: Sequence[Mapping[str, Any]]) -> list[EventBatch]:
        """Windows events by dataset and shape, then the others together."""
        groups: dict[tuple[str, str], tuple[Definition | None, Shape | None, list[int], list[WindowsEvent]]] = {}
        others: list[tuple[int, Mapping[str, Any]]] = []
        for i, document in zip(rows, documents, strict=True):
            event = windows.decode(document)
            if event is None:
                others.append((i, document))
                continue
            dataset, definition, shape = self._kind(event.system)
            key = (dataset, shape.name if shape else "")
            group = groups.get(key)
            if group is None:
                group = groups[key] = (definition, shape, [], [])
            group[2].append(i)
            group[3].append(event)
        result = [self._windows(key[0], *group) for key, group in groups.items()]
        if others:
            result.extend(self._plain([i for i, _ in others], [d for _, d in others]))
        return result

    def _kind(self, system: System) -> tuple[str, Definition | None, Shape | None]:
        channel = (system.channel or system.provider or "").lower()
        definition = self.work.index.channels.get(channel)
        if definition is None:
            return f"windows.{slug(channel)}", self.work.index.formats.get("windows"), None
        event_id = system.event_id
        for shape in definition.shapes:
            allowed = shape.when.get("EventID")
            if allowed is None or event_id in allowed:
                return definition.dataset, definition, shape
        return definition.dataset, definition, None

    def _windows(
        self,
        dataset: str,
        definition: Definition | None,
        shape: Shape | None,
        rows: list[int],
        events: list[WindowsEvent],
    ) -> EventBatch:
        n = len(rows)
        system = System(*zip(*(e.system for e in events), strict=True))  # type: ignore[arg-type]
        columns, rest = _data_columns(events)

        def values(name: str) -> Sequence[Any] | None:
            if name.startswith("System."):
                return getattr(system, name[7:], None)
            column = columns.get(f"winlog.event_data.{name}")
            if column is not None:
                return column.to_list()
            if name.startswith("UserData."):
                column = columns.get(f"winlog.user_data.{name[9:]}")
                return None if column is None else column.to_list()
            return None

        mapped = Mapped(n, self.work.zone)
        missing = definition.missing if definition else frozenset[str]()
        for part in (definition, shape):
            if part is not None:
                mapped.constants(part.constants)
                mapped.fields(part.maps, values, missing)
        product = definition.id if definition else "windows"
        return make_batch(
            self.work, rows, product, dataset,
            stamps=self._windows_times(rows, system.time),  # type: ignore[arg-type]
            layers=(self._base(rows), _system_columns(system), columns), mapped=mapped, rest=rest,
            shape=shape.name if shape else None,
        )  # fmt: skip

    def _base(self, rows: Sequence[int]) -> dict[str, Column]:
        columns = self.text.header_columns(rows)
        columns.pop("message", None)  # it is the document itself, which `event.original` holds
        return columns

    def _windows_times(self, rows: Sequence[int], texts: Sequence[str | None]) -> list[times.Stamp | None]:
        headers = self.text.stamps(rows)
        zone = self.work.zone
        return [times.iso(t, zone) if t else header for t, header in zip(texts, headers, strict=True)]

    def _plain(self, rows: list[int], documents: list[Mapping[str, Any]]) -> list[EventBatch]:
        """The documents of products that are known, then the others by the names they have."""
        result, left = jsonlogs.batches(self.work, self.text, rows, documents)
        return result + self._unknown([rows[k] for k in left], [documents[k] for k in left])

    def _unknown(self, rows: list[int], documents: list[Mapping[str, Any]]) -> list[EventBatch]:
        flat = [flatten(document) for document in documents]
        given = self.work.envelope.block.origin.get("event.dataset", "")
        result = []
        for dataset, places in ecs.grouped(rows, [ecs.claimed(names, given) for names in flat]).items():
            mine = [rows[k] for k in places]
            headers = self.text.stamps(mine)
            stamps: list[times.Stamp | None] = []
            for k, header in zip(places, headers, strict=True):
                own, under = ecs.stamp(flat[k], self.work)
                stamps.append(own or header)
                if under == "@timestamp":
                    del flat[k][under]
            columns, rest, flags = ecs.columns(self.work, dataset, [flat[k] for k in places])
            layers = (self._base(mine), columns)
            result.append(
                make_batch(self.work, mine, "json", dataset, stamps=stamps, layers=layers, rest=rest, flags=flags)
            )
        return result


def slug(channel: str) -> str:
    """`Microsoft-Windows-PowerShell/Operational` → `powershell_operational`, at most 64 characters."""
    return _SLUG.sub("_", channel.lower().removeprefix("microsoft-windows-")).strip("_")[:64] or "other"


def _system_columns(system: Any) -> dict[str, Column]:
    columns: dict[str, Column] = {}
    for field, name in _SYSTEM_FIELDS.items():
        values = getattr(system, name)
        if any(v is not None for v in values):
            columns[field] = Column.of(FieldType.TEXT if field == "message" else K, list(values))
    for field, name in _SYSTEM_NUMBERS.items():
        values = getattr(system, name)
        if any(v is not None for v in values):
            columns[field] = Column.of(L, [_small(v) for v in values])
    if any(v is not None for v in system.level):
        columns["log.level"] = Column.of(K, [None if v is None else _LEVELS.get(v, v.lower()) for v in system.level])
    return columns


def _small(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 12 else None


def _data_columns(events: list[WindowsEvent]) -> tuple[dict[str, Column], Rest]:
    columns: dict[str, Column] = {}
    rest: Rest = {}
    for prefix, dicts in (
        ("winlog.event_data.", [e.data for e in events]),
        ("winlog.user_data.", [e.user for e in events]),
    ):
        for name in sorted(set().union(*dicts), key=lambda name: (" " in name, name)):
            values = [d.get(name) for d in dicts]
            squeezed = name.replace(" ", "")  # Sigma: "as they appear in the log source and strip all spaces"
            if _NAME.fullmatch(squeezed) and prefix + squeezed not in columns and len(columns) < MAX_COLUMNS:
                columns[prefix + squeezed] = Column.of(K, values)
                continue
            for k, value in enumerate(values):
                if value is not None:
                    rest.setdefault(k, {})[prefix + name] = value
    return columns, rest
