"""Making up for what was missed: the alerts of an unbroken run, none of them twice, and the gap is closed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from soc.detections.sigma import bucket
from soc.model.lookback import Lookback
from soc.pipeline import Worker, places
from soc.pipeline.coverage import ledger
from soc.pipeline.coverage.report import Coverage
from soc.pipeline.lookback.jobs import Jobs
from soc.pipeline.lookback.runner import Runner
from soc.store.events import EventStore
from tests.pipeline.coverage.test_worker import START_NS, correlated, judged, received, told
from tests.pipeline.world import World


def broken_work(world: World, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Worked off while one rule breaks on every event; the rule and all that builds on it."""
    made = bucket.predicate
    worker = Worker(world.settings, world.clock)
    broken = next(rule for rule in worker.detections.rules if rule.path.endswith("ssh_failed_password.yml"))
    node = broken.variants[0].node
    with monkeypatch.context() as patch:
        patch.setattr(bucket, "predicate", lambda n: (lambda *_: 1 / 0) if n is node else made(n))
        while worker.step():
            pass
    worker.close()
    missed = {broken.id}
    for each in worker.detections.correlations:  # what refers to another one stands behind it
        missed |= {each.id} if missed & set(each.rules) else set()
    return missed


def covered(world: World) -> Coverage:
    """The ledger now."""
    store = EventStore(places.events(world.settings), world.clock, places.load_parsers(world.settings).fields)
    found, _ = ledger.coverage(world.settings, store, START_NS // 1000, world.clock.now_ns() // 1000)
    store.close()
    return found


def backfilled(world: World, id: str, owed: tuple[list[str], int, int]) -> dict[str, Any]:
    """Made up for, as the API asks for it and `soc lookback` does it; its state."""
    jobs = Jobs(places.lookbacks(world.settings), world.clock)
    rules, since_us, until_us = owed
    now_us = world.clock.now_ns() // 1000
    jobs.create(
        Lookback(
            id=id, asker="an", units=None, since_us=since_us, until_us=until_us, created_us=now_us,
            rules=tuple(rules), by_receipt=True, backfill=True,
        ), {},
    )  # fmt: skip
    runner = Runner(world.settings, world.clock)
    while runner.step():
        pass
    runner.close()
    return jobs.state(id)


def test_what_a_broken_rule_missed_becomes_the_same_alerts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One world breaks and makes up for it, the other never broke; done twice it adds nothing."""
    torn, quiet = World.make(tmp_path / "torn"), World.make(tmp_path / "quiet")
    for world in (torn, quiet):
        received(world, 0)
    quiet.work()
    missed = broken_work(torn, monkeypatch)
    for world in (torn, quiet):
        correlated(world)
    expected = judged(quiet)
    assert judged(torn) != expected
    owed = covered(torn).owed()
    assert owed is not None
    assert set(owed[0]) == missed
    assert backfilled(torn, "a", owed)["state"] == "done"
    assert judged(torn) == expected
    _, in_store, report = told(torn)
    assert report["totals"]["backfilled"] == len(missed) * len(in_store)
    assert (report["gaps"], covered(torn).owed()) == (0, None)
    backfilled(torn, "b", owed)
    assert judged(torn) == expected


def test_a_rule_that_breaks_while_making_up_stays_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What still cannot be asked is not told as asked."""
    world = World.make(tmp_path)
    received(world, 0)
    broken_work(world, monkeypatch)
    correlated(world)
    owed = covered(world).owed()
    assert owed is not None
    monkeypatch.setattr(bucket, "predicate", lambda _: lambda *_: 1 / 0)
    state = backfilled(world, "a", owed)
    assert state["failures"]["new"]
    assert covered(world).owed() is not None


def test_a_new_rule_is_made_up_for_when_it_is_named(tmp_path: Path) -> None:
    """It was not there: that is told and no gap; asked for by name it looks at what came before it."""
    world = World.make(tmp_path)
    received(world, 0)
    world.work()
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "new.yml").write_text(
        "title: n\nid: 33333333-3333-4333-8333-333333333333\nlogsource: {product: linux, service: sshd}\n"
        "detection: {s: {source.ip: 203.0.113.9}, condition: s}\nlevel: high\nstatus: stable\n"
    )
    world.settings = type(world.settings)(**{**vars(world.settings), "rules": (folder,)})
    world.clock.advance(1)
    world.receive([b"<13>x"])
    world.work()
    correlated(world)
    found, new = covered(world), "33333333-3333-4333-8333-333333333333"
    assert found.owed() is None
    owed = found.owed([new])
    assert owed is not None
    assert owed[0] == [new]
    backfilled(world, "a", owed)
    assert [alert for alert in world.alerts() if alert["rule_id"] == new]
