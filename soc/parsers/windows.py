"""Windows events to `winlog.*` and ECS: events of one kind become a batch, whose columns are made when asked for."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from soc.model.batch import Column, EventBatch
from soc.model.fields import FieldType
from soc.model.lazy import LazyMapping
from soc.model.said import REST, SAID_BY_WINDOWS
from soc.parsers import times
from soc.parsers.decoders import windows
from soc.parsers.decoders.windows import WindowsEvent
from soc.parsers.definition import Definition, Shape
from soc.parsers.ecs import MAX_COLUMNS
from soc.parsers.mapping import LazilyMapped, Rest
from soc.parsers.text import HEADER_FIELDS, TextRecords
from soc.parsers.windows_values import DATA, USER, Decoded, Located, Locator, Texts, Values, as_texts
from soc.parsers.windows_values import Kind as LocatedKind
from soc.parsers.work import Work, make_batch_lazily

K, L = FieldType.KEYWORD, FieldType.LONG
_NAME = re.compile(r"[A-Za-z_][\w-]{0,127}", re.ASCII)
_SLUG = re.compile(r"[^a-z0-9]+")
ORIGINAL = "event.original"
_ORIGINALS = (ORIGINAL, "soc.original_bytes")
_DATA, _USER, _SYSTEM = "winlog.event_data.", "winlog.user_data.", "System."
_PARTS = {_DATA: DATA, _USER: USER}
_SYSTEM_FIELDS = {
    "winlog.provider_name": "provider", "winlog.provider_guid": "guid", "winlog.event_id": "event_id",
    "winlog.channel": "channel", "winlog.computer_name": "computer", "winlog.record_id": "record_id",
    "winlog.level": "level", "winlog.task": "task", "winlog.opcode": "opcode", "winlog.keywords": "keywords",
    "winlog.activity_id": "activity", "winlog.user.identifier": "user_sid", "host.name": "computer",
    "event.code": "event_id", "event.provider": "provider", "message": "message", "winlog.version": "version",
    "winlog.process.pid": "pid", "winlog.process.thread.id": "tid", "log.level": "level",
}  # fmt: skip
_SYSTEM_NAMES = frozenset((*windows.SYSTEM, "message"))
_PLAIN = (str, int)
_SYSTEM_NUMBERS = frozenset({"version", "pid", "tid"})
# MS-EVEN6 section 2.2.1 and winmeta.xml: what the level numbers say.
_LEVELS = {"0": "information", "1": "critical", "2": "error", "3": "warning", "4": "information", "5": "verbose"}


@dataclass
class _Kind:
    """Events of one dataset and shape: their places in the block, and what they say."""

    dataset: str
    definition: Definition | None
    shape: Shape | None
    rows: list[int] = field(default_factory=list)
    events: list[WindowsEvent] = field(default_factory=list)
    located: list[LocatedKind] = field(default_factory=list)

    def settle(self, locator: Locator | None) -> Values:
        """Its events, all from one source: those that the kernel located are decoded where others are, too."""
        if locator is None or not self.located:
            return Decoded(self.events)
        found = locator.events(self.located)
        if not self.rows:
            self.rows = found.rows
            return found
        pairs = sorted([*zip(self.rows, self.events, strict=True), *zip(found.rows, found.decoded, strict=True)])
        self.rows, self.events = map(list, zip(*pairs, strict=True))
        return Decoded(self.events)


class WindowsRecords:
    """The records of a block that are Windows events; `add` takes them, `batches` gives what they are."""

    def __init__(self, work: Work, text: TextRecords) -> None:
        self.work = work
        self.text = text
        self._kinds: dict[tuple[str, str], _Kind] = {}
        self._known: dict[tuple[Any, Any], _Kind] = {}
        self._locator: Locator | None = None

    def locate(self, locator: Locator) -> None:
        """The events that the kernel took out of the block."""
        self._locator = locator
        for located in locator.kinds:
            self._kind(located.system).located.append(located)

    def add(self, row: int, event: WindowsEvent) -> None:
        """One more event."""
        channel, event_id = event.system.get("Channel"), event.system.get("EventID")
        # Only text and numbers are alike when they are equal: True is 1 for a dict, and "true" for a person.
        is_plain = channel.__class__ is str and channel and event_id.__class__ in _PLAIN
        kind = self._known.get((channel, event_id)) if is_plain else None
        if kind is None:
            kind = self._kind(event.system)
            if is_plain:
                self._known[channel, event_id] = kind
        kind.rows.append(row)
        kind.events.append(event)

    def batches(self) -> list[EventBatch]:
        """One batch for each dataset and shape."""
        kinds = [(kind, kind.settle(self._locator)) for kind in self._kinds.values()]
        kinds.sort(key=lambda pair: pair[0].rows[0])
        return [_batch(self.work, self.text, kind, events) for kind, events in kinds]

    def _kind(self, system: Mapping[str, Any]) -> _Kind:
        channel = windows.system_text(system, "channel") or windows.system_text(system, "provider") or ""
        definition = self.work.index.channels.get(channel.lower())
        dataset, shape = f"windows.{slug(channel)}", None
        if definition is None:
            definition = self.work.index.formats.get("windows")
        else:
            dataset, shape = definition.dataset, _shape(definition, windows.system_text(system, "event_id"))
        return self._kinds.setdefault((dataset, shape.name if shape else ""), _Kind(dataset, definition, shape))


def slug(channel: str) -> str:
    """`Microsoft-Windows-PowerShell/Operational` → `powershell_operational`, at most 64 characters."""
    return _SLUG.sub("_", channel.lower().removeprefix("microsoft-windows-")).strip("_")[:64] or "other"


def _shape(definition: Definition, event_id: str | None) -> Shape | None:
    for shape in definition.shapes:
        allowed = shape.when.get("EventID")
        if allowed is None or event_id in allowed:
            return shape
    return None


def _batch(work: Work, text: TextRecords, kind: _Kind, events: Values) -> EventBatch:
    rows, definition, shape = kind.rows, kind.definition, kind.shape
    system, data, header = _System(events), _Data(events), _Header(text, rows, is_bare=isinstance(events, Located))
    if work.has_neighbours and data.count() > MAX_COLUMNS:
        work.spare_neighbours()

    def values(name: str) -> Texts | None:
        if name.startswith(_SYSTEM):
            name = name[len(_SYSTEM) :]
            return system.texts(name) if name in _SYSTEM_NAMES else None
        found = data.texts(_DATA + name)
        if found is None and name.startswith("UserData."):
            found = data.texts(_USER + name[len("UserData.") :])
        return found

    def stamps(places: Sequence[int]) -> list[times.Stamp | None]:
        zone, headers, told = work.zone, header.stamps(), system.texts("time")
        return [times.iso(stamp, zone) if (stamp := told[k]) else headers[k] for k in places]

    parts = [part for part in (definition, shape) if part is not None]
    missing = definition.missing if definition else frozenset[str]()
    mapped = LazilyMapped(len(rows), work.zone, parts, values, missing)
    return make_batch_lazily(
        work, rows, definition.id if definition else "windows", kind.dataset,
        stamps=stamps, layers=(header, system, data), mapped=mapped, rest=data.rest,
        said=lambda: (*SAID_BY_WINDOWS, *data.names(), *((REST,) if data.has_left() else ())),
        shape=shape.name if shape else None,
    )  # fmt: skip


class _Header(LazyMapping[Column]):
    """What the header of the record says, but for the message: that is the document, which `event.original` holds."""

    def __init__(self, text: TextRecords, rows: Sequence[int], *, is_bare: bool) -> None:
        """With `is_bare` the documents are known to have no header."""
        super().__init__()
        self._text, self._rows, self._is_bare = text, rows, is_bare

    @functools.cached_property
    def _columns(self) -> dict[str, Column]:
        if self._is_bare:
            return self._originals()
        columns = self._text.header_columns(self._rows)
        columns.pop("message", None)
        return columns

    def _originals(self) -> dict[str, Column]:
        return self._text.work.envelope.text_columns(self._rows, self._text.texts)

    def stamps(self) -> Sequence[times.Stamp | None]:
        """What the headers say of the time."""
        return [None] * len(self._rows) if self._is_bare else self._text.stamps(self._rows)

    def names(self) -> Iterable[str]:
        return _ORIGINALS if self._is_bare else HEADER_FIELDS

    def make(self, name: str) -> Column | None:
        if name == ORIGINAL:  # which keywords ask for, and nothing else of this
            return self._originals()[name]
        return self._columns.get(name) if name in self.names() else None

    def whole(self) -> dict[str, Column]:
        return self._columns


class _System(LazyMapping[Column]):
    """The System part and the message."""

    def __init__(self, events: Values) -> None:
        super().__init__()
        self._events = events
        self._texts: dict[str, Texts] = {}

    def texts(self, name: str) -> Texts:
        """The values under one of our names, as text."""
        found = self._texts.get(name)
        if found is None:
            found = self._texts[name] = self._events.messages() if name == "message" else self._events.system(name)
        return found

    def names(self) -> Iterable[str]:
        return _SYSTEM_FIELDS

    def make(self, name: str) -> Column | None:
        under = _SYSTEM_FIELDS.get(name)
        if under is None:
            return None
        found = self.texts(under)
        if found.count(None) == len(found):
            return None
        if under in _SYSTEM_NUMBERS:
            return Column.of(L, [_small(value) for value in found])
        if name == "log.level":
            return Column.of(K, [None if v is None else _LEVELS.get(v, v.lower()) for v in found])
        return Column.of(FieldType.TEXT if name == "message" else K, found)


def _small(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 12 else None


class _Data(LazyMapping[Column]):
    """The columns of EventData and UserData; a name that is none of ours, or one too many, stays in the rest."""

    def __init__(self, events: Values) -> None:
        super().__init__()
        self._events = events

    @functools.cached_property
    def _places(self) -> tuple[dict[str, tuple[str, str]], list[tuple[str, str]]]:
        """Where each column comes from, and what becomes none: the part and the name in it."""
        columns: dict[str, tuple[str, str]] = {}
        left: list[tuple[str, str]] = []
        for prefix in (_DATA, _USER):
            for name in sorted(self._events.names(_PARTS[prefix]), key=lambda name: (" " in name, name)):
                field = prefix + name.replace(" ", "")  # Sigma: "as they appear in the log source, strip all spaces"
                if _is_name(field[len(prefix) :]) and field not in columns and len(columns) < MAX_COLUMNS:
                    columns[field] = prefix, name
                else:
                    left.append((prefix, name))
        return columns, left

    def _raw(self, prefix: str, name: str) -> tuple[list[Any], bool]:
        return self._events.values(_PARTS[prefix], name)

    def names(self) -> Iterable[str]:
        return self._places[0]

    def count(self) -> int:
        """How many names there are, those that become no column among them."""
        return sum(map(len, self._places))

    def make(self, name: str) -> Column | None:
        place = self._places[0].get(name)
        if place is None:
            return None
        raw, is_text = self._raw(*place)
        found = as_texts(raw, is_text)
        if found is not raw and list in map(type, raw):  # a rule holds when any of the elements does
            return Column.of(K, [windows.several(value) for value in raw], many=True)
        return Column.of(K, found)

    def texts(self, name: str) -> Texts | None:
        """The values of a column, each as one text: lists too, for fields that have one value."""
        column = self.get(name)
        if column is None:
            return None
        return as_texts(*self._raw(*self._places[0][name])) if column.many else column.to_list()

    def has_left(self) -> bool:
        """Whether there is something that no column holds."""
        return bool(self._places[1])

    def rest(self) -> Rest:
        """What no column holds, by event."""
        rest: Rest = {}
        for prefix, name in self._places[1]:
            for k, value in enumerate(self._raw(prefix, name)[0]):
                kept = windows.several(value) if value.__class__ is list else windows.text(value)
                if kept is not None:
                    rest.setdefault(k, {})[prefix + name] = kept
        return rest


@functools.lru_cache(4096)
def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None
