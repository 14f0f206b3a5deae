"""What the calls do: an alert's way to a ticket and a run, systems, people, imports, retention; each with its proof."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from soc.parsers.mibs import packed
from soc.playbooks.engine import Engine
from tests.parsers.mibs.test_compile import OLD
from tests.playbooks.world import FileActuator
from tests.web.world import NOW_US, SYSTEMS, A, B, World, finding, system

DAY_S = 86_400


def ok(response: Any, status: int = 200) -> Any:
    """The data of an answer that went well."""
    assert response.status_code == status, response.text
    return response.json()["data"]


def acts(world: World) -> list[tuple[str, str, str]]:
    """Actor, way in and act of every entry of the ledger."""
    return [(e.actor, e.via, e.act) for e in world.services.cases.ledger_entries(0, 1000)]


# Events


def test_events_come_newest_first_and_counted(world: World) -> None:
    """`total` is there when it is asked for; the cursor leads to the rest."""
    first = world.caller("an").get("/v1/events", params={"q": "user.name:root", "limit": 4, "count": True}).json()
    rest = world.caller("an").get("/v1/events", params={"limit": 4, "cursor": first["cursor"]}).json()
    times = [row["@timestamp"] for row in first["data"] + rest["data"]]
    assert (first["total"], len(first["data"]), first["truncated"], len(rest["data"])) == (6, 4, True, 2)
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize(
    ("since", "n"),
    [("1h", 6), ("2026-11-25T17:00:00+07:00", 6), ("2026-11-25T10:00:01Z", 0), ("2026-11-25T17:00:01", 0), (None, 6)],
)
def test_a_span_is_relative_or_absolute(world: World, since: str | None, n: int) -> None:
    """Without a zone a time is that of Viet Nam."""
    params = {"since": since} if since else {}
    assert len(ok(world.caller("an").get("/v1/events", params=params))) == n


def test_one_event_and_the_events_of_an_alert(world: World) -> None:
    """The whole document, by its id or through its alert."""
    ids = world.ids[A]
    event = ok(world.caller("an").get(f"/v1/events/{ids['event']}"))
    behind = world.caller("an").get(f"/v1/alerts/{ids['alert']}/events").json()
    assert event["event.id"] == ids["event"]
    assert (len(behind["data"]), behind["total"], behind["warnings"]) == (3, 3, [])


def test_a_rule_that_hits_over_and_over_is_one_alert_with_the_way_to_the_rest(world: World) -> None:
    """1,000 of 2,600 are named; the total is told, and the query that goes with it finds them all and no others."""
    entity = {"source.ip": "203.0.113.77", "user.name": "root"}
    ids = world.append(A, 2600, **entity)
    world.append(B, 5, **entity)
    start = NOW_US
    hits = [
        finding(A, f"h{n}", (id,), start + n, kind="sigma", entity="source.ip=203.0.113.77", first_us=start + n)
        for n, id in enumerate(ids)
    ]
    alerts = {alert.id for part in (hits[:1500], hits[1500:]) for alert in world.services.alerts.take(part)}
    (id,) = alerts
    alert = ok(world.caller("an").get(f"/v1/alerts/{id}"))
    assert (alert["events_shown"], alert["events_total"], alert["count"]) == (1000, 2600, 2600)
    answer = world.caller("an").get("/v1/events", params={"q": alert["rest_query"], "count": True, "limit": 1}).json()
    assert answer["total"] == 2600
    behind = world.caller("an").get(f"/v1/alerts/{id}/events").json()
    assert (len(behind["data"]), behind["truncated"]) == (1000, True)
    assert behind["warnings"] == [f"showing 1,000 of 2,600 events; all of them: {alert['rest_query']}"]


def test_events_that_are_gone_are_said_to_be(world: World) -> None:
    """An alert outlives its events; the answer does not hide it."""
    alert = world.alert(A, "gone", ("00" * 16,))
    answer = world.caller("an").get(f"/v1/alerts/{alert.id}/events").json()
    assert (answer["data"], answer["warnings"]) == ([], ["1 of 1 events are no longer here"])


def test_the_most_frequent_values(world: World) -> None:
    """With what was cut off said."""
    world.append(None, 2, **{"user.name": "admin"})
    answer = world.caller("an").get("/v1/events/top", params={"field": "user.name", "limit": 1}).json()
    assert (answer["data"], answer["truncated"]) == ([{"value": "root", "count": 6}], True)


def test_sources_balance_or_say_so(world: World) -> None:
    """The rows and their totals."""
    accounts = ok(world.caller("an").get("/v1/sources", params={"since": "1h"}))
    assert {row["peer"] for row in accounts["sources"]} == {A, B}
    assert accounts["totals"]["stored"] == 6


def test_sources_that_nobody_owns(world: World) -> None:
    """Listed for adoption with what they probably are; a unit's person is not told of them."""
    world.append(None, 2, **{"soc.product": "linux.sshd", "soc.source": "hue/syslog/10.99.0.1"})
    found = ok(world.caller("an").get("/v1/sources", params={"since": "1h", "unknown": "true"}))
    rows = {row["peer"]: row for row in found["sources"]}
    assert (rows["10.99.0.1"]["known"], rows["10.99.0.1"]["guess"]) == (False, {"product": "linux.sshd", "share": 1.0})
    assert found["totals"] is None
    assert "10.99.0.1" not in world.caller("tier1-b").get("/v1/sources", params={"unknown": "true"}).text


def test_monitoring_points(world: World) -> None:
    """What each place sees; a person of one unit sees their own sources only."""
    [point] = ok(world.caller("an").get("/v1/sources/points", params={"since": "1h"}))
    assert (point["kind"], point["site"], point["listener"], point["sources"]) == ("listener", "hue", "syslog", 2)
    assert point["systems"] == sorted(SYSTEMS.values())
    [mine] = ok(world.caller("tier1-b").get("/v1/sources/points", params={"since": "1h"}))
    assert (mine["sources"], mine["systems"]) == (1, [SYSTEMS[B]])


def test_a_source_is_adopted_and_released(world: World) -> None:
    """First the plan, which changes nothing; each change is in the ledger with its reason; releasing undoes it."""
    admin, registry = world.caller("giang"), world.services.registry
    body = {"address": "10.99.0.1", "site": "hue", "system": SYSTEMS[A], "reason": "quyết định 7"}
    plan = ok(admin.post("/v1/sources/adopt", body))
    assert (plan["before"], plan["after"], plan["applied"]) == ([], ["10.99.0.1"], False)
    assert world.services.registry is registry
    assert ok(admin.post("/v1/sources/adopt", {**body, "apply": True}))["applied"] is True
    assert world.services.registry.by_source("hue", "10.99.0.1", NOW_US).id == SYSTEMS[A]
    assert admin.post("/v1/sources/adopt", {**body, "apply": True}).status_code == 409
    undo = {"address": "10.99.0.1", "system": SYSTEMS[A], "reason": "nhầm", "apply": True}
    assert ok(admin.post("/v1/sources/release", undo))["after"] == []
    assert world.services.registry.get(SYSTEMS[A]) == registry.get(SYSTEMS[A])
    said = [(who, act) for who, _, act, *_ in acts(world) if act.startswith("source.")]
    assert said == [("giang", "source.adopt"), ("giang", "source.release")]


def test_only_who_manages_sources_adopts_them(world: World) -> None:
    """An analyst sees them and may not change them."""
    body = {"address": "10.99.0.1", "site": "hue", "system": SYSTEMS[A]}
    assert world.caller("binh").post("/v1/sources/adopt", body).status_code == 403


# Alerts and tickets


def test_an_alert_with_its_context(world: World) -> None:
    """The system it is about and what to do about it."""
    alert = ok(world.caller("an").get(f"/v1/alerts/{world.ids[A]['alert']}"))
    assert (alert["system"]["id"], alert["version"], alert["status"]) == (SYSTEMS[A], 1, "new")
    assert set(alert["suggested_playbook"]) == {"id", "title", "title_vi", "steps"}


def test_alerts_are_filtered_by_several_values(world: World) -> None:
    """Statuses with commas."""
    caller = world.caller("an")
    states = {s: len(ok(caller.get("/v1/alerts", params={"status": s}))) for s in ("new", "escalated", "new,escalated")}
    assert states == {"new": 2, "escalated": 2, "new,escalated": 4}


def test_an_alert_is_taken_noted_and_judged(world: World) -> None:
    """Each under the person's name."""
    path = f"/v1/alerts/{world.ids[A]['alert']}"
    assert ok(world.caller("an").post(f"{path}/acknowledge"))["owner"] == "an"
    assert ok(world.caller("binh").post(f"{path}/note", {"text": "xem lại"}))["notes"][0]["text"] == "xem lại"
    closed = ok(world.caller("binh").post(f"{path}/close", {"verdict": "test", "reason": "diễn tập"}))
    assert (closed["status"], closed["verdict"], closed["version"]) == ("closed", "test", 4)
    assert [a for a in acts(world) if a[2].startswith("alert.") and a[1] == "api"] == [
        ("an", "api", "alert.acknowledge"), ("binh", "api", "alert.note"), ("binh", "api", "alert.close"),
    ]  # fmt: skip


def test_a_ticket_takes_the_playbook_that_fits(world: World) -> None:
    """The alert is escalated with it, in one transaction."""
    id = world.ids[A]["alert"]
    suggested = ok(world.caller("an").get(f"/v1/alerts/{id}"))["suggested_playbook"]
    ticket = ok(world.caller("an").post(f"/v1/alerts/{id}/ticket", {"playbook": None}), 201)
    assert (ticket["playbook"], len(ticket["tasks"]), ticket["runs"]) == (suggested["id"], len(suggested["steps"]), [])
    assert ok(world.caller("an").get(f"/v1/alerts/{id}"))["ticket_id"] == ticket["id"]
    assert world.caller("an").post(f"/v1/alerts/{id}/ticket", {}).status_code == 409


def test_a_ticket_is_found_by_number_and_moved(world: World) -> None:
    """With its runs beside it."""
    path = f"/v1/tickets/{world.ids[A]['number']}"
    caller = world.caller("an")
    assert [run["id"] for run in ok(caller.get(path))["runs"]] == [world.ids[A]["run"]]
    assert ok(caller.post(f"{path}/move", {"to": "triage"}))["state"] == "triage"
    moved = ok(caller.post(f"{path}/move", {"to": "assigned", "assignee": "binh", "tier": 3}))
    assert (moved["assignee"], moved["tier"]) == ("binh", 3)
    assert caller.post(f"{path}/move", {"to": "closed"}).status_code in (400, 409)


def test_tasks_notes_and_the_judgement_on_severity(world: World) -> None:
    """The officer of the unit reports what was done; the judgement is the centre's."""
    path = f"/v1/tickets/{world.ids[A]['number']}"
    done = ok(world.caller("officer-a").post(f"{path}/tasks/{world.ids[A]['task']}/done", {"result": "đã chặn"}))
    assert done["tasks"][0]["done_by"] == "officer-a"
    assert ok(world.caller("officer-a").post(f"{path}/note", {"text": "xong"}))["notes"][0]["person"] == "officer-a"
    body = {"serious": True, "flags": [], "reason": "dữ liệu cá nhân"}
    assert world.caller("officer-a").post(f"{path}/classify", body).status_code == 403
    judged = ok(world.caller("an").post(f"{path}/classify", body))
    assert (judged["serious"], bool(judged["deadlines"])) == (True, True)


# Runs


def test_a_run_needs_a_second_person_and_exactly_its_plan(world: World) -> None:
    """Who asked cannot approve; who approves names what they saw. Without a device it is done by hand."""
    body = {"ticket": world.ids[A]["number"], "step": world.ids[A]["step"], "params": {"address": "203.0.113.8"}}
    run = ok(world.caller("chi").post("/v1/runs", body), 201)
    assert run["state"] == "manual"  # no gateway here
    own = world.caller("chi").post(f"/v1/runs/{run['id']}/approve", {"plan_hash": run["plan_hash"]})
    assert (own.status_code, own.json()["error"]["exit_code"]) == (403, 5)
    assert ok(world.caller("binh").post(f"/v1/runs/{run['id']}/run"))["state"] == "manual"  # nothing was carried out
    done = ok(world.caller("binh").post(f"/v1/runs/{run['id']}/done", {"note": "chặn trên tường lửa"}))
    assert (done["done_by"], done["history"][-1]["note"]) == ("binh", "chặn trên tường lửa")
    assert ("binh", "api", "playbook.done") in acts(world)


def test_a_run_is_approved_carried_out_and_reverted(world: World, tmp_path: Path) -> None:
    """Each step by a person who may, and the world shows it."""
    services = world.services
    device = FileActuator(tmp_path / "device")
    services.engine = Engine(services.cases, {"nftables": device}, world.clock, require=services.access.require)
    body = {"ticket": world.ids[A]["ticket"], "step": world.ids[A]["step"], "params": {"address": "203.0.113.8"}}
    run = ok(world.caller("an").post("/v1/runs", body), 201)
    path = f"/v1/runs/{run['id']}"
    assert run["state"] == "planned"
    assert world.caller("chi").post(f"{path}/approve", {"plan_hash": "0" * 64}).status_code == 409
    assert ok(world.caller("chi").post(f"{path}/approve", {"plan_hash": run["plan_hash"]}))["approved_by"] == "chi"
    assert ok(world.caller("binh").post(f"{path}/run"))["state"] == "verified"
    assert device.standing() == {"203.0.113.8"}
    assert ok(world.caller("binh").post(f"{path}/revert"))["state"] == "reverted"
    assert device.standing() == set()


def test_runs_by_ticket_and_state(world: World) -> None:
    """A ticket is named by number or id."""
    found = ok(world.caller("an").get("/v1/runs", params={"ticket": world.ids[A]["number"], "state": "manual"}))
    assert [run["id"] for run in found] == [world.ids[A]["run"]]
    assert ok(world.caller("an").get("/v1/runs", params={"state": "verified"})) == []


# Systems, people, national


def test_a_system_is_registered_and_changed(world: World) -> None:
    """It counts at once, is kept in the home, and stands in the ledger before and after."""
    caller = world.caller("giang")
    new = system(A, id="thu-dien-tu", networks=["10.9.0.0/16"])
    assert ok(caller.put("/v1/systems/thu-dien-tu", {"document": new, "reason": "QĐ 15"}))["id"] == "thu-dien-tu"
    changed = ok(caller.put("/v1/systems/thu-dien-tu", {"document": {**new, "retired": "2026-12-01"}}))
    assert changed["retired"] == "2026-12-01"
    assert world.services.registry.lookup("hue", "10.9.1.1", NOW_US).id == "thu-dien-tu"
    entries = [e for e in world.services.cases.ledger_entries(0, 1000) if e.act == "system.put"]
    assert [(e.actor, e.before is None, e.reason) for e in entries] == [
        ("giang", True, "QĐ 15"), ("giang", False, ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("id", "changes"),
    [
        ("thu-dien-tu", {"networks": ["10.1.0.0/16"]}),
        ("thu-dien-tu", {"networks": ["10.1.0.1/16"]}),
        ("thu-dien-tu", {"id": "another"}),
        ("thu-dien-tu", {"levels": [{"level": 9, "since": "2024-01-01"}]}),
        ("..", {"id": ".."}),
        (".hidden", {"id": ".hidden"}),
    ],
)
def test_a_system_that_does_not_fit_changes_nothing(world: World, id: str, changes: dict[str, Any]) -> None:
    """A network of somebody else, a wrong level, a name that is a path."""
    before = sorted(world.services.settings.path("registry").iterdir())
    response = world.caller("giang").put(f"/v1/systems/{id}", {"document": {**system(A), "id": id, **changes}})
    assert response.status_code in (400, 404)
    assert sorted(world.services.settings.path("registry").iterdir()) == before
    assert len(world.services.registry.systems()) == 2


def test_a_registry_file_of_other_systems_is_never_overwritten(world: World) -> None:
    """The new system's id is the name of a file that a person wrote, with somebody else's systems in it."""
    path = world.services.settings.path("registry") / "benh-vien.yml"
    path.write_bytes(orjson.dumps(system(A, id="phong-kham", networks=["10.8.0.0/16"])))
    world.services.reload_registry()
    body = {"document": system(A, id="benh-vien", networks=["10.9.0.0/16"])}
    response = world.caller("giang").put("/v1/systems/benh-vien", body)
    assert response.status_code == 400
    assert "holds other systems" in response.json()["error"]["message"]
    assert world.services.registry.get("phong-kham") is not None
    assert b"phong-kham" in path.read_bytes()


def test_all_faults_of_a_system_are_told(world: World) -> None:
    """A form shows them beside its fields."""
    error = world.caller("giang").put("/v1/systems/x", {"document": {"kind": "system", "id": "x"}}).json()["error"]
    assert (error["kind"], error["exit_code"]) == ("ContentError", 2)
    assert len(error["faults"]) > 3


@pytest.mark.parametrize("word", ['"\\ud800"', "99999999999999999999999"])
def test_what_no_file_can_hold_is_refused(world: World, word: str) -> None:
    """Half a character, a number beyond 64 bits: valid JSON, and no text of ours."""
    body = b'{"document": {"kind": "system", "id": "x", "name": %s}}' % word.encode()
    kind = {"content-type": "application/json"}
    response = world.caller("giang").request("PUT", "/v1/systems/x", content=body, headers=kind)
    assert (response.status_code, response.json()["error"]["kind"]) == (400, "UsageError")


def test_people_are_added_and_given_tokens(world: World) -> None:
    """The secret is shown once and works."""
    caller = world.caller("giang")
    ok(caller.post("/v1/people", {"name": "khanh", "role": "tier2-unit", "units": [A]}), 201)
    secret = ok(caller.post("/v1/people/khanh/tokens", {"days": 7}), 201)["secret"]
    assert ok(world.caller(Authorization=f"Bearer {secret}").get("/v1/me"))["units"] == [A]
    assert secret not in world.caller("giang").get("/v1/people").text
    assert ("giang", "api", "access.token") in acts(world)


def test_national_messages_and_destinations(world: World) -> None:
    """What lies in the outbox; without a destination configured there is none to show."""
    assert ok(world.caller("an").get("/v1/national")) == []
    found = ok(world.caller("an").get("/v1/national/messages", params={"destination": "ncsc", "state": "pending"}))
    assert {item["id"] for item in found} == {f"m-{A}", f"m-{B}"}


# Retention


def test_a_plan_is_approved_by_another_person_and_proved(world: World) -> None:
    """Planned by one, applied by another: the certificate lists every tombstone, and everything verifies."""
    world.seal()
    world.clock.advance(800 * DAY_S)
    plan = ok(world.caller("hoa").post("/v1/retention/plans"), 201)
    assert [item["action"] for item in plan["items"]] == ["delete"]
    path = f"/v1/retention/plans/{plan['hash']}/apply"
    assert world.caller("hoa").post(path, {"reason": "hết hạn"}).status_code == 403
    proof = ok(world.caller("chi").post(path, {"reason": "hết hạn"}))
    assert (proof["planner"], proof["approver"], len(proof["tombstones"])) == ("hoa", "chi", 1)
    assert world.caller("chi").post(path, {}).status_code == 409
    verdict = ok(world.caller("dung").get("/v1/retention/verify"))
    assert (verdict["ok"], verdict["tombstones"], verdict["certificates"]) == (True, 1, 1)
    assert [c["name"] for c in ok(world.caller("dung").get("/v1/retention/certificates"))] == [proof["name"]]
    (summary,) = ok(world.caller("dung").get("/v1/retention/plans"))
    assert (summary["state"], summary["approver"], summary["delete"]) == ("done", "chi", 1)
    assert ("chi", "api", "retention.apply") in acts(world)


def test_a_hold_beats_a_plan_and_needs_a_second_person(world: World) -> None:
    """Who set it cannot lift it."""
    world.seal()
    hold = ok(world.caller("chi").post("/v1/retention/holds", {"systems": [SYSTEMS[A]], "reason": "CV 12"}), 201)
    world.clock.advance(800 * DAY_S)
    plan = ok(world.caller("hoa").post("/v1/retention/plans"), 201)
    assert [item["action"] for item in plan["items"]] == ["keep"]
    path = f"/v1/retention/holds/{hold['id']}/release"
    assert world.caller("chi").post(path, {"reason": "x"}).status_code == 403
    assert ok(world.caller("hoa").post(path, {"reason": "xong"}))["released_by"] == "hoa"
    assert ok(world.caller("hoa").get("/v1/retention/holds")) == []
    assert len(ok(world.caller("hoa").get("/v1/retention/holds", params={"released": True}))) == 1


def test_standings_say_whether_the_law_is_kept(world: World) -> None:
    """One per system, each with the message id of its verdict."""
    answer = ok(world.caller("dung").get("/v1/retention"))
    assert {s["system_id"] for s in answer["standings"]} == set(SYSTEMS.values())
    assert all(s["label"] == f"retention.verdict.{s['verdict']}" for s in answer["standings"])
    assert isinstance(answer["compliant"], bool)


def test_the_ledger_is_read_page_by_page_and_verified(world: World) -> None:
    """Oldest first, the cursor is the last number."""
    first = world.caller("dung").get("/v1/ledger", params={"limit": 2}).json()
    second = world.caller("dung").get("/v1/ledger", params={"limit": 2, "after": first["cursor"]}).json()
    assert [e["seq"] for e in first["data"] + second["data"]] == [1, 2, 3, 4]
    assert ok(world.caller("dung").get("/v1/ledger/verify"))["ok"] is True


# Imports


def test_an_import_takes_parts_in_any_order_and_twice(world: World) -> None:
    """A part sent again is the same part; the commit too, and it stands in the ledger once."""
    caller = world.caller("an")
    line = b"<13>Nov 25 10:00:00 h sshd[1]: Failed password for root from 203.0.113.9 port 1 ssh2\n"
    begun = ok(caller.post("/v1/imports", {"name": "auth.log", "size": len(line)}), 201)
    path = f"/v1/imports/{begun['id']}"
    assert caller.post(f"{path}/commit").status_code == 409
    kind = {"content-type": "application/octet-stream"}
    for _ in range(2):
        assert ok(caller.request("PUT", f"{path}/parts/0", content=line, headers=kind))["bytes"] == len(line)
    assert caller.request("PUT", f"{path}/parts/1", content=b"x", headers=kind).status_code == 400
    for _ in range(2):
        assert ok(caller.post(f"{path}/commit"))["state"] == "queued"
    assert ok(caller.get(path))["by"] == "an"
    assert [a for a in acts(world) if a[2] == "import.create"] == [("an", "api", "import.create")]


def test_a_commit_whose_answer_was_lost_still_reaches_the_ledger(world: World) -> None:
    """The upload was committed and the service died before the ledger entry: the client's second try writes it."""
    caller = world.caller("an")
    begun = ok(caller.post("/v1/imports", {"name": "auth.log", "size": 0}), 201)
    world.services.uploads.commit(begun["id"])
    for _ in range(2):
        ok(caller.post(f"/v1/imports/{begun['id']}/commit"))
    assert len([a for a in acts(world) if a[2] == "import.create"]) == 1


# MIBs


def test_a_mib_is_planned_added_removed_and_restored(world: World) -> None:
    """Nothing changes before `apply`; who did what is in the ledger; analysts may look."""
    files = packed.pack([("old.mib", OLD), ("note.txt", "no MIB")])
    admin = world.caller("giang")
    planned = ok(admin.post("/v1/mibs", {"files": files}))
    assert [(m["module"], m["state"], m["notifications"]) for m in planned["modules"]] == [("ACME-OLD-MIB", "new", 1)]
    assert [(f["file"], f["line"]) for f in planned["faults"]] == [("note.txt", 1)]
    assert (planned["applied"], ok(admin.get("/v1/mibs"))) == (False, [])
    assert ok(admin.post("/v1/mibs", {"files": files, "apply": True, "reason": "new switches"}))["applied"]
    shown = ok(world.caller("an").get("/v1/mibs/ACME-OLD-MIB"))
    assert (shown["by"], list(shown["table"]["notifications"])) == ("giang", ["1.3.6.1.4.1.32473.9.0.7"])
    ok(admin.post("/v1/mibs/ACME-OLD-MIB/remove", {}))
    assert admin.get("/v1/mibs/ACME-OLD-MIB").status_code == 404
    ok(admin.post("/v1/mibs/ACME-OLD-MIB/restore", {}))
    assert [m["module"] for m in ok(admin.get("/v1/mibs"))] == ["ACME-OLD-MIB"]
    assert [act for who, _, act in acts(world) if act.startswith("mib.")] == ["mib.new", "mib.removed", "mib.restored"]


def test_only_who_manages_sources_adds_mibs(world: World) -> None:
    """Names of traps are what everybody sees."""
    assert world.caller("an").post("/v1/mibs", {"files": packed.pack([("a", OLD)])}).status_code == 403
    assert world.caller("giang").post("/v1/mibs", {"files": "not packed"}).status_code in (400, 422)
