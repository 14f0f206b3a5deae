"""JSON records: Windows events to `winlog.*` and ECS, anything else to the fields it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from soc.model.batch import Column, EventBatch
from soc.parsers import ecs, jsonlogs, times
from soc.parsers.decoders import windows
from soc.parsers.decoders.flat import flatten
from soc.parsers.text import TextRecords
from soc.parsers.windows import WindowsRecords
from soc.parsers.windows_values import Locator
from soc.parsers.work import Work, make_batch


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

    def batches(
        self, rows: Sequence[int], documents: Sequence[Mapping[str, Any]], locator: Locator | None = None
    ) -> list[EventBatch]:
        """Windows events by dataset and shape, then the others together; `locator` has further ones of the block."""
        events = WindowsRecords(self.work, self.text)
        if locator is not None:
            events.locate(locator)
        others: list[tuple[int, Mapping[str, Any]]] = []
        for i, document in zip(rows, documents, strict=True):
            event = windows.decode(document)
            if event is None:
                others.append((i, document))
            else:
                events.add(i, event)
        result = events.batches()
        if others:
            result.extend(self._plain([i for i, _ in others], [d for _, d in others]))
        return result

    def _base(self, rows: Sequence[int]) -> dict[str, Column]:
        columns = self.text.header_columns(rows)
        columns.pop("message", None)  # it is the document itself, which `event.original` holds
        return columns

    def _plain(self, rows: list[int], documents: list[Mapping[str, Any]]) -> list[EventBatch]:
        """The documents of products that are known, then the others by the names they have."""
        result, left = jsonlogs.batches(self.work, self.text, rows, documents)
        return result + self._unknown([rows[k] for k in left], [documents[k] for k in left])

    def _unknown(self, rows: list[int], documents: list[Mapping[str, Any]]) -> list[EventBatch]:
        flat = [flatten(document) for document in documents]
        given = self.work.envelope.block.origin.get("event.dataset", "")
        result = []
        for dataset, places in ecs.grouped(self.work, [ecs.claimed(names, given) for names in flat]).items():
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
