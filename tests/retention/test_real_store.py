"""Retention on the real event store and the real case database: months of days, two persons, a proof that holds."""

from __future__ import annotations

import datetime as dt
import shutil
import sqlite3
from pathlib import Path

import pytest

from soc.errors import Conflict, PermissionRefused
from soc.model.clock import FixedClock
from soc.model.query import MatchAll
from soc.model.scope import Scope
from soc.registry import Registry
from soc.retention import ladder, manifest
from soc.retention.apply import Deletion
from soc.retention.check import Standing, check, is_compliant
from soc.retention.hold import Holds
from soc.retention.keys import load_or_create, public_hex
from soc.retention.plan import Plan, Policy, make_plan
from soc.retention.verify import MANIFESTS, Verdict, verify
from soc.store.cases import Cases
from soc.store.events import EventStore
from soc.store.events import store as store_module
from tests.retention.fakes import PowerCut, system, us
from tests.store.events.samples import batch, event, upto

NOW = us(2026, 11, 25, 9)
OLD = [dt.date(2025, 11, 10) + dt.timedelta(days=n) for n in range(3)]
SYSTEMS = {
    "portal": system("portal", ("2026-01-01", 1), registered="2026-01-01"),
    "library": system("library", ("2026-01-01", 1), registered="2026-01-01"),
    "records": system("records", ("2026-01-01", 3), registered="2026-03-01"),
    "young": system("young", ("2026-01-01", 2), registered="2026-11-10"),
}
# From when on each has sent something every day, up to yesterday; whoever has no name is of no registered system.
SINCE = {
    None: dt.date(2026, 11, 1),
    "portal": dt.date(2026, 9, 25),
    "library": dt.date(2026, 9, 25),
    "records": dt.date(2026, 7, 25),
    "young": dt.date(2026, 11, 10),
}
ALL = Scope.everything("test", "test")


def row(seq: int, ordinal: int, day: dt.date, name: str | None) -> dict:
    """One event at noon UTC of that day; of nobody without a name."""
    at_us = int(dt.datetime.combine(day, dt.time(12), dt.UTC).timestamp()) * 1_000_000 + ordinal
    owner = {} if name is None else {
        "soc.system.id": name, "soc.system.level": SYSTEMS[name].level_on(day), "organization.id": "u1",
    }  # fmt: skip
    return event(seq, ordinal, at_us=at_us, **owner)


def days_of(name: str | None) -> list[dt.date]:
    since = SINCE[name]
    return [since + dt.timedelta(days=n) for n in range((dt.date(2026, 11, 25) - since).days)]


@pytest.fixture(scope="module")
def months(tmp_path_factory) -> Path:
    """A year-old handful of days of nobody, then months of everybody, sealed: one file per day and level."""
    root = tmp_path_factory.mktemp("months")
    store = EventStore(root, FixedClock(NOW * 1000), writer="w")
    days: dict[dt.date, list[str | None]] = {day: [None] for day in OLD}
    for name in SINCE:
        for day in days_of(name):
            days.setdefault(day, []).append(name)
    for seq, (day, names) in enumerate(sorted(days.items()), 1):
        store.append([batch([row(seq, i, day, name) for i, name in enumerate(names)])], upto(seq, len(names) - 1))
    store.roll()
    store.compact()
    store.close()
    return root


class House:
    """Store, cases, registry, holds and key as `soc serve` has them, on a copy of the months."""

    def __init__(self, months: Path, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "store"
        shutil.copytree(months, self.root)
        self.clock = FixedClock(NOW * 1000)
        self.cases = Cases(folder / "cases.db", self.clock, head_path=folder / "head" / "main.json")
        self.store = EventStore(self.root, self.clock)
        self.registry = Registry(list(SYSTEMS.values()))
        self.policy = Policy(ladder.load())
        ids = iter(f"h{n}" for n in range(9))
        self.holds = Holds(self.cases, self.clock, lambda: next(ids))
        self.key = load_or_create(folder / "keys" / "retention.pem")

    def restart(self) -> None:
        """The machine comes up again."""
        self.store.close()
        self.store = EventStore(self.root, self.clock)

    def plan(self, planner: str = "an") -> Plan:
        systems = {known.id: known for known in self.registry.systems()}
        return make_plan(
            self.store.segments(), systems, self.holds.list(), self.policy, now_us=self.now_us(), planner=planner
        )

    def now_us(self) -> int:
        return self.clock.now_ns() // 1000

    def deletion(self, store=None) -> Deletion:
        folder = self.root / manifest.CERTIFICATES
        return Deletion(self.cases, store or self.store, self.clock, key=self.key, certificates=folder, fresh=self.plan)

    def apply(self, store=None, approver: str = "binh"):
        made = self.plan()
        return self.deletion(store).apply(made, made.hash, approver, "đến hạn")

    def verify(self) -> Verdict:
        """Write the signed manifest of now and hold the folder against it."""
        self.sign()
        return verify(self.root, public_hex(self.key))

    def sign(self) -> None:
        merged = self.store.merged()
        inventory = manifest.Inventory(self.root, self.store.segments(), merged, self.store.tombstones())
        signing = manifest.Manifests(self.root / MANIFESTS, self.root / manifest.CERTIFICATES, self.key)
        signing.extend(inventory, self.now_us())

    def check(self) -> dict[str, Standing]:
        standings = check(
            self.registry.systems(),
            self.store.segments(),
            self.policy,
            self.now_us(),
            tombstones=self.store.tombstones(),
        )
        return {standing.system_id: standing for standing in standings}

    def days(self, level: str) -> list[str]:
        return sorted(found.day for found in self.store.segments() if found.level == level)

    def rows(self) -> int:
        return sum(found.n for found in self.store.scan(ALL, MatchAll(), ["event.id"]))


@pytest.fixture
def house(months, tmp_path):
    made = House(months, tmp_path)
    yield made
    made.store.close()
    made.cases.close()


# what is owed --------------------------------------------------------------------------------------------------------


def test_the_months_are_sealed_one_file_per_day_and_level(house):
    """The input of everything below: nobody, levels 1 and 3, and two weeks of level 2."""
    assert {level: len(house.days(level)) for level in "0123"} == {
        "0": len(days_of(None)) + 3, "1": len(days_of("portal")), "2": 15, "3": len(days_of("records")),
    }  # fmt: skip
    assert house.store.verify_segments(content=True) == []


def test_the_plan_takes_what_is_due_by_level_and_nothing_else(house):
    """Level 1: a month; level 3: three; nobody: twelve. The last day owed is kept, the one before goes."""
    gone = {level: [i.day for i in house.plan().to_delete if i.level == level] for level in range(4)}
    assert gone[1] == [day.isoformat() for day in days_of("portal") if day <= dt.date(2026, 10, 24)]
    assert gone[3] == [day.isoformat() for day in days_of("records") if day <= dt.date(2026, 8, 24)]
    assert gone[0] == ["2025-11-10", "2025-11-11", "2025-11-12"]
    assert gone[2] == []


def test_what_is_kept_says_why(house):
    """Each kept file names the rule and the day on which it will be due."""
    kept = {(item.level, item.day): item.reasons for item in house.plan().items if item.action == "keep"}
    assert [r.id for r in kept[0, "2026-11-01"]] == ["retention.keep.unregistered"]
    (reason,) = kept[3, "2026-08-25"]
    assert (reason.id, reason.params["system"], reason.params["due"]) == (
        "retention.keep.owed",
        "records",
        "2026-11-26",
    )


def test_the_standing_of_each_system(house):
    """Full windows are compliant, the young system is on course; after the deletion still so."""
    before = {name: standing.verdict for name, standing in house.check().items()}
    assert before == {"portal": "compliant", "library": "compliant", "records": "compliant", "young": "on_course"}
    house.apply()
    after = house.check()
    assert {name: standing.verdict for name, standing in after.items()} == before
    assert after["portal"].oldest_day == "2026-10-25"
    assert is_compliant(after.values())


def test_a_file_dropped_too_early_is_a_breach_with_its_cause(house):
    """Whoever goes around the plan is seen: the gap says `deleted`, and no certificate covers the tombstone."""
    early = next(found for found in house.store.segments() if found.level == "3" and found.day == "2026-11-01")
    house.store.drop(early.id, "by hand")
    records = house.check()["records"]
    assert (records.verdict, [(gap.first, gap.cause) for gap in records.gaps]) == (
        "breach",
        [("2026-11-01", "deleted")],
    )
    assert [fault.kind for fault in house.verify().faults] == ["uncertified"]


# deleting ------------------------------------------------------------------------------------------------------------


def test_a_second_person_deletes_and_the_proof_holds(house):
    """Whole files go, their rows with them; tombstones, one certificate, the ledger and the folder agree."""
    made, rows = house.plan(), house.rows()
    with pytest.raises(PermissionRefused):
        house.deletion().apply(made, made.hash, "an")
    done = house.deletion().apply(made, made.hash, "binh", "đến hạn")
    assert {stone["segment_id"] for stone in done.tombstones} == {item.segment_id for item in made.to_delete}
    assert house.rows() == rows - sum(item.rows for item in made.to_delete)
    assert done.certificate.name == f"{made.hash}.json"
    verdict = house.verify()
    assert (verdict.faults, verdict.segments, verdict.tombstones, verdict.certificates) == (
        (), len(made.items) - len(made.to_delete), len(made.to_delete), 1,
    )  # fmt: skip
    assert [(e.act, e.actor, e.reason) for e in house.cases.ledger_entries()] == [
        ("retention.apply", "binh", "đến hạn"), ("retention.certify", "binh", ""),
    ]  # fmt: skip
    assert house.cases.verify_ledger().ok
    assert house.store.verify_segments(content=True) == []


def test_one_changed_byte_of_a_sealed_file_is_found(house):
    """The verifier names the file, the store's own check too."""
    house.apply()
    assert house.verify().ok
    path = house.root / house.store.segments()[7].path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    verdict = verify(house.root, public_hex(house.key))
    assert [(fault.kind, fault.what) for fault in verdict.faults] == [
        ("altered", path.relative_to(house.root).as_posix())
    ]
    assert [fault.kind for fault in house.store.verify_segments()] == ["changed"]


def test_the_removed_last_entry_of_the_ledger_is_found(house):
    """The certificate's entry is taken away behind everybody's back: the signed head knows."""
    house.apply()
    connection = sqlite3.connect(house.folder / "cases.db", isolation_level=None)
    for statement in ("DROP TRIGGER ledger_no_delete", "DELETE FROM ledger WHERE seq = 2"):
        connection.execute(statement)
    connection.close()
    verdict = house.cases.verify_ledger()
    assert verdict.faults == ("the last entry was removed: the signed head is at 2, the database at 1",)


def test_a_hold_keeps_the_whole_file(house):
    """One of two systems in the files is held: the other's events stay with them, and the rest goes."""
    held = house.holds.add("chi", "văn bản 15", systems=frozenset({"library"}))
    made = house.plan()
    assert {item.level for item in made.to_delete} == {0, 3}
    reasons = next(item.reasons for item in made.items if (item.level, item.day) == (1, "2026-09-25"))
    assert [(reason.id, reason.params["hold"]) for reason in reasons] == [("retention.keep.held", held.id)]
    house.deletion().apply(made, made.hash, "binh")
    assert len(house.days("1")) == len(days_of("portal"))
    portal = [
        f.n
        for f in house.store.scan(ALL, MatchAll(), ["soc.system.id"])
        for v in f.values("soc.system.id")
        if v == "portal"
    ]
    assert len(portal) == len(days_of("portal"))
    house.holds.release(held.id, "dung", "xong")
    house.apply()
    assert house.days("1")[0] == "2026-10-25"
    assert house.verify().ok


@pytest.mark.parametrize("what", ["level", "hold", "merge"])
def test_what_changed_between_plan_and_apply_refuses_all_of_it(house, what):
    """A raised level, a new hold, a file that a merge replaced: nothing is deleted, nothing is noted as begun."""
    made, segments = house.plan(), len(house.store.segments())
    if what == "level":
        raised = system("portal", ("2026-01-01", 1), ("2026-11-25", 4), registered="2026-01-01")
        house.registry = Registry([*(s for s in SYSTEMS.values() if s.id != "portal"), raised])
    elif what == "hold":
        house.holds.add("chi", "văn bản 15", first_us=us(2026, 10, 1), last_us=us(2026, 10, 2))
    else:
        late_row_of(house, dt.date(2026, 10, 1))
        segments = len(house.store.segments())
    with pytest.raises(Conflict):
        house.deletion().apply(made, made.hash, "binh")
    assert (len(house.store.segments()), house.store.tombstones()) == (segments, [])
    assert [entry.act for entry in house.cases.ledger_entries()] == ["retention.hold"] * (what == "hold")


def late_row_of(house: House, day: dt.date) -> None:
    """A row received that day that lay in a queue until now; its file is merged with the day's."""
    writer = EventStore(house.root, house.clock, writer="late")
    writer.append([batch([row(900, 0, day, "portal")])], upto(900, 0))
    writer.roll()
    writer.compact(max_files=1)
    writer.close()


# a crash in the middle -----------------------------------------------------------------------------------------------


class Dying:
    """The store of a machine that goes off before the n-th drop."""

    def __init__(self, store: EventStore, drops: int) -> None:
        self.store, self.left = store, drops

    def tombstones(self):
        return self.store.tombstones()

    def drop(self, segment_id: str, authorisation: str):
        if not self.left:
            raise PowerCut
        self.left -= 1
        return self.store.drop(segment_id, authorisation)


@pytest.mark.parametrize("drops", [0, 1, 40])
def test_what_was_begun_is_finished_at_the_next_start(house, drops):
    """Killed before a drop: start-up drops the rest, one certificate names all, a further start does nothing."""
    made = house.plan()
    with pytest.raises(PowerCut):
        house.apply(Dying(house.store, drops))
    assert len(house.store.tombstones()) == drops
    house.restart()
    (done,) = house.deletion().resume()
    assert {stone["segment_id"] for stone in done.tombstones} == {item.segment_id for item in made.to_delete}
    assert house.verify().ok
    assert house.deletion().resume() == []
    assert [entry.act for entry in house.cases.ledger_entries()] == ["retention.apply", "retention.certify"]


def test_a_drop_cut_in_half_is_finished_by_opening_the_store(house, monkeypatch):
    """Killed between the note and the unlink: the file goes when the store opens, under the same approval."""
    made = house.plan()

    def die(path: Path) -> bool:
        raise PowerCut

    with monkeypatch.context() as patch:
        patch.setattr(store_module, "unlink", die)
        with pytest.raises(PowerCut):
            house.apply()
    (half,) = (found for found in house.store.segments() if found.state == "dropping")
    house.restart()
    assert not (house.root / half.path).exists()
    assert [stone.authorisation for stone in house.store.tombstones()] == [f"plan:{made.hash}"]
    (done,) = house.deletion().resume()
    assert len(done.tombstones) == len(made.to_delete)
    assert house.verify().ok


def test_what_a_hold_caught_meanwhile_is_spared_and_named(house):
    """Between the crash and the start somebody holds a day: it stays, and the certificate says so."""
    with pytest.raises(PowerCut):
        house.apply(Dying(house.store, 1))
    house.holds.add("chi", "văn bản 15", systems=frozenset({"records"}))
    house.restart()
    (done,) = house.deletion().resume()
    assert {spared.reason for spared in done.spared} == {"retention.keep.held"}
    assert len(house.days("3")) == len(days_of("records"))
    assert house.verify().ok


def test_the_same_plan_is_not_applied_twice(house):
    """Its files are gone, its run is on record."""
    made = house.plan()
    house.deletion().apply(made, made.hash, "binh")
    with pytest.raises(Conflict):
        house.deletion().apply(made, made.hash, "binh")
    assert len(house.cases.ledger_entries()) == 2
