"""What findings leave behind goes with the logs it is about: never before, never under a hold, and counted."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from soc.alerts import told, withheld
from soc.model.clock import FixedClock
from soc.pipeline import Services, pruning, rules
from soc.pipeline.rules import KEPT_VERSIONS, VERSION
from tests.pipeline.world import NOW_NS, finding, settings_of

LONG_S = 5 * 366 * 86_400
"""Longer than any log of nobody's system is owed."""


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    """A site, with one alert and two withheld findings of one exception."""
    made = Services.open(settings_of(tmp_path), FixedClock(NOW_NS))
    made.alerts.take([finding(1), *(replace(finding(n), exception="scanner") for n in (2, 3))])
    yield made
    made.close()


def left(services: Services) -> tuple[int, int, int]:
    """Alerts, withheld findings, records of findings."""
    with services.cases.read("test") as tx:
        return tx.count("alert"), tx.count(withheld.KIND), tx.count(told.KIND)


def entries(services: Services) -> list[Any]:
    """What the ledger says of pruning."""
    return [e.after for e in services.cases.ledger_entries() if e.act == "retention.prune"]


def pruned(services: Services) -> dict[str, int]:
    """Two rounds: the second finds whose owner the first took."""
    return dict(services.pruning.step() + services.pruning.step())


def test_nothing_goes_while_its_logs_are_owed(services: Services) -> None:
    """For a year they are: the events may be looked at again, and what was told must not be told anew."""
    for _ in range(3):
        assert pruned(services) == {}
        services.clock.advance(180 * 86_400)  # type: ignore[attr-defined]
    assert (left(services), entries(services)) == ((1, 2, 3), [])


def test_what_made_no_alert_goes_with_its_logs_and_an_alert_keeps_its_findings(services: Services) -> None:
    """In the ledger, in the sum, and of the exception's total nothing is taken away."""
    services.clock.advance(LONG_S)  # type: ignore[attr-defined]
    assert pruned(services) == {"withheld": 2, "finding": 2}
    assert left(services) == (1, 0, 1)
    assert entries(services) == [{"withheld": 2}, {"finding": 2}]
    assert services.status()["pruned"] == {"withheld": 2, "finding": 2}
    with services.cases.read("test") as tx:
        assert [stored.document["count"] for _, stored in tx.find(withheld.TOTAL)] == [2]
    services.alerts.take([finding(1)])
    assert left(services) == (1, 0, 1)  # it is still known


def test_nothing_under_a_hold_goes(services: Services) -> None:
    """Until a second person lifts it."""
    at_us = NOW_NS // 1000
    held = services.holds.add("chi", "văn bản 15", first_us=at_us - 1, last_us=at_us + 1)
    services.clock.advance(LONG_S)  # type: ignore[attr-defined]
    assert pruned(services) == {}
    services.holds.release(held.id, "minh", "xong")
    assert pruned(services) == {"withheld": 2, "finding": 2}


def test_a_hold_that_comes_between_the_judgement_and_the_act_wins(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was judged a moment ago is judged again."""
    services.clock.advance(LONG_S)  # type: ignore[attr-defined]
    prune = pruning.Pruning._prune

    def late(self: pruning.Pruning, *given: Any) -> Any:
        services.holds.add("chi", "văn bản 15", first_us=NOW_NS // 1000)
        return prune(self, *given)

    monkeypatch.setattr(pruning.Pruning, "_prune", late)
    assert pruned(services) == {}
    assert left(services) == (1, 2, 3)


def test_one_that_grew_meanwhile_stays(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its version is another: somebody told it once more."""
    services.clock.advance(LONG_S)  # type: ignore[attr-defined]
    prune = pruning.Pruning._prune

    def grows(self: pruning.Pruning, *given: Any) -> Any:
        monkeypatch.setattr(pruning.Pruning, "_prune", prune)
        services.alerts.take([replace(finding(2), id="again", exception="scanner")])
        return prune(self, *given)

    monkeypatch.setattr(pruning.Pruning, "_prune", grows)
    assert pruned(services)["withheld"] == 1
    assert left(services) == (1, 1, 3)


def test_pages_reach_everything(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page a round, in turns: held ones do not hide what lies behind them."""
    monkeypatch.setattr(pruning, "PAGE", 2)
    services.alerts.take([replace(finding(n), exception="scanner") for n in range(10, 15)])
    services.clock.advance(LONG_S)  # type: ignore[attr-defined]
    for _ in range(12):
        services.pruning.step()
    assert left(services) == (1, 0, 1)


def test_old_versions_of_a_rule_go_but_for_those_an_alert_names(services: Services) -> None:
    """The newest stay, whatever their number; of other rules none is touched."""
    with services.cases.begin("test") as tx:
        for n in range(KEPT_VERSIONS + 4):
            document = {"rule": "rule", "version": str(n), "text": "x", "path": "p", "first_us": n}
            tx.put(VERSION, f"{n * 7919 % 100:03d}", document, None, keys={"rule": "rule"})
        tx.put(VERSION, "other", {**document, "rule": "other"}, None, keys={"rule": "other"})
    assert pruned(services) == {VERSION: 3}  # of 0 to 3 the alert names 1
    with services.cases.read("test") as tx:
        kept = {stored.document["version"] for _, stored in tx.find(VERSION, keys={"rule": "rule"}, limit=1_000)}
        assert tx.count(VERSION, {"rule": "other"}) == 1
    assert kept == {"1", *map(str, range(4, KEPT_VERSIONS + 4))}


def test_many_new_versions_are_kept_in_several_transactions(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alerts come between; in the end every definition has its version once."""
    monkeypatch.setattr(rules, "NOTED_AT_ONCE", 5)
    written: list[int] = []
    begin = services.cases.begin

    def counted(*given: Any) -> Any:
        with services.cases.read("test") as tx:
            written.append(tx.count(VERSION))
        return begin(*given)

    monkeypatch.setattr(services.cases, "begin", counted)
    new = services.rules.note_versions()
    assert new > 10
    assert all(after - before <= 5 for before, after in itertools.pairwise([*written, new]))
    assert services.rules.note_versions() == 0
