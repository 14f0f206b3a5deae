"""Blocks whose records are no lines of text: flows, notifications, packets, tables, what was posted as a document.

Apart from `parse`, which imports it when such a block comes: who reads lines spares a tenth of a second.
"""

from __future__ import annotations

from collections.abc import Mapping

from soc.model.batch import EventBatch
from soc.parsers import flows, packets, posted, tables, wire
from soc.parsers.definition import Definition
from soc.parsers.state import ParserState
from soc.parsers.work import Work


def batches(
    work: Work, kind: str, formats: Mapping[str, Definition], states: Mapping[int, ParserState]
) -> tuple[list[EventBatch], Mapping[int, ParserState]] | None:
    """The events of a block and the states after it, by number of the partition; None when its records are text. `kind`
    is the format of the product that all records are to be taken as, or empty."""
    form, records = work.envelope.block.format, work.envelope.block.records
    if form == "sflow" or kind == "sflow":
        return flows.sampled(work, list(records()), formats, states)
    if form == "netflow" or kind in flows.FORMATS:
        return flows.netflow(work, formats, states)
    if form in ("snmp", "snmp-v3") or kind == "snmp":
        return wire.traps(work, list(records()), formats.get("snmp")), states
    if form == packets.FORMAT:
        return packets.batches(work, list(records()), formats), states
    if form == "snmp-poll":
        return wire.metrics(work, list(records())), states
    if form in tables.FORMATS:
        return tables.batches(work, form), states
    if form in posted.FORMATS or kind in posted.FORMATS:
        return posted.batches(work, form if form in posted.FORMATS else kind), states
    return None


def wire_format(kind: str) -> str | None:
    """`netflow`, `sflow` or `snmp`, when a product of this format sends datagrams."""
    if kind in ("sflow", "snmp"):
        return kind
    return "netflow" if kind in flows.FORMATS else None
