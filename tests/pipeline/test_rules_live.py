"""Exceptions and shadow through the whole flow: raw frames in, alerts and what was withheld out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from soc.pipeline import Services
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
