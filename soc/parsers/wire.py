"""Binary datagrams: flows and traps. One datagram may give many events; each keeps its bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from soc.model.batch import Column, EventBatch
from soc.model.fields import FieldType
from soc.model.snmp_record import FORMAT as SNMP_V3
from soc.parsers import times
from soc.parsers.decoders import netflow_v5, snmp
from soc.parsers.definition import Definition
from soc.parsers.mapping import Mapped
from soc.parsers.work import UNPARSED, Flags, Work, make_batch


def netflow(
    work: Work, datagrams: Sequence[bytes], definition: Definition | None, others: frozenset[int] = frozenset()
) -> list[EventBatch]:
    """NetFlow v5 flows; damaged datagrams and versions that nobody reads stay unparsed, with the reason.

    `others` are the datagrams that another decoder reads.
    """
    flows = netflow_v5.decode(datagrams)
    unread = {i: why for i, why in flows.refused.items() if i not in others}
    result: list[EventBatch] = []
    if flows.rows and definition is not None:
        peer = work.envelope.block.peer
        marks: Flags = {k: flows.flags[i] for k, i in enumerate(flows.rows) if i in flows.flags}
        at = flows.values["at_us"].tolist()
        stamps: list[times.Stamp | None] = [(us, times.DEVICE) if us > 0 else None for us in at]

        def values(name: str) -> Any:
            return [peer] * len(flows.rows) if name == "@peer" else flows.values.get(name)

        result.append(
            _mapped(
                work,
                definition,
                flows.rows,
                values=values,
                stamps=stamps,
                originals=flows.originals,
                parts=flows.parts,
                flags=marks,
            )
        )
    elif flows.rows:
        unread |= dict.fromkeys(flows.rows, "no definition reads NetFlow v5")
    return [*result, *refused(work, datagrams, unread)]


def traps(work: Work, records: Sequence[bytes], definition: Definition | None) -> list[EventBatch]:
    """SNMP traps and informs; what is no trap stays unparsed, with the reason."""
    decoded: list[dict[str, Any]] = []
    rows: list[int] = []
    unread: dict[int, str] = {}
    verified = work.envelope.block.format == SNMP_V3
    datagrams = list(records)
    for i, data in enumerate(records):
        why = ""
        values: dict[str, Any] | None
        try:
            if verified:
                datagrams[i], values, why = snmp.decode_verified(data)
            else:
                values = snmp.decode(data)
        except snmp.BadBer as error:
            values, why = None, str(error)
        if values is None or definition is None:
            unread[i] = why or "no definition reads SNMP"
            continue
        decoded.append(values)
        rows.append(i)
    result: list[EventBatch] = []
    if rows and definition is not None:
        peer = work.envelope.block.peer

        def pick(name: str) -> Any:
            return [peer] * len(rows) if name == "@peer" else [d.get(name) for d in decoded]

        stamps: list[times.Stamp | None] = [None] * len(rows)
        result.append(
            _mapped(work, definition, rows, values=pick, stamps=stamps, originals=[datagrams[i] for i in rows])
        )
    return [*result, *refused(work, datagrams, unread)]


def _mapped(
    work: Work,
    definition: Definition,
    rows: list[int],
    *,
    values: Callable[[str], Any],
    stamps: Sequence[times.Stamp | None],
    originals: list[bytes],
    parts: Sequence[int] | None = None,
    flags: Flags | None = None,
) -> EventBatch:
    mapped = Mapped(len(rows), work.zone)
    mapped.constants(definition.constants)
    mapped.fields(definition.maps, values, definition.missing)
    layer = {"soc.original_bytes": Column.of(FieldType.BINARY, originals)}
    return make_batch(
        work,
        rows,
        definition.id,
        definition.dataset,
        stamps=stamps,
        layers=(layer,),
        mapped=mapped,
        parts=parts,
        flags=flags,
    )


def refused(work: Work, datagrams: Sequence[bytes], reasons: Mapping[int, str]) -> list[EventBatch]:
    """Unparsed events of these datagrams, each with its bytes and its reason."""
    if not reasons:
        return []
    rows = sorted(reasons)
    layer = {
        "soc.original_bytes": Column.of(FieldType.BINARY, [datagrams[i] for i in rows]),
        "error.message": Column.of(FieldType.KEYWORD, [reasons[i] for i in rows]),
    }
    marks: Flags = dict.fromkeys(range(len(rows)), (UNPARSED,))
    stamps: list[times.Stamp | None] = [None] * len(rows)
    return [make_batch(work, rows, "", UNPARSED, stamps=stamps, layers=(layer,), flags=marks, kind="pipeline_error")]
