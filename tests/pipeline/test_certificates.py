"""Certificates in use are watched: an alert at 30, 14 and 7 days and at the end (features I4), each told once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from soc.collectors.authority import SiteAuthority
from soc.config import Listen, National
from soc.model.clock import FixedClock
from soc.pipeline import Services
from tests.pipeline.world import NOW_NS, settings_of

DAY_S = 86_400.0


@pytest.fixture
def clock() -> FixedClock:
    """It is moved towards the end."""
    return FixedClock(NOW_NS)


@pytest.fixture
def services(tmp_path: Path, clock: FixedClock) -> Services:
    """A site with a TLS listener whose certificate holds for 40 days, and a centre that wants every alert."""
    SiteAuthority(tmp_path / "tls", clock).issue("here", (), days=40)
    listen = Listen("tls", "syslog-tls", 6514, certificate="tls/here.pem", key="tls/here.key")
    centre = National("centre", "https://127.0.0.1:9", mapping="national.reference", minimum_level="informational")
    for name in ("ca.pem", "client.pem"):
        (tmp_path / "national").mkdir(exist_ok=True)
        (tmp_path / "national" / name).write_bytes((tmp_path / "tls" / "ca.pem").read_bytes())
    return Services.open(replace(settings_of(tmp_path), listen=(listen,), national=(centre,)), clock)


def _alerts(services: Services) -> list[tuple[str, str]]:
    with services.cases.read("test") as tx:
        found = [stored.document for _, stored in tx.find("alert")]
    return [(each["level"], each["title"]) for each in sorted(found, key=lambda each: each["created_us"])]


def _after(services: Services, clock: FixedClock, days: float) -> list[str]:
    """The levels of all alerts after so many more days and two looks."""
    clock.advance(days * DAY_S)
    services.certificates.step()
    services.certificates.step()
    return [level for level, _ in _alerts(services)]


def test_each_stage_is_told_once(services: Services, clock: FixedClock) -> None:
    """Nothing at 40 days; then one alert a stage, more urgent each time."""
    assert _after(services, clock, 0) == []
    assert _after(services, clock, 11) == ["low"]
    assert _after(services, clock, 5) == ["low"]
    assert _after(services, clock, 11) == ["low", "medium"]
    assert _after(services, clock, 7) == ["low", "medium", "high"]
    assert _after(services, clock, 7) == ["low", "medium", "high", "critical"]
    assert "listen.tls ended on" in _alerts(services)[-1][1]


def test_a_new_one_begins_anew(services: Services, clock: FixedClock, tmp_path: Path) -> None:
    """Renewed in time: it is good again, and its own end is told."""
    _after(services, clock, 20)
    SiteAuthority(tmp_path / "tls", clock).issue("here", (), days=40)
    assert len(_after(services, clock, 1)) == 1
    assert {row["state"] for row in services.certificates.rows()} == {"good"}
    assert len(_after(services, clock, 20)) == 2


def test_what_cannot_be_read_is_told(services: Services, clock: FixedClock, tmp_path: Path) -> None:
    """The listener would not start with it."""
    (tmp_path / "tls" / "here.pem").write_text("no certificate")
    assert _after(services, clock, 0) == ["high"]
    assert services.status()["certificates"][0]["state"] == "unreadable"


def test_it_stays_at_home(services: Services, clock: FixedClock) -> None:
    """It is about this service: the national centre gets events of systems, whatever the level it asks for."""
    _after(services, clock, 41)
    with services.cases.read("test") as tx:
        assert tx.outbox_counts().get("centre", {}) == {}
    assert len(_alerts(services)) == 1
