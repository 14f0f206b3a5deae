"""`ParserSet`: all definitions together; one block of raw records in, event batches out. Pure."""

from __future__ import annotations

import datetime as dt
import functools
import zoneinfo
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from soc.errors import UsageError, nearest
from soc.model.batch import EventBatch
from soc.model.clock import VIETNAM
from soc.model.fields import FIELDS, FieldDictionary
from soc.model.record import ZONE, RawBlock
from soc.parsers import flows, jsonlogs, packets, posted, tables, wire
from soc.parsers.decoders import xml_tree
from soc.parsers.decoders.snmp_names import STANDARD, Names
from soc.parsers.decoders.snmp_traps import Reader
from soc.parsers.definition import Definition, load
from soc.parsers.documents import JsonRecords, read
from soc.parsers.envelope import Envelope
from soc.parsers.recognise import Index
from soc.parsers.state import ParserState
from soc.parsers.text import TextRecords
from soc.parsers.work import Work


@functools.lru_cache(256)
def _known_zone(name: str) -> dt.tzinfo | None:
    try:
        return zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        return None


_OPENING = frozenset("{ \ufeff\t")


class ParserSet:
    """The definitions of some folders, compiled. `zone` is assumed where a stamp names none."""

    def __init__(
        self, definitions: Mapping[str, Definition], fields: FieldDictionary, zone: dt.tzinfo = VIETNAM
    ) -> None:
        self.definitions = dict(definitions)
        self.fields = fields
        self.zone = zone
        self._index = Index(self.definitions.values())
        self._traps = Reader(STANDARD)

    @classmethod
    def load(cls, folders: Sequence[Path], fields: FieldDictionary = FIELDS, *, zone: dt.tzinfo = VIETNAM) -> ParserSet:
        """Read every definition below the folders, weakest first. Raises ContentError with all faults."""
        definitions, extended = load(folders, fields)
        return cls(definitions, extended, zone)

    def use_names(self, names: Names) -> None:
        """From now on SNMP notifications are read with this table."""
        self._traps = Reader(names)

    @property
    def products(self) -> tuple[str, ...]:
        """The ids of the definitions, sorted."""
        return tuple(sorted(self.definitions))

    def _zone(self, block: RawBlock) -> dt.tzinfo:
        """The zone its listener names, else ours; one that this machine does not know is ours too."""
        name = block.origin.get(ZONE)
        return self.zone if name is None else _known_zone(name) or self.zone

    def parse(
        self, block: RawBlock, state: ParserState, now_ns: int, *, as_product: str | None = None
    ) -> tuple[list[EventBatch], ParserState]:
        """At least one event for each record; batches of one dataset each, in no order between them.

        Never raises for what is in a record; raises UsageError for an unknown `as_product`.
        """
        forced = self._forced(as_product)
        if block.n == 0:
            return [], state
        work = Work(Envelope(block, now_ns), self._index, self.fields, self._zone(block), self._traps)
        kind = forced.recognise.format if forced is not None else ""
        if block.format == "sflow" or kind == "sflow":
            batches, state = flows.sampled(work, list(block.records()), self._index.formats, state)
        elif block.format == "netflow" or kind in flows.FORMATS:
            batches, state = flows.netflow(work, list(block.records()), self._index.formats, state)
        elif block.format in ("snmp", "snmp-v3") or kind == "snmp":
            batches = wire.traps(work, list(block.records()), self._index.formats.get("snmp"))
        elif block.format == packets.FORMAT:
            batches = packets.batches(work, list(block.records()), self._index.formats)
        elif block.format == "snmp-poll":
            batches = wire.metrics(work, list(block.records()))
        elif block.format in tables.FORMATS:
            batches = tables.batches(work, block.format)
        elif block.format in posted.FORMATS:
            batches = posted.batches(work, block.format)
        elif kind in posted.FORMATS:
            batches = posted.batches(work, kind)
        else:
            batches = _text(work, forced, block.format)
        return batches, state

    def wire_format(self, product: str | None) -> str | None:
        """`netflow`, `sflow` or `snmp`, when its records are datagrams. Raises UsageError for an unknown one."""
        forced = self._forced(product)
        form = forced.recognise.format if forced is not None else ""
        if form in ("sflow", "snmp"):
            return form
        return "netflow" if form in flows.FORMATS else None

    @staticmethod
    def resumed(state: ParserState) -> ParserState:
        """A state that is behind the cursor: what it learned holds, what it counted does not."""
        return flows.resumed(state)

    def _forced(self, product: str | None) -> Definition | None:
        if product is None:
            return None
        if product not in self.definitions:
            raise UsageError(
                f"no parser '{product}'{nearest(product, self.definitions)}",
                hint=f"one of {', '.join(self.products)}",
            )
        return self.definitions[product]


def _text(work: Work, forced: Definition | None, form: str) -> list[EventBatch]:
    records = TextRecords(work, work.envelope.texts())
    messages = records.headers.message
    is_json = forced is not None and forced.decode in ("windows", "json")
    documents = _documents(messages) if forced is None or is_json else {}
    plain: Sequence[int] = range(len(messages))
    if documents:
        plain = [i for i in plain if i not in documents] if len(documents) < len(messages) else ()
    found = (list(documents), list(documents.values()))
    if forced is not None and forced.decode == "json":
        result, _ = jsonlogs.batches(work, records, *found, forced)
    else:
        result = JsonRecords(work, records).batches(*found) if documents else []
    if plain and (form in ("json", "windows-json") or is_json):
        result.append(records.unparsed(plain, "not_json"))
    elif plain:
        result.extend(records.batches(plain, forced))
    return result


def _documents(messages: Sequence[str]) -> dict[int, dict[str, Any]]:
    """Those that are JSON objects, or Sysmon for Linux. The first characters spare the readers every other line."""
    documents: dict[int, dict[str, Any]] = {}
    for i, message in enumerate(messages):
        if message[:1] in _OPENING:
            document = read(message.lstrip("\ufeff"))
        elif message.startswith("<Event>"):
            document = xml_tree.decode(message)
        else:
            continue
        if document is not None:
            documents[i] = document
    return documents
