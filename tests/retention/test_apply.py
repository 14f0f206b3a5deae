"""Deletion: a second person, holds first, resumable, certified."""

from __future__ import annotations

import pytest

from soc.errors import Conflict, PermissionRefused, UsageError
from soc.model.clock import FixedClock
from soc.retention import ladder, manifest
from soc.retention.apply import Deletion
from soc.retention.hold import Extent, Holds
from soc.retention.keys import load_or_create, public_hex
from soc.retention.plan import Policy, make_plan
from soc.retention.verify import MANIFESTS, verify
from tests.retention.fakes import FakeCases, FolderStore, PowerCut, segment, system, us

NOW = us(2026, 11, 25)


class House:
    """A store with three due files and one owed, its cases, holds and key."""

    def __init__(self, folder):
        self.folder = folder
        self.clock = FixedClock(NOW * 1000)
        self.cases = FakeCases()
        self.store = FolderStore(folder)
        self.systems = {"a": system()}
        ids = iter(f"h{n}" for n in range(9))
        self.holds = Holds(self.cases, self.clock, lambda: next(ids), {"T-1": Extent(frozenset({"a"}), 0, NOW)}.get)
        self.key = load_or_create(folder / "keys" / "retention.pem")
        for n in (1, 2, 3):
            self.store.add(segment(us(2026, n, 5), name=f"old{n}"))
        self.store.add(segment(us(2026, 11, 1), name="young"))

    def plan(self, planner="an"):
        policy = Policy(ladder.load())
        held = self.holds.list()
        return make_plan(self.store.segments, self.systems, held, policy, now_us=NOW, planner=planner)

    def deletion(self):
        certificates = self.folder / manifest.CERTIFICATES
        return Deletion(self.cases, self.store, self.clock, key=self.key, certificates=certificates, fresh=self.plan)

    def apply(self, approver="binh"):
        made = self.plan()
        return self.deletion().apply(made, made.hash, approver)

    def verify(self):
        signing = manifest.Manifests(self.folder / MANIFESTS, self.folder / manifest.CERTIFICATES, self.key)
        inventory = manifest.Inventory(self.folder, self.store.segments, (), self.store.stones)
        signing.extend(inventory, NOW)
        return verify(self.folder, public_hex(self.key))


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


def test_apply_deletes_what_is_due_and_nothing_else(house):
    """Three old files go, the young one stays."""
    house.apply()
    assert [s.id for s in house.store.segments] == ["young"]


def test_the_planner_cannot_approve(house):
    """Two persons."""
    with pytest.raises(PermissionRefused):
        house.apply(approver="an")
    assert len(house.store.segments) == 4


def test_approval_is_bound_to_the_hash(house):
    """Approving one plan deletes nothing of another."""
    with pytest.raises(Conflict):
        house.deletion().apply(house.plan(), "0" * 64, "binh")
    assert len(house.store.segments) == 4


def test_a_hold_set_after_the_plan_wins(house):
    """AC4: a hold prevents the purge even of an approved plan."""
    made = house.plan()
    house.holds.add("chi", "văn bản 15", systems=frozenset({"a"}))
    with pytest.raises(Conflict):
        house.deletion().apply(made, made.hash, "binh")
    assert len(house.store.segments) == 4


def test_a_level_raised_after_the_plan_wins(house):
    """What is owed now decides."""
    made = house.plan()
    house.systems["a"] = system("a", ("2020-01-01", 3), ("2026-11-24", 5))
    with pytest.raises(Conflict):
        house.deletion().apply(made, made.hash, "binh")


def test_intent_stands_in_the_ledger_before_the_first_drop(house):
    """The machine dies at once: the intent is there, nothing was deleted."""
    house.store.cut_after = 0
    with pytest.raises(PowerCut):
        house.apply()
    assert [entry[0] for entry in house.cases.entries] == ["retention.apply"]


def test_what_was_begun_is_finished_and_certified_once(house):
    """Power fails after one of three drops; start-up finishes, the proof holds, a second start-up does nothing."""
    house.store.cut_after = 1
    with pytest.raises(PowerCut):
        house.apply()
    house.store.cut_after = None
    done = house.deletion().resume()
    assert sorted(stone["segment_id"] for stone in done[0].tombstones) == ["old1", "old2", "old3"]
    assert house.verify().ok
    assert house.deletion().resume() == []


def test_resume_spares_what_was_held_meanwhile(house):
    """A hold set between the crash and the restart is respected, and the certificate says so."""
    house.store.cut_after = 1
    with pytest.raises(PowerCut):
        house.apply()
    house.store.cut_after = None
    house.holds.add("chi", "văn bản 15", systems=frozenset({"a"}))
    done = house.deletion().resume()[0]
    assert [spared.segment_id for spared in done.spared] == ["old2", "old3"]
    assert len(done.tombstones) == 1


def test_what_was_begun_goes_on_when_it_is_applied_again(house):
    """The store was too busy after one of three drops: the same plan again finishes it, in the name of who began it."""
    house.store.cut_after = 1
    made = house.plan()
    with pytest.raises(PowerCut):
        house.deletion().apply(made, made.hash, "binh")
    house.store.cut_after = None
    done = house.deletion().apply(made, made.hash, "dung")
    assert sorted(stone["segment_id"] for stone in done.tombstones) == ["old1", "old2", "old3"]
    assert [entry[0] for entry in house.cases.entries] == ["retention.apply", "retention.certify"]
    assert house.verify().ok


def test_a_plan_is_applied_once(house):
    """The same plan again is refused."""
    made = house.plan()
    house.deletion().apply(made, made.hash, "binh")
    with pytest.raises(Conflict):
        house.deletion().apply(made, made.hash, "binh")


def test_a_hold_is_released_by_a_second_person_only(house):
    """Who set it cannot lift it."""
    held = house.holds.add("chi", "văn bản 15", systems=frozenset({"a"}))
    with pytest.raises(PermissionRefused):
        house.holds.release(held.id, "chi", "xong")
    house.holds.release(held.id, "dung", "xong")
    assert house.holds.list() == []
    assert [h.released_by for h in house.holds.list(released=True)] == ["dung"]


def test_a_hold_by_case_covers_what_the_case_is_about(house):
    """Systems and times come from the case."""
    assert house.holds.add("chi", "văn bản 15", case="T-1").systems == frozenset({"a"})


@pytest.mark.parametrize("named", [{}, {"case": "T-unknown"}, {"first_us": 5, "last_us": 4}])
def test_a_hold_that_names_nothing_is_refused(house, named):
    """A hold on nothing would look like protection and be none."""
    with pytest.raises(UsageError):
        house.holds.add("chi", "văn bản 15", **named)


def test_the_key_is_private_and_stays(tmp_path):
    """Mode 0600; the second call reads the first key."""
    path = tmp_path / "k" / "retention.pem"
    assert public_hex(load_or_create(path)) == public_hex(load_or_create(path))
    assert path.stat().st_mode & 0o777 == 0o600


def test_verify_holds_after_a_deletion(house):
    """One file, three tombstones, one certificate."""
    house.apply()
    verdict = house.verify()
    assert (verdict.ok, verdict.segments, verdict.tombstones, verdict.certificates) == (True, 1, 3, 1)


def test_the_cut_proof_is_found(house):
    """A tombstone without certificate."""
    done = house.apply()
    done.certificate.unlink()
    assert {fault.kind for fault in house.verify().faults} == {"uncertified"}
