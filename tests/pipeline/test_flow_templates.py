"""Templates of flow exporters over the end of a worker: an ordered one, and kill -9 at each border of a step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from soc.model.query import MatchAll
from soc.model.record import RawBlock
from soc.parsers.decoders import flow_state
from soc.pipeline import Services, Worker, worker
from soc.store import files
from soc.store.events import EventStore
from tests.parsers.flow_bytes import PLAIN, a_set, plain, v9, v9_template
from tests.pipeline.world import EVERYTHING, World

COLUMNS = ("event.id", "event.action", "soc.position", "soc.flags", "network.bytes", "flow.sequence_lost")
TOLD = v9(v9_template(256, PLAIN), seq=1)


def receive(world: World, *datagrams: bytes) -> None:
    """One frame of the exporter."""
    now = world.clock.now_ns()
    world.raw.append([RawBlock.of(datagrams, receipt_ns=now, format="netflow", listener="flows", peer="127.1.2.9")])


def data(seq: int, octets: int) -> bytes:
    """A flow of so many octets."""
    return v9(a_set(256, plain(octets=octets)), seq=seq)


def stored(world: World) -> list[dict[str, Any]]:
    """All events, in the order of their positions."""
    store = EventStore(world.settings.home / "events", world.clock, writer="reader")
    try:
        batches = list(store.scan(EVERYTHING, MatchAll(), COLUMNS))
    finally:
        store.close()
    return sorted(
        (row for batch in batches for row in batch.rows()),
        key=lambda e: [int(x) for x in e["soc.position"].split(":")[2:]],
    )


def flows(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those with octets."""
    return [e for e in events if e.get("event.action") == "netflow_flow"]


@pytest.mark.parametrize("moment", ["before the state", "before the store", "after the store"])
def test_templates_outlive_kill_9(tmp_path: Path, moment: str) -> None:
    """Whichever border of a step it hits: the flows after it are read, none is twice there, no gap is invented."""
    world = World.make(tmp_path)
    receive(world, TOLD, data(2, 700))
    world.work()
    receive(world, v9(v9_template(257, PLAIN), seq=3), data(4, 800), v9(a_set(257, plain(octets=900)), seq=5))
    receive(world, data(6, 1000))
    world.killed(moment)
    receive(world, data(7, 1100), v9(a_set(257, plain(octets=1200)), seq=8), data(12, 1300))
    world.work()
    events = stored(world)
    found = flows(events)
    assert [e["network.bytes"] for e in found] == [700, 800, 900, 1000, 1100, 1200, 1300]
    assert [e.get("flow.sequence_lost") for e in found] == [None] * 6 + [3]
    assert not [e for e in events if "no_template" in (e.get("soc.flags") or ())]
    assert len({e["event.id"] for e in events}) == len(events)


def test_counts_are_not_written_at_each_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Templates at once; what only goes on counting after ten seconds, and at the end."""
    written: list[Path] = []
    replace = files.replace

    def recorded(path: Path, content: bytes) -> None:
        if path.parent.name == "parsers":
            written.append(path)
        replace(path, content)

    monkeypatch.setattr(worker.files, "replace", recorded)
    world = World.make(tmp_path)
    working = Worker(world.settings, world.clock)

    def step(*datagrams: bytes) -> int:
        before = len(written)
        receive(world, *datagrams)
        assert working.step() == 1
        return len(written) - before

    counts = [step(TOLD), step(data(2, 1)), step(data(3, 1)), step(TOLD, data(5, 1))]
    world.clock.advance(11)
    counts += [step(data(6, 1)), step(data(7, 1))]
    working.close()
    assert counts == [1, 0, 0, 0, 1, 0]
    assert len(written) == 3
    receive(world, data(8, 1), data(11, 1))
    world.work()
    assert [e.get("flow.sequence_lost") for e in flows(stored(world))][-2:] == [None, 2]


def test_a_damaged_state_costs_templates_only(tmp_path: Path) -> None:
    """The worker starts; the flows come when the template comes again."""
    world = World.make(tmp_path)
    receive(world, TOLD)
    world.work()
    (file,) = (tmp_path / "run" / "parsers").glob("*.json")
    file.write_bytes(b"{")
    receive(world, data(2, 700))
    receive(world, TOLD)
    world.work()
    (flow,) = flows(stored(world))
    assert (flow["network.bytes"], "replayed" in flow["soc.flags"]) == (700, True)


def test_forgotten_exporters_and_templates_are_counted_at_their_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for each exporter, however many flows its datagram brought; one for each template."""
    monkeypatch.setattr(flow_state, "MAX_EXPORTERS", 2)
    monkeypatch.setattr(flow_state, "MAX_TEMPLATES", 2)
    world = World.make(tmp_path)
    both = v9_template(256, PLAIN) + a_set(256, plain(octets=1) + plain(octets=2))
    receive(world, *(v9(both, domain=n, count=3) for n in range(5)))
    receive(world, *(v9(v9_template(300 + n, PLAIN), seq=n + 2, domain=4) for n in range(3)))
    world.work()
    services = Services.open(world.settings, world.clock)
    try:
        found = services.books.sources(0)
    finally:
        services.close()
    assert found["sources"][0]["forgotten"] == {"exporter_forgotten": 3, "template_forgotten": 2}
    assert found["totals"]["forgotten"] == found["sources"][0]["forgotten"]
