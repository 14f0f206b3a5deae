"""The console over the real client, socket, API and stores: the fake service of the other tests tells the truth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from soc.client import Client
from tests.console.screens_seat import seat
from tests.web.world import SECRET, A, World, build, settings


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Two units with alerts and tickets, behind the API."""
    monkeypatch.setenv("SOC_LANG", "en")
    monkeypatch.delenv("SOC_URL", raising=False)
    monkeypatch.delenv("SOC_TOKEN", raising=False)
    made = build(tmp_path / "home")
    yield made
    made.close()


async def test_the_console_on_the_real_service(world: World, tmp_path: Path) -> None:
    """Fill, open, read an event, take, make a ticket, see a live alert, lose the service and find it again."""
    path = tmp_path / "api.sock"
    world.clock.advance(60)
    world.alert(A, "fresh", tuple(world.append(A, 3)), entity="source.ip=203.0.113.77")
    with Client.connect(settings(tmp_path / "home"), socket=path, acting="an") as client, world.served(path):
        async with seat(client, world.clock) as at:
            await at.sees("[SIMULATED]", "an (through giang) · Tier 1", "5/5 alerts", f"SSH {SECRET[A]}")
            await at.press("enter")
            await at.sees("Why it fired", "s source.ip 203.0.113.9", "(level 3)", "Suggested playbook")
            await at.press("2")
            await at.sees("3 of 3 events are shown", "Failed password")
            await at.press("enter")
            await at.sees("source.ip 203.0.113.9")
            await at.press("escape", "1", "a")
            await at.sees("The alert is yours", "· Taken · an ·")
            await at.press("e")
            await at.sees("KT-2026-000003 was made", "Steps (0/")
            await at.press("d", "enter")
            await at.sees("Steps (1/")
            await at.press("escape")
            await at.sees("Why it fired")
            await at.press("escape")
            await at.sees("Alert queue", "5/5 alerts")
            world.alert(A, "later", title="Raised later", entity="source.ip=203.0.113.200")
            await at.sees("Raised later", "6/6 alerts")


async def test_the_real_service_goes_and_comes_back(world: World, tmp_path: Path) -> None:
    """The service stops under the console and is started again: the console says so, and goes on."""
    path = tmp_path / "api.sock"
    with Client.connect(settings(tmp_path / "home"), socket=path, acting="an") as client:
        async with seat(client, world.clock) as at:
            await at.sees("If it is not running: soc up")
            with world.served(path):
                await at.sees("4/4 alerts")
            await at.sees("CONNECTION LOST", "4/4 alerts")
            world.alert(A, "meanwhile", title="Raised meanwhile", entity="source.ip=203.0.113.201")
            with world.served(path):
                await at.sees("Raised meanwhile", "5/5 alerts", "connected")
