"""Binary datagrams: flows and traps. One datagram may give many events; each keeps its bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from soc.model.batch import Column, EventBatch
from soc.model.fields import FieldType
from soc.model.snmp_record import FORMAT as SNMP_V3
from soc.parsers import times
from soc.parsers.decoders import netflow_v5, snmp
from soc.parsers.definition import Definition
from soc.parsers.mapping import Mapped
from soc.parsers.work import UNPARSED, Flags, Work, make_batch


def netflow(work: Work, datagrams: Sequence[bytes], definition: Definition | None) -> list[EventBatch]:
    """NetFlow v5 flows; other versions and damaged datagrams stay unparsed, with the reason."""
    flows = netflow_v5.decode(datagrams)
    refused = dict(flows.refused)
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
        refused |= dict.fromkeys(flows.rows, "no definition reads NetFlow v5")
    return [*result, *_refused(work, datagrams, refused)]


def traps(work: Work, records: Sequence[bytes], definition: Definition | None) -> list[EventBatch]:
    """SNMP traps and informs; what is no trap stays unparsed, with the reason."""
    decoded: list[dict[str, Any]] = []
    rows: list[int] = []
    refused: dict[int, str] = {}
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
            refused[i] = why or "no definition reads SNMP"
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
    return [*result, *_refused(work, datagrams, refused)]


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


def _refused(work: Work, datagrams: Sequence[bytes], refused: dict[int, str]) -> list[EventBatch]:
    if not refused:
        return []
    rows = sorted(refused)
    layer = {
        "soc.original_bytes": Column.of(FieldType.BINARY, [datagrams[i] for i in rows]),
        "error.message": Column.of(FieldType.KEYWORD, [refused[i] for i in rows]),
    }
    marks: Flags = dict.fromkeys(range(len(rows)), (UNPARSED,))
    stamps: list[times.Stamp | None] = [None] * len(rows)
    return [make_batch(work, rows, "", UNPARSED, stamps=stamps, layers=(layer,), flags=marks, kind="pipeline_error")]
