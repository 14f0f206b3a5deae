"""What Windows events say, by name: out of decoded documents, or where the compiled kernel found it in their block."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Protocol

import orjson

from soc.model import kernel
from soc.model.record import RawBlock
from soc.parsers.decoders import windows
from soc.parsers.decoders.windows import WindowsEvent

Texts = list[str | None]
DATA, USER = "EventData", "UserData"


class Values(Protocol):
    """The values of some events, one an event in every list."""

    def system(self, name: str) -> Texts:
        """What the System part says under one of our names, as text."""

    def messages(self) -> Texts:
        """What an event viewer would show."""

    def names(self, part: str) -> Iterable[str]:
        """The names of `EventData` or `UserData` that any event has."""

    def values(self, part: str, name: str) -> tuple[list[Any], bool]:
        """The values of one of them, text or what JSON made of them; and whether they are known to be all text."""


def as_texts(values: list[Any], is_text: bool) -> Texts:
    """What `Values.values` gives, as text."""
    return values if is_text else windows.texts(values)


class Decoded:
    """Of decoded events."""

    def __init__(self, events: Sequence[WindowsEvent]) -> None:
        self._events = events

    @functools.cached_property
    def _systems(self) -> list[Mapping[str, Any]]:
        return [event.system for event in self._events]

    @functools.cached_property
    def _elements(self) -> frozenset[str]:
        return frozenset().union(*set(map(tuple, self._systems)))

    def system(self, name: str) -> Texts:
        if windows.SYSTEM[name][0] not in self._elements:
            return [None] * len(self._events)
        return windows.system_texts(self._systems, name)

    def messages(self) -> Texts:
        return windows.texts([event.message for event in self._events])

    def names(self, part: str) -> Iterable[str]:
        return set().union(*set(map(tuple, self._dicts(part))))

    def values(self, part: str, name: str) -> tuple[list[Any], bool]:
        dicts = self._dicts(part)
        try:
            return list(map(itemgetter(name), dicts)), False
        except KeyError:
            return [each.get(name) for each in dicts], False

    def _dicts(self, part: str) -> list[Mapping[str, Any]]:
        return [event.data if part == DATA else event.user for event in self._events]


class Located:
    """Of events that the kernel found in a block."""

    def __init__(self, block: RawBlock, events: Any) -> None:
        self._block, self._events = block, events
        self.rows: list[int] = events.rows
        """The places of the events in the block, in order."""

    @functools.cached_property
    def decoded(self) -> list[WindowsEvent]:
        """The same events, decoded one by one."""
        records = list(self._block.records())
        found = [windows.decode(orjson.loads(records[row])) for row in self.rows]
        return [event for event in found if event is not None]

    def system(self, name: str) -> Texts:
        element, attribute = windows.SYSTEM[name]
        found = self._column("System", attribute, element) if attribute else self._column("System", element)
        return Decoded(self.decoded).system(name) if found is None else as_texts(*found)

    def messages(self) -> Texts:
        found = self._column("RenderingInfo", "Message")
        return Decoded(self.decoded).messages() if found is None else as_texts(*found)

    def names(self, part: str) -> Iterable[str]:
        names: list[str] = self._events.names(part)
        return names

    def values(self, part: str, name: str) -> tuple[list[Any], bool]:
        found = self._column(part, name)
        return Decoded(self.decoded).values(part, name) if found is None else found

    def _column(self, part: str, name: str, element: str | None = None) -> tuple[list[Any], bool] | None:
        """None when the kernel failed."""
        try:
            found: tuple[list[Any], bool] | None = self._events.column(part, name, element)
        except Exception as error:
            kernel.failed("WindowsEvents.column", error)
            return None
        return ([None] * len(self.rows), True) if found is None else found


class Kind:
    """Located events that say the same of their channel and their event id, which `system` has in evtx_dump's shape."""

    def __init__(self, place: int, channel: bytes, event_id: bytes) -> None:
        self.place = place
        self.system = {"Channel": orjson.loads(channel), "EventID": orjson.loads(event_id)}


class Locator:
    """The Windows events that the kernel takes out of a block, by kind, and the rows that it leaves."""

    def __init__(self, block: RawBlock, found: Any) -> None:
        self._block, self._found = block, found
        self.kinds = [Kind(place, *pair) for place, pair in enumerate(found.kinds())]
        self.left: list[int] = found.left

    def events(self, kinds: Iterable[Kind]) -> Located:
        """The events of some kinds."""
        return Located(self._block, self._found.events([kind.place for kind in kinds]))


def locate(block: RawBlock) -> Locator | None:
    """None without a kernel, when it takes nothing, and when it failed."""
    found = kernel.asked("WindowsBlock", block.data, block.end.astype("<u4").tobytes(), orjson.loads)
    return Locator(block, found) if found is not None and found.kinds() else None
