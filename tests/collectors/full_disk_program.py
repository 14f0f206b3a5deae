"""A collector whose disk runs full under load and gets room again: `full_disk_program FOLDER tmpfs|limit`.

`tmpfs` mounts 6 MiB on FOLDER (the caller gives the process a mount namespace of its own) and gets room by a consumer
that reads and trims. `limit` bounds the size of a file (RLIMIT_FSIZE) and gets room when the limit is lifted. Prints
what was seen as one JSON object.
"""

from __future__ import annotations

import json
import logging
import resource
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from soc.collectors.listeners import ListenerSpec
from soc.model.clock import SystemClock
from soc.model.position import Partition, Position, partition_of
from soc.store.queue import DiskLog, LogReader, trim
from tests.collectors.running import balances, running, total, until

LINES = 100_000
"""Of 200 bytes each: more than the disk and the buffers of the kernel take."""
WAITING = 1_500_000
"""Bytes that may wait in memory: the half of it is some reads of a stream, and a commit of it has to fit the disk."""
HOST = "127.7.0.1"
SPECS = [ListenerSpec(n, f"syslog-{n}", HOST, 0, "province") for n in ("tcp", "udp")]  # type: ignore[arg-type]


class Sender(threading.Thread):
    """Numbered lines over TCP as fast as they are taken."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port
        self.lines = [b"<1>%06d" % i + b"x" * 190 for i in range(LINES)]

    def run(self) -> None:
        with socket.create_connection((HOST, self.port), 30, source_address=("127.7.0.9", 0)) as sock:
            sock.settimeout(60)
            for start in range(0, LINES, 100):
                sock.sendall(b"\n".join(self.lines[start : start + 100]) + b"\n")


class Shouter(threading.Thread):
    """Datagrams that nobody can hold back, until told to end."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port, self.sent, self.is_over = port, 0, False

    def run(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.7.0.8", 0))
            while not self.is_over:
                for _ in range(20):
                    sock.sendto(b"<1>%06d" % self.sent + b"y" * 190, (HOST, self.port))
                    self.sent += 1
                time.sleep(0.005)


class Consumer:
    """Reads what is durable, and lets the disk have what it passed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.reader = LogReader(root, "raw")
        self.after: dict[Partition, Position] = {}
        self.records: dict[str, list[bytes]] = {"tcp": [], "udp": []}

    def go_on(self) -> None:
        while blocks := self.reader.read(self.after, None, 50):
            for block in blocks:
                self.records[block.listener].extend(block.records())
                number = partition_of(block.site, block.listener, block.peer)
                self.after[Partition(block.node, "raw", number)] = Position(block.node, "raw", block.seq, block.n - 1)
        trim(self.root, "raw", self.after)


class Errors(logging.Handler):
    """The sentences that were logged."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def observe(folder: Path, mode: str) -> dict[str, object]:
    """What happens while the disk is full, and after."""
    errors = Errors()
    logging.getLogger("soc.collectors").addHandler(errors)
    size = 300_000 if mode == "tmpfs" else 64 << 20
    consumer = Consumer(folder)
    with (
        DiskLog(folder, "raw", "n1", SystemClock(), segment_bytes=size) as log,
        running(SPECS, log, folder / "counters.json", max_waiting=WAITING) as (collector, ports),
    ):
        sender, shouter = Sender(ports["tcp"]), Shouter(ports["udp"])
        sender.start()
        shouter.start()
        seen: dict[str, object] = {"is_full": until(lambda: bool(collector.fault)), "fault": collector.fault}
        seen["drops_counted"] = until(lambda: total(collector, "queue_full") > 50)
        before = queued(collector, "tcp")
        time.sleep(0.3)
        seen["is_held_back"] = sender.is_alive() and queued(collector, "tcp") == before < LINES
        seen["balances_while_full"] = balances_so_far(collector)
        if mode == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        seen["goes_on"] = until(lambda: consumer.go_on() is None and queued(collector, "tcp") == LINES)
        shouter.is_over = True
        sender.join(60)
        shouter.join(60)
        until(lambda: total(collector, "received") == LINES + shouter.sent)
        until(lambda: not waiting(collector))
        seen["fault_after"] = collector.fault
    consumer.go_on()
    rows = collector.counters()
    numbers = [int(record[3:9]) for record in consumer.records["udp"]]
    return {
        **seen,
        "errors": errors.said,
        "tcp_is_whole": consumer.records["tcp"] == sender.lines,
        "sent": shouter.sent,
        "received": sum(row["received"] for row in rows if row["listener"] == "udp"),
        "queued": sum(row["queued"] for row in rows if row["listener"] == "udp"),
        "dropped": sum(sum(row["dropped"].values()) for row in rows if row["listener"] == "udp"),
        "stored": len(numbers),
        "is_in_order_once": numbers == sorted(set(numbers)),
        "balances": balances(rows),
        "tcp_dropped": sum(sum(row["dropped"].values()) for row in rows if row["listener"] == "tcp"),
    }


def queued(collector, listener: str) -> int:
    return sum(row["queued"] for row in collector.counters() if row["listener"] == listener)


def waiting(collector) -> int:
    return sum(row["received"] - row["queued"] - sum(row["dropped"].values()) for row in collector.counters())


def balances_so_far(collector) -> bool:
    """Received = queued + dropped + what waits in memory, which is bounded."""
    return 0 <= waiting(collector) * 200 <= 2 * WAITING


def main(folder: Path, mode: str) -> None:
    if mode == "tmpfs":
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], check=True)
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, resource.RLIM_INFINITY))
    print(json.dumps(observe(folder, mode)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
