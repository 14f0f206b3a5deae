"""Peers that vanish without a word: `half_open_program FOLDER`, in a network namespace of its own.

The kernel is told to drop all that comes from them and goes to them. Prints what was seen as one JSON object.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

from soc.collectors import streams
from soc.collectors.listeners import ListenerSpec
from tests.collectors.running import MemoryQueue, running, total, until

HOST, GONE, HERE = "127.7.0.1", "127.7.0.9", "127.7.0.8"
streams.IDLE_S, streams.ASK_S, streams.ASKED = 1, 1, 2
RULES = f"""
table inet wire {{
  chain lost {{
    type filter hook input priority 0
    ip saddr {GONE} counter drop
    ip daddr {GONE} counter drop
  }}
}}
"""


def connect(source: str, port: int) -> socket.socket:
    sock = socket.create_connection((HOST, port), 30, source_address=(source, 0))
    sock.settimeout(30)
    return sock


def relp(source: str, port: int, messages: list[bytes]) -> socket.socket:
    sock = connect(source, port)
    offers = b"relp_version=0\ncommands=syslog"
    sock.sendall(b"1 open %d %b\n" % (len(offers), offers))
    assert b"200 OK" in sock.recv(4096)
    for number, message in enumerate(messages, 2):
        sock.sendall(b"%d syslog %d %b\n" % (number, len(message), message))
    return sock


def main(folder: Path) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    queue = MemoryQueue()
    specs = [ListenerSpec("lines", "syslog-tcp", HOST, 0, "s"), ListenerSpec("relp", "relp", HOST, 0, "s")]
    with running(specs, queue, folder / "counters.json") as (collector, ports):
        gone, here = connect(GONE, ports["lines"]), connect(HERE, ports["lines"])
        gone.sendall(b"<13>whole\n<13>begun")
        here.sendall(b"<13>before\n")
        assert until(lambda: total(collector, "queued") == 2)
        queue.is_full.set()
        waits = relp(GONE, ports["relp"], [b"<13>one"])
        assert until(lambda: total(collector, "received") == 3)
        subprocess.run(["nft", "-f", "-"], input=RULES.encode(), check=True)
        queue.is_full.clear()  # the answers go out, and reach nobody

        def refused() -> int:
            return sum(row.get("refused_for", {}).get(streams.VANISHED, 0) for row in collector.counters())

        is_freed = until(lambda: refused() == 2)
        here.sendall(b"<13>after\n")
        until(lambda: total(collector, "queued") == 5)
        peers = {
            f"{row['listener']} {row['peer']}": row["refused_for"] for row in collector.counters() if row["refused"]
        }
        gone.close()
        waits.close()
        here.close()
    flagged = {
        record.decode(): (block.flags[i] if block.flags else 0)
        for block in queue.blocks
        for i, record in enumerate(block.records())
    }
    print(json.dumps({"is_freed": is_freed, "refused": peers, "records": flagged}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
