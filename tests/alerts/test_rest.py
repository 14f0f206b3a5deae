"""The search text of an alert's events: it finds all of them, whatever is in their values."""

from __future__ import annotations

from typing import Any

import pytest

from soc.alerts.grouping import opened
from soc.alerts.rest import rest_query
from soc.model.batch import EventBatch
from soc.model.fields import FIELDS
from soc.store.query import matches, parse
from tests.fakes import T0_US, a_finding

PLACE = {"soc.site": "hq", "organization.id": "so-tttt"}


def query(**changes: Any) -> str:
    alert = opened(a_finding(**changes), id="a", now_us=T0_US, system=None, system_level=None, previous_id=None)
    return rest_query(alert, FIELDS)


def found(text: str, *rows: dict[str, Any]) -> list[bool]:
    batch = EventBatch.from_rows("linux.sshd", [{"@timestamp": T0_US, **PLACE, **row} for row in rows])
    return list(map(bool, matches(parse(text, FIELDS), batch)))


def test_entity_place_and_time_are_in_it() -> None:
    """What all findings of an alert share; an event beside it is not found."""
    text = query(kind="sigma", last_us=T0_US + 5)
    hit = {"source.ip": "203.0.113.9"}
    others = [{"source.ip": "203.0.113.10"}, {**hit, "soc.site": "x"}, {**hit, "organization.id": "so-yt"}]
    times = [{**hit, "@timestamp": T0_US + n} for n in (-1, 0, 5, 6)]
    assert found(text, hit, *others) == [True, False, False, False]
    assert found(text, *times) == [False, True, True, False]


@pytest.mark.parametrize("value", ['a"b', "a\\b", "*", "x) or (*", "Nguyễn An", 'end\\"', "@timestamp"])
def test_no_value_breaks_out_of_its_quotes(value: str) -> None:
    """A user name that an attacker chose finds that user, and nobody else."""
    text = query(kind="sigma", entity=f"user.name={value}")
    assert found(text, {"user.name": value}, {"user.name": "other"}) == [True, False]


def test_windows_data_is_looked_for_under_both_names() -> None:
    """Rules read UserData as EventData; the query finds both."""
    text = query(kind="sigma", entity="winlog.event_data.TargetUserName=lan")
    rows = [{f"winlog.{kind}.TargetUserName": "lan"} for kind in ("event_data", "user_data")]
    assert found(text, *rows, {"user.name": "lan"}) == [True, True, False]


def test_a_group_is_looked_for_by_each_of_its_names() -> None:
    """Two names in a group, one value with a blank; the alias of a correlation is no field and is left out."""
    text = query(entity="-", group={"source.ip": "203.0.113.9", "user.name": "a b", "theirs": "x"})
    hit = {"source.ip": "203.0.113.9", "user.name": "a b"}
    assert found(text, hit, {**hit, "user.name": "a"}) == [True, False]


def test_without_an_entity_place_and_time_are_left() -> None:
    """Never narrower than the alert: an event of a finding without an entity is found."""
    text = query(kind="sigma", entity="", organization_id=None)
    assert found(text, {"message": "m"}) == [True]
