"""What a case covers."""

from __future__ import annotations

import pytest

from soc.errors import UsageError
from soc.pipeline import Services
from tests.pipeline.world import finding


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
