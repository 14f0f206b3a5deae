"""sFlow version 5 (sflow.org, sFlow Version 5, section 5): datagrams of flow samples and counter samples."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from soc.parsers.decoders.flow_community import community_ids
from soc.parsers.decoders.flow_state import MESSAGES, Memory
from soc.parsers.decoders.flow_values import I64_MAX
from soc.parsers.decoders.sflow_columns import Quick, quick
from soc.parsers.decoders.sflow_records import COUNTER_RECORDS, FLOW_RECORDS, Read, Short, Xdr

VERSION = 5
MAX_SAMPLES = 1024
"""What stands behind so many samples of a datagram is one unparsed event."""
_FLOW, _COUNTERS, _FLOW_EXPANDED, _COUNTERS_EXPANDED, _DISCARD = 1, 2, 3, 4, 5
_WINDOW = 64
_FORMAT_NUMBERS = 0xFFF
_TAG = struct.Struct(">II")
_COMPACT, _EXPANDED = struct.Struct(">7I"), struct.Struct(">10I")
_INDEX = 0x3FFF_FFFF
_CONNECTION = ("connection",)
_NO_INTERFACE = (0, 0x3FFF_FFFF, 0xFFFF_FFFF)
Records = Mapping[tuple[int, int], Callable[[Xdr], Read]]


@dataclass(frozen=True)
class Sample:
    """One sample as an event: values under `@names` and under their fields (`sflow.*`)."""

    row: int
    part: int
    original: bytes
    values: Read
    marks: tuple[str, ...]


@dataclass(frozen=True)
class Note:
    """Octets that cannot be read, and why."""

    row: int
    part: int
    original: bytes
    error: str
    marks: tuple[str, ...] = ()


class Placed(NamedTuple):
    """A sample that goes into columns, and where it stood."""

    datagram: Datagram
    part: int
    original: bytes
    sample: Quick


@dataclass
class Datagram:
    """One record while it is read: its header, what it says, the flags of all its events."""

    row: int
    head: bytes = b""
    values: Read = field(default_factory=dict)
    marks: tuple[str, ...] = ()
    parts: int = 0

    def part(self) -> int:
        self.parts += 1
        return self.parts - 1


class Reader:
    """Reads the datagrams of one source, in order."""

    def __init__(self, memory: Memory, source: str, node: str, seq: int) -> None:
        self._memory, self._source, self._node, self._seq = memory, source, node, seq
        self.samples: list[Sample] = []
        self.quick: dict[tuple[Any, ...], list[Placed]] = {}
        """By what has to be the same in a batch: the agent, the family of addresses, whether VLANs are beside."""
        self.notes: list[Note] = []

    def take(self, row: int, data: bytes, receipt_ns: int) -> None:
        """One datagram: at least one sample or one note."""
        datagram, xdr = Datagram(row), Xdr(data)
        try:
            count = self._header(datagram, xdr, receipt_ns)
        except Short as error:
            self.notes.append(Note(row, datagram.part(), data, str(error)))
            return
        for i in range(count):
            if i >= MAX_SAMPLES:
                why = f"more than {MAX_SAMPLES} samples"
                self.notes.append(Note(row, datagram.part(), datagram.head + data[xdr.at :], why, datagram.marks))
                return
            try:
                kind, body = xdr.tagged()
            except Short:
                piece = datagram.head + data[xdr.at :]
                why = f"sample {i + 1} of {count} is cut short"
                self.notes.append(Note(row, datagram.part(), piece, why, ("truncated", *datagram.marks)))
                return
            self._sample(datagram, kind, body)
        if not datagram.parts:
            values = datagram.values | {"@action": "sflow_empty", "@types": ("info",)}
            self.samples.append(Sample(row, datagram.part(), data, values, datagram.marks))

    def _header(self, datagram: Datagram, xdr: Xdr, receipt_ns: int) -> int:
        version = xdr.number()
        if version != VERSION:
            raise Short(f"sFlow version {version} is not read")
        agent, domain, sequence, uptime = xdr.address(), xdr.number(), xdr.number(), xdr.number()
        count = xdr.number()
        datagram.head = xdr.data[: xdr.at]
        datagram.values = {
            "@agent": agent, "@domain": domain, "@sequence": sequence, "@uptime_ms": uptime, "@version": version,
        }  # fmt: skip
        forgotten = self._memory.forgotten
        exporter = self._memory.exporter(f"{self._source}|sflow|{agent}|{domain}", receipt_ns)
        if self._memory.forgotten != forgotten:
            datagram.marks = ("exporter_forgotten",)
        if not exporter.is_again(self._node, self._seq, datagram.row):
            lost, marks = exporter.sequence(sequence, None, MESSAGES, _WINDOW)
            datagram.marks += marks
            if lost:
                datagram.values |= {"@lost": lost, "@lost_total": exporter.lost}
        return count

    def _sample(self, datagram: Datagram, kind: int, body: bytes) -> None:
        part = datagram.part()
        original = datagram.head + _TAG.pack(kind, len(body)) + body
        if kind == _FLOW and (sample := quick(body)) is not None:
            key = datagram.values["@agent"], sample.family, bool(sample.switch)
            self.quick.setdefault(key, []).append(Placed(datagram, part, original, sample))
            return
        reader = _SAMPLES.get(kind)
        if reader is None:
            why = f"sample of enterprise {kind >> 12}, format {kind & _FORMAT_NUMBERS}"
            self.notes.append(Note(datagram.row, part, original, why, datagram.marks))
            return
        values = dict(datagram.values) if part == 0 else {
            name: value for name, value in datagram.values.items() if not name.startswith("@lost")
        }  # fmt: skip
        try:
            marks = reader(Xdr(body), values)
        except Short as error:
            self.notes.append(Note(datagram.row, part, original, f"sample: {error}", datagram.marks))
            return
        self.samples.append(Sample(datagram.row, part, original, values, (*datagram.marks, *marks)))


def _flow(xdr: Xdr, values: Read, *, is_expanded: bool) -> tuple[str, ...]:
    if is_expanded:
        number, kind, source, rate, pool, drops, in_kind, inward, out_kind, outward = xdr.numbers(_EXPANDED)
    else:
        number, source, rate, pool, drops, inward, outward = xdr.numbers(_COMPACT)
        kind, source = source >> 24, source & 0xFF_FFFF
        in_kind, inward, out_kind, outward = inward >> 30, inward & _INDEX, outward >> 30, outward & _INDEX
    values |= {
        "sflow.sample_sequence": number, "sflow.source_id_type": kind, "sflow.source_id_index": source,
        "sflow.sampling_rate": rate, "sflow.sample_pool": pool, "sflow.drops": drops, "@action": "sflow_flow",
        "@types": _CONNECTION,
    }  # fmt: skip
    _interface(values, "input", in_kind, inward)
    _interface(values, "output", out_kind, outward)
    marks = _records(xdr, values, FLOW_RECORDS)
    _estimate(values, rate)
    return (*marks, "sampled") if rate > 1 else marks


def _discard(xdr: Xdr, values: Read) -> tuple[str, ...]:
    """sFlow Dropped Packet Notification Structures."""
    values["sflow.sample_sequence"] = xdr.number()
    _source(xdr, values, True)
    values["sflow.drops"] = xdr.number()
    for way in ("input", "output"):
        index = xdr.number()
        values[f"@{way}"] = None if index in _NO_INTERFACE else index
    values |= {"sflow.drop_reason": xdr.number(), "@forwarding": "dropped"}
    values |= {"@action": "sflow_discard", "@types": ("connection", "denied")}
    marks = _records(xdr, values, FLOW_RECORDS)
    _estimate(values, 1)
    return marks


def _counters(xdr: Xdr, values: Read, *, is_expanded: bool) -> tuple[str, ...]:
    values["sflow.sample_sequence"] = xdr.number()
    _source(xdr, values, is_expanded)
    values |= {"@action": "sflow_counters", "@types": ("info",)}
    return _records(xdr, values, COUNTER_RECORDS)


def _source(xdr: Xdr, values: Read, is_expanded: bool) -> None:
    if is_expanded:
        values |= {"sflow.source_id_type": xdr.number(), "sflow.source_id_index": xdr.number()}
    else:
        number = xdr.number()
        values |= {"sflow.source_id_type": number >> 24, "sflow.source_id_index": number & 0xFF_FFFF}


def _interface(values: Read, way: str, kind: int, value: int) -> None:
    """Format 0 is an index (0: unknown, all ones: the device itself), 1 a discarded packet's reason, 2 a number of
    interfaces."""
    if kind == 0:
        values[f"@{way}"] = None if value in _NO_INTERFACE else value
    elif kind == 1 and way == "output":
        values |= {"@forwarding": "dropped", "sflow.drop_reason": value}
    elif kind == 2:
        values[f"sflow.{way}_interfaces"] = value


def _records(xdr: Xdr, values: Read, known: Records) -> tuple[str, ...]:
    """Every record of a sample; unknown and damaged ones are kept in hexadecimal under their number."""
    marks: tuple[str, ...] = ()
    found: Read = {}
    for _ in range(xdr.number()):
        try:
            kind, body = xdr.tagged()
        except Short:
            marks = ("truncated",)
            break
        place = kind >> 12, kind & _FORMAT_NUMBERS
        reader = known.get(place)
        try:
            if reader is None:
                raise Short("unknown")
            # The header itself tells more than what the agent made of it.
            found = found | reader(Xdr(body)) if place == (0, 1) else reader(Xdr(body)) | found
        except Short:
            values.setdefault(f"sflow.other.{place[0]}.{place[1]}", body.hex())
    values |= found
    return marks


def _estimate(values: Read, rate: int) -> None:
    values["@sampling_interval"] = rate
    values["@packets"] = max(rate, 1)
    length = values.get("sflow.frame_length", values.get("sflow.ip_length"))
    if length is not None:
        values["@bytes"] = min(length * max(rate, 1), I64_MAX)


def communities(values: Mapping[str, Sequence[Any]]) -> list[str | None]:
    """The community id of each sample, out of all their columns."""
    protocols = [int(p) if p is not None else None for p in values["@protocol"]]
    n = len(protocols)
    nothing: Sequence[Any] = [None] * n
    kinds, codes = values.get("@icmp_type", nothing), values.get("@icmp_code", nothing)
    first, second = values.get("@source_port", nothing), values.get("@destination_port", nothing)
    is_icmp = [protocol in (1, 58) for protocol in protocols]
    ports = tuple(
        [icmp if yes else port for icmp, port, yes in zip(one, other, is_icmp, strict=True)]
        for one, other in ((kinds, first), (codes, second))
    )
    ends = values.get("@source_ip", nothing), values.get("@destination_ip", nothing)
    return community_ids(*ends, protocols, (ports[0], ports[1]))


_SAMPLES: Mapping[int, Callable[[Xdr, Read], tuple[str, ...]]] = {
    _FLOW: lambda xdr, values: _flow(xdr, values, is_expanded=False),
    _FLOW_EXPANDED: lambda xdr, values: _flow(xdr, values, is_expanded=True),
    _COUNTERS: lambda xdr, values: _counters(xdr, values, is_expanded=False),
    _COUNTERS_EXPANDED: lambda xdr, values: _counters(xdr, values, is_expanded=True),
    _DISCARD: _discard,
}  # fmt: skip
