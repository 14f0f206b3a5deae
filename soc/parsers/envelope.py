"""The fields that every event has: identity, place, times, flags and the original (design, section 5)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from soc.model.batch import CLOSED_BY, Column
from soc.model.fields import FieldType
from soc.model.kernel import asked
from soc.model.lazy import LazyMapping
from soc.model.position import Position, event_id, position_prefix
from soc.model.record import HOLE, INCOMPLETE, OVERSIZE, POLLED, SYSTEM, UNVERIFIED, RawBlock
from soc.parsers import times
from soc.parsers.decoders.flow_text import text_array
from soc.parsers.decoders.syslog_odd import utf16

K, L = FieldType.KEYWORD, FieldType.LONG
Array = np.ndarray[Any, Any]
FEW = 64
"""Of so few events each gets its identity alone."""
_ID = np.dtype([("ms", "V6"), ("high", ">u2"), ("low", ">u8")])
_WORDS = ((OVERSIZE, "oversize"), (UNVERIFIED, "unverified"), (INCOMPLETE, "incomplete"), (HOLE, "nul_hole"))
MARKS = tuple(tuple(word for bit, word in _WORDS if bits & bit) for bits in range(16))
"""By the bits of `RawBlock.flags`."""


_OF_THE_SOURCE: Mapping[str, Callable[[RawBlock], str]] = {
    "soc.site": lambda frame: frame.site,
    "soc.source": lambda frame: frame.source,
    "soc.listener": lambda frame: frame.listener,
}
_OF_ORIGIN = ("soc.import.id", "log.file.path", SYSTEM)
_COMMON = (
    "@timestamp", "event.id", "event.created", "event.ingested", "event.dataset", "event.kind", "soc.site",
    "soc.source", "soc.listener", "soc.position", "soc.part", "soc.time.basis", "soc.product", "soc.shape",
    "soc.flags", "soc.time.device", *_OF_ORIGIN, "soc.record", "soc.joined", CLOSED_BY,
)  # fmt: skip
"""What `Envelope.columns` may have, in order."""


class Placed(NamedTuple):
    """Where some events stand in time: µs and its basis of each, and what a device claimed that is not believed."""

    when: list[int]
    basis: list[str]
    claimed: dict[int, int]


class _Common(LazyMapping[Column]):
    """The common columns of some records."""

    def __init__(
        self,
        envelope: Envelope,
        rows: Sequence[int],
        constants: Mapping[str, tuple[FieldType, Any]],
        stamps: Callable[[], Sequence[times.Stamp | None]],
        flags: Callable[[], dict[int, tuple[str, ...]]],
        parts: Sequence[int] | None,
    ) -> None:
        super().__init__()
        self._envelope, self._rows, self._parts, self._constants = envelope, rows, parts, constants
        self._stamps, self._flags = stamps, flags

    @functools.cached_property
    def _placed(self) -> Placed:
        return self._envelope.placed(self._rows, self._stamps())

    def names(self) -> Iterable[str]:
        return _COMMON

    def make(self, name: str) -> Column | None:
        envelope, rows = self._envelope, self._rows
        if name in self._constants:
            kind, value = self._constants[name]
            return Column.constant(kind, value, len(rows))
        match name:
            case "@timestamp":
                return Column.of(FieldType.DATE, self._placed.when)
            case "event.id":
                return Column.of(FieldType.BINARY, envelope.ids(rows, self._parts))
            case "event.created":
                return Column.of(FieldType.DATE, [envelope.receipt_us[i] for i in rows])
            case "soc.position":
                return Column.of(K, envelope.positions(rows, self._parts))
            case "soc.part":
                return Column.of(L, list(self._parts or ()))
            case "soc.site" | "soc.source" | "soc.listener":
                return Column.of(K, envelope.of_sources(name, rows))
            case "soc.time.basis":
                return Column.of(K, self._placed.basis)
            case "soc.time.device":
                claimed = self._placed.claimed
                return Column.of(FieldType.DATE, [claimed.get(k) for k in range(len(rows))]) if claimed else None
            case "soc.flags":
                return envelope.marks(rows, self._flags(), self._placed.claimed)
            case "soc.record":
                first = envelope.first
                return None if first is None else Column.of(L, [first + i for i in rows])
            case "soc.joined":
                joined = envelope.joined
                return Column.of(L, [joined.get(i) for i in rows]) if joined else None
        return None


class Parts(Protocol):
    """Where n events stand: the row of each one's record in the block, its place among the record's events, and the
    device's time (µs UTC; 0 or less: it has none)."""

    @property
    def n(self) -> int: ...

    @property
    def rows(self) -> Array: ...

    @property
    def parts(self) -> Array: ...

    @property
    def at_us(self) -> Array: ...


class _CommonOfParts(LazyMapping[Column]):
    """The common columns of records of many events."""

    def __init__(
        self,
        envelope: Envelope,
        parts: Parts,
        constants: Mapping[str, tuple[FieldType, Any]],
        flags: Callable[[], Column | None],
    ) -> None:
        super().__init__()
        self._envelope, self._parts, self._constants, self._flags = envelope, parts, constants, flags

    @functools.cached_property
    def _receipt(self) -> Array:
        return np.array(self._envelope.receipt_us, np.int64)[self._parts.rows]

    @functools.cached_property
    def _believed(self) -> tuple[Array, Array]:
        """Whose time is the device's, and whose would be if it were not that wrong."""
        at_us = self._parts.at_us
        is_told = at_us > 0
        is_skewed = is_told & (np.abs(at_us - self._receipt) > times.SKEW_US) & (not self._envelope.is_file)
        return is_told & ~is_skewed, is_skewed

    def names(self) -> Iterable[str]:
        return _COMMON

    def make(self, name: str) -> Column | None:
        envelope, parts = self._envelope, self._parts
        if name in self._constants:
            kind, value = self._constants[name]
            return Column.constant(kind, value, parts.n)
        match name:
            case "@timestamp":
                is_believed, _ = self._believed
                return Column.numpy(FieldType.DATE, np.where(is_believed, parts.at_us, self._receipt))
            case "event.id":
                return Column.arrow(FieldType.BINARY, envelope.ids_of_parts(parts.rows, parts.parts))
            case "event.created":
                return Column.numpy(FieldType.DATE, self._receipt)
            case "soc.position":
                return envelope.positions_of_parts(parts.rows, parts.parts)
            case "soc.part":
                return Column.numpy(L, parts.parts)
            case "soc.site" | "soc.source" | "soc.listener":
                return Column.of(K, envelope.of_sources(name, parts.rows.tolist()))
            case "soc.time.basis":
                return _either(self._believed[0], times.DEVICE, times.RECEIVED)
            case "soc.time.device":
                _, is_skewed = self._believed
                if not is_skewed.any():
                    return None
                device = pa.array(parts.at_us, pa.timestamp("us", tz="UTC"), mask=~is_skewed)
                return Column.arrow(FieldType.DATE, device)
            case "soc.flags":
                return self._marked()
            case "soc.record":
                first = envelope.first
                return None if first is None else Column.numpy(L, parts.rows + first)
        return None

    def _marked(self) -> Column:
        n, flags, (_, is_skewed) = self._parts.n, self._flags(), self._believed
        column = flags if flags is not None else Column.constant(K, None, n, many=True)
        if not is_skewed.any() and not self._envelope.flags:
            return column
        own = {k: marks for k, marks in enumerate(column.to_list()) if marks}
        return self._envelope.marks(self._parts.rows.tolist(), own, set(np.flatnonzero(is_skewed).tolist()))


class Envelope:
    """What a block says about its records; `columns` makes the common fields of any choice of them."""

    def __init__(self, block: RawBlock, now_ns: int, *, ordinal: int = 0, closed_by: Position | None = None) -> None:
        """`ordinal` is the place of the block's first record in its frame. `closed_by`: the frame with which an event
        of several records was complete, when it is a later one than the block's."""
        self.block = block
        self._ordinal = ordinal
        self.closed_by = str(closed_by) if closed_by is not None else None
        self.now_us = now_ns // 1000
        self.receipt_ns: list[int] = block.receipt_ns.tolist()
        self.is_file = "log.file.path" in block.origin
        self.is_polled = POLLED in block.origin
        self.first = _number(block.origin.get("first_record"))
        self.originals: list[Any] = []
        self.joined: dict[int, int] = {}
        self.flags: dict[int, tuple[str, ...]] = {i: MARKS[bits] for i, bits in enumerate(block.flags) if bits}

    @functools.cached_property
    def receipt_us(self) -> list[int]:
        """µs since the epoch, of each record."""
        return [ns // 1000 for ns in self.receipt_ns]

    @functools.cached_property
    def _places(self) -> tuple[list[int], list[int]]:
        """Of each record the seq of its frame, and its ordinal in it."""
        seqs, ordinals = self.block.of_each(lambda frame: frame.seq), self.block.ordinals()
        return seqs, [i + self._ordinal for i in ordinals] if self._ordinal else ordinals

    @functools.cached_property
    def _of_each(self) -> dict[str, list[str]]:
        """By name, of each record what it says of its source."""
        return {name: self.block.of_each(said) for name, said in _OF_THE_SOURCE.items()}

    def of_sources(self, name: str, rows: Iterable[int]) -> list[str]:
        """`soc.site`, `soc.source` or `soc.listener` of these records."""
        return list(map(self._of_each[name].__getitem__, rows))

    def peers(self, rows: Sequence[int] | Array) -> Column | list[str]:
        """From whom these records came, for a definition to map."""
        if not self.block.is_mixed:
            return Column.constant(K, self.block.peer, len(rows))
        return list(map(self._peers.__getitem__, rows))

    @functools.cached_property
    def _peers(self) -> list[str]:
        return self.block.of_each(lambda frame: frame.peer)

    def texts(self) -> list[str]:
        """The records as text; UTF-16 and bytes that are no text (escaped) are flagged, and kept beside as bytes."""
        block = self.block
        if block.data.isascii() and b"\0" not in block.data:
            whole, start, result = block.data.decode("ascii"), 0, []
            for stop in block.end.tolist():
                result.append(whole[start:stop])
                start = stop
            return result
        try:
            if b"\0" not in block.data:
                return [record.decode() for record in block.records()]
        except UnicodeDecodeError:
            pass  # one by one, to know which
        return [self._text(i, record) for i, record in enumerate(block.records())]

    def _text(self, i: int, record: bytes) -> str:
        if (b"\0" in record or record[:1] in (b"\xff", b"\xfe")) and (wide := utf16(record)) is not None:
            self.keep(i, record, "utf16")
            return wide
        try:
            return record.decode()
        except UnicodeDecodeError:
            self.keep(i, record, "not_utf8")
            return record.decode("utf-8", "backslashreplace")

    def keep(self, i: int, record: bytes, *flags: str) -> None:
        """Keep what came beside the text that is made of it."""
        if flags:
            self.flags[i] = (*self.flags.get(i, ()), *flags)
        if not self.originals:
            self.originals = [None] * self.block.n
        self.originals[i] = record

    def merge(self, rows: Sequence[int], flags: Sequence[str]) -> None:
        """Let these records be one, the first: with the flags of all and these, and with all that came."""
        first = rows[0]
        if marks := tuple(dict.fromkeys((*(word for i in rows for word in self.flags.get(i, ())), *flags))):
            self.flags[first] = marks
        if len(rows) > 1:
            self.joined[first] = len(rows)
            if self.originals and any(self.originals[i] is not None for i in rows):
                records = list(self.block.records())
                self.originals[first] = b"\n".join(records[i] for i in rows)

    def columns(
        self,
        rows: Sequence[int],
        product: str,
        dataset: str,
        stamps: Callable[[], Sequence[times.Stamp | None]],
        flags: Callable[[], dict[int, tuple[str, ...]]],
        *,
        parts: Sequence[int] | None = None,
        kind: str = "event",
        shape: str | None = None,
    ) -> LazyMapping[Column]:
        """The common columns of these records. `flags` gives them by place in `rows`, `stamps` the devices' times."""
        constants = self._constants(product, dataset, kind, shape)
        if parts is None:
            constants["soc.part"] = L, 0
        return _Common(self, rows, constants, stamps, flags, parts)

    def columns_of_parts(
        self, parts: Parts, product: str, dataset: str, flags: Callable[[], Column | None]
    ) -> LazyMapping[Column]:
        """The same for records of many events, whole columns at a time. `flags` are complete but for what the block and
        the clock add."""
        return _CommonOfParts(self, parts, self._constants(product, dataset), flags)

    def _constants(
        self, product: str, dataset: str, kind: str = "event", shape: str | None = None
    ) -> dict[str, tuple[FieldType, Any]]:
        block = self.block
        constants: dict[str, tuple[FieldType, Any]] = {
            "event.ingested": (FieldType.DATE, self.now_us), "event.dataset": (K, dataset), "event.kind": (K, kind),
            "soc.product": (K, product or None), "soc.shape": (K, shape),
        }  # fmt: skip
        if not block.is_mixed:
            constants |= {name: (K, said(block)) for name, said in _OF_THE_SOURCE.items()}
        if self.closed_by is not None:
            constants[CLOSED_BY] = K, self.closed_by
        return constants | {name: (K, block.origin[name]) for name in _OF_ORIGIN if name in block.origin}

    def ids_of_parts(self, rows: Array, parts: Array) -> Any:
        """`event_id` of each, hashed once a record."""
        if len(rows) < FEW:
            return pa.array(self.ids(rows.tolist(), parts.tolist()), pa.binary())
        distinct = np.flatnonzero(np.bincount(rows))
        place = np.zeros(self.block.n, np.int64)
        place[distinct] = np.arange(len(distinct))
        ids = np.frombuffer(b"".join(self.ids(distinct.tolist(), None)), _ID)[place[rows]]
        low = ids["low"].astype(np.uint64) + parts.astype(np.uint64)
        ids["high"] += low < parts.astype(np.uint64)  # what the lower 64 bits carry
        ids["low"] = low
        ends = np.arange(len(rows) + 1, dtype=np.int32) * np.int32(_ID.itemsize)
        return pa.BinaryArray.from_buffers(pa.binary(), len(rows), [None, pa.py_buffer(ends), pa.py_buffer(ids)])

    def positions_of_parts(self, rows: Array, parts: Array) -> Column:
        """`soc.position` of each."""
        heads = self._heads(range(self.block.n))
        if (found := asked("position_texts", heads, rows, parts)) is not None:
            return Column.arrow(K, text_array(*found))
        tails = [str(part) for part in range(int(parts.max()) + 1 if len(parts) else 0)]
        return Column.of(K, [heads[row] + tails[part] for row, part in zip(rows.tolist(), parts.tolist(), strict=True)])

    def text_columns(self, rows: Sequence[int], texts: Sequence[str]) -> dict[str, Column]:
        """`event.original`, and `soc.original_bytes` where the text is not all of it."""
        result = {"event.original": Column.of(FieldType.TEXT, [texts[i] for i in rows])}
        if self.originals:
            result["soc.original_bytes"] = Column.of(FieldType.BINARY, [self.originals[i] for i in rows])
        return result

    def placed(self, rows: Sequence[int], stamps: Sequence[times.Stamp | None]) -> Placed:
        when: list[int] = []
        basis: list[str] = []
        claimed: dict[int, int] = {}
        for k, (row, stamp) in enumerate(zip(rows, stamps, strict=True)):
            receipt = self.receipt_us[row]
            us = None if stamp is None else stamp[0]
            if stamp is None or us is None:
                when.append(receipt)
                basis.append(times.RECEIVED)
            elif not self.is_file and abs(us - receipt) > times.SKEW_US and not (self.is_polled and us < receipt):
                # A live device whose clock is that wrong cannot place events; a file of old logs can, and so can a
                # source that is asked late, but for what is still to come.
                when.append(receipt)
                basis.append(times.RECEIVED)
                claimed[k] = us
            else:
                when.append(us)
                basis.append(stamp[1])
        return Placed(when, basis, claimed)

    def ids(self, rows: Sequence[int], parts: Sequence[int] | None) -> list[bytes]:
        prefix, (seqs, ordinals) = position_prefix(self.block.node, self.block.log), self._places
        ns = self.receipt_ns
        if parts is None:
            return [event_id(ns[i], prefix, seqs[i], ordinals[i]) for i in rows]
        return [event_id(ns[i], prefix, seqs[i], ordinals[i], part) for i, part in zip(rows, parts, strict=True)]

    def positions(self, rows: Sequence[int], parts: Sequence[int] | None) -> list[str]:
        if parts is None:
            return [f"{head}0" for head in self._heads(rows)]
        return [f"{head}{part}" for head, part in zip(self._heads(rows), parts, strict=True)]

    def rows_at(self, positions: Iterable[str]) -> list[int]:
        """Which records of the block stand at these positions."""
        rows = {head: i for i, head in enumerate(self._heads(range(self.block.n)))}
        return [rows[position[: position.rindex(":") + 1]] for position in positions]

    def _heads(self, rows: Iterable[int]) -> list[str]:
        """The positions of these records, without the part."""
        prefix, (seqs, ordinals) = f"{self.block.node}:{self.block.log}:", self._places
        return [f"{prefix}{seqs[i]}:{ordinals[i]}:" for i in rows]

    def marks(self, rows: Sequence[int], flags: dict[int, tuple[str, ...]], skewed: Collection[int]) -> Column:
        values: list[tuple[str, ...] | None] | None = None
        if flags or skewed or self.flags:
            values = [
                tuple(
                    dict.fromkeys(
                        (*self.flags.get(i, ()), *flags.get(k, ()), *(("clock_skew",) if k in skewed else ()))
                    )
                )
                or None
                for k, i in enumerate(rows)
            ]
        if values is None or not any(values):
            return Column.constant(K, None, len(rows), many=True)
        return Column.of(K, values, many=True)


def _either(mask: Array, one: str, other: str) -> Column:
    if mask.all():
        return Column.constant(K, one, len(mask))
    return Column.arrow(K, pa.array([other, one], pa.string()).take(pa.array(mask.astype(np.int8))))


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and str(text).isdigit() else None
