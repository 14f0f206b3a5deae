"""What the rooms do together: alerts and tickets, findings that are taken in once, or kept aside."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from soc.model.finding import Finding
from soc.model.record import RawBlock
from soc.pipeline import Services, places
from tests.pipeline.world import NOW_NS, World, failures, finding


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
