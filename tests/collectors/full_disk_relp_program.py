"""RELP on a disk that runs full: `full_disk_relp_program FOLDER WORK`, in a mount namespace of its own.

rsyslogd hands over more than the 6 MiB of FOLDER hold; a client of our own asks for an answer while it is full. Room
comes back by a consumer that reads and trims. Prints what was seen as one JSON object.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

from soc.collectors.listeners import ListenerSpec
from soc.model.clock import SystemClock
from soc.model.position import Position
from soc.store.queue import DiskLog, LogReader, trim
from tests.collectors.running import balances, running, total, until
from tests.collectors.test_rsyslog import HOST, lines, rsyslogd

N = 60_000
OFFERS = b"relp_version=0\ncommands=syslog"


def main(folder: Path, work: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], check=True)
    reader, after, records = LogReader(folder, "raw"), {}, []

    def consume() -> None:
        while blocks := reader.read(after, None, 50):
            for block in blocks:
                records.extend(block.records())
                after[block.partition] = Position(block.node, "raw", block.seq)
        trim(folder, "raw", after)

    with (
        DiskLog(folder, "raw", "n1", SystemClock(), segment_bytes=300_000) as log,
        running([ListenerSpec("wire", "relp", HOST, 0, "s")], log, folder / "counters.json") as (collector, ports),
        socket.create_connection((HOST, ports["wire"]), 30, source_address=("127.7.0.9", 0)) as own,
        rsyslogd(work, f'type="omrelp" port="{ports["wire"]}"', n=N),
    ):
        own.sendall(b"1 open %d %b\n" % (len(OFFERS), OFFERS))
        own.settimeout(30)
        own.recv(4096)
        is_full = until(lambda: bool(collector.fault))
        own.sendall(b"2 syslog 7 <13>own\n")
        own.settimeout(1.5)
        try:
            early = own.recv(4096).decode()
        except TimeoutError:
            early = ""
        held = total(collector, "received") - total(collector, "queued")
        time.sleep(0.5)
        held_later = total(collector, "received") - total(collector, "queued")
        goes_on = until(lambda: consume() is None and total(collector, "queued") == N + 1)
        own.settimeout(30)
        answer = own.recv(4096).decode()
        dropped, is_balanced = total(collector, "queue_full"), balances(collector.counters())
    consume()
    theirs = [record for record in records if record != b"<13>own"]
    print(json.dumps({
        "is_full": is_full, "early": early, "held": [held, held_later], "goes_on": goes_on, "answer": answer,
        "dropped": dropped, "balances": is_balanced, "is_whole": theirs == lines(N), "own": len(records) - len(theirs),
    }))  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
