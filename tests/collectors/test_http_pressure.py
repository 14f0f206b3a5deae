"""The HTTP listener under pressure: a full disk, peers that dawdle, vanish or take no answer, many large bodies."""

import concurrent.futures
import contextlib
import gzip
import http.client
import socket
import threading
import time

import pytest

from soc.collectors.http import connection
from soc.collectors.watermarks import Watermarks
from soc.model.clock import SystemClock
from soc.model.position import Partition, Position, partition_of
from soc.store.queue import DiskLog, LogReader, trim
from tests.collectors.running import MemoryQueue, balances, running, total, until
from tests.collectors.test_http import HOST, GatedQueue, client, spec

HEAD = b"POST /v1/logs HTTP/1.1\r\nHost: x\r\n"


class Patient(threading.Thread):
    """Sends numbered records, and each again for as long as it is put off."""

    def __init__(self, port, who, n, size):
        super().__init__()
        self.port, self.records, self.statuses = port, [b"%d-%05d " % (who, i) + b"x" * size for i in range(n)], []
        self.start()

    def run(self):
        connection = http.client.HTTPConnection(HOST, self.port, timeout=60)
        for record in self.records:
            while True:
                connection.request("POST", "/v1/logs", record)
                answer = connection.getresponse()
                answer.read()
                self.statuses.append(answer.status)
                if answer.status == 200:
                    break
                time.sleep(0.05)
        connection.close()


class Consumer:
    """Reads what is durable and lets the disk have it."""

    def __init__(self, root):
        self.root, self.reader, self.after, self.records = root, LogReader(root, "raw"), {}, []

    def go_on(self):
        while blocks := self.reader.read(self.after, None, 50):
            for block in blocks:
                self.records += block.records()
                number = partition_of(block.site, block.listener, block.peer)
                self.after[Partition(block.node, "raw", number)] = Position(block.node, "raw", block.seq, block.n - 1)
        trim(self.root, "raw", self.after)


def test_a_disk_that_is_full_loses_and_doubles_nothing(tmp_path):
    """While the log has used its share senders wait or are put off; with room again everything is there once."""
    consumer = Consumer(tmp_path)
    share = {"max_bytes": 400_000, "segment_bytes": 100_000}
    with (
        DiskLog(tmp_path, "raw", "n1", SystemClock(), **share) as log,
        running([spec()], log, tmp_path / "c.json", max_waiting=1 << 20, watermarks=Watermarks(100, 99)) as (
            collector,
            ports,
        ),
    ):
        senders = [Patient(ports["web"], who, 60, 4000) for who in range(6)]
        # All six may be in the commit that found no room, then each of them waits and none is put off.
        assert until(lambda: collector.fault or any(429 in sender.statuses for sender in senders))
        with client(ports) as http_client:
            answer = http_client.post("/v1/logs", content=b"no room")
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
        assert until(lambda: consumer.go_on() is None and not any(s.is_alive() for s in senders))
        assert collector.fault == ""
        assert balances(collector.counters())
        assert total(collector, "queued") == 360
        assert total(collector, "queue_full") == 0
    consumer.go_on()
    assert sorted(consumer.records) == sorted(record for sender in senders for record in sender.records)


@pytest.fixture
def web(tmp_path):
    queue = MemoryQueue()
    with running([spec()], queue, tmp_path / "c.json") as (collector, ports), client(ports) as http_client:
        http_client.collector, http_client.queue = collector, queue
        yield http_client
        assert balances(collector.counters())


@contextlib.contextmanager
def many(web, n):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection((HOST, web.base_url.port), 30)) for _ in range(n)]


def refused(web, reason):
    return sum(row["refused_for"].get(reason, 0) for row in web.collector.counters())


def test_three_hundred_that_dawdle_hold_up_nobody(web, monkeypatch):
    """Each sends a byte of its head now and then; another is served at once, and they are ended in their time."""
    monkeypatch.setattr(connection, "HEAD_S", 1.0)
    with many(web, 300) as socks:
        for sock in socks:
            sock.sendall(b"P")
        began = time.monotonic()
        for i in range(20):
            assert web.post("/v1/logs", content=b"%d" % i).status_code == 200
        assert time.monotonic() - began < 60  # one after the other they would hold it up for five minutes
        for _ in range(3):
            time.sleep(0.3)
            for sock in socks:
                with contextlib.suppress(OSError):
                    sock.sendall(b"O")
        assert until(lambda: refused(web, "too_slow") == 300)
    assert len(web.queue.records) == 20


def test_bodies_together_stay_within_their_bound(web, monkeypatch):
    """Thirty senders whose heads came while there was room: who goes over it is thrown away and told to come again."""
    monkeypatch.setattr(connection, "MAX_BODIES", 1 << 20)
    receivers = []
    monkeypatch.setattr(connection.Connection, "__init__", _noting(connection.Connection.__init__, receivers))
    part, length = b"y" * 100_000, 200_000
    with many(web, 30) as socks:
        for sock in socks:
            sock.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % length)
        assert until(lambda: len(receivers) == 30)
        for sock in socks:
            sock.sendall(part)
        assert until(lambda: refused(web, "busy") > 0)
        assert receivers[0].body_bytes <= (1 << 20)
        statuses = []
        for sock in socks:
            sock.sendall(part)
            statuses.append(sock.recv(100).split()[1])
        assert set(statuses) == {b"200", b"429"}
        assert receivers[0].body_bytes == 0
    assert len(web.queue.records) == statuses.count(b"200")


def _noting(begin, receivers):
    def noted(self, receiver, door):
        receivers.append(receiver)
        begin(self, receiver, door)

    return noted


def test_who_takes_no_answer_is_ended(web, monkeypatch):
    """It asks on and on, and never reads."""
    monkeypatch.setattr(connection, "STUCK_S", 0.5)
    question = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 1000  # its answer is twenty times as long
    with many(web, 1) as (sock,):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(0.2)
        end, sent = time.monotonic() + 60, 0
        while refused(web, "too_slow") == 0 and time.monotonic() < end:
            with contextlib.suppress(OSError):
                sent += sock.send(question[sent % len(question) :])  # where it stopped: half a question is none
    assert refused(web, "too_slow") == 1
    assert web.get("/").status_code == 200


def test_a_peer_that_vanished_is_let_go(web, monkeypatch):
    """No FIN and no reset, as after a power cut: what it left half done is ended by its time, an idle one too."""
    monkeypatch.setattr(connection, "IDLE_S", 2.0)
    monkeypatch.setattr(connection, "BODY_S", 2.0)
    with many(web, 2) as (half, idle):
        half.sendall(HEAD + b"Content-Length: 10\r\n\r\nabc")
        idle.sendall(HEAD + b"Content-Length: 1\r\n\r\nx")
        assert idle.recv(200).startswith(b"HTTP/1.1 200")
        assert idle.recv(200) == b""  # ended in order
        with contextlib.suppress(ConnectionResetError):
            assert half.recv(200) == b""
    assert refused(web, "too_slow") == 1
    assert web.queue.records == [b"x"]


def test_a_bomb_in_each_coding_leaves_the_next_one_served(web):
    """25 MiB of one byte, eight times, four at once: refused, counted, and no memory kept."""
    bomb = gzip.compress(b"\0" * (25 << 20), 9)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        headers = {"content-encoding": "gzip"}
        sent = [pool.submit(web.post, "/v1/logs", content=bomb, headers=headers) for _ in range(8)]
        assert {one.result().status_code for one in sent} == {413}
    assert total(web.collector, "malformed") == 8
    assert web.post("/v1/logs", content=b"x").status_code == 200


def test_what_comes_ahead_of_an_answer_is_not_read(tmp_path):
    """While the queue takes nothing a peer that goes on asking fills the kernel's buffers and not our memory."""
    queue = GatedQueue()
    seen = []
    with running([spec()], queue, tmp_path / "c.json") as (collector, ports):
        with socket.create_connection((HOST, ports["web"]), 30) as sock:
            one = HEAD + b"Content-Length: 1\r\n\r\nx"
            sock.settimeout(1)
            sent = 0
            with contextlib.suppress(TimeoutError):
                while sent < 64 << 20:
                    sent += sock.send(one * 2000)
            assert sent < 32 << 20
            asked = sent // len(one)
            queue.gate.set()
            sock.settimeout(60)
            while b"".join(seen).count(b"HTTP/1.1 200") < 200:
                seen.append(sock.recv(1 << 20))
        assert asked > 200
        assert until(lambda: len(queue.records) >= 200)
        assert until(lambda: balances(collector.counters()))
