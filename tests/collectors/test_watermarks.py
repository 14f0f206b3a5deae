"""The queue's watermarks: who can wait waits, datagrams have the rest, and between the two marks nothing flaps."""

import http.client
import socket
import threading

from soc.collectors.counters import Counters
from soc.collectors.intake import Intake
from soc.collectors.listeners import ListenerSpec
from soc.collectors.watermarks import Watermarks
from soc.model.clock import SystemClock
from soc.store.queue import DiskLog
from tests.collectors.running import balances, running, total, until
from tests.collectors.test_reload import Wishes

HOST = "127.7.0.1"
SHARE = 4 << 20
LINE = b"<13>" + b"x" * 1000 + b"\n"


class Held(DiskLog):
    """A log whose consumers free room when the test says so."""

    freed = 0

    def _measure(self):
        return max(super()._measure() - self.freed, 0)


def spec(name, protocol, host=HOST):
    return ListenerSpec(name, protocol, host, 0, "province")


def test_streams_wait_between_the_marks_and_datagrams_go_on(tmp_path):
    """From the high mark on TCP is not read and HTTP told to come again, until the queue is below the low one; every
    line is there in the end, and the datagrams found room all the time."""
    specs = [spec("tcp", "syslog-tcp"), spec("udp", "syslog-udp"), spec("web", "http", "127.0.0.1")]
    wishes = Wishes()
    with (
        Held(tmp_path, "raw", "n1", SystemClock(), max_bytes=SHARE) as log,
        running(specs, log, tmp_path / "c", wishes, watermarks=Watermarks(60, 30)) as (collector, ports),
    ):
        sent, stop = [], threading.Event()

        def pour():
            with socket.create_connection((HOST, ports["tcp"])) as sock:
                while not stop.is_set():
                    sock.sendall(LINE * 20)
                    sent.append(20)
                    stop.wait(0.002)

        thread = threading.Thread(target=pour)
        thread.start()
        assert until(lambda: collector.pressure.told()["held_s"] > 0)
        assert until(lambda: settled(collector))
        held = queued(collector, "tcp")
        used = collector.pressure.told()["queue_used"]
        assert SHARE * 0.6 <= used < SHARE * 0.95
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for _ in range(50):
                sock.sendto(b"<13>datagram", (HOST, ports["udp"]))
        assert until(lambda: queued(collector, "udp") == 50)
        assert posted(ports["web"]) == 429
        # A removed listener ends also now: what its peers have sent is taken, for they believe it delivered.
        wishes.become(*specs, spec("more", "syslog-tcp"))
        log.freed = used - int(SHARE * 0.45)
        assert until(lambda: collector.pressure.told()["queue_used"] < SHARE * 0.5)
        assert collector.pressure.told()["held_s"] > 0, "between the marks it goes on to wait"
        assert queued(collector, "tcp") == held
        log.freed = 1 << 40
        assert until(lambda: collector.pressure.told()["held_s"] == 0)
        assert posted(ports["web"]) == 200
        stop.set()
        thread.join()
        assert until(lambda: queued(collector, "tcp") == sum(sent))
        assert balances(collector.counters())
        assert total(collector, "queue_full") == 0


def settled(collector):
    """Nothing more is queued while it is held."""
    before = queued(collector, "tcp")
    return not until(lambda: queued(collector, "tcp") > before, 1.0)


def queued(collector, listener):
    return sum(row["queued"] for row in collector.counters() if row["listener"] == listener)


def posted(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/v1/logs?format=lines", b"<13>x")
    status = connection.getresponse().status
    connection.close()
    return status


def test_a_collector_ends_while_senders_wait(tmp_path):
    """What they have written is in the kernel, and they believe it delivered: it is taken before the end."""
    with (
        Held(tmp_path, "raw", "n1", SystemClock(), max_bytes=SHARE) as log,
        running([spec("tcp", "syslog-tcp")], log, tmp_path / "c", watermarks=Watermarks(2, 1)) as (collector, ports),
        socket.create_connection((HOST, ports["tcp"]), 30) as sock,
    ):
        sock.sendall(LINE * 200)
        assert until(lambda: collector.pressure.told()["held_s"] > 0 and settled(collector))
        before = queued(collector, "tcp")
        sock.sendall(LINE * 100)
        assert settled(collector)
        assert queued(collector, "tcp") == before
    assert queued(collector, "tcp") == 300


def test_without_a_share_nobody_is_held(tmp_path):
    """A log without a bound has no watermarks."""
    with DiskLog(tmp_path, "raw", "n1", SystemClock()) as log, running([], log, tmp_path / "c") as (collector, _):
        assert collector.pressure.told() == {
            "queue_used": 0, "queue_share": 0, "queue_high": 90, "queue_low": 70, "held_s": 0,
        }  # fmt: skip


def test_records_of_two_forms_stay_apart(tmp_path):
    """One peer of one listener may send records of several forms and for several sites between two commits."""

    class Other(ListenerSpec):
        @property
        def format(self):
            return "snmp-v3"

    intake = Intake(Counters(tmp_path / "c"))
    plain = ListenerSpec("traps", "snmp-trap", HOST, 0, "province")
    for each in (
        plain,
        Other("traps", "snmp-trap", HOST, 0, "province"),
        ListenerSpec("traps", "snmp-trap", HOST, 0, "hue"),
    ):
        intake.add(each, "10.0.0.1", 0, [each.format.encode() + each.site.encode()])
    found = {(block.format, block.site): block.records() for block in intake.take()}
    assert {key: [bytes(r) for r in records] for key, records in found.items()} == {
        ("snmp", "province"): [b"snmpprovince"], ("snmp-v3", "province"): [b"snmp-v3province"],
        ("snmp", "hue"): [b"snmphue"],
    }  # fmt: skip
