"""Many peers at once: a thousand connections, and a flood beside a trickle."""

import resource
import socket
import subprocess
import sys
import threading
import time

import pytest

from soc.collectors import streams
from soc.collectors.counters import Counters
from soc.collectors.intake import Intake
from soc.collectors.listeners import ListenerSpec, Tls, allow_files
from tests.collectors.certificates import Authority, client
from tests.collectors.running import MemoryQueue, balances, running, total, until

HOST = "127.7.0.1"
FLOODER = "127.7.1.1"


def spec(protocol, **options):
    return ListenerSpec("wire", protocol, HOST, 0, "province", **options)


@pytest.fixture(autouse=True)
def _files():
    allow_files()
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 3000, "the hard limit of open files is below 3000"


@pytest.mark.parametrize("protocol", ["syslog-tcp", "syslog-tls"])
def test_a_thousand_connections_at_once(tmp_path, protocol):
    """All open at the same time, each of them heard in order, nothing lost."""
    queue, tls, wrap = MemoryQueue(), None, lambda sock: sock
    if protocol == "syslog-tls":
        authority = Authority(tmp_path)
        tls, wrap = Tls(*authority.pair("collector")), client(authority).wrap_socket
    with running([spec(protocol, tls=tls)], queue, tmp_path / "c.json") as (collector, ports):
        peers = [wrap(socket.create_connection((HOST, ports["wire"]), 30)) for _ in range(1000)]
        for n in range(3):
            for i, sock in enumerate(peers):
                sock.sendall(b"<13>%d %d\n" % (i, n))
        assert until(lambda: total(collector, "queued") == 3000)
        for sock in peers:
            sock.close()
    found = {}
    for record in queue.records:
        peer, n = record[4:].split()
        found.setdefault(int(peer), []).append(int(n))
    assert found == {i: [0, 1, 2] for i in range(1000)}


FLOOD = """
import socket, sys, time
host, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
sock = socket.socket()
sock.bind(("127.7.1.1", 0))
sock.connect((host, port))
line = b"<13>flood " + b"x" * 200
end, n = time.monotonic() + seconds, 0
while time.monotonic() < end:
    sock.sendall((line + b"\\n") * 1000)
    n += 1000
print(n)
"""


def trickle(port, seconds):
    """Fifty sources with a line each now and then; how many each sent."""
    peers = []
    for i in range(50):
        sock = socket.socket()
        sock.bind((f"127.7.2.{i + 1}", 0))
        sock.connect((HOST, port))
        peers.append(sock)
    end, n = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        for sock in peers:
            sock.send(b"<13>trickle %d\n" % n)
        n += 1
        time.sleep(0.02)
    for sock in peers:
        sock.close()
    return n


def test_a_flood_takes_nothing_from_a_trickle(tmp_path):
    """One source sends as fast as it can while fifty send a line now and then: none of theirs is lost."""
    queue = MemoryQueue()
    with running([spec("syslog-tcp")], queue, tmp_path / "c.json") as (collector, ports):
        command = [sys.executable, "-c", FLOOD, HOST, str(ports["wire"]), "2.5"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as flood:
            time.sleep(0.3)
            sent = trickle(ports["wire"], 2)
            flooded = int(flood.stdout.read())
        assert until(lambda: total(collector, "queued") == 50 * sent + flooded)
        assert counted(collector) == 50 * sent
        assert balances(collector.counters())


def counted(collector):
    """Records of the trickle."""
    return sum(row["queued"] for row in collector.counters() if row["peer"].startswith("127.7.2."))


def test_a_flood_fills_its_share_only(tmp_path):
    """While the queue is slow a source of datagrams cannot take the room of the others."""
    counters = Counters(tmp_path / "c")
    intake, wire = Intake(counters, 1_000_000), spec("syslog-udp")
    for _ in range(100):
        intake.add(wire, FLOODER, 0, [b"x" * 200] * 100)
    for n in range(20):
        for i in range(50):
            intake.add(wire, f"127.7.2.{i + 1}", 0, [b"<13>%d" % n])
    rows = {row["peer"]: row for row in counters.snapshot()}
    assert rows[FLOODER]["dropped"]["queue_full"] > 0
    assert all(row["dropped"] == {} for peer, row in rows.items() if peer != FLOODER)


def test_connections_beyond_the_bound_are_refused(tmp_path, monkeypatch):
    """Counted by their reason; those that are in stay in."""
    monkeypatch.setattr(streams, "MAX_CONNECTIONS", 5)
    queue = MemoryQueue()
    with running([spec("syslog-tcp")], queue, tmp_path / "c.json") as (collector, ports):
        peers = [socket.create_connection((HOST, ports["wire"]), 30) for _ in range(8)]
        assert until(lambda: total(collector, "refused") == 3)
        peers[0].sendall(b"<1>still here\n")
        assert until(lambda: total(collector, "queued") == 1)
        for sock in peers:
            sock.close()
        assert [row["refused_for"] for row in collector.counters()] == [{"too_many": 3}]


def test_one_address_cannot_take_all_connections(tmp_path, monkeypatch):
    """It gets its part; another address comes in all the same, and a closed connection makes room."""
    monkeypatch.setattr(streams, "MAX_OF_PEER", 3)
    queue = MemoryQueue()
    with running([spec("syslog-tcp")], queue, tmp_path / "c.json") as (collector, ports):
        greedy = [socket.create_connection((HOST, ports["wire"]), 30) for _ in range(5)]
        assert until(lambda: total(collector, "refused") == 2)
        with socket.create_connection((HOST, ports["wire"]), 30, source_address=("127.7.3.1", 0)) as other:
            other.sendall(b"<1>another\n")
            assert until(lambda: total(collector, "queued") == 1)
        greedy[0].close()

        def room_again():
            with socket.create_connection((HOST, ports["wire"]), 30) as again:
                again.sendall(b"<1>room again\n")
                return until(lambda: total(collector, "queued") > 1, 0.5)

        assert until(room_again)
        for sock in greedy:
            sock.close()


def test_an_octet_peer_and_a_line_peer_are_told_apart(tmp_path):
    """Framing belongs to the connection, not to the listener or the address."""
    queue = MemoryQueue()
    with running([spec("syslog-tcp")], queue, tmp_path / "c.json") as (collector, ports):
        streams_ = (b"6 <1>abc5 <1>de", b"<1>line\n<1>two\n", b"<1>nul\0<1>2\0")

        def send(data):
            with socket.create_connection((HOST, ports["wire"]), 30) as sock:
                sock.sendall(data)

        threads = [threading.Thread(target=send, args=(data,)) for data in streams_]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert until(lambda: total(collector, "queued") == 6)
    assert sorted(queue.records) == sorted([b"<1>abc", b"<1>de", b"<1>line", b"<1>two", b"<1>nul", b"<1>2"])
