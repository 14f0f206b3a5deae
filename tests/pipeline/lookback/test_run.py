"""Going back: the same hits as live and as over files, resumed, cancelled, within the scope, in figures that add up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from soc.detections import DetectionSet, detect
from soc.detections.correlation import stage
from soc.model.batch import EventBatch
from soc.model.lookback import RuleText
from soc.pipeline.lookback import run as run_module
from soc.pipeline.lookback import slices
from soc.pipeline.lookback.runner import Runner, pause_s
from soc.store.events import EventStore
from tests.pipeline.lookback.support import COUNTED, DAY_US, NOW_US, SINGLE, Past, single, text
from tests.pipeline.world import World


@pytest.fixture
def past(tmp_path: Path) -> Past:
    """Two attackers on two days: seven failures within seconds, and three with an hour between."""
    made = Past(World.make(tmp_path))
    made.logins(7, at_us=NOW_US - 2 * DAY_US)
    made.logins(3, source="203.0.113.10", at_us=NOW_US - DAY_US, step_us=3_600_000_000)
    made.world.work()
    return made


def test_the_same_rule_gives_the_same_hits_as_over_files(past: Past, tmp_path: Path) -> None:
    """One engine: what `soc detect` finds in these events, a backtest finds in the store, correlations included."""
    past.ask(texts=(text(),))
    past.run()
    hits = past.jobs.hits("a", 0, 100)
    rules = tmp_path / "mine.yml"
    rules.write_text(text().text)
    batches = [EventBatch.from_rows("linux.sshd", [_typed(row)]) for row in past.world.events()]
    expected = [hit["rule"] for hit in detect(DetectionSet.load([rules]), batches)]
    assert expected.count(COUNTED) == 1
    assert sorted(hit["rule_id"] for hit in hits) == sorted(expected)


def _typed(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "event.id": bytes.fromhex(row["event.id"])}


@pytest.mark.parametrize("step_us", [1_000_000, 0])
def test_the_same_rule_gives_the_same_findings_as_live(tmp_path: Path, step_us: int) -> None:
    """The shipped rules ran live; a backtest of one of them finds the very same ids, also of events of one moment."""
    past = Past(World.make(tmp_path))
    past.logins(30, step_us=step_us)
    past.world.work()
    past.world.correlate()
    [live] = [alert for alert in past.world.alerts() if "brute" in alert["rule_id"] or alert["kind"] == "correlation"]
    past.ask(rules=(live["rule_id"],))
    past.run()
    [hit] = past.jobs.hits("a", 0, 10)
    assert hit["event_ids"] == list(live["event_ids"])[-100:]
    assert (hit["first_us"], hit["last_us"], hit["entity"]) == (live["first_us"], live["last_us"], live["entity"])


def test_figures_by_day_entity_and_alert(past: Past) -> None:
    """Ten hits; those of an hour and an entity would be one alert."""
    past.ask(texts=(single(),))
    past.run()
    seen, found = past.seen(), past.found()[SINGLE]
    assert (seen["state"], seen["events"], seen["hits"]) == ("done", 10, 10)
    assert [(day["new"], day["alerts.new"]) for day in found["days"]] == [(7, 1), (3, 3)]
    assert [each["hits"] for each in found["entities"]] == [7, 3]
    assert seen["bytes"] > 0
    assert seen["cpu_s"] > 0


def test_what_correlations_left_out_is_told(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cap that the live stream tells is told of a backtest too: its figures are not all."""
    monkeypatch.setattr(stage, "MAX_GROUPS", 1)
    monkeypatch.setattr(stage, "SLACK", 0)
    past.ask(texts=(text(),))
    past.run()
    assert past.seen()["left_out"]["new"]["evicted_groups"] >= 1


def test_new_against_current(past: Past, tmp_path: Path) -> None:
    """The text given against what is loaded under the same id: what only one of them finds, and both."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "mine.yml").write_text(single(", source.ip: 203.0.113.9").text)
    past.world.settings = replace(past.world.settings, rules=(folder,))
    past.ask(texts=(single(", source.port|gte: 4001"),), against=True)
    past.run()
    found = past.found()[SINGLE]
    assert found["diff"] == {"new": 2, "old": 1, "both": 6}
    assert (found["new"]["hits"], found["old"]["hits"]) == (8, 7)


def test_precision_by_what_people_had_said(past: Past) -> None:
    """Four hits were in alerts that somebody closed, three of them rightly raised."""
    ids = [row["event.id"] for row in past.world.events()]
    words = ("true_positive", "benign_true_positive", "true_positive", "false_positive_logic", "duplicate")
    past.ask(verdicts=dict(zip(ids, words, strict=False)), texts=(single(),))
    past.run()
    found = past.found()[SINGLE]["new"]
    assert (found["judged"], found["precision"]) == (4, 0.75)


def test_a_search_text_alone_is_a_hunt(past: Past) -> None:
    """Each event that matches is a hit, with what it is about."""
    past.ask(where="source.ip:203.0.113.10")
    past.run()
    assert past.found()["query"]["new"]["hits"] == 3
    assert {hit["entity"] for hit in past.jobs.hits("a", 0, 10)} == {"source.ip=203.0.113.10"}


def test_a_unit_sees_its_own_events_only(past: Past) -> None:
    """Nobody registered these: somebody of one unit finds none of them, whatever they ask."""
    past.ask(units=("H40.01",), texts=(single(),))
    past.run()
    assert (past.seen()["events"], past.seen()["hits"]) == (0, 0)


def test_only_what_the_rules_need_is_read(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events of other datasets are not read, nor fields that no rule looks at."""
    asked = _asked(monkeypatch)
    past.ask("a", texts=(single(),))
    windows = single().text.replace("product: linux, service: sshd", "product: windows")
    words = "title: k\nname: k\nlogsource: {product: linux}\ndetection: {s: [failed], condition: s}\n"
    past.ask("b", texts=(RuleText("w.yml", windows),))
    past.ask("c", texts=(RuleText("k.yml", words),))
    past.run()
    assert past.seen("b")["events"] == 0
    assert [None if each is None else "event.original" in each for each in asked] == [False, None]
    assert past.seen("c")["hits"] == 10


def _asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    asked: list[Any] = []
    scan = EventStore.scan

    def spied(self: EventStore, scope: Any, query: Any, columns: Any, *rest: Any) -> Any:
        asked.append(columns)
        return scan(self, scope, query, columns, *rest)

    monkeypatch.setattr(EventStore, "scan", spied)
    return asked


def test_what_cannot_be_used_is_said_with_its_place(past: Past) -> None:
    """A rule that is refused, and an id nobody loaded: failed, as a wrong use, and the next one runs."""
    deaf = "title: t\nname: t\nlogsource: {product: windows}\ndetection: {s: {a|boom: 1}, condition: s}\n"
    past.ask("a", texts=(RuleText("bad.yml", deaf),))
    past.ask("b", rules=("no-such-rule",))
    past.ask("c", texts=(single(),))
    past.run()
    assert [past.seen(id)["state"] for id in "abc"] == ["failed", "failed", "done"]
    assert past.seen("a")["error"].startswith("bad.yml:")
    assert "no-such-rule" in past.seen("b")["error"]


# --- from the last durable point on ---


@pytest.fixture
def long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Past:
    """A failure a minute, a slice for each few, saved after each."""
    made = Past(World.make(tmp_path))
    made.logins(24, step_us=60_000_000)
    made.world.work()
    plan = slices.plan
    monkeypatch.setattr(run_module, "plan", lambda *asked: plan(*asked, rows=4))
    monkeypatch.setattr(run_module, "SAVE_S", 0.0)
    return made


WIDE = text().text.replace("timespan: 10m", "timespan: 6m")


def outcome(past: Past, id: str) -> tuple[Any, ...]:
    """What must not depend on how it came about."""
    seen = past.seen(id)
    return past.jobs.hits(id, 0, 1000), seen["rules_found"], seen["hits"], seen["events"]


@pytest.mark.parametrize("moment", ["look", "hits", "state"])
def test_killed_anywhere_it_goes_on_and_counts_nothing_twice(
    long: Past, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Dies once in every slice: before it looks, between hits and state, before the state; the end is the same."""
    rules = (RuleText("w.yml", WIDE),)
    long.ask("whole", texts=rules)
    long.run()
    long.ask("torn", texts=rules)
    died: set[int] = set()
    where: dict[str, tuple[Any, str]] = {
        "look": (run_module.Run, "_look"), "hits": (run_module.Jobs, "add_hits"), "state": (run_module.Jobs, "save"),
    }  # fmt: skip
    owner, name = where[moment]
    _dies(monkeypatch, owner, name, died, after=moment == "hits")
    for _ in range(100):
        runner = Runner(long.world.settings, long.world.clock)
        try:
            while runner.step():
                pass
            break
        except KeyboardInterrupt:
            continue
        finally:
            runner._runs.clear()  # a killed process saves nothing more
            runner.close()
    assert len(died) > 5
    assert outcome(long, "torn") == outcome(long, "whole")
    assert long.found("whole")[COUNTED]["new"]["hits"] > 2


def _dies(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, died: set[int], *, after: bool) -> None:
    """The method's every second call ends in a kill, before or after it did its work."""
    did: Callable[..., Any] = getattr(owner, name)
    calls = [0]

    def dies(*given: Any) -> Any:
        calls[0] += 1
        if calls[0] % 2 and calls[0] not in died:
            died.add(calls[0])
            if after:
                did(*given)
            raise KeyboardInterrupt
        return did(*given)

    monkeypatch.setattr(owner, name, dies)


def test_cancelled_it_keeps_what_it_has(long: Past) -> None:
    """The figures until then stay, and it says that they are not all."""
    long.ask(texts=(single(),))
    runner = Runner(long.world.settings, long.world.clock)
    for _ in range(3):
        runner.step()
    long.jobs.cancel("a")
    while runner.step():
        pass
    runner.close()
    seen = long.seen()
    assert seen["state"] == "cancelled"
    assert 0 < seen["hits"] == len(long.jobs.hits("a", 0, 1000)) < 24
    assert seen["events"] < seen["events_total"] == 24


def test_cancelled_before_it_began_it_never_begins(long: Past) -> None:
    """There is nothing to keep."""
    long.ask(texts=(single(),))
    long.jobs.cancel("a")
    long.run()
    assert long.seen()["state"] == "cancelled"


def test_several_take_turns(long: Past) -> None:
    """A short one does not wait for the end of a long one."""
    long.ask("a", texts=(single(),))
    long.ask("b", where="source.port:4003")
    runner = Runner(long.world.settings, long.world.clock)
    for _ in range(3):
        runner.step()
    assert (long.jobs.state("a")["state"], long.jobs.state("b")["state"]) == ("running", "done")
    assert long.seen("a")["eta_s"] is not None
    runner.close()


def test_it_rests_as_long_as_its_share_asks() -> None:
    """A quarter of a core: three seconds of rest for each of work."""
    assert (pause_s(1.0, 25), pause_s(1.0, 100)) == (3.0, 0.0)


def test_what_ended_long_ago_is_let_go(past: Past) -> None:
    """After thirty days the folder is gone; one that is open stays."""
    past.ask("a", texts=(single(),))
    past.run()
    past.ask("b", texts=(single(),))
    past.world.clock.advance(31 * 86_400)
    assert past.jobs.prune() == 1
    assert past.jobs.ids() == ["b"]
