"""What the tests of polled sources share: a home with a real queue, a source in memory, an HTTP interface."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from soc.collectors.poll.page import Cursor, Page
from soc.collectors.poll.runner import Polled, Poller
from soc.collectors.pollers import polled
from soc.config import load
from soc.model.poll import OPTIONS, Poll
from soc.model.record import RawBlock
from soc.store.queue import DiskLog, LogReader
from tests.collectors.running import EarlyInTheHour

CLOCK = EarlyInTheHour()


def poll(driver: str, name: str = "src", **options: Any) -> Poll:
    """A section with the defaults filled in, as the settings make it."""
    known = OPTIONS[driver]
    assert options.keys() <= known.keys()
    return Poll(name, driver, {key: options.get(key, option.default) for key, option in known.items()})


class Shelf:
    """A driver over a list in memory: the cursor is a place in it."""

    def __init__(self, records: list[bytes], size: int = 10) -> None:
        self.source, self.peer, self.format, self.dataset = "shelf", "192.0.2.7", "lines", ""
        self.records, self.size = records, size
        self.faults: list[Exception] = []
        self.asked = 0
        self.told: list[Cursor] = []

    def fetch(self, cursor: Cursor) -> Page:
        self.asked += 1
        if self.faults:
            raise self.faults.pop(0)
        at = cursor or 0
        found = self.records[at : at + self.size]
        return Page(found, at + len(found), 0.0 if found else 60.0, lag_records=len(self.records) - at - len(found))

    def durable(self, cursor: Cursor) -> None:
        self.told.append(cursor)

    def close(self) -> None:
        pass


class Home:
    """A folder with the log of polled sources; a new `poller` is a new start of the process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log: DiskLog | None = None

    def poller(self, *drivers: Any, **more: Any) -> Poller:
        """Over drivers, named `src`, `src2`, …; what was started before is over."""
        if self.log is not None:
            self.log.close()
        self.log = DiskLog(self.path / "queue", "raw", "poll", more.pop("clock", CLOCK), **more)
        names = ["src", *(f"src{n}" for n in range(2, len(drivers) + 1))]
        sources = [Polled(name, "shelf", driver) for name, driver in zip(names, drivers, strict=True)]
        return Poller(
            sources, "tinh", self.log, CLOCK, folder=self.path / "poll", counters_path=self.path / "poll.json",
            chance=lambda: 0.0,
        )  # fmt: skip

    def blocks(self) -> list[RawBlock]:
        """Every frame in the queue."""
        reader = LogReader(self.path / "queue", "raw")
        try:
            return reader.read({}, None, 100_000)
        finally:
            reader.close()

    def records(self) -> list[bytes]:
        """Every record in it."""
        return [record for block in self.blocks() for record in block.records()]


def all_of(poller: Poller, most: int = 10_000) -> int:
    """Let the first source step until there is nothing new; how many steps."""
    [source, *_] = poller.sources
    for n in range(1, most):
        if source.step() > 0:
            return n
    raise AssertionError("it never had enough")


Reply = tuple[int, dict[str, str], bytes]


class Api:
    """An HTTP interface on loopback; `answer` makes the reply of (method, path, parameters, headers)."""

    def __init__(self, answer: Callable[[str, str, dict[str, Any], dict[str, str]], Any]) -> None:
        self.answer = answer
        self.asked: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._reply(dict(parse_qsl(urlsplit(self.path).query)))

            def do_POST(self) -> None:
                self._reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _reply(self, params: dict[str, Any]) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                path = urlsplit(self.path).path
                api.asked.append((path, params, headers))
                made = api.answer(self.command, path, params, headers)
                status, more, body = made if isinstance(made, tuple) else (200, {}, made)
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response_only(status)
                own = {"Content-Length": str(len(data)), "Date": self.date_time_string()}
                for name, value in {**own, **more}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/items"


@contextmanager
def serving(
    answer: Callable[[str, str, dict[str, Any], dict[str, str]], Any], tls: ssl.SSLContext | None = None
) -> Iterator[Api]:
    """An interface that answers until the block ends; with `tls` under the name `localhost`."""
    api = Api(answer)
    if tls is not None:
        api.server.socket = tls.wrap_socket(api.server.socket, server_side=True)
        api.url = f"https://localhost:{api.server.server_address[1]}/items"
    thread = threading.Thread(target=api.server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield api
    finally:
        api.server.shutdown()
        api.server.server_close()
        thread.join()


def driver(section: Poll, home: Path) -> Any:
    """What asks the section."""
    return polled(section, home, CLOCK).driver


def process(home: Path, driver: str, **options: Any) -> subprocess.Popen[bytes]:
    """A poller in a process of its own, running."""
    words = ["-m", "tests.collectors.poll_program", str(home), driver, json.dumps(options)]
    child = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    child.stdout.close()
    return child


def settings(path: Path, text: str) -> Any:
    """Settings of a soc.toml with this text."""
    (path / "soc.toml").write_text(text, "utf-8")
    return load(path / "soc.toml", environ={}, home=path)


def until(holds: Callable[[], Any], seconds: float = 90.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)
