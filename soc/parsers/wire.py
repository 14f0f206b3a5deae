"""Binary datagrams: traps, and what no decoder reads. Each event keeps its bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from soc.model.batch import Column, EventBatch
from soc.model.fields import FieldType
from soc.model.snmp_record import FORMAT as SNMP_V3
from soc.model.values import Unfit, canonical_ip
from soc.parsers import ecs, times
from soc.parsers.decoders.snmp_traps import VARBINDS
from soc.parsers.definition import Definition
from soc.parsers.documents import read
from soc.parsers.mapping import Mapped
from soc.parsers.work import UNPARSED, Flags, Work, make_batch

METRICS = "snmp.poll"
"""The dataset of what agents said when they were asked; the format of its records is `snmp-poll`."""


def traps(work: Work, records: Sequence[bytes], definition: Definition | None) -> list[EventBatch]:
    """SNMP traps and informs; what is no trap stays unparsed, with the reason."""
    found = work.traps().read(records, is_verified=work.envelope.block.format == SNMP_V3)
    if definition is None:
        found.refused |= dict.fromkeys(found.rows, "no definition reads SNMP")
        found.datagrams |= zip(found.rows, found.originals, strict=True)
    result: list[EventBatch] = []
    n = len(found.rows)
    if n and definition is not None:
        peer = work.envelope.peers(found.rows)

        def pick(name: str) -> Any:
            if name == "@peer":
                return peer
            if name == VARBINDS:
                return Column.json(found.varbinds)
            is_same, values = found.column(name)
            return Column.constant(FieldType.KEYWORD, values, n) if is_same else values

        mapped = Mapped(n, work.zone)
        mapped.constants(definition.constants)
        mapped.fields(definition.maps, pick, definition.missing)
        stamps: list[times.Stamp | None] = [None] * n
        layer = {"soc.original_bytes": Column.of(FieldType.BINARY, found.originals)}
        result.append(
            make_batch(
                work, found.rows, definition.id, definition.dataset, stamps=stamps, layers=(layer,), mapped=mapped
            )
        )
    return [*result, *refused(work, found.datagrams, found.refused)]


def metrics(work: Work, records: Sequence[bytes]) -> list[EventBatch]:
    """What agents said when they were asked: documents of our own collector, whose names are the dictionary's."""
    found: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    unread: dict[int, str] = {}
    for row, record in enumerate(records):
        document = read(record.decode("utf-8", "replace"))
        if document is None:
            unread[row] = "no answer of an SNMP agent"
            continue
        kind = "event" if document.pop("event.kind", "") == "event" else "metric"
        found.setdefault(kind, []).append((row, document))
    result: list[EventBatch] = []
    for kind, each in found.items():
        stamps = [ecs.stamp({"@timestamp": document.pop("@timestamp", None)}, work)[0] for _, document in each]
        layer, rest, flags = ecs.columns(work, METRICS, [document for _, document in each])
        rows = [row for row, _ in each]
        observer = Column.constant(FieldType.IP, _addresses(work.envelope.block.peer), len(rows), many=True)
        layers = ({"observer.ip": observer}, layer)
        result.append(
            make_batch(work, rows, METRICS, METRICS, stamps=stamps, layers=layers, rest=rest, flags=flags, kind=kind)
        )
    return [*result, *refused(work, records, unread)]


def _addresses(peer: str) -> tuple[str, ...] | None:
    """An agent may be asked by its name; then nobody here knows its address."""
    try:
        return (canonical_ip(peer),)
    except Unfit:
        return None


def refused(
    work: Work, datagrams: Sequence[bytes] | Mapping[int, bytes], reasons: Mapping[int, str]
) -> list[EventBatch]:
    """Unparsed events of these datagrams, each with its bytes and its reason."""
    if not reasons:
        return []
    rows = sorted(reasons)
    return [unread(work, rows, [datagrams[i] for i in rows], [reasons[i] for i in rows])]


def unread(
    work: Work,
    rows: Sequence[int],
    originals: Sequence[bytes | None],
    reasons: Sequence[str],
    *,
    parts: Sequence[int] | None = None,
    marks: Sequence[tuple[str, ...]] | None = None,
    layer: Mapping[str, Column] | None = None,
) -> EventBatch:
    """One `pipeline_error` event for each row: its bytes, why nobody can read it, and further marks and columns."""
    said = {
        "soc.original_bytes": Column.of(FieldType.BINARY, list(originals)),
        "error.message": Column.of(FieldType.KEYWORD, list(reasons)),
    }
    flags: Flags = {k: (UNPARSED, *more) for k, more in enumerate(marks or [()] * len(rows))}
    stamps: list[times.Stamp | None] = [None] * len(rows)
    return make_batch(
        work, rows, "", UNPARSED, stamps=stamps, layers=(said, layer or {}), parts=parts, flags=flags,
        kind="pipeline_error",
    )  # fmt: skip
