"""The sender: real packets from each device's own address, and the truth in a file of its own."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from soc.collectors.framing import SyslogFramer
from soc.errors import ConfigError
from soc.model.clock import SystemClock
from soc.simulate import truth as truths
from soc.simulate.devices import LISTENER
from soc.simulate.province import Province, build
from soc.simulate.run import Sender, check_address, truth_path

HOST = "127.0.0.1"


class FastClock:
    """A clock that runs so many times faster than the machine's; `jump_ns` moves its wall."""

    def __init__(self, speed: float) -> None:
        self.speed, self.jump_ns = speed, 0
        self._wall, self._since = time.time_ns(), time.monotonic_ns()

    def now_ns(self) -> int:
        return self._wall + self.jump_ns + int((time.monotonic_ns() - self._since) * self.speed)

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()


class Receivers:
    """One socket for each listener; what came, by source address."""

    def __init__(self) -> None:
        self.came: dict[str, dict[str, list[bytes]]] = {name: {} for name in set(LISTENER.values())}
        self.ports: dict[str, int] = {}
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        for name in self.came:
            if name == "syslog-tcp":
                self.listen(0)
            else:
                self._bind(name)

    def _begin(self, work, *arguments) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _bind(self, name: str) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((HOST, 0))
        sock.settimeout(0.05)
        self.ports[name] = sock.getsockname()[1]
        self._begin(self._datagrams, name, sock)

    def listen(self, port: int) -> None:
        """Serve syslog over TCP at this port (0: any) until `hang_up`."""
        self.door, self.connections = socket.create_server((HOST, port)), []
        self.ports["syslog-tcp"] = self.door.getsockname()[1]
        self._begin(self._accept, self.door, self.connections)

    def hang_up(self) -> None:
        """As a collector that is stopped does."""
        for sock in (self.door, *self.connections):
            with suppress(OSError):  # the peer may have gone first
                sock.shutdown(socket.SHUT_RDWR)
        self.door.close()

    def _datagrams(self, name: str, sock: socket.socket) -> None:
        with sock:
            while not self._stop.is_set():
                try:
                    data, (address, _) = sock.recvfrom(65536)
                except TimeoutError:
                    continue
                self.came[name].setdefault(address, []).append(data)

    def _accept(self, door: socket.socket, connections: list[socket.socket]) -> None:
        while True:
            try:
                connection, (address, _) = door.accept()
            except OSError:
                return
            connections.append(connection)
            self._begin(self._serve, connection, address)

    def _serve(self, connection: socket.socket, address: str) -> None:
        framer = SyslogFramer()
        with connection:
            while data := connection.recv(65536):
                records, flags = framer.feed(data)
                assert not flags
                self.came["syslog-tcp"].setdefault(address, []).extend(records)

    def total(self) -> int:
        """Records that came."""
        return sum(len(r) for by_peer in self.came.values() for r in by_peer.values())

    def close(self) -> None:
        self._stop.set()
        self.hang_up()
        for thread in self._threads:
            thread.join(2)


@pytest.fixture
def receivers() -> Iterator[Receivers]:
    """Sockets on loopback."""
    found = Receivers()
    yield found
    found.close()


@contextmanager
def sending(sender: Sender) -> Iterator[None]:
    """The sender at work in a thread, stopped at the end."""
    stop = threading.Event()
    thread = threading.Thread(target=sender.run, args=(stop,), daemon=True)
    thread.start()
    yield
    stop.set()
    thread.join(60)
    assert not thread.is_alive()


def wait_for(what, seconds: float = 60.0) -> bool:
    """Whether it comes true in time."""
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(what())


def a_sender(receivers: Receivers, path: Path, speed: float = 1.0, **changes) -> Sender:
    """A sender of the province of seed 7."""
    clock = changes.pop("clock", None) or FastClock(speed)
    ports = changes.pop("ports", receivers.ports)
    return Sender(the_province(), ports, seed=7, clock=clock, truth=path, **changes)


def the_province() -> Province:
    return build(7, SystemClock())


def test_every_device_sends_from_its_own_address(receivers: Receivers, tmp_path: Path) -> None:
    """Whole records, over UDP and TCP in both framings, each at the listener of its kind; nothing is lost."""
    expected: dict[str, set[str]] = {}
    for device in the_province().devices:
        expected.setdefault(LISTENER[device.role], set()).add(device.address)
    sender = a_sender(receivers, tmp_path / "t", rate=200.0)
    with sending(sender):
        assert wait_for(lambda: {n: set(came) for n, came in receivers.came.items()} == expected)
    assert wait_for(lambda: receivers.total() == sender.counters()["sent"])
    counters = sender.counters()
    assert (counters["failed"], counters["unheard"], counters["waiting"]) == (0, 0, 0)
    tcp = [r for records in receivers.came["syslog-tcp"].values() for r in records]
    assert all(r.startswith(b"<") for r in tcp)
    assert any(b'"Channel":"Security"' in r for r in tcp)
    assert any(b" nginx: " in r for r in tcp)


def test_the_truth_is_written_before_the_attack_and_corrected_when_it_is_cut_short(
    receivers: Receivers, tmp_path: Path
) -> None:
    """Stopped within the brute force: what was planned does not count as missed."""
    path = tmp_path / "simulate" / "truth.jsonl"
    sender = a_sender(receivers, path, speed=5.0, rate=5.0)
    with sending(sender):
        assert wait_for(lambda: sender.counters()["attacks"] == 1)
        assert [t["expect"] for t in truths.read(path)] == [True]
    [record] = truths.read(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert (record["name"], record["expect"], record["technique"]) == ("ssh-brute-force", False, ["T1110.001", "T1078"])
    assert "203.0.113.9" in record["entity"]


def test_an_attack_that_ended_stays_expected(receivers: Receivers, tmp_path: Path) -> None:
    """The whole first round but the silence, at forty times the speed."""
    path = tmp_path / "t.jsonl"
    sender = a_sender(receivers, path, speed=40.0, rate=0.5)  # with few events it bears to be held up for seconds
    with sending(sender):
        assert wait_for(lambda: sender.counters()["attacks"] == 4)
        assert wait_for(lambda: len(sender.under_way) == 1)
    expect = {t["name"]: t["expect"] for t in truths.read(path)}
    assert expect == {"ssh-brute-force": True, "web-injection": True, "port-scan": True, "source-silent": False}


def test_it_connects_again_when_the_collector_comes_back(receivers: Receivers, tmp_path: Path) -> None:
    """What could not be sent meanwhile is counted."""
    sender = a_sender(receivers, tmp_path / "t", rate=200.0)
    with sending(sender):
        assert wait_for(lambda: receivers.came["syslog-tcp"])
        receivers.hang_up()
        assert wait_for(lambda: sender.counters()["failed"] > 0)
        receivers.came["syslog-tcp"].clear()
        receivers.listen(receivers.ports["syslog-tcp"])
        streams = {d.address for d in the_province().devices if LISTENER[d.role] == "syslog-tcp"}
        assert wait_for(lambda: set(receivers.came["syslog-tcp"]) == streams)


def test_nobody_listening_is_counted(receivers: Receivers, tmp_path: Path) -> None:
    """A closed UDP port fails, a listener that is not configured is unheard."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((HOST, 0))
        closed = sock.getsockname()[1]
    sender = a_sender(receivers, tmp_path / "t", rate=200.0, ports={"syslog-udp": closed})
    with sending(sender):
        assert wait_for(lambda: sender.counters()["failed"] > 3 and sender.counters()["unheard"] > 3)


def test_a_clock_that_jumps_begins_the_traffic_anew(receivers: Receivers, tmp_path: Path) -> None:
    """A machine that slept for an hour must not send the hour's packets at once."""
    clock = FastClock(1.0)
    sender = a_sender(receivers, tmp_path / "t", clock=clock, rate=50.0)
    with sending(sender):
        assert wait_for(lambda: sender.counters()["sent"] > 10)
        before = sender.counters()["sent"]
        clock.jump_ns = 3600 * 1_000_000_000
        assert wait_for(lambda: sender.counters()["restarts"] == 1)
        clock.jump_ns = 0
        assert wait_for(lambda: sender.counters()["restarts"] == 2)
    assert sender.counters()["sent"] - before < 500


def test_a_machine_without_the_addresses_is_told_the_way_out() -> None:
    """One sentence with the address, and how to get it."""
    with pytest.raises(ConfigError, match=r"cannot send from 203\.0\.113\.1") as caught:
        check_address("203.0.113.1")
    assert "127.0.0.0/8" in (caught.value.hint or "")


def test_it_ends_when_told_to(receivers: Receivers, tmp_path: Path) -> None:
    """Packets went out, and the truth file lies below the home."""
    sender = a_sender(receivers, truth_path(tmp_path), rate=100.0)
    with sending(sender):
        assert wait_for(lambda: sender.counters()["sent"] > 10)
    assert truth_path(tmp_path).exists()


def test_a_rate_of_nothing_is_refused(receivers: Receivers, tmp_path: Path) -> None:
    """Before anything is opened."""
    with pytest.raises(ConfigError, match="more than 0"):
        a_sender(receivers, tmp_path / "t", rate=0.0)
