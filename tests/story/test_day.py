"""One province's day: everything started as README says, and the story walked through with commands."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from soc.simulate import wire
from tests.story.running import Running, alert_of

pytestmark = [pytest.mark.story, pytest.mark.timeout(900)]
ATTACKER = "203.0.113.9"
MINUTE_S = 150
"""What README calls a minute; a machine that does much else gets some more."""


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A simulated province that runs."""
    running = Running(tmp_path_factory.mktemp("day") / "home")
    running.said = running.start()  # type: ignore[attr-defined]
    running.began = time.monotonic()  # type: ignore[attr-defined]
    yield running
    running.stop()


@pytest.fixture(scope="module")
def alert(day: Running) -> dict[str, Any]:
    """The alert of a login that followed password guessing."""
    found = day.until(lambda: alert_of(day.data("alert", "list"), ATTACKER, "critical"))
    assert found is not None
    return dict(found)


@pytest.fixture(scope="module")
def ticket(day: Running, alert: dict[str, Any]) -> dict[str, Any]:
    """The ticket that a tier-1 analyst makes of it."""
    acknowledged = day.soc("alert", "ack", alert["id"], acting="lan")
    assert acknowledged.code == 0, acknowledged.err
    return dict(day.data("alert", "ticket", alert["id"]))


def test_the_first_alert_is_there_within_a_minute(day: Running) -> None:
    """Counted from the moment that everything was up."""
    found = day.until(lambda: day.data("alert", "list"), MINUTE_S - (time.monotonic() - day.began))  # type: ignore[attr-defined]
    assert found
    assert all(entry["simulated"] for entry in found)


def test_an_alert_says_why_whose_and_from_what(day: Running, alert: dict[str, Any]) -> None:
    """The rule's facts, the system with its level and owner unit, and the events behind it."""
    shown = day.data("alert", "show", alert["id"])
    events = day.data("alert", "events", alert["id"])
    assert shown["system_level"] == 4
    assert shown["organization_name"]
    assert shown["explain"]["observed"] >= 2
    assert shown["suggested_playbook"]["id"] == "ssh-brute-force"
    assert {event["source.ip"] for event in events} == {ATTACKER}


def test_a_ticket_carries_the_playbooks_steps(day: Running, alert: dict[str, Any], ticket: dict[str, Any]) -> None:
    """The alert is escalated and names its ticket."""
    assert [task["id"] for task in ticket["tasks"]][:2] == ["confirm", "block"]
    assert day.data("alert", "show", alert["id"])["ticket_id"] == ticket["id"]


@pytest.mark.netns
def test_a_block_is_planned_approved_applied_and_taken_back(day: Running, ticket: dict[str, Any]) -> None:
    """A real TCP connection through the namespaces works before, fails in between, works after."""
    assert day.data("simulate", "probe")["reaches"] is True
    run = day.data("playbook", "plan", ticket["number"], "block", acting="minh")
    alone = day.soc("playbook", "approve", run["id"], "--hash", run["plan_hash"], "--yes", acting="minh")
    assert alone.code == 5
    wrong = day.soc("playbook", "approve", run["id"], "--hash", "0" * 64, "--yes", acting="hoa")
    assert wrong.code == 1
    approved = day.soc("playbook", "approve", run["id"], "--hash", run["plan_hash"], "--yes", acting="hoa")
    assert approved.code == 0, approved.err
    assert day.data("playbook", "run", run["id"], acting="minh")["state"] == "verified"
    assert day.data("simulate", "probe")["reaches"] is False
    assert day.data("playbook", "revert", run["id"], acting="hoa")["state"] == "reverted"
    assert day.data("simulate", "probe")["reaches"] is True


def test_the_national_receiver_has_the_alert(day: Running, alert: dict[str, Any]) -> None:
    """Sent over mutual TLS, acknowledged and counted."""
    found = day.until(lambda: [d for d in day.data("national", "status") if d["acked"] >= 2])
    log = (day.home / "national" / "messages.jsonl").read_text("utf-8")
    assert found[0]["simulated"] is True
    assert log.count(alert["title"]) >= 1


def test_the_service_says_that_it_lives(day: Running) -> None:
    """What `serve` says of itself is of now, not of its start: its state moves on while it answers."""

    def told() -> int:
        return max(each["at_us"] for each in day.data("status")["processes"] if each["name"] == "serve")

    before = told()
    assert day.until(lambda: told() > before)


def test_search_answers_while_data_are_written(day: Running, alert: dict[str, Any]) -> None:
    """The failures before the login, by field and time."""
    rows = day.data("search", f"source.ip:{ATTACKER} and event.outcome:failure", "--since", "1h")
    assert len(rows) >= 10
    assert {row["event.outcome"] for row in rows} == {"failure"}


def test_the_accounting_balances_on_the_live_stream(day: Running) -> None:
    """Three looks, a second apart."""
    for _ in range(3):
        found = day.until(lambda: _accounts(day))
        assert found["totals"]["balanced"] is True
        time.sleep(1)
    assert found["totals"]["stored"] > 100
    assert len(found["sources"]) >= 15


def test_files_are_imported_and_summed_up(day: Running, tmp_path: Path) -> None:
    """Syslog text and JSON lines through the API: events by dataset, parse failures, top findings."""
    at_ns = 1_795_600_000_000_000_000
    text = tmp_path / "auth.log"
    guesses = [
        wire.rfc3164(
            at_ns + i * 10**9, 86, "h9", "sshd[9]", f"Failed password for root from 198.51.100.7 port {i + 1} ssh2"
        )
        for i in range(40)
    ]
    text.write_bytes(b"\n".join([*guesses, b"no known form"]) + b"\n")
    lines = tmp_path / "events.jsonl"
    lines.write_bytes(orjson.dumps({"message": "hello"}) + b"\n")
    imported = day.soc("--json", "import", str(text), str(lines), acting="lan")
    assert imported.code in (0, 4), imported.err
    found = {Path(entry["name"]).name: entry for entry in imported.data}
    assert found["auth.log"]["records"] == 41
    assert found["auth.log"]["datasets"]["linux.sshd"] == 40
    assert found["auth.log"]["unparsed"] == 1
    assert any(finding["count"] for finding in found["auth.log"]["findings"])


def test_retention_is_checked_planned_applied_and_proven(day: Running) -> None:
    """A gap is a breach (exit 3); the planner may not delete; another person may; one byte or entry less is seen."""
    checked = day.soc("--json", "retention", "check", acting="tuan")
    verdicts = {s["system_id"]: s["verdict"] for s in checked.data["standings"]}
    plan = day.until(lambda: _due(day))
    mine = day.soc("retention", "apply", plan["hash"], "--reason", "due", "--yes", acting="hoa")
    other = day.soc("person", "add", "long", "--role", "manager")
    assert other.code == 0, other.err
    applied = day.until(lambda: _applied(day))
    verified = day.soc("retention", "verify", acting="tuan")
    assert checked.code == 3
    assert verdicts["kontum-vbdh"] == "breach"
    assert verdicts["kontum-ioc"] == "on_course"
    assert mine.code == 5
    assert applied, "what is due is deleted"
    assert len(list((day.home / "proof" / "certificates").iterdir())) == 1
    assert verified.code == 0, verified.out + verified.err
    path = next((day.home / "events" / "seg").rglob("*.parquet"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert day.soc("retention", "verify", acting="tuan").code == 3
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _accounts(day: Running) -> dict[str, Any] | None:
    """None while more waits than is counted: then nobody knows whether they balance."""
    found = dict(day.data("source", "list", acting="tuan"))
    return found if found["totals"]["balanced"] is not None else None


def _due(day: Running) -> dict[str, Any] | None:
    plan = day.data("retention", "plan", acting="hoa")
    return plan if any(item["action"] == "delete" for item in plan["items"]) else None


def _applied(day: Running) -> bool:
    """Planned by one, applied by another; a plan whose files were merged meanwhile is refused, and made again."""
    plan = _due(day)
    if plan is None:
        return False
    applied = day.soc("retention", "apply", plan["hash"], "--reason", "due", "--yes", acting="long")
    assert applied.code == 0 or "plan again" in applied.err, applied.err
    return applied.code == 0


def test_the_score_knows_what_was_caught(day: Running, alert: dict[str, Any]) -> None:
    """The guessed login is caught, with its seconds; nothing false was raised."""
    found = day.data("simulate", "score")
    caught = {entry["name"]: entry for entry in found["caught"]}
    assert caught["ssh-brute-force"]["seconds"] < MINUTE_S
    assert found["false"] == []


def test_an_owner_units_officer_sees_only_their_own(day: Running, alert: dict[str, Any]) -> None:
    """The data centre's alert is not the health department's business."""
    ids = [entry["id"] for entry in day.data("alert", "list", acting="yte")]
    shown = day.soc("alert", "show", alert["id"], acting="yte")
    assert alert["id"] not in ids
    assert shown.code == 1


def test_a_second_start_in_the_same_home_is_one_sentence(day: Running) -> None:
    """Exit 75, and the first goes on."""
    again = day.soc("up", "--simulate", "--no-console")
    assert again.code == 75
    assert "running already" in again.err
    assert "Traceback" not in again.err


def test_files_belong_to_the_service_alone(day: Running) -> None:
    """Mode 0700; the socket lies outside."""
    assert day.home.stat().st_mode & 0o777 == 0o700
    assert (day.home / "simulate" / "truth.jsonl").stat().st_mode & 0o777 == 0o600
    assert day.home.stat().st_uid == os.getuid()


def test_ctrl_c_stops_everything_and_starting_again_goes_on(day: Running, alert: dict[str, Any]) -> None:
    """Exit 0, no process left, the alert still there, no event twice, the accounts still balance."""
    assert day.stop() == 0
    stopped = day.soc("alert", "list", acting="lan")
    day.start()
    assert stopped.code == 75
    assert day.data("alert", "show", alert["id"])["status"] == "escalated"
    found = day.until(lambda: _accounts(day))
    assert found["totals"]["balanced"] is True
