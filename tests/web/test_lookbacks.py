"""Lookbacks through the API: asked for, worked off, paged, ended; each in the ledger, none across the wall of units."""

from __future__ import annotations

from typing import Any

import pytest

from soc.pipeline.lookback.runner import Runner
from tests.web.test_routes import ok
from tests.web.world import SECRET, A, B, World

RULE = """
title: root
name: root
logsource: {product: linux, service: sshd}
detection: {s: {user.name: root}, condition: s}
"""
ASK = {"texts": [{"name": "root.yml", "text": RULE}], "since": "7d", "reason": "a tip"}


def work_off(world: World) -> None:
    """What `soc lookback` does until nothing waits."""
    world.clock.advance(1)
    runner = Runner(world.services.settings, world.clock)
    while runner.step():
        pass
    runner.close()


def asked(world: World, who: str, **changes: Any) -> Any:
    """The lookback of a person when it is done."""
    world.clock.advance(1)
    made = ok(world.caller(who).post("/v1/lookbacks", {**ASK, **changes}), 201)
    assert made["state"] == "waiting"
    work_off(world)
    return ok(world.caller(who).get(f"/v1/lookbacks/{made['id']}"))


def test_one_is_worked_off_and_is_in_the_ledger_with_its_reason(world: World) -> None:
    """Six events of two units; hits come in pages; who asked for what, and why, stays."""
    seen = asked(world, "an")
    assert (seen["state"], seen["hits"], seen["rules_found"][0]["new"]["hits"]) == ("done", 6, 6)
    first = world.caller("an").get(f"/v1/lookbacks/{seen['id']}/hits", params={"limit": 4}).json()
    rest = world.caller("an").get(f"/v1/lookbacks/{seen['id']}/hits", params={"skip": 4}).json()
    assert (len(first["data"]), first["truncated"], first["total"]) == (4, True, 6)
    assert (len(rest["data"]), rest["truncated"]) == (2, False)
    [entry] = [e for e in ok(world.caller("chi").get("/v1/ledger")) if e["act"] == "lookback.create"]
    assert (entry["actor"], entry["reason"], entry["after"]["rules"]) == ("an", "a tip", ["root.yml"])


def test_precision_comes_from_what_people_said(world: World) -> None:
    """The alert over unit A's three events was closed as an attack: its events are judged, the others are not."""
    body = {"verdict": "true_positive", "reason": "seen"}
    ok(world.caller("an").post(f"/v1/alerts/{world.ids[A]['alert']}/close", body))
    found = asked(world, "an")["rules_found"][0]["new"]
    assert (found["judged"], found["precision"]) == (3, 1.0)


def test_an_officer_finds_what_is_of_their_unit_and_sees_their_own_only(world: World) -> None:
    """The wall holds while looking back: three events of six, nothing of the other unit in any answer."""
    theirs = asked(world, "an")
    seen = asked(world, "officer-b")
    assert (seen["hits"], seen["units"]) == (3, [B])
    officer = world.caller("officer-b")
    assert [each["id"] for each in ok(officer.get("/v1/lookbacks"))] == [seen["id"]]
    for call in (f"/v1/lookbacks/{theirs['id']}", f"/v1/lookbacks/{theirs['id']}/hits"):
        assert officer.get(call).status_code == 404
    assert SECRET[A] not in officer.get(f"/v1/lookbacks/{seen['id']}/hits").text
    assert len(ok(world.caller("an").get("/v1/lookbacks"))) == 2


def test_an_auditor_looks_at_them_and_asks_for_none(world: World) -> None:
    """Whoever checks starts nothing."""
    asked(world, "an")
    assert world.caller("dung").post("/v1/lookbacks", ASK).status_code == 403
    assert len(ok(world.caller("dung").get("/v1/lookbacks"))) == 1


def test_ended_it_stays_ended(world: World) -> None:
    """Once; the second time there is nothing to end."""
    made = ok(world.caller("an").post("/v1/lookbacks", ASK), 201)
    path = f"/v1/lookbacks/{made['id']}/cancel"
    ok(world.caller("an").post(path))
    work_off(world)
    assert ok(world.caller("an").get(f"/v1/lookbacks/{made['id']}"))["state"] == "cancelled"
    assert world.caller("an").post(path).status_code == 409


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"texts": []}, "name rules"),
        ({"texts": [], "where": "user.name:root", "against": True}, "nothing to be compared"),
        ({"since": "500d"}, "400 days"),
        ({"until": "2020-01-01"}, "ends after it begins"),
        ({"where": "nope:1"}, "unknown field"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(world: World, changes: dict[str, Any], words: str) -> None:
    """Before anything waits, with the reason."""
    answer = world.caller("an").post("/v1/lookbacks", {**ASK, **changes})
    assert answer.status_code in (400, 422)
    assert words in answer.text
    assert world.services.lookbacks.ids() == []


def test_one_person_has_so_many_open_at_most(world: World) -> None:
    """The ninth is refused with the way out; that nobody works them off is said at each."""
    for _ in range(8):
        answer = world.caller("an").post("/v1/lookbacks", ASK).json()
    assert "soc lookback is not running" in answer["warnings"][0]
    refused = world.caller("an").post("/v1/lookbacks", ASK)
    assert (refused.status_code, "soc job cancel" in refused.text) == (409, True)


def test_an_id_is_no_way_into_other_folders(world: World) -> None:
    """What is no lookback of ours is none."""
    for id in ("..", "%2e%2e", "x" * 40):
        assert world.caller("an").get(f"/v1/lookbacks/{id}").status_code == 404
