"""The wall between units: nothing of unit A reaches a person of unit B, whatever their role and whichever the path.

The calls are checked against the OpenAPI description: a path that is not listed here fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from soc.web.app import PUBLIC, STREAMS, application
from tests.web.world import BOUND, NOW_US, SECRET, SYSTEMS, A, B, World, build, finding, system

Ids = dict[str, str]
FLOW = "1:P6Tf401iut5+duGFtHUSrHYxUo8="

RULE = "9b14315e-9dee-5227-a0ff-7f61e5f7f0a4"
"""A shipped rule: no unit's secret."""
# What each call is given of unit A: path parameters by name, and a body. `None` as a body: a read.
CALLS: dict[str, tuple[dict[str, str], Any]] = {
    "GET /v1/me": ({}, None),
    "GET /v1/status": ({}, None),
    "GET /v1/certificates": ({}, None),
    "GET /v1/events": ({}, None),
    "GET /v1/events/top": ({}, None),
    "GET /v1/events/{id}": ({"id": "event"}, None),
    "GET /v1/sources": ({}, None),
    "GET /v1/sources/points": ({}, None),
    "GET /v1/sources/dead": ({}, None),
    "POST /v1/sources/adopt": (
        {},
        {"address": "10.99.0.1", "site": "hue", "system": "{system}", "reason": "x", "apply": True},
    ),
    "POST /v1/sources/release": ({}, {"address": "10.1.0.9", "system": "{system}", "reason": "x", "apply": True}),
    "GET /v1/systems": ({}, None),
    "GET /v1/systems/{id}": ({"id": "system"}, None),
    "PUT /v1/systems/{id}": ({"id": "system"}, {"document": system(A, contact="mallory")}),
    "GET /v1/alerts": ({}, None),
    "GET /v1/alerts/{id}": ({"id": "alert"}, None),
    "GET /v1/alerts/{id}/events": ({"id": "alert"}, None),
    "POST /v1/alerts/{id}/acknowledge": ({"id": "alert"}, {}),
    "POST /v1/alerts/{id}/close": ({"id": "alert"}, {"verdict": "test", "reason": "x"}),
    "POST /v1/alerts/{id}/note": ({"id": "alert"}, {"text": "x"}),
    "POST /v1/alerts/{id}/ticket": ({"id": "alert"}, {}),
    "GET /v1/tickets": ({}, None),
    "GET /v1/tickets/{id}": ({"id": "ticket"}, None),
    "POST /v1/tickets/{id}/move": ({"id": "number"}, {"to": "triage"}),
    "POST /v1/tickets/{id}/tasks/{task}/done": ({"id": "ticket", "task": "task"}, {"result": "x"}),
    "POST /v1/tickets/{id}/note": ({"id": "number"}, {"text": "x"}),
    "POST /v1/tickets/{id}/classify": ({"id": "ticket"}, {"serious": True, "reason": "x"}),
    "GET /v1/playbooks": ({}, None),
    "GET /v1/playbooks/{id}": ({"id": "playbook"}, None),
    "GET /v1/runs": ({}, None),
    "POST /v1/runs": ({}, {"ticket": "{number}", "step": "{step}", "params": {"address": "203.0.113.77"}}),
    "GET /v1/runs/{id}": ({"id": "run"}, None),
    "POST /v1/runs/{id}/approve": ({"id": "run"}, {"plan_hash": "{plan_hash}"}),
    "POST /v1/runs/{id}/run": ({"id": "run"}, {}),
    "POST /v1/runs/{id}/revert": ({"id": "run"}, {}),
    "POST /v1/runs/{id}/done": ({"id": "run"}, {"note": "x"}),
    "GET /v1/national": ({}, None),
    "GET /v1/national/messages": ({}, None),
    "GET /v1/retention": ({}, None),
    "GET /v1/retention/plans": ({}, None),
    "POST /v1/retention/plans": ({}, {}),
    "GET /v1/retention/plans/{hash}": ({"hash": "plan"}, None),
    "POST /v1/retention/plans/{hash}/apply": ({"hash": "plan"}, {}),
    "GET /v1/retention/holds": ({}, None),
    "POST /v1/retention/holds": ({}, {"systems": ["{system}"], "reason": "x"}),
    "POST /v1/retention/holds/{id}/release": ({"id": "hold"}, {"reason": "x"}),
    "GET /v1/retention/verify": ({}, None),
    "GET /v1/retention/certificates": ({}, None),
    "GET /v1/ledger": ({}, None),
    "GET /v1/ledger/verify": ({}, None),
    "POST /v1/imports": ({}, {"name": "a.log", "size": 1}),
    "PUT /v1/imports/{id}/parts/{n}": ({"id": "import", "n": "zero"}, {}),
    "POST /v1/imports/{id}/commit": ({"id": "import"}, {}),
    "GET /v1/imports/{id}": ({"id": "import"}, None),
    "GET /v1/simulation/probe": ({}, None),
    "GET /v1/relays": ({}, None),
    "POST /v1/packets": ({}, {"community_id": FLOW, "reason": "x"}),
    "GET /v1/packets/{id}": ({"id": "packets"}, None),
    "GET /v1/packets/{id}/file": ({"id": "packets"}, None),
    "POST /v1/relays": ({}, {"name": "xa-a"}),
    "POST /v1/relays/{id}/forget": ({"id": "officer"}, {"reason": "x"}),
    "GET /v1/mibs": ({}, None),
    "GET /v1/mibs/{id}": ({"id": "officer"}, None),
    "POST /v1/mibs": ({}, {"files": ""}),
    "POST /v1/mibs/{id}/remove": ({"id": "officer"}, {}),
    "POST /v1/mibs/{id}/restore": ({"id": "officer"}, {}),
    "GET /v1/filters": ({}, None),
    "GET /v1/filters/{id}": ({"id": "officer"}, None),
    "GET /v1/coverage": ({}, None),
    "POST /v1/coverage/backfill": ({}, {}),
    "POST /v1/lookbacks": ({}, {"where": "user.name:root"}),
    "GET /v1/lookbacks": ({}, None),
    "GET /v1/lookbacks/{id}": ({"id": "lookback"}, None),
    "GET /v1/lookbacks/{id}/hits": ({"id": "lookback"}, None),
    "POST /v1/lookbacks/{id}/cancel": ({"id": "lookback"}, {}),
    "GET /v1/rules": ({}, None),
    "GET /v1/rules/{id}": ({"id": "rule"}, None),
    "POST /v1/rules/{id}/state": ({"id": "rule"}, {"state": "off", "reason": "x"}),
    "POST /v1/rules/{id}/rollback": ({"id": "rule"}, {"reason": "x"}),
    "POST /v1/rules/reload": ({}, {}),
    "GET /v1/exceptions": ({}, None),
    "POST /v1/exceptions": ({}, {"definition": "title: x", "apply": True}),
    "POST /v1/exceptions/{id}/approve": ({"id": "rule"}, {"version": "x"}),
    "POST /v1/exceptions/{id}/reject": ({"id": "rule"}, {"reason": "x"}),
    "POST /v1/exceptions/{id}/end": ({"id": "rule"}, {"reason": "x"}),
    "GET /v1/withheld": ({}, None),
    "GET /v1/withheld/{id}/events": ({"id": "withheld"}, None),
    "GET /v1/deaf-rules": ({}, None),
    "GET /v1/rules-in-shadow": ({}, None),
    "GET /v1/attack": ({}, None),
    "GET /v1/noise": ({}, None),
    "GET /v1/people": ({}, None),
    "POST /v1/people": ({}, {"name": "mallory", "role": "tier2-unit", "units": [A]}),
    "POST /v1/people/{name}/tokens": ({"name": "officer"}, {}),
}
QUERIES = {
    "GET /v1/events/top": {"field": "event.original"},
    "GET /v1/runs": {"state": "planned,manual"},
}
COMMON = {
    "GET /v1/me", "GET /v1/simulation/probe", "GET /v1/playbooks", "GET /v1/playbooks/{id}", "GET /v1/rules",
    "GET /v1/rules/{id}",
}  # fmt: skip
"""What belongs to no unit."""
SHOWN_TO_ALL = {
    "GET /v1/events", "GET /v1/events/top", "GET /v1/events/{id}", "GET /v1/sources",
    "GET /v1/sources/points", "GET /v1/systems",
    "GET /v1/systems/{id}", "GET /v1/alerts", "GET /v1/alerts/{id}", "GET /v1/alerts/{id}/events", "GET /v1/tickets",
    "GET /v1/tickets/{id}", "GET /v1/runs", "GET /v1/runs/{id}", "GET /v1/national/messages", "GET /v1/retention",
    "GET /v1/retention/plans/{hash}", "GET /v1/retention/holds", "GET /v1/lookbacks", "GET /v1/lookbacks/{id}",
}  # fmt: skip
"""Where a person of all units does see unit A: without this the absence of it would prove nothing."""
PRIVATE = ("event", "alert", "escalated", "ticket", "number", "run", "plan_hash", "system")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world that the tests of this module only try to change."""
    home: Path = tmp_path_factory.mktemp("scope") / "home"
    world = build(home)
    world.seal()
    head = world.caller("hoa")
    plan = head.post("/v1/retention/plans").json()["data"]["hash"]
    hold = head.post("/v1/retention/holds", {"systems": [SYSTEMS[A]], "reason": SECRET[A]}).json()["data"]["id"]
    made = world.services.uploads.begin(f"{SECRET[A]}.log", 1, "an")["id"]
    asked = world.caller("officer-a").post("/v1/lookbacks", {"where": SECRET[A]}).json()["data"]["id"]
    world.ids[A] |= {"lookback": asked, "plan": plan, "hold": hold, "import": made, "zero": "0", "officer": "officer-a"}
    excepted = finding(A, "excepted", (world.ids[A]["event"],), NOW_US)
    world.services.alerts.take([replace(excepted, exception="x")])
    with world.services.cases.read("test") as tx:
        [(kept, _)] = tx.find("withheld")
    wanted = {"flow": FLOW, "points": [], "actor": "binh", "reason": SECRET[A]}
    world.services.units.packet_asks().ask("xa-a", "018f00000000000000000000000000aa", wanted)
    world.ids[A] |= {"rule": RULE, "withheld": kept, "packets": "018f00000000000000000000000000aa"}
    yield world
    world.close()


def filled(value: Any, ids: Ids) -> Any:
    """A body with the ids of unit A in it."""
    if isinstance(value, dict):
        return {k: filled(v, ids) for k, v in value.items()}
    if isinstance(value, list):
        return [filled(v, ids) for v in value]
    return ids[value.strip("{}")] if isinstance(value, str) and value.startswith("{") else value


def called(world: World, who: str, call: str) -> Any:
    """The answer to a call about unit A."""
    params, body = CALLS[call]
    method, template = call.split()
    path = template
    for name, key in params.items():
        path = path.replace(f"{{{name}}}", world.ids[A][key])
    caller = world.caller(who)
    if template.endswith("/parts/{n}"):
        return caller.request(method, path, content=b"x", headers={"content-type": "application/octet-stream"})
    options = {} if body is None else {"json": filled(body, world.ids[A])}
    return caller.request(method, path, params=QUERIES.get(call), **options)


def state_of(world: World, unit: str) -> Any:
    """Everything of a unit that a call could have changed."""
    with world.services.cases.read("test") as tx:
        found = {
            kind: [(id, stored.version) for id, stored in tx.find(kind, units=[unit], limit=1000)]
            for kind in ("alert", "ticket", "run")
        }
        everything = {kind: tx.count(kind) for kind in ("hold", "retention_plan", "retention_run", "person", "token")}
    return found, everything, world.services.registry.get(SYSTEMS[unit])


def test_every_route_is_listed_here(both: World) -> None:
    """A new path has to say what it does with another unit's things before it can be merged."""
    described = {
        f"{method.upper()} {path}"
        for path, methods in application(both.services).openapi()["paths"].items()
        for method in methods
        if path not in PUBLIC and path not in STREAMS
    }
    assert described == set(CALLS)


@pytest.mark.parametrize("who", ["officer-b", *BOUND])
@pytest.mark.parametrize("call", sorted(CALLS))
def test_nothing_of_another_unit_leaks(both: World, who: str, call: str) -> None:
    """403, 404 or an answer without a trace of unit A; and unit A stays as it was."""
    before = state_of(both, A)
    response = called(both, who, call)
    assert SECRET[A] not in response.text
    if CALLS[call][0] and call not in COMMON:
        assert response.status_code in (403, 404)
    elif response.status_code in (200, 201):  # a lookback may be asked for by anybody, within their own scope
        assert not [key for key in PRIVATE if both.ids[A][key] in response.text]
        assert A not in response.text
    else:
        assert response.status_code in (403, 404)
    assert state_of(both, A) == before


def test_a_ticket_of_another_unit_is_nobodys_duplicate(both: World) -> None:
    """Also the tickets that a body names are looked for within the scope."""
    body = {"to": "duplicate", "duplicate_of": both.ids[A]["number"], "reason": "x"}
    response = both.caller("tier1-b").post(f"/v1/tickets/{both.ids[B]['number']}/move", body)
    assert (response.status_code, response.json()["error"]["kind"]) == (404, "NotFound")


@pytest.mark.parametrize("call", sorted(SHOWN_TO_ALL))
def test_the_same_calls_show_it_to_people_of_all_units(both: World, call: str) -> None:
    """The marks that the test above looks for are really there."""
    response = called(both, "chi", call)
    assert response.status_code == 200
    assert SECRET[A] in response.text or SYSTEMS[A] in response.text


@pytest.mark.parametrize("call", sorted(c for c in SHOWN_TO_ALL if "retention" not in c and "national" not in c))
def test_an_officer_sees_their_own_unit(both: World, call: str) -> None:
    """A scope cuts away the others, not one's own."""
    response = called(both, "officer-a", call)
    if call.startswith("GET /v1/sources"):
        assert response.status_code == 403
    else:
        assert response.status_code == 200
        assert SECRET[A] in response.text or SYSTEMS[A] in response.text
        assert SECRET[B] not in response.text
