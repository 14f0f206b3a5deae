"""What a listener knows of its sources: the zone of their stamps, the system they belong to, the site."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import orjson

from soc.collectors.counters import Counters
from soc.collectors.intake import Intake
from soc.collectors.listeners import ListenerSpec
from soc.config import load
from soc.processes.listeners import spec_of
from tests.pipeline.world import NOW_NS, World

SYSTEM = {
    "kind": "system", "name": "Portal", "code": "P", "organization_id": "u", "organization_name": "U",
    "site": "default", "registered": "2024-01-01", "levels": [{"level": 2, "since": "2024-01-01"}],
}  # fmt: skip
LINE = b"<38>Nov 25 10:00:00 web1 sshd[12]: Server listening on 0.0.0.0 port 22."


def stored(home: Path, records: list[bytes], *systems: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    """The events of records that came through this listener."""
    (home / "registry").mkdir()
    for system in systems:
        (home / "registry" / f"{system['id']}.yml").write_bytes(orjson.dumps(SYSTEM | system))
    world = World.make(home)
    spec = ListenerSpec("wire", options.pop("protocol", "syslog-udp"), "127.0.0.1", 0, "default", **options)
    intake = Intake(Counters(home / "counters.json"))
    intake.add(spec, "10.0.0.1", NOW_NS, records)
    world.raw.append(intake.take())
    world.work()
    return world.events()


def test_stamps_without_a_zone_are_of_the_listeners(tmp_path: Path) -> None:
    """A device in UTC behind a listener that says so; without a word it is ours."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    [there] = stored(tmp_path / "a", [LINE], zone="UTC")
    [here] = stored(tmp_path / "b", [LINE])
    between = dt.datetime.fromisoformat(there["@timestamp"]) - dt.datetime.fromisoformat(here["@timestamp"])
    assert between == dt.timedelta(hours=7)
    assert there["soc.time.basis"] == "inferred"


def test_a_zone_nobody_knows_is_ours(tmp_path: Path) -> None:
    """A frame of a distant unit may name anything."""
    [event] = stored(tmp_path, [LINE], zone="../../etc/passwd")
    assert event["@timestamp"].startswith("2026-11-25T03:00:00")


def test_events_that_nobody_owns_are_of_the_listeners_system(tmp_path: Path) -> None:
    """Whoever owns an address comes first; a system that is not registered gives nothing."""
    events = stored(
        tmp_path, [LINE, LINE[: LINE.index(b"Server")] + b"Failed password for root from 10.7.0.1 port 40 ssh2"],
        {"id": "portal"}, {"id": "lan", "networks": ["10.7.0.0/16"]}, system="portal",
    )  # fmt: skip
    assert {event.get("source.ip"): event["soc.system.id"] for event in events} == {None: "portal", "10.7.0.1": "lan"}
    assert all("unregistered" not in event.get("soc.flags", ()) for event in events)


def test_a_system_nobody_registered_gives_nothing(tmp_path: Path) -> None:
    """A word in soc.toml alone makes no system."""
    [event] = stored(tmp_path, [LINE], system="portal")
    assert "soc.system.id" not in event
    assert "unregistered" in event["soc.flags"]


def test_a_document_cannot_say_whose_it_is(tmp_path: Path) -> None:
    """Only the listener can: what a sender writes under that name is kept aside."""
    document = orjson.dumps({"message": "x", "soc.system.id": "portal", "soc": {"system": {"id": "portal"}}})
    [event] = stored(tmp_path, [document], {"id": "portal"}, protocol="http")
    assert event.get("soc.system.id") is None
    assert "portal" in event["event.original"]


def test_the_file_says_it(tmp_path: Path) -> None:
    """Site, zone and system of `[listen.<name>]`."""
    text = '[listen.a]\nprotocol = "netflow"\nport = 1\nsite = "xa"\nzone = "UTC"\nsystem = "portal"\n'
    (tmp_path / "soc.toml").write_text(text)
    settings = load(home=tmp_path, environ={})
    spec = spec_of(settings, settings.listen[0])
    assert (spec.site, spec.origin) == ("xa", {"zone": "UTC", "soc.system.id": "portal"})
