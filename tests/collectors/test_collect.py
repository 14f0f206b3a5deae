"""The collector on real sockets."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from soc.collectors import listeners
from soc.collectors.collect import Collector
from soc.collectors.counters import Counters
from soc.collectors.datagrams import DatagramReceiver
from soc.collectors.intake import Intake
from soc.collectors.listeners import ListenerSpec, open_socket
from soc.errors import ConfigError, SocError
from soc.model.clock import SystemClock
from soc.model.record import OVERSIZE
from soc.store.queue import DiskLog, LogReader
from tests import programs
from tests.collectors.running import MemoryQueue, balances, running, total, until

TOP = Path(__file__).parents[2]


def spec(protocol, host="127.7.0.1", port=0, **options):
    return ListenerSpec("wire", protocol, host, port, "province", **options)


def send_udp(address, payloads, source="127.7.0.9"):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((source, 0))
        for payload in payloads:
            sock.sendto(payload, address)


def connect(address, source="127.7.0.9"):
    return socket.create_connection(address, 5, source_address=(source, 0))


@pytest.mark.parametrize(
    ("protocol", "options"),
    [
        ("syslog-udp", ["--udp", "--rfc5424"]),
        ("syslog-udp", ["--udp", "--rfc3164"]),
        ("syslog-tcp", ["--tcp", "--rfc5424"]),
        ("syslog-tcp", ["--tcp", "--rfc5424", "--octet-count"]),
        ("syslog-tcp", ["--tcp", "--rfc3164", "--octet-count"]),
    ],
)
def test_logger_is_heard(tmp_path, protocol, options):
    """What util-linux's logger sends, by every transport and framing it has, is one record a message."""
    logger = programs.program("logger", "bsdutils")
    queue = MemoryQueue()
    with running([spec(protocol)], queue, tmp_path / "counters.json") as (collector, ports):
        command = [logger, "--server", "127.7.0.1", "--port", str(ports["wire"]), *options, "--tag", "probe"]
        for text in ("first đăng nhập", "second"):
            subprocess.run([*command, text], check=True, timeout=60)
        assert until(lambda: total(collector, "queued") == 2)
    assert [
        r.decode().rsplit("probe", 1)[1].endswith(t)
        for r, t in zip(queue.records, ("đăng nhập", "second"), strict=True)
    ]
    assert all(record.startswith(b"<") and not record.endswith((b"\n", b"\0")) for record in queue.records)
    assert queue.blocks[0].format == "syslog"


def test_sources_are_told_apart(tmp_path):
    """Blocks and counts are kept by site, listener and peer."""
    queue = MemoryQueue()
    with running([spec("syslog-udp")], queue, tmp_path / "counters.json") as (collector, ports):
        send_udp(("127.7.0.1", ports["wire"]), [b"<1>a", b"<1>b"], "127.7.0.2")
        send_udp(("127.7.0.1", ports["wire"]), [b"<1>c"], "127.7.0.3")
        assert until(lambda: total(collector, "queued") == 3)
        rows = collector.counters()
    assert [(r["site"], r["listener"], r["peer"], r["received"], r["queued"], r["bytes"]) for r in rows] == [
        ("province", "wire", "127.7.0.2", 2, 2, 8),
        ("province", "wire", "127.7.0.3", 1, 1, 4),
    ]
    assert {b.source for b in queue.blocks} == {"province/wire/127.7.0.2", "province/wire/127.7.0.3"}


def test_flows_and_traps_are_kept_as_datagrams(tmp_path):
    """NetFlow and SNMP datagrams are records as they came, NULs and line feeds included."""
    queue, payload = MemoryQueue(), bytes(range(256))
    specs = [ListenerSpec(n, p, "127.7.0.1", 0, "s") for n, p in (("flows", "netflow"), ("traps", "snmp-trap"))]
    with running(specs, queue, tmp_path / "counters.json") as (collector, ports):
        for port in ports.values():
            send_udp(("127.7.0.1", port), [payload])
        assert until(lambda: total(collector, "queued") == 2)
    assert {(b.listener, b.format, b.data) for b in queue.blocks} == {
        ("flows", "netflow", payload),
        ("traps", "snmp", payload),
    }


def test_oversize_records_are_cut_flagged_and_counted(tmp_path):
    """Over UDP and TCP alike."""
    queue = MemoryQueue()
    specs = [
        ListenerSpec("u", "syslog-udp", "127.7.0.1", 0, "s", max_bytes=10),
        ListenerSpec("t", "syslog-tcp", "127.7.0.1", 0, "s", max_bytes=10),
    ]
    with running(specs, queue, tmp_path / "counters.json") as (collector, ports):
        send_udp(("127.7.0.1", ports["u"]), [b"<1>" + b"x" * 20])
        with connect(("127.7.0.1", ports["t"])) as sock:
            sock.sendall(b"<1>" + b"x" * 20 + b"\n")
        assert until(lambda: total(collector, "flagged") == 2)
    assert [(len(b.data), b.flags[0]) for b in queue.blocks] == [(10, OVERSIZE), (10, OVERSIZE)]


def test_ipv6_peers_are_heard(tmp_path):
    """A listener on an IPv6 address works like any other."""
    queue = MemoryQueue()
    with running([spec("syslog-udp", "::1")], queue, tmp_path / "c.json") as (_, ports):
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"<1>six", ("::1", ports["wire"]))
        assert until(lambda: queue.records == [b"<1>six"])
    assert queue.blocks[0].peer == "::1"


def test_strangers_are_counted_or_refused(tmp_path):
    """The allow-list drops datagrams of others by count and turns their connections away."""
    queue = MemoryQueue()
    specs = [
        ListenerSpec(n, p, "127.7.0.1", 0, "s", allow=("127.7.0.8/30",))
        for n, p in (("u", "syslog-udp"), ("t", "syslog-tcp"))
    ]
    with running(specs, queue, tmp_path / "counters.json") as (collector, ports):
        send_udp(("127.7.0.1", ports["u"]), [b"<1>friend"], "127.7.0.9")
        send_udp(("127.7.0.1", ports["u"]), [b"<1>stranger"], "127.7.0.2")
        with connect(("127.7.0.1", ports["t"]), "127.7.0.2") as sock:
            sock.sendall(b"<1>stranger\n")
        assert until(lambda: total(collector, "refused") == 1 and total(collector, "not_allowed") == 1)
        assert until(lambda: queue.records == [b"<1>friend"])
        assert balances(collector.counters())


def narrow(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    return 8192


def test_kernel_drops_are_counted(tmp_path, monkeypatch, caplog):
    """What the kernel had no room for is counted for the listener, even when no datagram follows."""
    monkeypatch.setattr(listeners, "widen", narrow)
    counters = Counters(tmp_path / "counters.json")
    intake = Intake(counters)
    sock = open_socket(spec("syslog-udp"))
    assert "net.core.rmem_max" in caplog.text, "who has little room should know how to get more"
    receiver = DatagramReceiver(spec("syslog-udp"), sock, intake, counters, SystemClock())
    send_udp(sock.getsockname(), [b"<1>" + b"x" * 500] * 200)
    receiver.start()
    receiver.stop()
    assert receiver.ended(10)
    taken = intake.take()
    counters.queued(taken, None)
    rows = counters.snapshot()
    lost = sum(row["dropped"].get("kernel", 0) for row in rows if row["peer"] == "*")
    assert lost > 0
    assert sum(block.n for block in taken) + lost == sum(row["received"] for row in rows) == 200


def test_a_full_queue_holds_streams_back_and_loses_nothing(tmp_path):
    """While the queue is full TCP is not read; when it has room again everything arrives, once and in order."""
    queue = MemoryQueue()
    queue.is_full.set()
    lines = [b"<1>%06d" % i + b"x" * 200 for i in range(60_000)]
    with running([spec("syslog-tcp")], queue, tmp_path / "c.json", max_waiting=4_000_000) as (collector, ports):
        sender = threading.Thread(target=send_lines, args=(("127.7.0.1", ports["wire"]), lines))
        sender.start()
        assert until(lambda: collector.fault)
        time.sleep(0.3)
        assert sender.is_alive(), "the sender was not held back"
        assert total(collector, "received") < len(lines)
        queue.is_full.clear()
        assert until(lambda: total(collector, "queued") == len(lines))
        sender.join(60)
        assert total(collector, "queue_full") == 0
    assert queue.records == lines


def send_lines(address, lines):
    with connect(address) as sock:
        for start in range(0, len(lines), 500):
            sock.sendall(b"\n".join(lines[start : start + 500]) + b"\n")


def test_a_full_queue_drops_datagrams_by_count(tmp_path):
    """While the queue is full datagrams wait up to the bound, then each one is counted as dropped."""
    queue = MemoryQueue()
    queue.is_full.set()
    with running([spec("syslog-udp")], queue, tmp_path / "c.json", max_waiting=20_000) as (collector, ports):
        for _ in range(10):
            send_udp(("127.7.0.1", ports["wire"]), [b"<1>" + b"x" * 500] * 20)
            time.sleep(0.02)
        assert until(lambda: total(collector, "received") == 200)
        assert total(collector, "queue_full") > 100
        queue.is_full.clear()
        assert until(lambda: total(collector, "queued") + total(collector, "queue_full") == 200)
    assert len(queue.records) == total(collector, "queued") > 0
    assert balances(collector.counters())


def test_what_a_full_queue_never_took_is_counted_at_the_end(tmp_path):
    """A collector that must stop while the queue is full says how many records it lost."""
    queue = MemoryQueue()
    queue.is_full.set()
    with running([spec("syslog-udp")], queue, tmp_path / "c.json") as (collector, ports):
        send_udp(("127.7.0.1", ports["wire"]), [b"<1>a"] * 5)
        assert until(lambda: total(collector, "received") == 5)
    assert total(collector, "queue_full") == 5
    assert balances(Counters(tmp_path / "c.json").snapshot())


def test_a_receiver_that_breaks_ends_the_collector(tmp_path, monkeypatch):
    """It would be deaf, and nobody would know; who supervises the process starts it again."""

    def breaks(_self):
        raise ZeroDivisionError

    monkeypatch.setattr(DatagramReceiver, "_drain", breaks)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    queue, udp, tcp = MemoryQueue(), spec("syslog-udp"), replace(spec("syslog-tcp"), name="tcp")

    def talk():
        with running([udp, tcp], queue, tmp_path / "c") as (_, ports):
            with connect((tcp.host, ports["tcp"])) as peer:
                peer.sendall(b"<13>kept\n")
            send_udp((udp.host, ports["wire"]), [b"<13>a"])
            assert until(lambda: is_refused((tcp.host, ports["tcp"]))), "the collector goes on"

    with pytest.raises(SocError, match="wire: receiving broke"):
        talk()
    assert queue.records == [b"<13>kept"]


def is_refused(address):
    try:
        connect(address).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        pass
    return False


def test_a_taken_port_falls_back_to_the_next(tmp_path):
    """With `fallback` the next free port is used and told."""
    with socket.create_server(("127.7.0.1", 0)) as other:
        port = other.getsockname()[1]
        with running([spec("syslog-tcp", port=port, fallback=True)], MemoryQueue(), tmp_path / "c.json") as (_, ports):
            assert port < ports["wire"] <= port + 20


def test_a_taken_port_is_an_error_that_says_so(tmp_path):
    """Without `fallback` the listener, the port and the way out are named."""
    with socket.create_server(("127.7.0.1", 0)) as other:
        taken = spec("syslog-tcp", port=other.getsockname()[1])
        collector = Collector([taken], MemoryQueue(), SystemClock(), counters_path=tmp_path / "c.json")
        with pytest.raises(ConfigError, match=r"\[listen\.wire\].*taken") as caught:
            collector.run(threading.Event(), lambda ports: None)
    assert caught.value.hint


def test_a_privileged_port_is_an_error_that_says_so(monkeypatch):
    """Permission denied comes with the capability it takes."""

    def refuse(spec, port):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(listeners, "_bind", refuse)
    with pytest.raises(ConfigError, match="permission denied") as caught:
        open_socket(spec("syslog-udp", port=514))
    assert "CAP_NET_BIND_SERVICE" in str(caught.value.hint)


# processes that are killed -----------------------------------------------------------------------------------------


def start(root, protocol, port=0, *options):
    command = [sys.executable, "-m", "tests.collectors.collect_program", str(root), protocol, "127.7.0.1", str(port)]
    process = subprocess.Popen(
        [*command, *options],
        stdout=subprocess.PIPE, text=True, cwd=TOP,
    )  # fmt: skip
    return process, int(process.stdout.readline())


def stored(root):
    """Records in the log, by peer."""
    found = {}
    for block in LogReader(root, "raw").read({}, None, 1_000_000):
        found.setdefault(block.peer, []).extend(block.records())
    return found


def test_sigterm_keeps_what_the_kernel_has(tmp_path):
    """Everything a sender got rid of before SIGTERM is durable, the unfinished last line too."""
    process, port = start(tmp_path, "syslog-tcp")
    lines = [b"<1>%06d" % i for i in range(50_000)]
    with connect(("127.7.0.1", port)) as sock:
        sock.sendall(b"\n".join(lines))
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    process.stdout.close()
    assert stored(tmp_path) == {"127.7.0.9": lines}
    assert balances(Counters(tmp_path / "counters.json").snapshot())


class Sender(threading.Thread):
    """Sends numbered lines over new connections until told to end."""

    def __init__(self, port, peer):
        super().__init__()
        self.port, self.peer, self.number, self.is_over = port, peer, 0, False

    def run(self):
        while not self.is_over:
            try:
                with connect(("127.7.0.1", self.port), self.peer) as sock:
                    while not self.is_over:
                        sock.sendall(b"".join(b"<1>%d\n" % n for n in range(self.number, self.number + 50)))
                        self.number += 50
                        time.sleep(0.001)
            except OSError:
                self.number += 50
                time.sleep(0.02)


def test_accounts_balance_after_kill_9(tmp_path):
    """Killed under load again and again: after each kill the counts are those of the durable records, none twice."""
    process, port = start(tmp_path, "syslog-tcp")
    senders = [Sender(port, f"127.7.0.{i}") for i in (20, 21)]
    for sender in senders:
        sender.start()
    try:
        for alive in (0.4, 1.35, 2.2):
            time.sleep(alive)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            process.stdout.close()
            check_accounts(tmp_path)
            process, _ = start(tmp_path, "syslog-tcp", port)
    finally:
        for sender in senders:
            sender.is_over = True
        for sender in senders:
            sender.join()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        process.stdout.close()
    assert set(check_accounts(tmp_path)) == {"127.7.0.20", "127.7.0.21"}


def check_accounts(root):
    """A fresh collector's counts against the log itself."""
    with DiskLog(root, "raw", "n1", SystemClock()) as log:
        rows = Collector([spec("syslog-tcp")], log, SystemClock(), counters_path=root / "counters.json").counters()
        records = stored(root)
    assert balances(rows)
    counted = {}
    for row in rows:
        counted[row["peer"]] = counted.get(row["peer"], 0) + row["queued"]
    assert counted == {peer: len(found) for peer, found in records.items()}
    for found in records.values():
        whole = [record for record in found if record.startswith(b"<1>")]
        assert len(set(whole)) >= len(whole) - 3, (
            "a record is there twice"
        )  # a line cut by a kill may look like another
    return counted
