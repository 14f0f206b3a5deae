"""The coverage ledger through the API: for who sees all units, in figures that add up, made up for in the ledger."""

from __future__ import annotations

from pathlib import Path

from soc.model.position import Partition, Position
from soc.pipeline import places
from soc.pipeline.coverage import counting
from soc.pipeline.coverage.counting import WINDOW_US
from soc.pipeline.lookback.runner import Runner
from tests.web.test_routes import ok
from tests.web.world import NOW_US, World, build

RULE = "11111111-1111-4111-8111-111111111111"
TEXT = f"""
title: root
id: {RULE}
status: stable
logsource: {{product: linux, service: sshd}}
detection: {{s: {{user.name: root}}, condition: s}}
"""


def counted(home: Path, days: int = 0) -> World:
    """A world with one rule of its own, which broke on two events a window ago; made up for unasked over `days`."""
    rules = home / "rules"
    rules.mkdir(parents=True)
    (rules / "root.yml").write_text(TEXT)
    world = build(home / "home", rules=(rules,), backfill_days=days)
    settings = world.services.settings
    ruleset = counting.note_rules(settings, places.load_detections(settings, places.load_parsers(settings)), NOW_US)
    window = NOW_US // WINDOW_US * WINDOW_US
    world.writer.append([], _mark(), {
        (window, counting.name_of(ruleset, "events")): 6, (window, counting.name_of(ruleset, "failed", RULE)): 2,
    })  # fmt: skip
    world.clock.advance(WINDOW_US / 1_000_000)
    return world


def _mark() -> dict[Partition, Position]:
    return {Partition("n1", "other", 1): Position("n1", "other", 1)}


def test_gaps_are_told_and_made_up_for(tmp_path: Path) -> None:
    """One rule failed in one window; the backfill is a lookback in the ledger; then nothing is owed any more."""
    world = counted(tmp_path)
    chi = world.caller("chi")
    found = ok(chi.get("/v1/coverage"))
    assert (found["gaps"], found["totals"]["failed"]) == (1, 1)
    world.clock.advance(60)
    world.services.look_at_coverage()
    assert ok(chi.get("/v1/me"))["coverage_gaps"] == ok(chi.get("/v1/status"))["coverage_gaps"] == 1
    assert "coverage_gaps" not in ok(world.caller("officer-a").get("/v1/me"))
    assert sum(found["totals"].values()) == found["rules"] * found["windows"]
    [row] = [row for row in found["ranges"] if row["status"] == "failed"]
    assert (row["rules"][0]["rule"], row["why"], row["events"]) == (RULE, "rule_broke", 2)
    made = ok(chi.post("/v1/coverage/backfill", {"reason": "mended"}), 201)
    assert (made["rules"], made["backfill"]) == ([RULE], True)
    runner = Runner(world.services.settings, world.clock)
    while runner.step():
        pass
    runner.close()
    assert ok(chi.get("/v1/coverage"))["totals"]["backfilled"] == 1
    assert chi.post("/v1/coverage/backfill", {}).status_code == 409
    [entry] = [e for e in ok(chi.get("/v1/ledger")) if e["act"] == "lookback.create"]
    assert (entry["reason"], entry["after"]["backfill"]) == ("mended", True)
    while world.services.findings.step():
        pass
    assert ok(world.caller("an").get("/v1/alerts", params={"rule": RULE}))
    world.close()


def test_gaps_are_made_up_for_unasked(tmp_path: Path) -> None:
    """The job is the service's own, in the ledger, and told in the status and beside the gaps; then nothing is owed."""
    world = counted(tmp_path, days=7)
    chi = world.caller("chi")
    assert ok(chi.get("/v1/status"))["backfill"] == {
        "is_on": True, "job": None, "state": None, "at": 0, "slices": 0, "hits": 0, "rests_until_us": None,
    }  # fmt: skip
    world.clock.advance(60)
    for _ in range(2):  # one at a time
        world.services.look_at_coverage()
    [job] = ok(chi.get("/v1/lookbacks"))
    assert (job["asker"], job["automatic"], job["rules"]) == ("engine", True, [RULE])
    [entry] = [e for e in ok(chi.get("/v1/ledger")) if e["act"] == "lookback.create"]
    assert (entry["actor"], entry["object"]) == ("engine", f"lookback:{job['id']}")
    runner = Runner(world.services.settings, world.clock)
    while runner.step():
        pass
    runner.close()
    world.services.look_at_coverage()
    assert ok(chi.get("/v1/status"))["coverage_gaps"] == 0
    told = ok(chi.get("/v1/coverage"))
    assert (told["totals"]["backfilled"], told["gaps"]) == (1, 0)
    assert (told["backfill"]["job"], told["backfill"]["state"]) == (job["id"], "done")
    while world.services.findings.step():
        pass
    alerts = ok(world.caller("an").get("/v1/alerts", params={"rule": RULE}))
    assert [alert["found_late"] for alert in alerts] == [True] * len(alerts) != []
    world.close()


def test_it_is_about_everybody_s_events(world: World) -> None:
    """Who sees one unit is told no figures of all; who may not make up for anything starts nothing."""
    assert world.caller("tier1-b").get("/v1/coverage").status_code == 403
    assert world.caller("officer-a").get("/v1/coverage").status_code == 403
    assert world.caller("an").post("/v1/coverage/backfill", {}).status_code == 403
    assert ok(world.caller("dung").get("/v1/coverage"))["begins_us"] is None
    assert world.caller("chi").post("/v1/coverage/backfill", {}).status_code == 409


def test_a_rule_that_is_not_at_work_is_named(tmp_path: Path) -> None:
    """A typing error must not look like a clean ledger."""
    world = counted(tmp_path)
    answer = world.caller("chi").get("/v1/coverage", params={"rule": "no-such-rule"})
    assert (answer.status_code, "no-such-rule" in answer.text) == (400, True)
    world.close()
