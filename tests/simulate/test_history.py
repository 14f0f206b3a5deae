"""Months of the past: understood, in the right systems, with a gap, and with something due for deletion."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import pytest

from soc.model.clock import FixedClock, utc
from soc.model.record import RawBlock
from soc.retention import ladder
from soc.retention.check import check
from soc.retention.plan import Policy, make_plan
from soc.simulate.history import GAP_SYSTEM, blocks, days
from soc.simulate.province import YOUNG_DAYS
from tests.simulate.watch import START_NS, Watch, a_province

NOW_US = START_NS // 1000
TODAY = utc(START_NS).date()


@dataclass(frozen=True)
class FakeSegment:
    """A sealed file of one day and level."""

    id: str
    day: str
    level: int
    systems: frozenset[str]
    rows: int
    min_event_us: int
    max_event_us: int
    max_receipt_us: int
    bytes: int = 1
    sha256: str = "0"


@pytest.fixture(scope="module")
def past() -> tuple[Watch, list[RawBlock], list[FakeSegment]]:
    """The blocks of eight months, and the files that the store would make of their events."""
    watch = Watch(a_province())
    found = list(blocks(a_province(), seed=7, clock=FixedClock(START_NS)))
    rows: dict[tuple[str, int], list[tuple[str, int, int]]] = {}
    for block in found:
        for batch in watch.batches(block, START_NS):
            names = ("@timestamp", "event.created", "soc.system.id", "soc.system.level", "soc.flags", "event.dataset")
            for at, receipt, system, level, flags, dataset in zip(*(batch.values(n) for n in names), strict=True):
                assert (flags, dataset == "unparsed") == (None, False)
                rows.setdefault((utc(receipt * 1000).date().isoformat(), level), []).append((system, at, receipt))
    segments = [
        FakeSegment(f"{day}-{level}", day, level, frozenset(s for s, _, _ in events), len(events),
                    min(a for _, a, _ in events), max(a for _, a, _ in events), max(r for _, _, r in events))
        for (day, level), events in rows.items()
    ]  # fmt: skip
    return watch, found, segments


def test_it_is_small_flagged_and_lies_in_the_past(past) -> None:
    """About sixty records a day, in order, none of them later than now."""
    _, found, _ = past
    assert 8 * 30 * 50 < sum(block.n for block in found) < 8 * 31 * 70
    assert all(block.origin["simulated"] == "true" and block.node == "history" for block in found)
    assert max(int(block.receipt_ns[-1]) for block in found) < START_NS
    assert [block.seq for block in found] == list(range(1, len(found) + 1))


def test_a_day_comes_as_one_group() -> None:
    """All blocks of a group are of one UTC day; the days follow each other, the last is today."""
    groups = list(days(a_province(), seed=7, clock=FixedClock(START_NS), months=2))
    seen = [{utc(int(t)).date() for block in group for t in block.receipt_ns} for group in groups]
    assert all(len(one) == 1 for one in seen)
    assert [min(one) for one in seen] == [TODAY - dt.timedelta(days=n) for n in range(len(groups) - 1, -1, -1)]


def test_a_seed_gives_the_same_past() -> None:
    """With the same positions, so that writing it twice adds nothing."""
    clock = FixedClock(START_NS)
    one, other = (list(blocks(a_province(), seed=7, clock=clock, months=1)) for _ in range(2))
    assert [(b.seq, b.peer, b.data, b.receipt_ns.tolist()) for b in one] == [
        (b.seq, b.peer, b.data, b.receipt_ns.tolist()) for b in other
    ]


def test_one_system_is_in_breach_and_the_young_one_on_course(past) -> None:
    """Six days without logs; all others hold what they owe."""
    watch, _, segments = past
    systems = [watch.registry.get(str(d["id"])) for d in a_province().documents]
    standings = {s.system_id: s for s in check(systems, segments, Policy(ladder.load()), NOW_US)}
    verdicts = {name: s.verdict for name, s in standings.items()}
    assert verdicts.pop(GAP_SYSTEM) == "breach"
    assert verdicts.pop("kontum-ioc") == "on_course"
    assert set(verdicts.values()) == {"compliant"}
    first, last = ((TODAY - dt.timedelta(days=n)).isoformat() for n in (25, 20))
    assert [(g.first, g.last, g.cause) for g in standings[GAP_SYSTEM].gaps] == [(first, last, "missing")]
    assert standings["kontum-ioc"].covered_days == YOUNG_DAYS - 1
    assert standings[GAP_SYSTEM].level == 3


def test_something_is_due_at_every_level_and_the_rest_is_owed(past) -> None:
    """Eight months are more than any of the four levels asks for."""
    watch, _, segments = past
    systems = {str(d["id"]): watch.registry.get(str(d["id"])) for d in a_province().documents}
    plan = make_plan(segments, systems, (), Policy(ladder.load()), now_us=NOW_US, planner="p")
    assert {item.level for item in plan.to_delete} == {1, 2, 3, 4}
    oldest_kept = {n: min(i.day for i in plan.items if i.action == "keep" and i.level == n) for n in (1, 3, 4)}
    assert oldest_kept[1] > oldest_kept[3] > oldest_kept[4]
