"""Records of syslog that belong together (stack traces) as one event, told by how their messages begin."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from soc.model.multiline import MAX_BYTES, MAX_LINES, PATTERN, WAIT_S, Rule
from soc.model.position import Position
from soc.model.record import INCOMPLETE, OVERSIZE
from soc.parsers.envelope import MARKS
from soc.parsers.groups import EARLY, SECOND, Group, Groups, Source, Waiting, Who, close
from soc.parsers.text import TextRecords

MAX_GROUPS = 256
MAX_WAITING = 1 << 20
"""Groups, and bytes of their records, that wait in one parser state; then the source that has most gives one up."""


def join(records: TextRecords, groups: Groups, now_ns: int) -> tuple[list[int], list[Group], Groups]:
    """The records of a block that are events, merged with those that go on with them; what was closed of before; and
    what waits now. All are events of their own where the listener joins nothing."""
    block = records.work.envelope.block
    if PATTERN in block.origin:
        return _Joining(records, groups, now_ns).result()
    done, groups = close(block, groups, groups.of(block), now_ns)
    return list(range(block.n)), done, groups


@dataclass
class _Current:
    """A group while a block is read: what came before, and the rows of this block that belong to it."""

    who: Who
    rule: Rule
    before: Group | None = None
    bits: int = 0
    """Flags of its first record beside that record's own."""
    rows: list[int] = field(default_factory=list)
    size: int = 0
    lines: int = 0
    last_ns: int = 0


class _Joining:
    """One block of a source whose listener joins."""

    def __init__(self, records: TextRecords, groups: Groups, now_ns: int) -> None:
        self._records, self._envelope, self._block = records, records.work.envelope, records.work.envelope.block
        self._groups, self._now_ns = groups, now_ns
        self._source, origin = (self._block.site, self._block.listener, self._block.peer), self._block.origin
        self._pattern, self._wait_ns, self._most = origin[PATTERN], int(origin[WAIT_S]) * SECOND, int(origin[MAX_BYTES])
        self._data = list(self._block.records())
        self._currents: dict[Who, _Current] = {}
        self._rows: list[int] = []
        self._closed: list[Group] = []

    def result(self) -> tuple[list[int], list[Group], Groups]:
        mine = self._groups.of(self._block)
        for group in mine:
            self._resume(group)
        for row in range(self._block.n):
            self._read(row)
        fresh = {(self._source, current.who): self._group(current) for current in self._currents.values()}
        left = self._bounded({**self._groups.without(mine).open, **fresh})
        return sorted(self._rows), self._closed, Groups(left, (*self._groups.closed, *self._closed))

    def _resume(self, group: Group) -> None:
        rule = Rule(self._pattern, in_traceback=group.in_traceback)
        last_ns = group.records[-1].receipt_ns
        self._currents[group.who] = _Current(
            group.who, rule, group, size=group.size, lines=len(group.records), last_ns=last_ns
        )

    def _read(self, row: int) -> None:
        current, who = self._spoken_by(row)
        rule = current.rule if current is not None else Rule(self._pattern)
        goes_on = rule.goes_on(self._records.line(row).encode("utf-8", "surrogatepass"))
        size, is_full = len(self._data[row]), False
        if current is not None and goes_on:
            who = current.who
            is_full = current.lines >= MAX_LINES or current.size + size > self._most
        if current is None or not goes_on or is_full:
            self._close(self._currents.pop(who, None), *(("oversize",) if is_full else ()))
            bits = OVERSIZE if is_full else INCOMPLETE if goes_on else 0
            current = _Current(who, Rule(self._pattern, in_traceback=rule.in_traceback), bits=bits)
        else:
            del self._currents[who]
        current.rows.append(row)
        current.size += size
        current.lines += 1
        current.last_ns = self._envelope.receipt_ns[row]
        self._currents[who] = current  # the last one is that which spoke last
        if len(self._currents) > MAX_GROUPS:
            self._close(self._currents.pop(next(iter(self._currents))), EARLY)

    def _spoken_by(self, row: int) -> tuple[_Current | None, Who]:
        """Whose record this is, and what it could go on with; a line without a header is of whoever spoke last."""
        h = self._records.headers
        who = (h.host[row], h.program[row], h.pid[row])
        if who == (None, None, None) and h.priority[row] is None and h.at_us[row] is None:
            current = next(reversed(self._currents.values()), None)
        else:
            current = self._currents.get(who)
        is_late = current is not None and self._envelope.receipt_ns[row] - current.last_ns >= self._wait_ns
        return (None if is_late else current), who

    def _close(self, current: _Current | None, *flags: str) -> None:
        if current is None:
            return
        if current.before is None:
            self._rows.append(self._records.merge(current.rows, (*MARKS[current.bits], *flags)))
        else:
            self._closed.append(self._group(current).closed(self._block, *flags))

    def _group(self, current: _Current) -> Group:
        block, before = self._block, current.before
        fresh = tuple(
            Waiting(
                Position(block.node, block.log, block.seq, row),
                self._envelope.receipt_ns[row],
                (block.flags[row] if block.flags else 0) | (0 if before or row != current.rows[0] else current.bits),
                self._data[row],
            )
            for row in current.rows
        )
        if before is None:
            return Group(
                self._source, current.who, block.format, block.origin, fresh, self._now_ns, self._now_ns,
                current.rule.in_traceback,
            )  # fmt: skip
        heard_ns = self._now_ns if fresh else before.heard_ns
        records = before.records + fresh
        return replace(before, records=records, heard_ns=heard_ns, in_traceback=current.rule.in_traceback)

    def _bounded(self, groups: dict[tuple[Source, Who], Group]) -> dict[tuple[Source, Who], Group]:
        """What there is room for: of the source that has most, what was silent longest is closed."""
        size = sum(group.size for group in groups.values())
        while len(groups) > MAX_GROUPS or size > MAX_WAITING:
            [(most, _)] = Counter(source for source, _ in groups).most_common(1)
            if size > MAX_WAITING:
                most = max(groups.values(), key=lambda group: group.size).source
            key = next(key for key in groups if key[0] == most)
            given_up = groups.pop(key)
            size -= given_up.size
            self._closed.append(given_up.closed(self._block, EARLY))
        return groups
