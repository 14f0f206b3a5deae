"""The engine: who may what, in which order, and that the record always agrees with the world."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from soc.connectors.drivers.nftables import DemoWorld, NftActuator
from soc.errors import Conflict, NotFound, PermissionRefused, UsageError
from soc.model.alert import Observable
from soc.model.clock import FixedClock, SystemClock
from soc.model.run import ActionSpec, Capability, Run
from soc.model.ticket import Task, Ticket
from soc.playbooks import Engine, Guard
from tests.fakes import T0_US, FakeCases, FakePerson, require
from tests.playbooks.world import FileActuator

LAN, MINH, NAM = FakePerson("lan"), FakePerson("minh"), FakePerson("nam", frozenset())
BLOCK = ActionSpec("nftables", "block_address", {"address": "source.ip"})
TICKET = Ticket(
    id="ticket-1", number="KT-2026-000001", title="t", title_vi="t", description="d", level="high", state="new",
    created_us=T0_US, detected_us=T0_US, created_by="lan", alert_ids=(), entity="source.ip=203.0.113.9",
    observables=(Observable("source.ip", "203.0.113.9"),), organization_id="so-tttt", system_id="sys-1",
    tasks=(Task("block", 3, "action", "Block", action=BLOCK), Task("look", 1, "manual", "Look")),
)  # fmt: skip
DAY_S = 86_400


class Room:
    """An engine over a fake store and a world in a file."""

    def __init__(self, folder: Path, **guard: Any) -> None:
        self.cases = FakeCases()
        self.clock = FixedClock(T0_US * 1000)
        self.world = FileActuator(folder / "world")
        self.guard = Guard(["192.0.2.1"], lambda: ["10.1.0.0/16"], **guard)
        self.engine = self.restarted()

    def restarted(self, **actuators: Any) -> Engine:
        devices = actuators or {"nftables": self.world}
        return Engine(self.cases, devices, self.clock, require=require, guard=self.guard)

    def planned(self, **params: Any) -> Run:
        return self.engine.plan(TICKET, "block", params, LAN)

    def approved(self, **params: Any) -> Run:
        run = self.planned(**params)
        return self.engine.approve(run.id, run.plan_hash, MINH)

    def verified(self, **params: Any) -> Run:
        return self.engine.advance(self.approved(**params).id)

    @property
    def now_us(self) -> int:
        return self.clock.now_ns() // 1000


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def test_a_plan_changes_nothing_and_shows_everything(room: Room) -> None:
    """Command, target, time and way back, before anybody agrees."""
    run = room.planned()
    assert (run.state, run.plan.target, run.plan.ttl_s) == ("planned", "203.0.113.9", DAY_S)
    assert (run.plan.commands, run.plan.revert) == ((("block", "203.0.113.9", "86400"),), (("lift", "203.0.113.9"),))
    assert room.world.lines() == ()


def test_from_plan_to_revert(room: Room) -> None:
    """Applied, seen in the world, and lifted again; each state in the record and in the ledger."""
    run = room.verified()
    assert (run.state, run.plan.expires_us) == ("verified", T0_US + DAY_S * 1_000_000)
    assert room.world.standing() == {"203.0.113.9"}
    run = room.engine.revert(run.id, LAN)
    assert (run.state, room.world.standing()) == ("reverted", set())
    states = ["planned", "approved", "applying", "applied", "verified", "reverting", "reverted"]
    assert [p.state for p in run.history] == states
    assert len([act for act in room.cases.acts if act.startswith("playbook.")]) == len(states)


def test_a_run_survives_the_store(room: Room) -> None:
    """What is read is what was written."""
    run = room.verified()
    assert room.engine.get(run.id) == run


def test_the_requester_cannot_approve(room: Room) -> None:
    """Two people stand behind every block."""
    run = room.planned()
    with pytest.raises(PermissionRefused, match="somebody else"):
        room.engine.approve(run.id, run.plan_hash, LAN)


def test_an_approval_is_bound_to_the_hash(room: Room) -> None:
    """Agreeing to another plan is no agreement."""
    run, other = room.planned(), room.planned(address="203.0.113.10")
    with pytest.raises(Conflict, match="not the one"):
        room.engine.approve(run.id, other.plan_hash, MINH)


def test_a_plan_changed_after_approval_is_not_run(room: Room) -> None:
    """Somebody who edits the stored plan gets nothing done."""
    run = room.approved()
    with room.cases.begin("mallory") as tx:
        stored = tx.get("run", run.id)
        assert stored is not None
        stored.document["plan"]["target"] = "198.51.100.1"
        tx.put("run", run.id, stored.document, stored.version)
        tx.change("run", run.id, "tamper")
    assert room.engine.advance(run.id).state == "failed"
    assert room.world.lines() == ()


@pytest.mark.parametrize("verb", ["plan", "approve", "run", "revert"])
def test_each_verb_needs_its_permission(room: Room, verb: str) -> None:
    """Who lacks it is refused before anything is read."""
    calls = {
        "plan": lambda: room.engine.plan(TICKET, "block", {}, NAM),
        "approve": lambda: room.engine.approve("x", "h", NAM),
        "run": lambda: room.engine.run("x", NAM),
        "revert": lambda: room.engine.revert("x", NAM),
    }
    with pytest.raises(PermissionRefused, match=f"playbook.{verb}"):
        calls[verb]()


def test_nothing_runs_unapproved(room: Room) -> None:
    """A plan alone is no permission."""
    with pytest.raises(Conflict, match="planned"):
        room.engine.advance(room.planned().id)
    assert room.world.lines() == ()


def test_an_approval_holds_for_an_hour(room: Room) -> None:
    """After that the world may look different."""
    run = room.approved()
    room.clock.advance(3600)
    assert room.engine.advance(run.id).state == "expired"
    assert room.world.lines() == ()


def test_advancing_twice_does_it_once(room: Room) -> None:
    """A second click changes nothing."""
    run = room.verified()
    assert room.engine.advance(run.id) == run
    assert len(room.world.lines()) == 1


@pytest.mark.parametrize(
    ("params", "error", "words"),
    [
        ({"ttl_s": 0}, UsageError, "30 days"),
        ({"ttl_s": -5}, UsageError, "30 days"),
        ({"ttl_s": 30 * DAY_S + 1}, UsageError, "30 days"),
        ({"address": "203.0.113.0/24"}, UsageError, "single address"),
        ({"address": "2001:db8::/64"}, UsageError, "single address"),
        ({"address": "127.0.0.1"}, PermissionRefused, "loopback"),
        ({"address": "::1"}, PermissionRefused, "loopback"),
        ({"address": "::ffff:127.0.0.1"}, PermissionRefused, "loopback"),
        ({"address": "::ffff:192.0.2.1"}, PermissionRefused, "protected list"),
        ({"address": "192.0.2.1"}, PermissionRefused, "protected list"),
        ({"address": "10.1.2.3"}, PermissionRefused, "registered system"),
        ({"address": "0.0.0.0"}, PermissionRefused, "single host"),
        ({"address": "224.0.0.1"}, PermissionRefused, "single host"),
        ({"address": "fe80::1"}, PermissionRefused, "single host"),
        ({"colour": "red"}, UsageError, "no parameter"),
    ],
)
def test_guardrails_refuse_with_the_reason(room: Room, params: dict[str, Any], error: Any, words: str) -> None:
    """Whatever somebody asks for, these are never planned."""
    with pytest.raises(error, match=words):
        room.planned(**params)


def test_simulated_devices_on_loopback_may_be_blocked_for_simulated_tickets_only(tmp_path: Path) -> None:
    """The simulated province lives on 127.x.y.z."""
    room = Room(tmp_path, simulated_loopback=True)
    simulated = replace(TICKET, simulated=True)
    assert room.engine.plan(simulated, "block", {"address": "127.9.0.1"}, LAN).state == "planned"
    with pytest.raises(PermissionRefused, match="loopback"):
        room.planned(address="127.9.0.2")


def test_guardrails_are_asked_again_at_the_moment_of_applying(room: Room) -> None:
    """What was registered since the approval is protected too."""
    run = room.approved()
    room.guard = Guard(["203.0.113.9"])
    with pytest.raises(PermissionRefused, match="protected"):
        room.restarted().advance(run.id)
    assert room.world.lines() == ()


def test_blocks_are_capped(tmp_path: Path) -> None:
    """A rule gone wild does not block a province."""
    room = Room(tmp_path, max_concurrent=2)
    for n in (1, 2):
        room.verified(address=f"203.0.113.{n}")
    with pytest.raises(Conflict, match="2 may at once"):
        room.planned(address="203.0.113.3")


def test_one_target_one_run(room: Room) -> None:
    """Otherwise reverting the first would lift the second."""
    run = room.verified()
    with pytest.raises(Conflict, match=run.id):
        room.planned()
    room.engine.revert(run.id, LAN)
    assert room.planned().state == "planned"


def test_where_the_actuator_cannot_work_a_person_does(room: Room) -> None:
    """The exact command and the reason are recorded, and so is who did it."""
    room.world.available = Capability(False, "nft is not installed")
    run = room.planned()
    assert (run.state, run.error, run.plan.commands[0][0]) == ("manual", "nft is not installed", "block")
    done = room.engine.done_by_hand(run.id, MINH, "blocked at the edge firewall")
    assert (done.done_by, done.history[-1].note) == ("minh", "blocked at the edge firewall")
    with pytest.raises(Conflict, match="minh"):
        room.engine.done_by_hand(run.id, LAN, "again")


def test_without_any_actuator_the_step_is_manual(room: Room) -> None:
    """Nothing is configured: it says so, and guardrails still hold."""
    engine = room.restarted(other=room.world)
    assert engine.plan(TICKET, "block", {}, LAN).error == "no actuator 'nftables' is configured here"
    with pytest.raises(PermissionRefused):
        engine.plan(TICKET, "block", {"address": "10.1.0.1"}, LAN)


def test_a_device_that_is_lost_after_approval_makes_it_manual(room: Room) -> None:
    """Nothing is claimed that was not tried."""
    run = room.approved()
    room.world.available = Capability(False, "the namespace is gone")
    assert room.engine.advance(run.id).state == "manual"


@pytest.mark.parametrize(("fails", "state"), [("before", "failed"), ("after", "verified")])
def test_a_failing_command_is_judged_by_the_world(room: Room, fails: str, state: str) -> None:
    """An answer that was lost after the effect is no failure."""
    run = room.approved()
    room.world.fails = fails
    assert room.engine.advance(run.id).state == state


def test_what_cannot_be_read_is_unknown_and_known_later(room: Room) -> None:
    """Never 'verified' on the device's word alone."""
    run = room.approved()
    room.world.readable = False
    assert room.engine.advance(run.id).state == "unknown"
    room.world.readable = True
    room.engine.recover()
    assert room.engine.get(run.id).state == "verified"


def test_an_end_is_verified(room: Room) -> None:
    """A block whose time is over is looked for, and lifted when it still stands."""
    run = room.verified(ttl_s=60)
    assert room.engine.expire(room.now_us + 59_000_000) == []
    (ended,) = room.engine.expire(room.now_us + 60_000_000)
    assert (ended.id, ended.state, room.world.standing()) == (run.id, "expired", set())
    assert "still stood" in ended.history[-1].note


def test_an_unused_approval_ends(room: Room) -> None:
    """So that its target can be planned for again."""
    run = room.approved()
    (ended,) = room.engine.expire(room.now_us + 3_600_000_000)
    assert (ended.id, ended.state) == (run.id, "expired")


def test_a_plan_nobody_approved_ends_after_a_day(room: Room) -> None:
    """The list of what waits stays short."""
    run = room.planned()
    assert room.engine.expire(room.now_us + 86_399_000_000) == []
    (ended,) = room.engine.expire(room.now_us + 86_400_000_000)
    assert (ended.id, ended.state) == (run.id, "expired")


def test_of_two_plans_for_one_target_one_can_be_approved(room: Room) -> None:
    """A forgotten plan holds nothing up, and two never share an effect."""
    forgotten, run = room.planned(), room.planned()
    room.engine.approve(run.id, run.plan_hash, MINH)
    with pytest.raises(Conflict, match=run.id):
        room.engine.approve(forgotten.id, forgotten.plan_hash, MINH)


@pytest.mark.netns
def test_the_story_through_the_kernel(tmp_path: Path) -> None:
    """Plan, approve, run, revert: a real connection works, fails, and works again."""
    room = Room(tmp_path)
    clock = SystemClock()
    with DemoWorld() as world:
        actuators = {"nftables": NftActuator(world.gateway, clock)}
        engine = Engine(room.cases, actuators, clock, require=require, guard=room.guard)
        run = engine.plan(TICKET, "block", {}, LAN)
        engine.approve(run.id, run.plan_hash, MINH)
        assert world.reaches()
        assert engine.run(run.id, LAN).state == "verified"
        assert not world.reaches(0.5)
        assert engine.revert(run.id, LAN).state == "reverted"
        assert world.reaches()


def test_a_block_that_somebody_lifted_is_not_called_verified(room: Room) -> None:
    """At the next look the record says what the world says."""
    run = room.verified()
    room.world.forget("203.0.113.9")
    (moved,) = room.engine.recover()
    assert (moved.id, moved.state) == (run.id, "failed")


def test_reverting_what_was_never_applied_is_refused(room: Room) -> None:
    """There is nothing to undo."""
    with pytest.raises(Conflict, match="nothing"):
        room.engine.revert(room.planned().id, LAN)


def test_a_manual_step_has_nothing_to_run(room: Room) -> None:
    """People do it, and record it on the ticket."""
    with pytest.raises(UsageError, match="by people"):
        room.engine.plan(TICKET, "look", {}, LAN)
    with pytest.raises(NotFound):
        room.engine.plan(TICKET, "nope", {}, LAN)


def test_a_ticket_without_an_address_says_what_is_missing(room: Room) -> None:
    """And how to give it."""
    with pytest.raises(UsageError, match=r"source\.ip"):
        room.engine.plan(replace(TICKET, observables=()), "block", {}, LAN)


def test_two_threads_do_not_share_a_run(room: Room) -> None:
    """The second is told, and the effect is there once."""
    run = room.approved()
    told: list[str] = []

    def second(where: str) -> None:
        if where == "before apply":
            with pytest.raises(Conflict) as caught:
                room.engine.advance(run.id)
            told.append(str(caught.value))

    room.world.crash = second
    room.engine.advance(run.id)
    assert len(told) == len(room.world.lines()) == 1


@contextmanager
def _real_cases(folder: Path, clock: FixedClock) -> Iterator[Any]:
    from soc.store.cases import Cases

    cases = Cases(folder / "cases.db", clock, head_path=folder / "head.json")
    yield cases
    cases.close()


def test_the_real_store_has_the_contract_of_the_fake(tmp_path: Path) -> None:
    """Plan to revert over SQLite, and the ledger holds."""
    clock = FixedClock(T0_US * 1000)
    with _real_cases(tmp_path, clock) as cases:
        world = FileActuator(tmp_path / "world")
        engine = Engine(cases, {"nftables": world}, clock, require=require)
        run = engine.plan(TICKET, "block", {}, LAN)
        engine.approve(run.id, run.plan_hash, MINH)
        assert engine.advance(run.id).state == "verified"
        with pytest.raises(Conflict, match=run.id):
            engine.plan(TICKET, "block", {}, LAN)
        assert engine.revert(run.id, LAN).state == "reverted"
        verdict = cases.verify_ledger()
        assert (verdict.ok, verdict.entries) == (True, 7)
