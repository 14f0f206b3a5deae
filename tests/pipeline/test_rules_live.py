"""Exceptions and shadow through the whole flow: raw frames in, alerts and what was withheld out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from soc.pipeline import Correlating, Services, Worker, places
from tests.pipeline.world import World, failures

RULES = """
title: Login failed
name: failed
status: STATUS
logsource: {product: linux, service: sshd}
detection: {s: {event.action: ssh_login, event.outcome: failure}, condition: s}
---
title: The scanner of our own centre
name: scanner
date: 2026-05-01
logsource: {product: linux, service: sshd}
filter: {rules: [failed], scanner: {source.ip: 10.0.0.5}, condition: not scanner}
x-exception: {owner: lan, reason: weekly scan, ticket: T-1, expires: 2027-05-01}
"""


def kept(world: World) -> tuple[list[str], dict[str, int]]:
    """The entities of the rule's alerts, and what was withheld by reason."""
    alerts = [alert["entity"] for alert in world.alerts() if alert["rule_id"] == "failed"]
    services = Services.open(world.settings, world.clock)
    with services.cases.read("test") as tx:
        found: dict[str, Any] = {s.document["why"]: s.document["count"] for _, s in tx.find("withheld_total")}
    services.close()
    return alerts, found


def flow(folder: Path, status: str, **changes: Any) -> tuple[list[str], dict[str, int]]:
    """Three failed logins of our scanner and two of a stranger, through collector's log, worker and desk."""
    (folder / "site/detections/sigma").mkdir(parents=True)
    (folder / "site/detections/sigma/rules.yml").write_text(RULES.replace("STATUS", status))
    world = World.make(folder / "home", content_roots=(folder / "site",), **changes)
    world.receive([*failures(3, source="10.0.0.5"), *failures(2)])
    world.work()
    return kept(world)


def test_an_exception_holds_live_and_is_counted(tmp_path: Path) -> None:
    """The stranger makes an alert, the scanner three findings that are kept."""
    assert flow(tmp_path, "stable") == (["source.ip=203.0.113.9"], {"exception": 3})


def test_an_experimental_rule_is_in_shadow_unless_the_site_says_otherwise(tmp_path: Path) -> None:
    """No alert, everything counted; with an empty list there is none in shadow."""
    assert flow(tmp_path / "a", "experimental") == ([], {"exception": 3, "shadow": 2})
    assert flow(tmp_path / "b", "experimental", rules_shadow=()) == (["source.ip=203.0.113.9"], {"exception": 3})


def test_what_is_off_everywhere_is_not_matched(tmp_path: Path) -> None:
    """Nothing is found, so nothing is withheld; the exception about it is then of no use and hides nothing."""
    assert flow(tmp_path, "test", rules_disable=("status=test",)) == ([], {})


FIVE = """
title: Five failures
name: five
correlation: {type: event_count, rules: [failed], group-by: [source.ip], timespan: 10m, condition: {gte: 5}}
---
"""


def test_definitions_are_read_again_without_losing_an_event_or_a_window(tmp_path: Path) -> None:
    """Three failures before and two after make the five, though an exception was put in place in between."""
    (tmp_path / "site/detections/sigma").mkdir(parents=True)
    text = FIVE + RULES.partition("---")[0].replace("STATUS", "stable")
    (tmp_path / "site/detections/sigma/rules.yml").write_text(text)
    world = World.make(tmp_path / "home", content_roots=(tmp_path / "site",))
    services = Services.open(world.settings, world.clock)
    worker, correlating = Worker(world.settings, world.clock), Correlating(world.settings, world.clock)

    def go(source: str, n: int) -> None:
        world.receive(failures(n, source=source, at_ns=world.clock.now_ns()))
        while worker.step() or correlating.step():
            pass
        while services.findings.step():
            pass

    go("203.0.113.9", 3)
    go("10.0.0.5", 1)
    exception = RULES.partition("---")[2].replace("name: scanner", "id: 5d0c9a3e-8f0e-4c0b-9a55-0d6c2b7d6f10")
    with services.rules.writing:
        services.exceptions.put(lambda: services.cases.begin("lan"), exception, 30, "agreed")
    world.clock.advance(3)
    go("10.0.0.5", 6)
    go("203.0.113.9", 2)
    with services.cases.read("test") as tx:
        alerts = [s.document["entity"] for _, s in tx.find("alert", keys={"rule": "five"})]
        withheld = {s.document["why"]: s.document["count"] for _, s in tx.find("withheld_total")}
    assert alerts == ["source.ip=203.0.113.9"]
    assert withheld == {"exception": 6}
    for each in (worker, correlating, services):
        each.close()


def test_an_exception_from_a_correlation_holds_live_and_is_counted(tmp_path: Path) -> None:
    """Five failures each: the stranger makes an alert, the scanner a finding that is kept with the exception's id."""
    (tmp_path / "site/detections/sigma").mkdir(parents=True)
    exception = RULES.partition("---")[2].replace("logsource: {product: linux, service: sshd}\n", "")
    text = (
        FIVE + RULES.partition("---")[0].replace("STATUS", "stable") + "---" + exception.replace("[failed]", "[five]")
    )
    (tmp_path / "site/detections/sigma/rules.yml").write_text(text)
    world = World.make(tmp_path / "home", content_roots=(tmp_path / "site",))
    world.receive([*failures(5, source="10.0.0.5"), *failures(5)])
    world.work()
    world.correlate()
    assert [alert["entity"] for alert in world.alerts() if alert["rule_id"] == "five"] == ["source.ip=203.0.113.9"]
    services = Services.open(world.settings, world.clock)
    with services.cases.read("test") as tx:
        [(_, kept)] = tx.find("withheld", keys={"exception": "scanner"})
    services.close()
    assert (kept.document["rule_id"], kept.document["events_total"]) == ("five", 5)


def test_broken_definitions_leave_those_of_before_in_use(tmp_path: Path) -> None:
    """A site whose lists cannot be read any more goes on with what it has."""
    world = World.make(tmp_path / "home", rule_lists=(tmp_path / "lists",))
    (tmp_path / "lists").mkdir()
    worker = Worker(world.settings, world.clock)
    before = worker.detections
    (tmp_path / "lists").rmdir()
    places.rules_announced(world.settings).parent.mkdir(parents=True, exist_ok=True)
    places.rules_announced(world.settings).write_text("again")
    world.clock.advance(3)
    worker.step()
    assert worker.detections is before
    worker.close()
