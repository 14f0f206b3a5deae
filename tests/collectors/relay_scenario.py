"""A unit and its centre, each a process of its own, over a link that is slow and breaks; both killed at random.

`python -m tests.collectors.relay_scenario centre|unit …` are the two ends; `… netns FOLDER SEED` plays the whole
scenario between two network namespaces (run it under `unshare --user --map-root-user --net`) and prints what arrived.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from soc.collectors import relay
from soc.collectors.enrol import Authority
from soc.collectors.hub import Hub, Intake
from soc.collectors.packet_asks import Asks
from soc.model.clock import SystemClock
from soc.model.record import RawBlock
from soc.store.queue import DiskLog, LogReader
from tests.collectors.running import until
from tests.ports import free_port

TOP = Path(__file__).parents[2]
CLOCK = SystemClock()
PEERS = ("10.1.0.1", "10.1.0.2", "10.1.0.3")
RATE = 300_000
"""Bytes a second that the link carries."""


class Wire(Protocol):
    """The link between the two."""

    url: str
    centre: tuple[str, int]
    centre_under: Sequence[str]

    def cut(self) -> None: ...

    def mend(self) -> None: ...


class Proxy:
    """A link in this process: so many bytes a second, and while it is cut connections are silent, then gone."""

    centre_under: Sequence[str] = ()

    def __init__(self) -> None:
        self.centre = ("127.0.0.1", free_port())
        self._door = socket.create_server(("127.0.0.1", 0))
        self._door.settimeout(0.1)
        self.url = f"https://127.0.0.1:{self._door.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self._carries, self._is_over = threading.Event(), False
        self._carries.set()
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def cut(self) -> None:
        """Nothing passes any more; half a second later the connections are reset."""
        self._carries.clear()
        threading.Timer(0.5, self._reset).start()

    def mend(self) -> None:
        """New connections are good again."""
        self._reset()
        self._carries.set()

    def close(self) -> None:
        """The end."""
        self._is_over = True
        self._reset()
        self._carries.set()
        self._thread.join(60)
        self._door.close()

    def _reset(self) -> None:
        while self._open:
            with contextlib.suppress(OSError):
                self._open.pop().shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._is_over:
            with contextlib.suppress(TimeoutError, OSError):
                client, _ = self._door.accept()
                server = socket.create_connection(self.centre, 30)
                self._open += [client, server]
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=ends, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(16384):
                time.sleep(len(data) / RATE)
                self._carries.wait()
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


class Namespaces:
    """Two network namespaces and a cable; the kernel shapes it (tc tbf), a cut takes the interface down."""

    def __init__(self) -> None:
        self._other = subprocess.Popen(["unshare", "--net", "sleep", "900"])
        own = os.readlink("/proc/self/ns/net")
        until(lambda: os.readlink(f"/proc/{self._other.pid}/ns/net") != own)
        self.centre_under = ("nsenter", "--target", str(self._other.pid), "--net")
        self.centre, self.url = ("10.254.9.2", 8601), "https://10.254.9.2:8601"
        _run("ip", "link", "add", "unit0", "type", "veth", "peer", "name", "centre0", "netns", str(self._other.pid))
        _run("ip", "address", "add", "10.254.9.1/30", "dev", "unit0")
        _run(*self.centre_under, "ip", "address", "add", "10.254.9.2/30", "dev", "centre0")
        _run(*self.centre_under, "ip", "link", "set", "centre0", "up")
        _run(*self.centre_under, "ip", "link", "set", "lo", "up")
        self.mend()
        shape = ("tbf", "rate", f"{RATE * 8}bit", "burst", "16kb", "latency", "200ms")
        _run("tc", "qdisc", "add", "dev", "unit0", "root", *shape)

    def cut(self) -> None:
        """The interface goes down; nobody is told."""
        _run("ip", "link", "set", "unit0", "down")

    def mend(self) -> None:
        """And comes up."""
        _run("ip", "link", "set", "unit0", "up")

    def close(self) -> None:
        """The end."""
        self._other.kill()
        self._other.wait()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=60)


class Ends:
    """The two processes."""

    def __init__(self, folder: Path, wire: Wire) -> None:
        self._folder, self._wire = folder, wire
        self._running: dict[str, subprocess.Popen[str]] = {}
        self.kills = 0

    def start(self, name: str) -> None:
        """Start one and wait until it says that it runs."""
        host, port = self._wire.centre
        more = (host, str(port)) if name == "centre" else (self._wire.url,)
        under = self._wire.centre_under if name == "centre" else ()
        command = [*under, sys.executable, "-m", __spec__.name, name, str(self._folder / name), *more]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=TOP)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        self._running[name] = process

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """End one, by default at once."""
        process = self._running.pop(name)
        process.send_signal(number)
        process.wait(60)
        assert process.stdout is not None
        process.stdout.close()
        self.kills += number == signal.SIGKILL


def play(folder: Path, wire: Wire, seed: int, steps: int = 10) -> dict[str, Any]:
    """Records come in while the link is cut and mended and both ends are killed; then what the centre has.

    `sent` and `arrived`: for each peer its records in order, with their receipt times.
    """
    chance = random.Random(seed)
    ends = Ends(folder, wire)
    ends.start("centre")
    link = relay.Link(wire.url, folder / "unit" / "relay")
    relay.join(link, str(Authority(folder / "centre" / "keys", CLOCK).invite("xa-dakbla")))
    ends.start("unit")
    sent: dict[str, list[tuple[str, int]]] = {peer: [] for peer in PEERS}
    is_cut, cuts, began = False, 0, time.monotonic()
    with DiskLog(folder / "unit" / "queue", "raw", "collect", CLOCK, segment_bytes=256 << 10) as log:
        for _ in range(steps):
            for _ in range(chance.randrange(1, 6)):
                _receive(log, sent, chance)
            match chance.choice(("cut", "unit", "centre", "wait")):
                case "cut":
                    (wire.mend if is_cut else wire.cut)()
                    is_cut, cuts = not is_cut, cuts + 1
                case "wait":
                    pass
                case name:
                    ends.kill(name)
                    ends.start(name)
            time.sleep(chance.uniform(0.1, 0.8))
        wire.mend()
        total = sum(map(len, sent.values()))
        while sum(map(len, _arrived(folder).values())) < total and time.monotonic() - began < 240:
            time.sleep(0.2)
        time.sleep(1)  # what would come twice
        for name in ("unit", "centre"):
            ends.kill(name, signal.SIGTERM)
    return {"sent": sent, "arrived": _arrived(folder), "kills": ends.kills, "cuts": cuts}


def _receive(log: DiskLog, sent: dict[str, list[tuple[str, int]]], chance: random.Random) -> None:
    """A frame of a peer: numbered records that do not compress well."""
    peer = chance.choice(PEERS)
    first, n, now = len(sent[peer]), chance.randrange(1, 60), CLOCK.now_ns()
    records = [b"<13>%d %s" % (first + i, chance.randbytes(200).hex().encode()) for i in range(n)]
    log.append([RawBlock.of(records, receipt_ns=now, site="dakbla", listener="syslog-tcp", peer=peer)])
    sent[peer] += [(str(first + i), now) for i in range(n)]


def _arrived(folder: Path) -> dict[str, list[tuple[str, int]]]:
    found: dict[str, list[tuple[str, int]]] = {peer: [] for peer in PEERS}
    reader = LogReader(folder / "centre" / "queue", "raw")
    for block in reader.read({}, None, 100_000):
        times = block.receipt_ns.tolist()
        numbers = [record.split()[0].removeprefix(b"<13>").decode() for record in block.records()]
        found[block.peer] += list(zip(numbers, times, strict=True))
    reader.close()
    return found


def _centre(home: str, host: str, port: str) -> None:
    stop = _until_told()
    authority = Authority(Path(home) / "keys", CLOCK, (host,))
    sock = socket.create_server((host, int(port)))
    intake = Intake(Path(home) / "queue", Path(home) / "run", CLOCK)
    print("ready", flush=True)
    Hub(authority, intake, Path(home) / "run", CLOCK, Asks(Path(home) / "asks", CLOCK)).serve(sock, stop)


def _unit(home: str, url: str) -> None:
    stop = _until_told()
    relay.TIMEOUT_S, relay.SLOWEST_BYTES_S = 2.0, 50_000
    link = relay.Link(url, Path(home) / "relay")
    wait = lambda event, seconds: event.wait(min(seconds, 0.2))  # noqa: E731
    sender = relay.Relay(Path(home) / "queue", link, CLOCK, wait=wait)
    print("ready", flush=True)
    sender.run(stop)


def _until_told() -> threading.Event:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    return stop


@contextlib.contextmanager
def opened(wire: Any) -> Iterator[Any]:
    """The wire, closed at the end."""
    try:
        yield wire
    finally:
        wire.close()


def main(role: str, *arguments: str) -> None:
    """One of the ends, or the whole scenario between namespaces."""
    if role == "netns":
        with opened(Namespaces()) as wire:
            print(json.dumps(play(Path(arguments[0]), wire, int(arguments[1]))))
        return
    {"centre": _centre, "unit": _unit}[role](*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
