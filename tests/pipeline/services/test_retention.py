"""What is due goes by two people's hands, holds win, and what is left verifies."""

from __future__ import annotations

from pathlib import Path

import pytest

from soc.config import Settings
from soc.errors import Conflict, PermissionRefused
from soc.model.clock import FixedClock
from soc.pipeline import Services, places
from soc.simulate import wire
from soc.store.events import EventStore
from tests.pipeline.world import NOW_NS, World, settings_of


def registered(home: Path) -> None:
    """One level-1 system, registered long ago."""
    folder = home / "registry"
    folder.mkdir(exist_ok=True)
    (folder / "s.yml").write_text(
        "kind: system\nid: mang\nname: Mạng nội bộ\ncode: H40.03.M\norganization_id: H40.03\n"
        "organization_name: UBND phường\nsite: default\nlevels: [{level: 1, since: 2024-01-01}]\n"
        "registered: 2024-01-01\nsources: [127.1.2.3]\n",
        "utf-8",
    )


def old_day(settings: Settings, home: Path, days: int) -> None:
    """A sealed day so long before now, through the same parsers and registry."""
    then = FixedClock(NOW_NS - days * 86_400_000_000_000)
    world = World.make(home)
    world.clock.set(then.now_ns())
    world.receive(
        [wire.rfc3164(then.now_ns(), 86, "h1", "sshd[1]", "Failed password for root from 10.0.0.9 port 1 ssh2")]
    )
    world.work()
    world.raw.close()
    fields = places.load_parsers(settings).fields
    writer = EventStore(places.events(settings), then, fields, writer="work0")
    writer.roll()
    writer.close()
    store = EventStore(places.events(settings), then, fields)
    store.compact()
    store.close()


def test_what_is_due_is_deleted_by_a_second_person_and_still_verifies(tmp_path: Path) -> None:
    """Level 1, ninety days old: due. The planner may not apply it; another may; one byte less is seen."""
    registered(tmp_path)
    settings = settings_of(tmp_path)
    old_day(settings, tmp_path, 90)
    old_day(settings, tmp_path, 2)
    services = Services.open(settings, FixedClock(NOW_NS))
    plan = services.retention.plan("hoa")
    with pytest.raises(PermissionRefused):
        services.deletion.apply(plan, plan.hash, "hoa")
    applied = services.deletion.apply(plan, plan.hash, "tuan", "due")
    kept = services.store.segments()
    assert [len(plan.to_delete), len(plan.items)] == [1, 2]
    assert len(applied.tombstones) == len(kept) == 1
    assert services.proof.verify(content=True)["ok"] is True
    path = places.events(settings) / kept[0].path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert services.proof.verify()["ok"] is False


def test_a_hold_that_came_after_the_plan_wins(tmp_path: Path) -> None:
    """Nothing is deleted of what somebody put on hold since."""
    registered(tmp_path)
    settings = settings_of(tmp_path)
    old_day(settings, tmp_path, 90)
    services = Services.open(settings, FixedClock(NOW_NS))
    plan = services.retention.plan("hoa")
    services.holds.add("minh", "investigation", systems=frozenset({"mang"}))
    with pytest.raises(Conflict):
        services.deletion.apply(plan, plan.hash, "tuan")
    assert len(services.store.segments()) == 1
