"""Plain messages, which hold one data set and nothing else: those that follow each other without a gap, taken together.

That is what exporters send nearly always. The compiled kernel does the same as `_gathered`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from soc.model.kernel import asked
from soc.parsers.decoders.flow_state import AFTER, MESSAGES, WRAP, Context
from soc.parsers.decoders.flow_templates import Layout, Template
from soc.parsers.decoders.flow_text import Array


class Records(NamedTuple):
    """A block's octets and where each record ends, as uint32 and as a list."""

    data: bytes
    end: Array
    ends: list[int]

    @classmethod
    def of(cls, data: bytes, end: Array) -> Self:
        """From what a block has."""
        return cls(data, np.ascontiguousarray(end, np.uint32), end.tolist())

    def at(self, row: int) -> bytes:
        """One record."""
        return self.data[self.ends[row - 1] if row else 0 : self.ends[row]]


class Plain(NamedTuple):
    """What a plain message says; its records begin at `start`."""

    at_us: int
    uptime_ms: int
    sequence: int
    domain: int
    rate: int
    number: int
    start: int


class Before(NamedTuple):
    """What a message must agree with: the records' size, what may fill up behind them, how the exporter `counts` (see
    `flow_state`; empty: nobody knows yet), its last sequence number and how many records came with it."""

    version: int
    size: int
    padding: int
    counts: str
    sequence: int
    records: int | None


def _step(way: str, n: int, before: int | None) -> int | None:
    """By how much the sequence number of a message with n records goes on; None where only a second look can tell.

    As long as nobody knows what an exporter counts, messages of as many records each fit all ways.
    """
    if way == MESSAGES:
        return 1
    if way == AFTER or (not way and n == before):
        return n
    return before if way else None


class Messages(NamedTuple):
    """Of each message how many records it has, its time (µs UTC), uptime (ms) and sequence number; then what stands
    before the records of each, all of one length, and the records of all."""

    counts: Array
    at_us: Array
    uptime_ms: Array
    sequence: Array
    prefixes: bytes
    fixed: bytes


@dataclass(frozen=True)
class Run:
    """Messages of one template and context; `rows` are their places in the block."""

    version: int
    domain: int
    rate: int
    context: Context
    template: Template
    layout: Layout
    rows: Array
    messages: Messages


def gather(records: Records, rows: Array, at: int, before: Before, plain: Callable[[bytes], Plain | None]) -> Messages:
    """The messages from `rows[at]` on that are like it and follow each other without a gap."""
    found = asked("flow_run", records.data, records.end, rows, at, before)
    if found is None:
        return _gathered(records, rows, at, before, plain)
    columns, prefixes, fixed = found
    counts, at_us, uptime_ms, sequence = (np.frombuffer(column, np.int64) for column in columns)
    return Messages(counts, at_us, uptime_ms, sequence, prefixes, fixed)


def _gathered(
    records: Records, rows: Array, at: int, before: Before, plain: Callable[[bytes], Plain | None]
) -> Messages:
    way, sequence, count = before.counts, before.sequence, before.records
    first: Plain | None = None
    numbers: list[tuple[int, int, int, int]] = []
    prefixes, fixed = [], []
    for place in range(at, len(rows)):
        data = records.at(rows[place])
        found = plain(data)
        if found is None:
            break
        first = first or found
        if found.domain != first.domain or found.number != first.number or found.rate != first.rate:
            break
        n, rest = divmod(len(data) - found.start, before.size)
        step = _step(way, n, count)
        if not n or rest > before.padding or step is None or found.sequence != (sequence + step) % WRAP:
            break
        numbers.append((n, found.at_us, found.uptime_ms, found.sequence))
        prefixes.append(data[: found.start])
        fixed.append(data[found.start : len(data) - rest])
        sequence, count = found.sequence, n
    counts, at_us, uptime_ms, sequences = np.array(numbers, np.int64).reshape(-1, 4).T
    return Messages(counts, at_us, uptime_ms, sequences, b"".join(prefixes), b"".join(fixed))
