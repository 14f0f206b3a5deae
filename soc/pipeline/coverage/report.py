"""Which rule saw the events of which window: pure, and every rule × window has exactly one status."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from soc.pipeline.coverage.counting import EVENTS, FAILED, SKIPPED, WINDOW_US
from soc.pipeline.coverage.late import LateNote

EVALUATED, LATE, MISSED, BROKE, BACKFILLED = "evaluated", "late", "skipped", "failed", "backfilled"
STATUSES = (EVALUATED, LATE, MISSED, BROKE, BACKFILLED)
NOT_LOADED, NOT_SEARCHED, UNCOUNTED = "not_loaded", "not_searched", "uncounted"
WAITING, BROKEN, GIVEN_UP, BEHIND = "waiting", "rule_broke", "given_up", "behind"
"""Why: the rule was not at work then; a frame broke the matching; events came past the worker; they still wait; an
event broke the rule, or one that it builds on; so it did when it was made up for, `TRIES` times; events came too late
to be counted by the correlation."""
TRIES = 3
"""A rule that broke so often is not tried again unasked until it is changed."""
RULES_SHOWN = 20
"""Rules of a range that are named; all are counted."""


@dataclass(frozen=True)
class Cell:
    """One rule in one window: its status, why, and how many events it is about."""

    status: str
    why: str = ""
    events: int = 0


Range = tuple[int, int, Cell]
"""From (µs UTC), until, and what holds of each window in it."""
Owed = tuple[list[str], int, int]
"""What a backfill is asked for: rules, from (µs UTC of receipt), until."""


@dataclass(frozen=True)
class Backfill:
    """These rules were held against everything received in `since_us <= t < until_us` (µs UTC) later on; those that
    `broke`, with their versions, were not."""

    id: str
    rules: frozenset[str]
    since_us: int
    until_us: int
    broke: Mapping[str, str] = field(default_factory=dict)

    def covers(self, start_us: int) -> bool:
        """Whether the whole window is in it."""
        return self.since_us <= start_us and start_us + WINDOW_US <= self.until_us


@dataclass(frozen=True)
class Known:
    """What the report is made of. Times are µs UTC of receipt; `counts` are those of `counting`.

    `in_store` are the events of each window as the store has them now. What was received from `waiting_us` on may
    still wait for the worker, from `waiting_matched_us` on for the correlations; None: nothing waits.
    """

    since_us: int
    until_us: int
    rulesets: Mapping[str, Mapping[str, Any]]
    counts: Mapping[tuple[int, str], int]
    in_store: Mapping[int, int]
    backfills: Sequence[Backfill] = ()
    waiting_us: int | None = None
    waiting_matched_us: int | None = None
    late: Sequence[LateNote] = ()


@dataclass
class _Window:
    """What was counted in one window: events and skipped ones by set of rules, broken ones by rule."""

    events: Counter[str] = field(default_factory=Counter)
    skipped: int = 0
    failed: Counter[str] = field(default_factory=Counter)


class Coverage:
    """Answers for the rules of the set that was at work last."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._windows: dict[int, _Window] = {}
        for (at_us, name), n in known.counts.items():
            self._add(self._windows.setdefault(at_us, _Window()), name, n)
        newest = max(known.rulesets.values(), key=lambda each: int(each["last_us"]), default=None)
        self.rules: list[str] = sorted(newest["rules"]) if newest else []
        self._newest: Mapping[str, Any] = newest or {"rules": {}, "builds_on": {}, "models": [], "titles": {}}
        self._stateful = {*self._newest["builds_on"], *self._newest["models"]}
        begins = known.since_us // WINDOW_US * WINDOW_US
        self.starts = range(begins, known.until_us - WINDOW_US + 1, WINDOW_US)

    def _add(self, window: _Window, name: str, n: int) -> None:
        ruleset, what, rule = [*name.split(" ", 2), ""][:3]
        if what == EVENTS:
            window.events[ruleset] += n
        elif what == SKIPPED:
            window.skipped += n
        elif what == FAILED:
            window.failed[rule] += n

    def cell(self, rule: str, start_us: int) -> Cell:
        """The one status of a rule in a window."""
        found = self._plain(rule, start_us)
        if found.status == EVALUATED:
            return self._behind(rule, start_us) or found
        if found.status not in (MISSED, BROKE):
            return found
        if any(rule in each.rules and each.covers(start_us) for each in self._known.backfills):
            return Cell(BACKFILLED, found.why, found.events)
        if found.why != NOT_LOADED and self._tries(rule, start_us) >= TRIES:
            return Cell(found.status, GIVEN_UP, found.events)
        return found

    def _plain(self, rule: str, start_us: int) -> Cell:
        known, window = self._known, self._windows.get(start_us, _Window())
        waits = [known.waiting_us, known.waiting_matched_us if rule in self._stateful else None]
        broken = sum(window.failed[each] for each in self._under(rule))
        counted = sum(window.events.values())
        past = known.in_store.get(start_us, 0) - counted
        unloaded = sum(n for ruleset, n in window.events.items() if not self._has(ruleset, rule))
        if any(at_us is not None and at_us < start_us + WINDOW_US for at_us in waits):
            return Cell(LATE, WAITING)
        if broken:
            return Cell(BROKE, BROKEN, broken)
        if window.skipped:
            return Cell(MISSED, NOT_SEARCHED, window.skipped)
        if past > 0:
            return Cell(MISSED, UNCOUNTED, past)
        if unloaded:
            return Cell(MISSED, NOT_LOADED, unloaded)
        return Cell(EVALUATED, "", counted)

    def _under(self, rule: str) -> Iterator[str]:
        """The rule and everything it builds on."""
        yield rule
        for each in self._newest["builds_on"].get(rule, ()):
            yield from self._under(each)

    def _has(self, ruleset: str, rule: str) -> bool:
        """Whether a set has this rule; of a set whose file is gone nothing is claimed."""
        return rule in self._known.rulesets.get(ruleset, {"rules": ()})["rules"]

    def _behind(self, rule: str, start_us: int) -> Cell | None:
        """Of events that came too late: whether they were looked at again; None when there are none."""
        notes = [each for each in self._known.late if start_us in each.received.get(rule, ())]
        if not notes:
            return None
        events = sum(each.received[rule][start_us] for each in notes)
        if all(rule in each.done for each in notes):
            return Cell(BACKFILLED, BEHIND, events)
        given_up = all(rule in each.done or each.tries >= TRIES for each in notes)
        return Cell(LATE, GIVEN_UP if given_up else BEHIND, events)

    def _tries(self, rule: str, start_us: int) -> int:
        """How often the rule as it is now broke when the window was made up for."""
        version = self._newest["rules"].get(rule)
        return sum(each.broke.get(rule) == version and each.covers(start_us) for each in self._known.backfills)

    def report(self, rules: Collection[str] | None = None) -> dict[str, Any]:
        """Plain data: how many rule × windows have which status, and the ranges that are not evaluated.

        Rules with the same ranges stand together; `rules_total` of them, the ids of the first `RULES_SHOWN`. A rule
        that was not there yet is told and counted, and is no gap.
        """
        wanted = list(self._ranges(rules))
        totals: Counter[str] = Counter()
        gaps = not_loaded = 0
        alike: dict[tuple[Range, ...], list[str]] = {}
        for rule, ranges in wanted:
            for since_us, until_us, cell in ranges:
                n = (until_us - since_us) // WINDOW_US
                totals[cell.status] += n
                gaps += n if is_gap(cell) else 0
                not_loaded += n if cell == Cell(MISSED, NOT_LOADED, cell.events) else 0
            alike.setdefault(tuple(each for each in ranges if each[2].status != EVALUATED), []).append(rule)
        alike.pop((), None)
        begins = self.starts.start
        return {
            "since_us": begins, "until_us": begins + len(self.starts) * WINDOW_US,
            "window_us": WINDOW_US, "windows": len(self.starts), "rules": len(wanted),
            "totals": {status: totals[status] for status in STATUSES},
            "gaps": gaps, "not_loaded": not_loaded,
            "ranges": [row for ranges, several in alike.items() for row in self._rows(ranges, several)],
        }  # fmt: skip

    def owed(self, rules: Collection[str] | None = None) -> Owed | None:
        """What a backfill has to make up for: which rules, from when until when; None for nothing.

        Rules that were not there yet are left out unless they are named, and so are models: they learn from what
        comes, in its order.
        """
        return _hull(
            (rule, since_us, until_us)
            for rule, since_us, until_us, cell in self._missed(rules)
            if rules is not None or cell.why != NOT_LOADED
        )

    def owed_unasked(self, now_us: int) -> Owed | None:
        """The same of what can be made up for now without anybody asking: what a rule joins with events of the gap is
        there as well, and the rule did not break on it again and again."""
        return _hull(
            (rule, since_us, min(until_us, settled_us))
            for rule, since_us, until_us, cell in self._missed(None)
            if cell.why not in (NOT_LOADED, GIVEN_UP)
            if (settled_us := (now_us - self.reach_us(rule)) // WINDOW_US * WINDOW_US) > since_us
        )

    def _missed(self, rules: Collection[str] | None) -> Iterator[tuple[str, int, int, Cell]]:
        for rule, ranges in self._ranges(rules):
            for since_us, until_us, cell in ranges:
                if cell.status in (MISSED, BROKE) and rule not in self._newest["models"]:
                    yield rule, since_us, until_us, cell

    def reach_us(self, rule: str) -> int:
        """How far apart events may be that the rule joins (µs)."""
        return int(self._newest.get("reach_us", {}).get(rule, 0))

    def _ranges(self, rules: Collection[str] | None) -> Iterator[tuple[str, tuple[Range, ...]]]:
        """Every rule with its ranges of one status each, in order and without a hole."""
        known: dict[Any, tuple[Range, ...]] = {}
        for rule in self.rules:
            if rules is not None and rule not in rules:
                continue
            kind = self._kind(rule)
            ranges = known.get(kind) if kind is not None else None
            if ranges is None:
                ranges = tuple(_joined((start, self.cell(rule, start)) for start in self.starts))
                if kind is not None:
                    known[kind] = ranges
            yield rule, ranges

    def _kind(self, rule: str) -> Any:
        """Rules of one kind have the same cells, so that thousands of them cost as much as one; None: alone."""
        if any(window.failed[each] for window in self._windows.values() for each in self._under(rule)):
            return None
        sets = tuple(self._has(ruleset, rule) for ruleset in sorted(self._known.rulesets))
        if any(rule in each.received for each in self._known.late):
            return None
        made_up = tuple((rule in each.rules, rule in each.broke) for each in self._known.backfills)
        return sets, rule in self._stateful, made_up

    def _rows(self, ranges: Sequence[Range], rules: Sequence[str]) -> Iterator[dict[str, Any]]:
        titles = self._newest["titles"]
        shown = [{"rule": id, "title": titles[id][0], "title_vi": titles[id][1]} for id in rules[:RULES_SHOWN]]
        for since_us, until_us, cell in ranges:
            yield {
                "since_us": since_us, "until_us": until_us, "status": cell.status, "why": cell.why,
                "events": cell.events, "rules": shown, "rules_total": len(rules),
            }  # fmt: skip


def is_gap(cell: Cell) -> bool:
    """Whether a rule that was at work did not see all it should have seen."""
    return cell.status in (LATE, BROKE) or (cell.status == MISSED and cell.why != NOT_LOADED)


def _hull(gaps: Iterable[tuple[str, int, int]]) -> Owed | None:
    found = list(gaps)
    if not found:
        return None
    return sorted({rule for rule, _, _ in found}), min(a for _, a, _ in found), max(b for _, _, b in found)


def _joined(cells: Iterable[tuple[int, Cell]]) -> Iterator[Range]:
    """Windows side by side with the same status and reason as one range, their events added up."""
    held: Range | None = None
    for start_us, cell in cells:
        end_us = start_us + WINDOW_US
        if held is not None and (held[2].status, held[2].why) == (cell.status, cell.why):
            held = (held[0], end_us, Cell(cell.status, cell.why, held[2].events + cell.events))
            continue
        if held is not None:
            yield held
        held = (start_us, end_us, cell)
    if held is not None:
        yield held
