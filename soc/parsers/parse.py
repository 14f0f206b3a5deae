"""`ParserSet`: all definitions together; one block of raw records in, event batches out. Pure."""

from __future__ import annotations

import datetime as dt
import functools
import zoneinfo
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soc.errors import UsageError, nearest
from soc.model.batch import EventBatch
from soc.model.clock import VIETNAM
from soc.model.fields import FIELDS, FieldDictionary
from soc.model.record import ZONE, RawBlock
from soc.parsers import jsonlogs, multiline
from soc.parsers.audit import Events
from soc.parsers.decoders import xml_tree
from soc.parsers.definition import Definition, load
from soc.parsers.documents import JsonRecords, read
from soc.parsers.envelope import Envelope
from soc.parsers.groups import NONE, PAUSE, Group, close, close_overdue
from soc.parsers.recognise import Index
from soc.parsers.state import ParserState
from soc.parsers.text import TextRecords
from soc.parsers.windows_values import locate
from soc.parsers.work import Work

if TYPE_CHECKING:
    from soc.parsers.decoders.snmp_names import Names
    from soc.parsers.decoders.snmp_traps import Reader


@functools.lru_cache(256)
def _known_zone(name: str) -> dt.tzinfo | None:
    try:
        return zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        return None


_TEXT = ("lines", "json", "windows-json", "syslog")
MIXABLE = frozenset((*_TEXT, "elastic", "document", "hec", "gelf", "journal", "snmp", "snmp-v3", "netflow"))
"""Formats of which records of several sources can be parsed as one."""
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
        self._traps: Reader | None = None

    @classmethod
    def load(cls, folders: Sequence[Path], fields: FieldDictionary = FIELDS, *, zone: dt.tzinfo = VIETNAM) -> ParserSet:
        """Read every definition below the folders, weakest first. Raises ContentError with all faults."""
        definitions, extended = load(folders, fields)
        return cls(definitions, extended, zone)

    def use_names(self, names: Names) -> None:
        """From now on SNMP notifications are read with this table."""
        from soc.parsers.decoders.snmp_traps import Reader

        self._traps = Reader(names)

    def _trap_reader(self) -> Reader:
        if self._traps is None:
            from soc.parsers.decoders.snmp_names import STANDARD

            self.use_names(STANDARD)
        assert self._traps is not None
        return self._traps

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
        if block.format == PAUSE:
            closed, groups = close_overdue(block, state.groups, now_ns)
            return self._joined(closed, now_ns), replace(state, groups=groups)
        if block.n == 0:
            return [], state
        work = self._work(Envelope(block, now_ns), Events({block.source: state}, block))
        kind = forced.recognise.format if forced is not None else ""
        found = None
        if kind or block.format not in _TEXT:
            from soc.parsers import formats

            found = formats.batches(work, kind, self._index.formats, {block.partition.number: state})
        if found is not None:
            batches, states = found
            state = states[block.partition.number]
        else:
            records = TextRecords(work)
            rows, closed, groups = multiline.join(records, state.groups, now_ns)
            batches = _text(records, rows, forced, block.format) + self._joined(closed, now_ns)
            state = state if groups is state.groups else replace(state, groups=groups)
        return batches, work.audit.kept(state, (block.source,))

    def parse_mixed(
        self, block: RawBlock, states: Mapping[int, ParserState], now_ns: int
    ) -> tuple[list[EventBatch], dict[int, ParserState]]:
        """The same for a block of several sources, for which nothing waits, in a format of `MIXABLE`; the states are by
        number of the partition.

        Raises Crowded when together they name more than one batch may hold, which each of them alone might not.
        """
        if block.n == 0:
            return [], dict(states)
        number_of = {frame.source: frame.partition.number for frame in block.frames}
        audit = Events({source: states[number] for source, number in number_of.items()}, block)
        work = replace(self._work(Envelope(block, now_ns), audit), has_neighbours=True)
        if block.format in _TEXT:
            batches = _text(TextRecords(work), range(block.n), None, block.format)
        else:
            from soc.parsers import formats

            found = formats.batches(work, "", self._index.formats, states)
            assert found is not None, f"'{block.format}' is not MIXABLE"
            batches, states = found
        sources: dict[int, list[str]] = {number: [] for number in states}
        for source, number in number_of.items():
            sources[number].append(source)
        return batches, {number: audit.kept(state, sources[number]) for number, state in states.items()}

    def wire_format(self, product: str | None) -> str | None:
        """`netflow`, `sflow` or `snmp`, when its records are datagrams. Raises UsageError for an unknown one."""
        forced = self._forced(product)
        form = forced.recognise.format if forced is not None else ""
        if not form:
            return None
        from soc.parsers import formats

        return formats.wire_format(form)

    def _work(self, envelope: Envelope, audit: Events) -> Work:
        return Work(envelope, self._index, self.fields, self._zone(envelope.block), self._trap_reader, audit)

    def parse_alone(
        self, block: RawBlock, state: ParserState, now_ns: int, *, as_product: str | None = None
    ) -> list[EventBatch]:
        """The events of a block whose turn is over: nothing goes on with it, and the state stays as it is."""
        batches, state = self.parse(block, replace(state, groups=NONE), now_ns, as_product=as_product)
        closed, _ = close(block, state.groups, list(state.groups.open.values()), now_ns)
        return batches + self._joined(closed, now_ns)

    def _joined(self, closed: Sequence[Group], now_ns: int) -> list[EventBatch]:
        """An event for each group of records, at the place of its first."""
        batches: list[EventBatch] = []
        for group in closed:
            block = group.block()
            envelope = Envelope(block, now_ns, ordinal=group.records[0].at.ordinal, closed_by=group.closed_by)
            records = TextRecords(self._work(envelope, Events({block.source: ParserState()}, block)))
            batches += _text(records, [records.merge(range(block.n), group.flags)], None, block.format)
        return batches

    @staticmethod
    def resumed(state: ParserState) -> ParserState:
        """A state that is behind the cursor: what it learned holds, what it counted does not."""
        from soc.parsers import flows

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


def _text(records: TextRecords, rows: Sequence[int], forced: Definition | None, form: str) -> list[EventBatch]:
    block = records.work.envelope.block
    is_whole = len(rows) == block.n  # none was joined to another one
    locator = locate(block) if is_whole and (forced is None or forced.decode == "windows") else None
    if locator is not None:
        rows = locator.left
    is_json = forced is not None and forced.decode in ("windows", "json")
    documents = _documents(rows, records.headers.message) if rows and (forced is None or is_json) else {}
    plain = rows
    if documents:
        plain = [i for i in rows if i not in documents] if len(documents) < len(rows) else ()
    found = (list(documents), list(documents.values()))
    if forced is not None and forced.decode == "json":
        result, _ = jsonlogs.batches(records.work, records, *found, forced)
    else:
        result = JsonRecords(records.work, records).batches(*found, locator) if documents or locator is not None else []
    if plain and (form in ("json", "windows-json") or is_json):
        result.append(records.unparsed(plain, "not_json"))
    elif plain:
        result.extend(records.batches(plain, forced))
    return result


def _documents(rows: Sequence[int], messages: Sequence[str]) -> dict[int, dict[str, Any]]:
    """Those that are JSON objects, or Sysmon for Linux. The first characters spare the readers every other line."""
    documents: dict[int, dict[str, Any]] = {}
    for i in rows:
        message = messages[i]
        if message[:1] in _OPENING:
            document = read(message.lstrip("\ufeff"))
        elif message.startswith("<Event>"):
            document = xml_tree.decode(message)
        else:
            continue
        if document is not None:
            documents[i] = document
    return documents
