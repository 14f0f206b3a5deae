"""A flood of datagrams: it gets a socket and drops of its own, and a trickle beside it loses nothing."""

import socket
import subprocess
import sys
import time

import pytest

from soc.collectors import datagram_kernel, floods, listeners
from soc.collectors.floods import MAX_CROWD, MAX_LANES, SILENT_S, Sockets
from soc.collectors.listeners import ListenerSpec
from tests.collectors.running import MemoryQueue, balances, running, until
from tests.parsers.conftest import way

__all__ = ["way"]

HOST = "127.7.0.1"
FLOODER = "127.7.1.1"
TRICKLE = [f"127.7.2.{i}" for i in range(1, 51)]
FLOOD = """
import socket, sys, time
host, port, seconds, sources = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[5])
data = bytes.fromhex(sys.argv[4])
socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(sources)]
for i, sock in enumerate(socks, 1):
    sock.bind((f"127.7.1.{i}", 0))
    sock.connect((host, port))
end, n = time.monotonic() + seconds, 0
while time.monotonic() < end or n * sources < 25_000:
    for sock in socks:
        for _ in range(5):
            sock.send(data)
    n += 5
print(n)
"""
TRAP = bytes.fromhex("302c02010104067075626c6963a71f02010102010002010030143012060a2b06010603010104010006042b060102")
DATAGRAMS = {
    "syslog-udp": b"<13>a line " + b"x" * 200,
    "netflow": b"\0\5" + bytes(22) + bytes(48),
    "sflow": b"\0\0\0\5\0\0\0\1\x7f\0\0\1" + bytes(16),
    "snmp-trap": TRAP,
    "gelf-udp": b'{"version":"1.1","host":"h","short_message":"m"}',
}


class Hand:
    """A clock that stands still until it is moved."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def made(way):
    """Makes a bound socket and `Sockets` around it, compiled and in pure Python; closes all at the end."""
    kept = []

    def make(host=HOST, buffer=1 << 20, family=socket.AF_INET, clock=None):
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.bind((host, 0))
        kept.append(Sockets(sock, "wire", clock or Hand()))
        return kept[-1]

    yield make
    for each in kept:
        each.close()


@pytest.mark.parametrize(("buffer", "most_s"), [(64 << 10, 0.0), (2 << 20, 0.004), (4 << 20, 0.008)])
def test_what_is_waited_for_finds_room(made, buffer, most_s):
    """A receiver waits for more no longer than its buffer holds what comes, however fast it comes."""
    sockets = made(buffer=buffer)
    given = sockets.first.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)  # the kernel doubles it, up to its bound
    assert sockets.patience_s == min(most_s, 0.004 * (given // listeners.ENOUGH_BUFFER))
    assert given >= listeners.ENOUGH_BUFFER or sockets.patience_s == 0


def send(sockets, source, n, first=0, host=None):
    """Numbered datagrams of a source."""
    with socket.socket(sockets.first.family, socket.SOCK_DGRAM) as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        peer.bind((source, 0))
        target = sockets.first.getsockname()
        for i in range(first, first + n):
            peer.sendto(b"%d" % i, (host or target[0], target[1]))


def read(sockets, batches=1000):
    """All there is: numbers by source."""
    found = {}
    for _ in range(batches):
        batch = sockets.receive()
        if not batch:
            break
        for data, address in (each for datagrams in batch for each in datagrams):
            found.setdefault(address[0], []).append(int(data))
    return found


def moved(sockets, *sources):
    """As if these had filled the first socket."""
    now = sockets._clock()
    for source in sources:
        sockets._move(source, now)
    sockets._direct()


@pytest.mark.parametrize(("protocol", "sources"), [*((protocol, 1) for protocol in DATAGRAMS), ("syslog-udp", 20)])
def test_a_flood_takes_nothing_from_fifty_that_trickle(tmp_path, protocol, sources):
    """Every datagram of the flood is queued or counted, exactly; of the trickle none is lost.

    One source has its drops alone; of twenty, of whom none sends an eighth of all, the crowd has them together.
    """
    queue, data, sent = MemoryQueue(), DATAGRAMS[protocol], 0
    flooders = [f"127.7.1.{i}" for i in range(1, sources + 1)]
    with running([ListenerSpec("wire", protocol, HOST, 0, "province")], queue, tmp_path / "c") as (collector, ports):
        peers = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in TRICKLE]
        for peer, source in zip(peers, TRICKLE, strict=True):
            peer.bind((source, 0))
            peer.connect((HOST, ports["wire"]))
        command = [sys.executable, "-c", FLOOD, HOST, str(ports["wire"]), "1.5", data.hex(), str(sources)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as flood:
            while flood.poll() is None:
                for peer in peers:
                    peer.send(data)
                sent += 1
                time.sleep(0.02)
            flooded = int(flood.stdout.read()) * sources
        assert until(lambda: sum(by_peer(collector, p)["received"] for p in [*flooders, "*"]) == flooded)
        for peer in peers:
            peer.close()
    rows = {row["peer"]: row for row in collector.counters()}
    assert flooded > 20_000, "this was no flood"
    assert {peer: rows[peer]["queued"] for peer in TRICKLE} == dict.fromkeys(TRICKLE, sent)
    assert rows.keys() <= {*TRICKLE, *flooders, *(["*"] if sources > 1 else [])}
    assert balances(rows.values())


def by_peer(collector, peer):
    rows = [row for row in collector.counters() if row["peer"] == peer]
    return rows[0] if rows else {"received": 0}


def test_who_fills_the_buffer_is_moved_and_what_comes_behind_keeps_its_order(made):
    """Nothing of the flooder's is read from its own socket before what it sent earlier; the others stay."""
    clock = Hand()
    sockets = made(clock=clock)
    send(sockets, FLOODER, 600)
    send(sockets, "127.7.2.1", 5)
    clock.now += 1
    found = read(sockets, 1)
    assert sockets.lanes == [FLOODER]
    send(sockets, FLOODER, 300, first=600)
    send(sockets, "127.7.2.1", 5, first=5)
    for source, numbers in read(sockets).items():
        found.setdefault(source, []).extend(numbers)
    assert found == {FLOODER: list(range(900)), "127.7.2.1": list(range(10))}
    assert sockets.dropped() == []


def test_drops_of_a_flooder_are_its_own(made, monkeypatch):
    """Counted to the datagram under its name; a source in the first socket has room."""
    monkeypatch.setattr(floods, "LANE_BUFFER", 4096)
    clock = Hand()
    sockets = made(clock=clock)
    moved(sockets, FLOODER, "127.7.1.2")
    send(sockets, FLOODER, 1000)
    send(sockets, "127.7.1.2", 700)
    send(sockets, "127.7.2.1", 50)
    found = read(sockets)
    clock.now += 1
    lost = dict(sockets.dropped())
    assert len(found["127.7.2.1"]) == 50
    assert lost[FLOODER] > 0
    assert {source: len(found[source]) + lost[source] for source in lost} == {FLOODER: 1000, "127.7.1.2": 700}


def test_an_old_kernel_tells_drops_along_with_a_datagram(made, monkeypatch):
    """Where it cannot be asked (before Linux 4.12) the count that comes beside the next datagram is exact."""
    monkeypatch.setattr(datagram_kernel, "memory_of", lambda sock: ())
    sockets = made(buffer=4096)
    send(sockets, "127.7.2.1", 200)
    found = read(sockets)["127.7.2.1"]
    assert len(found) < 200
    send(sockets, "127.7.2.1", 1, first=200)
    found += read(sockets)["127.7.2.1"]
    assert sockets.dropped() == [("*", 201 - len(found))]


def test_ipv6_sources_and_ipv4_sources_of_one_socket(made):
    """A socket of both families: each address in its own words."""
    sockets = made("::", family=socket.AF_INET6)
    moved(sockets, "::1", FLOODER)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind((FLOODER, 0))
        peer.sendto(b"4", (HOST, sockets.first.getsockname()[1]))
    send(sockets, "::1", 3, host="::1")
    found = [{address[0] for _, address in sockets._read_lane(lane, 10)} for lane in sockets._lanes]
    assert found == [{"::1"}, {f"::ffff:{FLOODER}"}]


def test_a_broadcast_is_read_once(made):
    """The kernel hands it to every socket of the address."""
    sockets = made("0.0.0.0")
    moved(sockets, FLOODER)
    send(sockets, FLOODER, 3, host="127.255.255.255")
    send(sockets, FLOODER, 2, first=3, host=HOST)
    assert sorted(read(sockets)[FLOODER]) == [0, 1, 2, 3, 4]


def test_a_silent_source_goes_back(made):
    """Its place is free for the next one."""
    clock = Hand()
    sockets = made(clock=clock)
    moved(sockets, FLOODER)
    send(sockets, FLOODER, 3)
    read(sockets)
    clock.now += SILENT_S + 1
    sockets.dropped()
    assert sockets.lanes == []
    send(sockets, FLOODER, 2, first=3)
    assert len(sockets._inbox.receive(sockets.first, 10)) == 2


def crowded(sockets, n):
    """As if so many more than there are places for had filled the first socket together."""
    now = sockets._clock()
    for i in range(1, MAX_LANES + n + 1):
        sockets._move(f"127.7.1.{i}", now) or sockets._join(f"127.7.1.{i}", now)
    sockets._direct()
    return [f"127.7.1.{i}" for i in range(MAX_LANES + 1, MAX_LANES + n + 1)]


def test_more_flooders_than_places(made, monkeypatch):
    """Those beyond share a socket: what is lost there is counted under nobody's name, and is nobody else's."""
    monkeypatch.setattr(floods, "LANE_BUFFER", 4096)
    sockets = made()
    crowd = crowded(sockets, 2)
    assert (len(sockets.lanes), sockets.crowd) == (MAX_LANES, crowd)
    for source in crowd:
        send(sockets, source, 100)
    send(sockets, "127.7.2.1", 500)
    found = read(sockets)
    assert found["127.7.2.1"] == list(range(500))
    sockets._clock.now += 1
    assert dict(sockets.dropped()) == {"*": 200 - sum(len(found.get(source, ())) for source in crowd)}


def test_many_who_flood_together_are_moved_though_none_is_heavy(made):
    """Until what is left to the first socket is little; who sends little stays."""
    sockets = made(buffer=1 << 20)
    for _ in range(30):
        for i in range(1, 21):
            send(sockets, f"127.7.1.{i}", 1)
    send(sockets, "127.7.2.1", 3)
    sockets._clock.now += 1
    read(sockets)
    assert sockets.lanes == []
    assert 15 <= len(sockets.crowd) <= 20
    assert "127.7.2.1" not in sockets.crowd


def test_a_crowd_has_a_bound(made, caplog):
    """Under ever new addresses the rest stays with the others, and the log says so."""
    sockets = made()
    crowded(sockets, MAX_CROWD + 3)
    assert len(sockets.crowd) == MAX_CROWD
    assert "more sources than a shared socket takes" in caplog.text


def test_a_crowd_thins_out(made, monkeypatch):
    """Who is quiet goes back, in order; who is among few goes back to have a socket of his own."""
    monkeypatch.setattr(floods, "LIGHT", 50)
    clock = Hand()
    sockets = made(clock=clock)
    first, second, *_ = crowded(sockets, 2)
    send(sockets, first, 100)
    send(sockets, second, 10)
    clock.now += SILENT_S + 1
    for lane in sockets._lanes:
        lane.heard_s = clock.now
    sockets.dropped()
    assert sockets.crowd == [first, second]  # something lies in their socket
    assert len(read(sockets)[first]) == 100
    clock.now += 1
    sockets.dropped()
    assert sockets.crowd == [first]
    send(sockets, second, 3)
    assert read(sockets)[second] == [0, 1, 2]
    sockets._give_back(sockets._lanes[0])
    send(sockets, first, 100)
    read(sockets)
    clock.now += SILENT_S + 1
    for lane in sockets._lanes:
        lane.heard_s = clock.now
    sockets.dropped()
    assert sockets.crowd == []


def test_the_program_fits_its_jumps():
    """Steps of a jump have eight bits; with the most addresses it stays below."""
    steps = floods.program({f"fe80::{i}": i for i in range(1, MAX_LANES + MAX_CROWD + 1)})
    assert max(max(yes, no) for _, yes, no, _ in steps) < 256


def test_after_shut_everything_is_counted_as_dropped(made):
    """At the end of a listener: what is here is read, what comes is counted, nothing vanishes between."""
    sockets = made()
    moved(sockets, FLOODER)
    send(sockets, FLOODER, 4)
    send(sockets, "127.7.2.1", 4)
    sockets.shut()
    send(sockets, FLOODER, 5)
    send(sockets, "127.7.2.1", 6)
    assert {source: len(numbers) for source, numbers in read(sockets).items()} == {FLOODER: 4, "127.7.2.1": 4}
    assert dict(sockets.close()) == {FLOODER: 5, "*": 6}


def test_a_kernel_that_takes_no_program_leaves_one_socket(made, monkeypatch, caplog):
    """Everything works as it did, and the log says what a flood does then."""
    monkeypatch.setattr(floods, "SO_ATTACH_REUSEPORT_CBPF", 9999)
    sockets = made()
    send(sockets, FLOODER, 600)
    assert len(read(sockets)[FLOODER]) == 600
    assert sockets.lanes == []
    assert "a flood is everybody's" in caplog.text


def test_a_taken_port_is_seen_as_taken(made):
    """Two collectors of one user must not share a port without knowing."""
    port = made().first.getsockname()[1]
    with pytest.raises(listeners.ConfigError, match="is taken"):
        listeners.open_socket(ListenerSpec("other", "syslog-udp", HOST, port, "province"))
