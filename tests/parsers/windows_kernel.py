"""The part of the compiled kernel that locates Windows events, in Python: it takes and leaves what that does, where a
test can break it and where no kernel is built."""

from __future__ import annotations

import struct
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from soc.model import kernel
from soc.parsers.decoders import windows
from soc.parsers.decoders.windows import WindowsEvent

Loads = Callable[[bytes], Any]


class WindowsEvents:
    """Events of a block that belong together."""

    def __init__(self, rows: list[int], events: list[WindowsEvent]) -> None:
        self.rows, self._events = rows, events

    def _part(self, part: str) -> list[Any]:
        return [{"EventData": e.data, "UserData": e.user, "System": e.system}[part] for e in self._events]

    def names(self, part: str) -> list[str]:
        return list(dict.fromkeys(name for each in self._part(part) for name in each))

    def column(self, part: str, name: str, element: str | None = None) -> tuple[list[Any], bool] | None:
        if part == "RenderingInfo":
            values = [event.message for event in self._events]
        elif element is None:
            values = [each.get(name) for each in self._part(part)]
        else:
            elements = [each.get(element) for each in self._part(part)]
            values = [each["#attributes"].get(name) if isinstance(each, dict) else None for each in elements]
        return values, set(map(type, values)) <= {str, type(None)}


class WindowsBlock:
    """Takes events in evtx_dump's shape whose channel is a text and whose data have names."""

    def __init__(self, data: bytes, ends: bytes, loads: Loads) -> None:
        self.left: list[int] = []
        self._kinds: dict[tuple[bytes, bytes], dict[int, WindowsEvent]] = {}
        stops = [end for (end,) in struct.iter_unpack("<I", ends)]
        for row, (start, stop) in enumerate(zip([0, *stops], stops, strict=False)):
            document = _document(data[start:stop], loads)
            if document is None:
                self.left.append(row)
                continue
            key = tuple(repr(document["Event"]["System"][name]).encode() for name in ("Channel", "EventID"))
            event = windows.decode(document)
            assert event is not None
            self._kinds.setdefault((key[0], key[1]), {})[row] = event

    def kinds(self) -> list[tuple[bytes, bytes]]:
        firsts = [next(iter(events.values())).system for events in self._kinds.values()]
        return [(orjson.dumps(system["Channel"]), orjson.dumps(system["EventID"])) for system in firsts]

    def events(self, kinds: list[int]) -> WindowsEvents:
        chosen = [events for place, events in enumerate(self._kinds.values()) if place in kinds]
        rows = dict(sorted((row, event) for events in chosen for row, event in events.items()))
        return WindowsEvents(list(rows), list(rows.values()))


def _document(record: bytes, loads: Loads) -> dict[str, Any] | None:
    try:
        document = loads(record) if record.startswith(b"{") else {}
        event = document.get("Event")
        system = event["System"]
        is_taken = (
            isinstance(system["Channel"], str)
            and system["Channel"]
            and system["EventID"] is not None
            and "Provider_attributes" not in system
            and all(isinstance(v["#attributes"], dict) for v in system.values() if isinstance(v, dict))
            and isinstance(event.get("EventData", {}), dict)
            and "Data" not in event.get("EventData", {})
            and isinstance(event.get("UserData", {}), dict)
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return document if is_taken else None


PYTHON: Any = SimpleNamespace(WindowsBlock=WindowsBlock)
KERNELS = {"python": PYTHON} if kernel.kernel is None else {"python": PYTHON, "compiled": kernel.kernel}
"""What there is here: the model in Python always, the compiled one where it is built."""
each_kernel = pytest.mark.parametrize("used", KERNELS.values(), ids=KERNELS.keys())
