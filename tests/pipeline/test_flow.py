"""From the raw log to alerts, through the real queue, parsers, rules, event store and case database."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from soc.errors import StoreError
from soc.model.record import RawBlock
from soc.parsers import ParserSet
from soc.pipeline import Services, Worker, places, records
from soc.pipeline.partition_states import PartitionStates
from soc.registry import Registry
from soc.simulate import wire
from soc.store.queue import LogReader
from tests.parsers.mibs.test_compile import OLD
from tests.parsers.mibs.test_site import trap
from tests.pipeline.world import NOW_NS, World, failures

LOGIN = "Accepted password for root from 203.0.113.9 port 5000 ssh2"


def test_every_record_becomes_an_event_and_the_attack_an_alert(tmp_path: Path) -> None:
    """Thirty failures, a login and a record of no known form: 32 events, two alerts, nothing lost."""
    world = World.make(tmp_path)
    world.receive([*failures(30), wire.rfc3164(NOW_NS, 86, "h1", "sshd[12]", LOGIN), b"\x00\xff junk"])
    counts = world.work().counts
    world.correlate()
    alerts = world.alerts()
    assert (counts["records"], counts["events"], counts["unparsed"]) == (32, 32, 1)
    assert len(world.events()) == 32
    assert {alert["entity"] for alert in alerts} == {"source.ip=203.0.113.9"}
    assert {alert["level"] for alert in alerts} == {"high", "critical"}


def test_a_worker_that_dies_before_the_store_repeats_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Matched frames are durable, the store is not: the next worker does it again, the correlator counts it once."""
    world = World.make(tmp_path)
    world.receive(failures(4))
    worker = Worker(world.settings, world.clock)

    def dies(*_: object) -> int:
        raise StoreError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(worker.store, "append", dies)
        with pytest.raises(StoreError):
            worker.step()
    worker.close()
    world.work()
    counts = world.correlate()
    assert len(world.events()) == 4
    assert counts["repeated"] == 1
    assert counts["frames"] == 2


def test_without_the_seen_frames_the_repeat_would_count_double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant of the test above: a correlator that forgets what it saw feeds the repeated documents again."""
    world = World.make(tmp_path)
    world.receive(failures(4))
    worker = Worker(world.settings, world.clock)
    with monkeypatch.context() as patch:
        patch.setattr(worker.store, "append", lambda *_: (_ for _ in ()).throw(StoreError("power cut")))
        with pytest.raises(StoreError):
            worker.step()
    worker.close()
    world.work()
    honest = world.correlate()["documents"]
    (tmp_path / "run" / "correlate.state").unlink()
    monkeypatch.setattr(records.Seen, "is_new", lambda *_: True)
    assert world.correlate()["documents"] == 2 * honest


def test_going_on_after_a_restart_adds_nothing_twice(tmp_path: Path) -> None:
    """Worker, correlator and alerts are closed and opened between two halves of an attack."""
    world = World.make(tmp_path)
    for half in (failures(15), failures(15)):
        world.receive(half)
        world.work()
        world.correlate()
        alerts = world.alerts()
    assert len(world.events()) == 30
    assert [alert["count"] for alert in alerts] == [1]
    assert len(world.alerts()) == 1


def broken_for(monkeypatch: pytest.MonkeyPatch, *peers: str) -> set[str]:
    """Parsers that have a bug about these peers, for as long as they are in the set."""
    work, broken = ParserSet._work, set(peers)

    def breaks(self, envelope, *rest):  # type: ignore[no-untyped-def]
        if broken.intersection(envelope.block.of_each(lambda frame: frame.peer)):
            raise RuntimeError("a bug")
        return work(self, envelope, *rest)

    monkeypatch.setattr(ParserSet, "_work", breaks)
    return broken


def test_a_frame_that_breaks_a_parser_is_kept_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser's bug costs no record: the frame goes to the dead log with its bytes, the next one is handled."""
    world = World.make(tmp_path)
    world.receive(failures(3), peer="127.9.9.9")
    world.receive(failures(2))
    broken_for(monkeypatch, "127.9.9.9")
    worker = Worker(world.settings, world.clock)
    while worker.step():
        pass
    worker.close()
    [dead] = LogReader(places.queue(world.settings), places.DEAD).read({}, None, 10)
    assert worker.counts["dead"] == 3
    assert list(dead.records()) == failures(3)
    assert dead.origin["why"] == "RuntimeError: a bug"
    assert len(world.events()) == 2


def test_what_was_kept_aside_is_tried_again_at_a_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A newer version understands it: it becomes events once, with findings; the rest stays kept, and is shown.

    The accounts balance before, between and after.
    """
    world = World.make(tmp_path)
    world.receive(failures(30), peer="127.9.9.9")
    world.receive(failures(3), peer="127.8.8.8")
    broken = broken_for(monkeypatch, "127.9.9.9", "127.8.8.8")
    for mended, kept in ((None, 33), ("127.9.9.9", 3), (None, 3), ("127.8.8.8", 0), (None, 0)):
        broken.discard(mended)
        world.work()
        rows = world.events()
        assert len(rows) == len({row["event.id"] for row in rows}) == 33 - kept
        services = Services.open(world.settings, world.clock)
        totals, aside = services.books.sources(0)["totals"], services.books.kept_aside(10)
        services.close()
        assert (totals["dead"], totals["stored"]) == (kept, 33 - kept)
        assert (sum(frame["records"] for frame in aside["frames"]), aside["total"]) == (kept, {33: 2, 3: 1, 0: 0}[kept])
        assert all(frame["why"] == "RuntimeError: a bug" and frame["begins"] != b"" for frame in aside["frames"])
    world.correlate()
    assert {alert["entity"] for alert in world.alerts()} == {"source.ip=203.0.113.9"}


@pytest.mark.parametrize(("room", "dies"), [(Worker, "_hand_on"), (Worker, "_store"), (PartitionStates, "keep")])
def test_a_worker_that_dies_while_it_tries_again_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: type, dies: str
) -> None:
    """One frame is understood now, one is not: whatever was done of the step, the next worker does it once."""
    world = World.make(tmp_path)
    world.receive(failures(3), peer="127.9.9.9")
    world.receive(failures(2), peer="127.8.8.8")
    broken = broken_for(monkeypatch, "127.9.9.9", "127.8.8.8")
    world.work()
    broken.discard("127.9.9.9")
    with monkeypatch.context() as patch:
        patch.setattr(room, dies, lambda *_: (_ for _ in ()).throw(StoreError("the end")))
        worker = Worker(world.settings, world.clock)
        with pytest.raises(StoreError):
            worker.step()
        worker.close()
    world.work()
    assert len(world.events()) == 3
    broken.clear()
    world.work()
    world.work()
    assert len({row["event.id"] for row in world.events()}) == len(world.events()) == 5


def test_two_workers_share_the_sources(tmp_path: Path) -> None:
    """Every source belongs to exactly one of them; together they store everything once."""
    world = World.make(tmp_path, workers=2)
    for peer in range(8):
        world.receive(failures(2), peer=f"127.1.1.{peer + 1}")
    workers = [Worker(world.settings, world.clock, index) for index in range(2)]
    handled = [sum(iter(worker.step, 0)) for worker in workers]
    for worker in workers:
        worker.close()
    assert sum(handled) == 8
    assert min(handled) > 0
    assert len({row["event.id"] for row in world.events()}) == 16


def test_a_system_registered_while_the_worker_runs_counts_at_once(tmp_path: Path) -> None:
    """The registry's files are looked at again; the next events belong to the new system."""
    world = World.make(tmp_path)
    worker = Worker(world.settings, world.clock)
    world.receive(failures(1))
    worker.step()
    folder = tmp_path / "registry"
    folder.mkdir()
    (folder / "dvc.yml").write_text(
        "kind: system\nid: dvc\nname: Dịch vụ công\ncode: H40.01.DVC\norganization_id: H40.01\n"
        "organization_name: Sở\nsite: default\nlevels: [{level: 3, since: 2025-01-01}]\nregistered: 2025-01-01\n"
        "sources: [127.1.2.3]\n",
        "utf-8",
    )
    world.clock.advance(3)
    world.receive(failures(1))
    worker.step()
    worker.close()
    assert Registry.load(folder).get("dvc") is not None
    assert [row.get("soc.system.id") for row in world.events()] == [None, "dvc"]


def test_a_mib_added_while_the_worker_runs_names_traps_at_once(tmp_path: Path) -> None:
    """No restart: the folder is looked at again; removed, the name is gone."""
    world = World.make(tmp_path)
    worker = Worker(world.settings, world.clock)
    mibs = places.site_mibs(world.settings)
    planned, _ = mibs.plan([("old.mib", OLD)], by="an", now_us=1)
    steps: tuple[Callable[[], object], ...] = (
        lambda: None, lambda: mibs.keep(planned), lambda: mibs.remove("ACME-OLD-MIB"),
    )  # fmt: skip
    for change in steps:
        change()
        world.clock.advance(3)
        world.raw.append(
            [RawBlock.of([trap("1.3.6.1.4.1.32473.9.0.7")], receipt_ns=world.clock.now_ns(), format="snmp")]
        )
        worker.step()
    worker.close()
    rows = sorted(world.events(), key=lambda row: row["@timestamp"])
    assert [row.get("event.action") for row in rows] == [None, "acmeTrap", None]
    assert [row.get("log.level") for row in rows] == [None, "minor", None]


def test_events_of_a_simulated_site_say_so(tmp_path: Path) -> None:
    """The flag comes from the site's settings, nothing in the packet does."""
    world = World.make(tmp_path, simulated=True)
    world.receive(failures(1))
    world.work()
    [row] = world.events()
    assert "simulated" in row["soc.flags"]


def test_a_queue_that_was_wiped_begins_above_what_the_store_remembers(tmp_path: Path) -> None:
    """Somebody moved the queue's folder away: new records are new, whatever numbers were reached before."""
    world = World.make(tmp_path)
    world.raw.close()
    for beginning in range(2):
        shutil.rmtree(tmp_path / "queue")
        world.clock.advance(60)
        world.raw = places.open_log(world.settings, places.RAW, "collect", world.clock)
        for peer in range(3):
            world.receive(failures(2), peer=f"127.1.{beginning}.{peer + 1}")
        world.work()
        world.raw.close()
    assert len(world.events()) == 12
