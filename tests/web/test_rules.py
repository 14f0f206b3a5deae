"""Rules and exceptions through the API: held against what was found, refused when an attack would be hidden, undone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy

from soc import content
from soc.model.batch import EventBatch
from soc.model.finding import Finding
from soc.pipeline import places, promotion
from tests.web.world import NOW_US, World

ROLE, OTHER = "binh", "hoa"
RULE = """title: Failed logins
name: failed
status: STATUS
logsource: {product: linux, service: sshd}
detection: {s: {event.outcome: failure}, condition: s}
tests:
  - {event: {event.dataset: linux.sshd, event.outcome: failure, source.ip: 198.51.100.1}, hit: true}
  - {event: {event.dataset: linux.sshd, event.outcome: success}, hit: false}
"""
EXCEPTION = """title: Our scanner
id: 5d0c9a3e-8f0e-4c0b-9a55-0d6c2b7d6f10
date: 2026-11-20
logsource: {product: linux, service: sshd}
filter: {rules: [failed], scanner: {source.ip: 10.0.0.5}, condition: not scanner}
x-exception: {owner: lan, reason: weekly scan, ticket: T-1, expires: 2027-11-20}
"""
SSH = "9b14315e-9dee-5227-a0ff-7f61e5f7f0a4"
GUESSING = "248f0d90-e4c3-55b0-bf46-2d6158f13c2f"
ID = "5d0c9a3e-8f0e-4c0b-9a55-0d6c2b7d6f10"
ATTACKER, SCANNER = "203.0.113.9", "10.0.0.5"


@pytest.fixture
def place(world: World) -> World:
    """A world with a rule of the site, and its alerts about the scanner (two events) and an attacker."""
    keep(world, RULE.replace("STATUS", "stable"))
    rows: list[dict[str, Any]] = []
    for n, ip in enumerate((SCANNER, SCANNER, ATTACKER)):
        rows.append({
            "@timestamp": NOW_US - 5_000_000 + n, "event.created": NOW_US - 5_000_000 + n, "event.id": event_id(n),
            "event.dataset": "linux.sshd", "event.outcome": "failure", "event.kind": "event", "source.ip": ip,
            "soc.source": "10.0.0.1", "soc.site": "hue",
        })  # fmt: skip
    world.writer.append([EventBatch.from_rows("linux.sshd", rows)], {})
    world.services.alerts.take([found(0, SCANNER), found(1, SCANNER), found(2, ATTACKER)])
    return world


def keep(world: World, text: str) -> None:
    """Write the site's rule as a person would, and say so."""
    path = world.services.settings.path(places.DETECTIONS, "sigma", "failed.yml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    assert ok(world.caller(ROLE).post("/v1/rules/reload"))["refused"] == 0


def event_id(n: int) -> str:
    return f"{n + 1:032x}"


def found(n: int, ip: str) -> Finding:
    """What the rule says of event `n`."""
    return Finding(
        id=f"found-{n}", rule_id="failed", rule_version="1", title="Failed logins", level="medium", kind="sigma",
        dataset="linux.sshd", event_ids=(event_id(n),), first_us=NOW_US, last_us=NOW_US, site="hue",
        entity=f"source.ip={ip}",
    )  # fmt: skip


def ok(response: Any) -> Any:
    assert response.status_code == 200, response.text
    return response.json()["data"]


def post(world: World, definition: str = EXCEPTION, **more: Any) -> Any:
    return world.caller(ROLE).post("/v1/exceptions", {"definition": definition, **more})


def close(world: World, ip: str, verdict: str) -> str:
    """Judge the alert about an address; its id."""
    alerts = ok(world.caller("an").get("/v1/alerts", params={"rule": "failed"}))
    [id] = [alert["id"] for alert in alerts if alert["entity"] == f"source.ip={ip}"]
    ok(world.caller("an").post(f"/v1/alerts/{id}/close", {"verdict": verdict, "reason": "x"}))
    return str(id)


def test_a_plan_says_what_would_have_been_hidden_and_changes_nothing(place: World) -> None:
    """The scanner's alert with its two events, out of two alerts and three events; no file, no ledger entry."""
    plan = ok(post(place))
    assert (plan["hidden_alerts"], plan["alerts"], plan["taken"], plan["hits"]) == (1, 2, 2, 3)
    assert plan["entities"] == {f"source.ip={SCANNER}": 2}
    assert (plan["refused"], plan["applied"], sum(plan["by_day"].values())) == (False, False, 2)
    assert ok(place.caller(ROLE).get("/v1/exceptions")) == []
    assert "exception.put" not in [entry.act for entry in place.services.cases.ledger_entries(0, 1000)]


def test_an_exception_is_put_in_place_listed_counted_and_ended(place: World) -> None:
    """Its file is below the home where all processes read; the ledger has both acts with their reasons."""
    ok(post(place, apply=True, reason="agreed"))
    path = place.services.settings.path(places.DETECTIONS, "filters", f"{ID}.yml")
    assert path.read_text() == EXCEPTION
    place.services.alerts.take([Finding(**{**vars(found(7, SCANNER)), "exception": ID})])
    [row] = ok(place.caller(ROLE).get("/v1/exceptions"))
    assert (row["state"], row["count"], row["rules"][0]["title"]) == ("active", 1, "Failed logins")
    [kept] = ok(place.caller("an").get("/v1/withheld", params={"exception": ID}))
    assert (kept["withheld"], kept["entity"]) == ("exception", f"source.ip={SCANNER}")
    assert place.caller("an").get(f"/v1/withheld/{kept['id']}/events").json()["total"] == 1
    ok(place.caller(ROLE).post(f"/v1/exceptions/{ID}/end", {"reason": "gone"}))
    assert not path.exists()
    acts = [(e.actor, e.act, e.reason) for e in place.services.cases.ledger_entries(0, 1000) if "exception" in e.act]
    assert acts == [("binh", "exception.put", "agreed"), ("binh", "exception.end", "gone")]


def test_a_known_attack_is_never_hidden(place: World) -> None:
    """An alert judged a true positive stands against it, with its id; a false positive does not."""
    id = close(place, SCANNER, "true_positive")
    assert ok(post(place))["true_positives"] == [id]
    refused = post(place, apply=True)
    assert (refused.status_code, id in refused.text) == (409, True)
    assert ok(place.caller(ROLE).get("/v1/exceptions")) == []
    close(place, ATTACKER, "false_positive_logic")
    other = EXCEPTION.replace(SCANNER, ATTACKER)
    assert not ok(post(place, other))["refused"]


def test_the_rules_own_hit_is_never_hidden(place: World) -> None:
    """An exception that is too wide takes what the rule's test says is a hit."""
    plan = ok(post(place, EXCEPTION.replace("source.ip: 10.0.0.5", "source.ip|re: '.*'")))
    assert plan["tests"] == ["Failed logins: tests[0]: expected a hit"]
    assert post(place, EXCEPTION.replace("source.ip: 10.0.0.5", "source.ip|re: '.*'"), apply=True).status_code == 409


def test_what_is_no_exception_is_refused(place: World) -> None:
    """A path as its id, a rule that is not there, too long, two of them, no YAML."""
    for definition, said in (
        ("title: x", "one Sigma filter with 'x-exception'"),
        (EXCEPTION.replace(f"id: {ID}", "name: ../scanner"), "no id of an exception"),
        (EXCEPTION.replace("[failed]", "[gone]"), "is about 'gone'"),
        (EXCEPTION.replace("2027-11-20", "2029-11-20"), "at most a year"),
        (EXCEPTION + "---\n" + EXCEPTION, "one Sigma filter"),
        ("a: [", "no YAML"),
    ):
        response = post(place, definition, apply=True)
        assert (response.status_code, said in response.text) == (400, True), response.text


def test_a_decision_holds_at_once_and_is_in_the_ledger(place: World) -> None:
    """Into shadow, so that the next finding makes no alert; and back."""
    row = ok(place.caller(ROLE).post("/v1/rules/failed/state", {"state": "shadow", "reason": "noisy"}))
    assert (row["state"], row["decision"]["by"], row["decision"]["reason"]) == ("shadow", "binh", "noisy")
    assert place.services.alerts.take([found(8, "203.0.113.77")]) == []
    assert place.caller(ROLE).post("/v1/rules/failed/state", {"state": "shadow", "reason": "x"}).status_code == 409
    assert place.caller(ROLE).post("/v1/rules/failed/state", {"state": "live", "reason": " "}).status_code == 400
    assert ok(place.caller(ROLE).post("/v1/rules/failed/state", {"state": "default", "reason": "x"}))["state"] == "live"
    ok(place.caller(ROLE).post("/v1/rules/failed/state", {"state": "live", "reason": "x"}))
    acts = [entry.act for entry in place.services.cases.ledger_entries(0, 1000) if entry.act.startswith("rule.")]
    assert acts == ["rule.shadow", "rule.default", "rule.live"]


MISS = "  - {event: {event.outcome: success}, hit: false, origin: synthetic}\n"


@pytest.mark.parametrize(
    ("tests", "lacking"),
    [
        ("", "hit"),
        ("tests:\n" + MISS, "hit"),
        ("tests:\n" + MISS.replace("false", "true"), "miss"),
        ("tests: x", "hit"),
    ],
)
def test_a_rule_is_promoted_with_a_test_that_hits_and_one_that_misses(place: World, tests: str, lacking: str) -> None:
    """Features C3; in spite of it with a word that the ledger keeps. Out of use it goes without any."""
    bare = RULE.replace("STATUS", "stable").partition("tests:")[0].replace("failed", "bare").replace("Failed", "Bare")
    path = place.services.settings.path(places.DETECTIONS, "sigma", "bare.yml")
    path.write_text(bare + tests)
    ok(place.caller(ROLE).post("/v1/rules/reload"))
    asked: dict[str, Any] = {"state": "live", "reason": "x"}
    refused = place.caller(ROLE).post("/v1/rules/bare/state", asked)
    assert (refused.status_code, f"no test that is a {lacking}" in refused.text) == (409, True)
    assert ok(place.caller(ROLE).post("/v1/rules/bare/state", {**asked, "untested": True}))["state"] == "live"
    assert ok(place.caller(ROLE).post("/v1/rules/bare/state", {**asked, "state": "off"}))["state"] == "off"
    entries = [entry for entry in place.services.cases.ledger_entries(0, 1000) if entry.act == "rule.live"]
    assert [entry.after["untested"] for entry in entries if entry.after] == [True]


def test_a_rule_is_rolled_back_to_the_text_it_had_and_forward_again(place: World) -> None:
    """The version that alerts name is the old one again; the site's own file is left as it is."""
    rules = place.services.rules
    old = rules.one("failed").version
    place.clock.advance(60)
    keep(place, RULE.replace("STATUS", "stable").replace("failure}", "success}"))
    new = rules.one("failed").version
    assert new != old
    said = ok(place.caller(ROLE).post("/v1/rules/failed/rollback", {"reason": "noisy"}))
    assert (said["before"], said["after"], rules.one("failed").version) == (new, old, old)
    versions = ok(place.caller(ROLE).get("/v1/rules/failed"))["versions"]
    assert [(each["version"], each["is_used"]) for each in versions] == [(new, False), (old, True)]
    assert place.caller(ROLE).post("/v1/rules/failed/rollback", {"reason": "x"}).status_code == 409
    said = ok(place.caller(ROLE).post("/v1/rules/failed/rollback", {"reason": "mended", "forward": True}))
    assert rules.one("failed").version == new == said["after"]


def test_only_those_who_may_change_rules_do(place: World) -> None:
    """An analyst of the first tier reads."""
    assert place.caller("an").get("/v1/rules/failed").status_code == 200
    assert place.caller("an").post("/v1/rules/failed/state", {"state": "off", "reason": "x"}).status_code == 403
    assert place.caller("an").post("/v1/exceptions", {"definition": EXCEPTION, "apply": True}).status_code == 403


def test_a_broken_file_of_an_exception_leaves_no_trace(place: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the ledger cannot be written the file goes again: nothing stands that nobody signed for."""

    def broken(*_: Any, **__: Any) -> None:
        raise OSError("no ledger")

    monkeypatch.setattr("soc.pipeline.rule_exceptions.enter", broken)
    assert post(place, apply=True).status_code == 500
    assert not place.services.settings.path(places.DETECTIONS, "filters", f"{ID}.yml").exists()
    assert ok(place.caller(ROLE).get("/v1/exceptions")) == []


def test_deaf_rules_and_coverage_follow_what_really_came(place: World) -> None:
    """SSH came, a firewall did not; a rule in shadow does not count though it is tested and fed."""
    deaf = {row["id"]: row for row in ok(place.caller(ROLE).get("/v1/deaf-rules"))}
    assert "failed" not in deaf
    assert SSH not in deaf
    assert "fortinet.fortigate" in ", ".join(deaf["ea8934d3-0945-5609-bafa-6d44c18b9fbc"]["listens_to"])
    counted = {id for row in ok(place.caller(ROLE).get("/v1/attack"))["techniques"] for id in ids(row["counted"])}
    assert GUESSING in counted
    ok(place.caller(ROLE).post(f"/v1/rules/{GUESSING}/state", {"state": "shadow", "reason": "x"}))
    found = ok(place.caller(ROLE).get("/v1/attack"))
    others = {each["id"]: each["missing"] for row in found["techniques"] for each in row["others"]}
    assert others[GUESSING] == ["not_live"]
    assert others["ea8934d3-0945-5609-bafa-6d44c18b9fbc"] == ["not_fed"]


def test_coverage_runs_the_tests_of_rules_that_came_from_the_cache(place: World, monkeypatch: Any) -> None:
    """The same answer when nothing was read anew; only files with tests are read for it, and a failed test shows."""
    keep(place, RULE.replace("STATUS", "stable") + "tags: [attack.t1110]\n")
    path = place.services.settings.path(places.DETECTIONS, "sigma", "untested.yml")
    path.write_text(RULE.replace("STATUS", "stable").partition("tests:")[0].replace("failed", "untested"))
    ok(place.caller(ROLE).post("/v1/rules/reload"))
    before = ok(place.caller(ROLE).get("/v1/attack"))
    ok(place.caller(ROLE).post("/v1/rules/reload"))
    assert not any(each.path == str(path) for each in place.services.rules.loaded().documents)  # it was kept
    readable, read = content.readable, list[str]()
    monkeypatch.setattr(content, "readable", lambda data, path: read.append(path) or readable(data, path))
    assert ok(place.caller(ROLE).get("/v1/attack")) == before
    assert str(path) not in read
    assert str(path.with_name("failed.yml")) in read
    keep(place, RULE.replace("STATUS", "stable").replace("hit: true", "hit: false") + "tags: [attack.t1110]\n")
    ok(place.caller(ROLE).post("/v1/rules/reload"))
    [row] = [row for row in ok(place.caller(ROLE).get("/v1/attack"))["techniques"] if row["technique"] == "T1110"]
    assert {each["id"]: each["missing"] for each in row["others"]}["failed"] == ["tests_failed"]


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["id"] for row in rows]


def test_a_source_that_fell_silent_feeds_no_rule(place: World) -> None:
    """After a month without an event of SSH its rules are deaf."""
    place.clock.advance(31 * 86_400)
    assert SSH in ids(ok(place.caller(ROLE).get("/v1/deaf-rules")))


def test_noise_is_counted_within_the_scope(place: World) -> None:
    """Two alerts of the site's rule, one judged; a person of one unit is shown their own."""
    close(place, SCANNER, "false_positive_logic")
    [row] = [row for row in ok(place.caller("an").get("/v1/noise")) if row["rule"] == "failed"]
    assert (row["alerts"], row["findings"], row["judged"], row["share"]) == (2, 3, 1, 1.0)
    assert "failed" not in [row["rule"] for row in ok(place.caller("officer-b").get("/v1/noise"))]


def test_an_exception_says_when_nobody_needs_it_and_when_it_ends(place: World) -> None:
    """Nothing taken for two months, the last week, and after its last day, when the rule speaks again by itself."""
    ok(post(place, apply=True, reason="agreed"))
    seen = []
    for days in (0, 56, 293, 12):  # 2026-11-25, 2027-01-20, 2027-11-09, 2027-11-21
        place.clock.advance(days * 86_400)
        seen += [row["state"] for row in ok(place.caller(ROLE).get("/v1/exceptions"))]
    place.clock.advance(-7 * 86_400)
    seen += [row["state"] for row in ok(place.caller(ROLE).get("/v1/exceptions"))]
    assert seen == ["active", "unused", "unused", "expired", "ending"]


def test_a_broken_archive_holds_up_no_reload(place: World) -> None:
    """It is refused by name; the others are read, kept and announced."""
    (place.services.settings.path(places.DETECTIONS) / "broken.yml").write_text("a: [")
    broken = place.services.settings.path("broken.zip")
    broken.write_bytes(b"no archive")
    place.services.rules.settings = replace(place.services.settings, rules=(broken,))
    assert ok(place.caller(ROLE).post("/v1/rules/reload"))["refused"] == 2
    assert ok(place.caller(ROLE).get("/v1/rules/failed"))["versions"] != []


TWICE = """---
title: Twice from one address
name: twice
status: stable
correlation: {type: event_count, rules: [failed], group-by: [source.ip], timespan: 1m, condition: {gte: 2}}
tests:
  - {event: {event.dataset: linux.sshd, event.outcome: failure, source.ip: 198.51.100.1}, repeat: 2, hit: true}
"""
OF_TWICE = EXCEPTION.replace("logsource: {product: linux, service: sshd}\n", "").replace("[failed]", "[twice]")


@pytest.fixture
def counted(place: World) -> World:
    """The same world with a correlation over the rule, and an alert of it about the scanner."""
    keep(place, RULE.replace("STATUS", "stable") + TWICE)
    ids = (event_id(0), event_id(1))
    more = {"rule_id": "twice", "kind": "correlation", "event_ids": ids, "group": {"source.ip": SCANNER}, "count": 2}
    place.services.alerts.take([replace(found(9, SCANNER), **more)])
    return place


def test_a_plan_of_a_correlations_exception_runs_the_correlation(counted: World) -> None:
    """One finding out of the scanner's two events, and the alert about it; the attacker had no two."""
    plan = ok(post(counted, OF_TWICE))
    assert (plan["hidden_alerts"], plan["alerts"], plan["taken"], plan["hits"]) == (1, 1, 1, 1)
    assert plan["entities"] == {f"source.ip={SCANNER}": 1}
    assert not plan["refused"]
    wide = ok(post(counted, OF_TWICE.replace("source.ip: 10.0.0.5", "source.ip|re: '.*'")))
    assert wide["tests"] == ["Twice from one address: tests[0]: expected a hit"]


def test_a_correlations_exception_is_put_in_place_and_what_it_takes_is_found(counted: World) -> None:
    """As one from a rule: kept, counted, findable by its id."""
    ok(post(counted, OF_TWICE, apply=True, reason="agreed"))
    taken = replace(found(10, SCANNER), rule_id="twice", kind="correlation", exception=ID)
    assert counted.services.alerts.take([taken]) == []
    [kept] = ok(counted.caller("an").get("/v1/withheld", params={"exception": ID}))
    assert (kept["withheld"], kept["rule_id"]) == ("exception", "twice")
    [row] = ok(counted.caller(ROLE).get("/v1/exceptions"))
    assert (row["state"], row["count"], row["rules"][0]["title"]) == ("active", 1, "Twice from one address")


def test_a_known_attack_of_a_correlation_is_never_hidden(counted: World) -> None:
    """Also when an event of it is gone, so that the correlation does not come about again: its group is known."""
    [alert] = ok(counted.caller("an").get("/v1/alerts", params={"rule": "twice"}))
    ok(counted.caller("an").post(f"/v1/alerts/{alert['id']}/close", {"verdict": "true_positive", "reason": "x"}))
    assert ok(post(counted, OF_TWICE))["true_positives"] == [alert["id"]]
    assert post(counted, OF_TWICE, apply=True).status_code == 409
    with counted.services.cases.begin("test") as tx:
        stored = tx.get("alert", alert["id"])
        assert stored is not None
        tx.put("alert", alert["id"], {**stored.document, "event_ids": [event_id(0)]}, stored.version)
    assert ok(post(counted, OF_TWICE))["true_positives"] == [alert["id"]]
    assert not ok(post(counted, OF_TWICE.replace(SCANNER, ATTACKER)))["refused"]


def test_a_rule_comes_with_what_it_is_made_of(counted: World) -> None:
    """Its kind, and the definitions that a person needs to run it over files."""
    found = ok(counted.caller("an").get("/v1/rules/twice"))
    assert (found["kind"], [each["name"] for each in found["definitions"]]) == ("correlation", ["failed", "twice"])


@pytest.fixture
def two(place: World) -> World:
    """A site where a second person approves exceptions; `hoa` may."""
    place.services.settings = replace(place.services.settings, exception_approval=True)
    return place


def approve(world: World, person: str, version: str) -> Any:
    return world.caller(person).post(f"/v1/exceptions/{ID}/approve", {"version": version, "reason": "looked at"})


def test_a_proposed_exception_takes_nothing_until_another_person_approves_it(two: World) -> None:
    """No file before; its proposer and who may not manage rules are refused; all of it stands in the ledger."""
    plan = ok(post(two, apply=True, reason="weekly"))
    assert (plan["applied"], plan["proposed"]) == (False, True)
    path = two.services.settings.path(places.DETECTIONS, "filters", f"{ID}.yml")
    [row] = ok(two.caller(ROLE).get("/v1/exceptions"))
    assert (row["state"], row["proposed_by"], row["definition"], path.exists()) == ("proposed", ROLE, EXCEPTION, False)
    assert two.services.rules.loaded().exceptions == ()
    version = plan["exception"]["version"]
    assert [approve(two, who, version).status_code for who in (ROLE, "an")] == [403, 403]
    assert approve(two, OTHER, "0" * 12).status_code == 409
    assert not path.exists()
    assert ok(approve(two, OTHER, version))["applied"]
    assert path.read_text() == EXCEPTION
    assert [row["state"] for row in ok(two.caller(ROLE).get("/v1/exceptions"))] == ["active"]
    assert approve(two, OTHER, version).status_code == 404
    acts = [(e.actor, e.act, e.reason) for e in two.services.cases.ledger_entries(0, 1000) if "exception" in e.act]
    assert acts == [(ROLE, "exception.propose", "weekly"), (OTHER, "exception.put", "looked at")]


def test_what_became_an_attack_meanwhile_is_not_hidden_by_an_approval(two: World) -> None:
    """An alert was judged a true positive after the proposal: the approval is refused and the proposal stays."""
    version = ok(post(two, apply=True))["exception"]["version"]
    id = close(two, SCANNER, "true_positive")
    refused = approve(two, OTHER, version)
    assert (refused.status_code, id in refused.text) == (409, True)
    assert [row["state"] for row in ok(two.caller(ROLE).get("/v1/exceptions"))] == ["proposed"]
    assert post(two, apply=True).status_code == 409


def test_a_proposal_is_rejected_with_a_reason(two: World) -> None:
    """By whoever asked for it too; it may be asked for again."""
    version = ok(post(two, apply=True))["exception"]["version"]
    assert two.caller(ROLE).post(f"/v1/exceptions/{ID}/reject", {"reason": " "}).status_code == 400
    ok(two.caller(ROLE).post(f"/v1/exceptions/{ID}/reject", {"reason": "too wide"}))
    assert ok(two.caller(ROLE).get("/v1/exceptions")) == []
    assert approve(two, OTHER, version).status_code == 404
    ok(post(two, apply=True))
    ok(approve(two, OTHER, version))
    acts = [entry.act for entry in two.services.cases.ledger_entries(0, 1000) if "exception" in entry.act]
    assert acts == ["exception.propose", "exception.reject", "exception.propose", "exception.put"]


def test_rules_in_shadow_earn_their_place(place: World) -> None:
    """Ninety quiet days, or five true verdicts and none false; each counted from when it came into shadow."""

    def row() -> dict[str, Any]:
        found = ok(place.caller(ROLE).get("/v1/rules-in-shadow"))
        return next((each for each in found if each["id"] == "failed"), {})

    assert row() == {}
    ok(place.caller(ROLE).post("/v1/rules/failed/state", {"state": "shadow", "reason": "new"}))
    assert (row()["days"], row()["withheld"], row()["is_ready"]) == (0.0, 0, False)
    place.services.clock.advance(90 * 86_400.0)  # type: ignore[attr-defined]
    assert (row()["days"], row()["is_ready"]) == (90.0, True)
    place.services.alerts.take([found(8, "203.0.113.77")])
    assert (row()["withheld"], row()["is_ready"]) == (1, False)


def test_rules_in_shadow_are_asked_for_together(place: World) -> None:
    """Thousands of foreign rules begin in shadow: no question to the database is asked for each of them."""
    asked: list[str] = []
    services = place.services
    sqlalchemy.event.listen(services.cases._engine, "before_cursor_execute", lambda *given: asked.append(given[2]))

    def questions() -> int:
        asked.clear()
        with services.cases.read("test") as tx:
            promotion.ready(services.rules, tx)
        return len(asked)

    one = questions()
    for rule in [*services.rules.all()]:
        ok(place.caller(ROLE).post(f"/v1/rules/{rule.id}/state", {"state": "shadow", "reason": "new"}))
    with services.cases.read("test") as tx:
        assert len(promotion.ready(services.rules, tx)) > 10
    assert questions() == one


@pytest.mark.parametrize(("false", "is_ready"), [(0, True), (1, False)])
def test_verdicts_count_for_a_rule_in_shadow(place: World, false: int, is_ready: bool) -> None:
    """Alerts of a time when it was live."""
    for n in range(5 + false):
        [alert] = place.services.alerts.take([found(20 + n, f"203.0.113.{100 + n}")])
        verdict = {"verdict": "true_positive" if n < 5 else "false_positive_logic", "reason": "x"}
        ok(place.caller(ROLE).post(f"/v1/alerts/{alert.id}/close", verdict))
    ok(place.caller(ROLE).post("/v1/rules/failed/state", {"state": "shadow", "reason": "again"}))
    rows = ok(place.caller(ROLE).get("/v1/rules-in-shadow"))
    row = next(each for each in rows if each["id"] == "failed")
    assert (row["true"], row["false"], row["is_ready"]) == (5, false, is_ready)
