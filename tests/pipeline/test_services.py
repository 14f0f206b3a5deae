"""`Services`: alerts that must be told, what may not leave, tickets that escalate, and the checks of what is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from soc.config import National, Settings
from soc.errors import Conflict, PermissionRefused, UsageError
from soc.model.clock import FixedClock
from soc.model.finding import Finding, finding_id
from soc.model.record import RawBlock
from soc.pipeline import Services, places
from soc.simulate import wire
from soc.store.events import EventStore
from tests.pipeline.world import NOW_NS, World, failures, settings_of

CENTRE = National("centre", "https://127.0.0.1:9", mapping="national.reference")


def finding(n: int = 1, **changes: object) -> Finding:
    """A finding of its own entity."""
    made = Finding(
        id=finding_id("rule", str(n)),
        rule_id="rule",
        rule_version="1",
        title="SSH password guessing",
        level="high",
        kind="sigma",
        dataset="linux.sshd",
        event_ids=("00" * 16,),
        first_us=NOW_NS // 1000,
        last_us=NOW_NS // 1000,
        entity=f"source.ip=203.0.113.{n}",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture
def services(tmp_path: Path) -> Services:
    """A site that reports to one centre."""
    return Services.open(replace(settings_of(tmp_path), national=(CENTRE,)), FixedClock(NOW_NS))


def counts(services: Services) -> tuple[int, int]:
    """Messages that wait, and alerts that were withheld."""
    with services.cases.read("test") as tx:
        waiting = sum(tx.outbox_counts().get("centre", {}).values())
        return waiting, tx.count("national_refusal")


def test_an_alert_at_the_threshold_is_told_and_one_below_is_not(services: Services) -> None:
    """`minimum_level` high: the message is in the same transaction as the alert."""
    services.alerts.take([finding(1), finding(2, level="medium")])
    assert counts(services) == (1, 0)


def test_what_is_marked_secret_stays_and_is_shown(services: Services) -> None:
    """A mark of state secrets in the alert: no message, one refusal, its reason in the ledger, the alert is there."""
    services.alerts.take([finding(1, title="Tệp tối mật bị tải xuống")])
    acts = [entry.act for entry in services.cases.ledger_entries()]
    assert counts(services) == (0, 1)
    assert "national.withhold" in acts
    assert "alert.create" in acts
    assert services.status()["withheld"] == 1


def test_a_ticket_of_an_alert_escalates_the_alert(services: Services) -> None:
    """The alert names its ticket and its playbook's steps are the ticket's tasks."""
    [alert] = services.alerts.take([finding(1, tags=("attack.t1110",))])
    person = services.access.add_person("lan", "tier1")
    playbook = services.playbooks.match(alert)
    with services.cases.begin(person.name) as tx:
        ticket = services.tickets.create_from_alert(tx, alert, person, playbook)
        again, _ = services.alerts.get(tx, alert.id)
    assert (again.status, again.ticket_id) == ("escalated", ticket.id)
    assert playbook is not None
    assert len(ticket.tasks) == len(playbook.steps)


def registered(home: Path) -> None:
    """One level-1 system, registered long ago."""
    folder = home / "registry"
    folder.mkdir(exist_ok=True)
    (folder / "s.yml").write_text(
        "kind: system\nid: mang\nname: Mạng nội bộ\ncode: H40.03.M\norganization_id: H40.03\n"
        "organization_name: UBND phường\nsite: default\nlevels: [{level: 1, since: 2024-01-01}]\n"
        "registered: 2024-01-01\nsources: [127.1.2.3]\n",
        "utf-8",
    )


def old_day(settings: Settings, home: Path, days: int) -> None:
    """A sealed day so long before now, through the same parsers and registry."""
    then = FixedClock(NOW_NS - days * 86_400_000_000_000)
    world = World.make(home)
    world.clock.set(then.now_ns())
    world.receive(
        [wire.rfc3164(then.now_ns(), 86, "h1", "sshd[1]", "Failed password for root from 10.0.0.9 port 1 ssh2")]
    )
    world.work()
    world.raw.close()
    fields = places.load_parsers(settings).fields
    writer = EventStore(places.events(settings), then, fields, writer="work0")
    writer.roll()
    writer.close()
    store = EventStore(places.events(settings), then, fields)
    store.compact()
    store.close()


def test_what_is_due_is_deleted_by_a_second_person_and_still_verifies(tmp_path: Path) -> None:
    """Level 1, ninety days old: due. The planner may not apply it; another may; one byte less is seen."""
    registered(tmp_path)
    settings = settings_of(tmp_path)
    old_day(settings, tmp_path, 90)
    old_day(settings, tmp_path, 2)
    services = Services.open(settings, FixedClock(NOW_NS))
    plan = services.plan("hoa")
    with pytest.raises(PermissionRefused):
        services.deletion.apply(plan, plan.hash, "hoa")
    applied = services.deletion.apply(plan, plan.hash, "tuan", "due")
    kept = services.store.segments()
    assert [len(plan.to_delete), len(plan.items)] == [1, 2]
    assert len(applied.tombstones) == len(kept) == 1
    assert services.retention_verify()["ok"] is True
    path = places.events(settings) / kept[0].path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert services.retention_verify()["ok"] is False


def test_a_hold_that_came_after_the_plan_wins(tmp_path: Path) -> None:
    """Nothing is deleted of what somebody put on hold since."""
    registered(tmp_path)
    settings = settings_of(tmp_path)
    old_day(settings, tmp_path, 90)
    services = Services.open(settings, FixedClock(NOW_NS))
    plan = services.plan("hoa")
    services.holds.add("minh", "investigation", systems=frozenset({"mang"}))
    with pytest.raises(Conflict):
        services.deletion.apply(plan, plan.hash, "tuan")
    assert len(services.store.segments()) == 1


def test_findings_and_their_cursor_commit_together(tmp_path: Path) -> None:
    """Taking the same findings in again after a restart opens no second alert."""
    world = World.make(tmp_path)
    world.receive(failures(30))
    world.work()
    world.correlate()
    first = [alert["id"] for alert in world.alerts()]
    again = [alert["id"] for alert in world.alerts()]
    assert first == again
    assert len(first) == 1


def test_a_finding_that_no_alert_can_be_made_of_is_kept_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds nobody up, is counted, and is tried again at the next start, when a newer version may take it."""
    world = World.make(tmp_path)
    world.receive(failures(30))
    world.work()
    world.correlate()
    log = places.open_log(world.settings, places.FINDINGS, "broken", world.clock)
    whole = finding(7, system_id="").to_document()
    records = [
        b"no JSON",
        orjson.dumps({**whole, "id": "e" * 32, "rule_id": "bad", "level": ["high"]}),
        orjson.dumps(whole),
    ]
    log.append([RawBlock.of(records, receipt_ns=NOW_NS, site="kontum", listener="findings", peer="work0")])
    log.close()
    assert len(world.alerts()) == 2
    services = Services.open(world.settings, world.clock)
    assert services.status()["unfit_findings"] == 2
    services.close()
    read = Finding.from_document
    other = {**whole, "id": "f" * 32, "rule_id": "other"}
    monkeypatch.setattr(Finding, "from_document", lambda document: read(other if "no_json" in document else document))
    assert len(world.alerts()) == 3
    services = Services.open(world.settings, world.clock)
    assert services.status()["unfit_findings"] == 1
    services.close()


def test_a_hold_by_case_covers_the_systems_and_times_of_its_alerts(services: Services) -> None:
    """The ticket's number, its id and the alert's id mean the same events; an unknown case names none."""
    [alert] = services.alerts.take([finding(1, system_id="mang", first_us=1_000, last_us=9_000)])
    person = services.access.add_person("lan", "tier1")
    with services.cases.begin(person.name) as tx:
        ticket = services.tickets.create_from_alert(tx, alert, person)
    made = [services.holds.add("minh", "request 12", case=case) for case in (ticket.number, ticket.id, alert.id)]
    assert {(hold.systems, hold.first_us, hold.last_us) for hold in made} == {(frozenset({"mang"}), 1_000, 9_000)}
    with pytest.raises(UsageError, match="names no events"):
        services.holds.add("minh", "request 12", case="KT-0")
