"""The accounting balances over the real collector, worker and stores, and shows it when it does not."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import orjson

from soc.collectors.collect import Collector
from soc.collectors.listeners import ListenerSpec
from soc.model.clock import SystemClock
from soc.pipeline import Services, Worker, places
from soc.pipeline.accounting import Accounts
from soc.store.queue import DiskLog
from tests.pipeline.world import failures, settings_of


def received(home: Path, lines: int) -> None:
    """So many lines over TCP through a real collector, and a few datagrams."""
    settings, clock = settings_of(home), SystemClock()
    log = DiskLog(places.queue(settings), places.RAW, "collect", clock)
    specs = [
        ListenerSpec("syslog-tcp", "syslog-tcp", "127.0.0.1", 0, "default"),
        ListenerSpec("syslog-udp", "syslog-udp", "127.0.0.1", 0, "default"),
    ]
    collector = Collector(specs, log, clock, counters_path=places.counters(settings))
    stop, up, ports = threading.Event(), threading.Event(), {}

    def ready(found: dict[str, int]) -> None:
        ports.update(found)
        up.set()

    thread = threading.Thread(target=collector.run, args=(stop, ready))
    thread.start()
    assert up.wait(60)
    with socket.create_connection(("127.0.0.1", ports["syslog-tcp"])) as tcp:
        tcp.sendall(b"\n".join(failures(lines)) + b"\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for datagram in (*failures(3), b"\xff\x00 no syslog"):
            udp.sendto(datagram, ("127.0.0.1", ports["syslog-udp"]))
    for _ in range(1200):
        if sum(row["queued"] for row in collector.counters()) >= lines + 4:
            break
        stop.wait(0.05)
    stop.set()
    thread.join(60)
    log.close()


def sources(home: Path) -> dict[str, object]:
    """`soc source list` of the last hour."""
    clock = SystemClock()
    services = Services.open(settings_of(home), clock)
    found = services.books.sources(clock.now_ns() // 1000 - 3_600_000_000)
    services.close()
    return found


def test_received_is_queued_is_pending_then_stored(tmp_path: Path) -> None:
    """Before the worker everything is pending, behind it everything is stored; both times it balances."""
    received(tmp_path, 200)
    before = sources(tmp_path)["totals"]
    worker = Worker(settings_of(tmp_path), SystemClock())
    while worker.step():
        pass
    worker.close()
    found = sources(tmp_path)
    after = found["totals"]
    assert (before["received"], before["queued"], before["pending"], before["stored"]) == (204, 204, 204, 0)
    assert (after["received"], after["queued"], after["pending"], after["stored"]) == (204, 204, 0, 204)
    assert before["balanced"] is after["balanced"] is True
    assert {(s["listener"], s["stored"], s["unparsed"]) for s in found["sources"]} == {
        ("syslog-tcp", 200, 0),
        ("syslog-udp", 4, 1),
    }


def test_a_record_that_was_received_and_is_nowhere_is_shown(tmp_path: Path) -> None:
    """A check that cannot fail is none: one record more in the collector's counters and nothing balances."""
    received(tmp_path, 5)
    path = places.counters(settings_of(tmp_path))
    document = orjson.loads(path.read_bytes())
    document["counts"][0]["queued"] += 1
    document["counts"][0]["received"] += 1
    path.write_bytes(orjson.dumps(document))
    assert sources(tmp_path)["totals"]["balanced"] is False


def test_drops_are_part_of_what_was_received() -> None:
    """received = queued + dropped, by reason."""
    accounts = Accounts(0, 0)
    row = {
        "site": "s",
        "listener": "l",
        "peer": "p",
        "hour_us": 0,
        "received": 5,
        "queued": 0,
        "bytes": 0,
        "flagged": 0,
    }
    accounts.collected([{**row, "dropped": {"queue_full": 3, "kernel": 2}, "unbelieved": {"a wrong digest": 2}}])
    accounts.collected([{**row, "dropped": {}, "received": 0, "refused_for": {"vanished": 2, "not_allowed": 1}}])
    [found] = accounts.rows()
    assert found["unbelieved"] == {"a wrong digest": 2}
    assert found["refused"] == accounts.totals()["refused"] == {"vanished": 2, "not_allowed": 1}
    assert found["balanced"] is True
    assert found["dropped"] == {"queue_full": 3, "kernel": 2}
    assert accounts.totals()["dropped"] == {"queue_full": 3, "kernel": 2}
