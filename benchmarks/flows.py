"""Flow exports: collector to the log, then decode to columns; next to nfcapd and sfcapd over the same bytes.

The rate is of CPU (user and system) of the receiving side, the sender is paced; nfcapd receives and writes to disk.
Like for like: nfcapd writes a fixed record of numbers, and here every element that the exporter sent is a column under
its own name, addresses as text. `.decode` is that second half alone. `.whole` also makes all that is otherwise made
when it is asked for: ECS names, times, estimates, identity, position, community id, the original octets of each flow.
`.pure` is the first row where nothing compiled decodes.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

from benchmarks.entries import Cost, Entry, child_seconds, entry
from benchmarks.receive import HOST, TOP
from soc.content import shipped
from soc.model import kernel
from soc.model.batch import EventBatch
from soc.model.lazy import LazyMapping
from soc.model.position import PARTITIONS
from soc.model.record import RawBlock
from soc.parsers import ParserSet, ParserState
from soc.store.queue import LogReader

FLOWS = 260_000
"""At 26 to 30 flows a datagram."""
_FLOWS = ("netflow_flow", "sflow_flow")
_ELEMENTS = ("netflow.", "sflow.")
_FEWEST = 10
"""Our sFlow samples have so many fields, the flows of the others 18 and 19."""
BATCH, PAUSE_S = 50, 0.004
Fields = Sequence[tuple[int, int]]
ROUTER: Fields = (
    (8, 4), (12, 4), (15, 4), (10, 4), (14, 4), (2, 4), (1, 4), (22, 4), (21, 4), (7, 2), (11, 2), (6, 1), (4, 1),
    (5, 1), (61, 1), (16, 4), (17, 4), (9, 1), (13, 1),
)  # fmt: skip
"""What a router's default record has: 19 fields in 54 octets."""
_RECORD = struct.Struct(">IIIIIIIIIHHBBBBIIBB")
_V5 = struct.Struct(">IIIHHIIIIHHBBBBHHBBH")


def run(quick: bool = False) -> list[Entry]:
    """Four rows for each format."""
    flows = FLOWS // (10 if quick else 1)
    parsers = ParserSet.load([shipped("parsers")])
    rows: list[Entry] = []
    for name, protocol, collector, datagrams in (
        ("netflow_v5", "netflow", "nfcapd", [_v5(i) for i in range(flows // 30)]),
        ("netflow_v9", "netflow", "nfcapd", [_v9(i) for i in range(flows // 26)]),
        ("ipfix", "netflow", "nfcapd", [_ipfix(i) for i in range(flows // 26)]),
        ("sflow", "sflow", "sfcapd", [_sflow(i) for i in range(flows // 60)]),
    ):
        received, decoded, whole, pure = _ours(parsers, protocol, datagrams)
        other = _theirs(collector, datagrams) if shutil.which(collector) else None
        if other and other.events != decoded.events:
            raise RuntimeError(f"{name}: {collector} has {other.events} flows, we have {decoded.events}")
        words = f"{collector}, received and written" if other else None
        reference = other.events / max(other.cpu_s, 1e-9) if other else None
        for row, seconds in (
            (name, received.cpu_s + decoded.cpu_s),
            (f"{name}.decode", decoded.cpu_s),
            (f"{name}.whole", received.cpu_s + whole.cpu_s),
            (f"{name}.pure", received.cpu_s + pure.cpu_s),
        ):
            way = "pure Python" if row.endswith(".pure") else kernel.WHICH
            rows.append(entry(row, decoded.events / max(seconds, 1e-9), f"flows/CPU-s, {way}", words, reference))
    return rows


def _send(port: int, datagrams: Sequence[bytes]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect((HOST, port))
        for start in range(0, len(datagrams), BATCH):
            for data in datagrams[start : start + BATCH]:
                sender.send(data)
            time.sleep(PAUSE_S)


def _ours(parsers: ParserSet, protocol: str, datagrams: Sequence[bytes]) -> tuple[Cost, ...]:
    """To receive, to decode to the elements, to everything, and to the elements without the kernel."""
    with tempfile.TemporaryDirectory() as root:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.collector", root, protocol, HOST],
            stdout=subprocess.PIPE, text=True, cwd=TOP,
        )  # fmt: skip
        assert process.stdout is not None
        _send(int(process.stdout.readline().split()[0]), datagrams)
        time.sleep(0.5)
        process.terminate()
        queued, _, seconds, _ = process.stdout.read().split()
        process.wait()
        if int(queued) != len(datagrams):
            raise RuntimeError(f"{protocol}: {len(datagrams)} sent, {queued} queued")
        blocks = _blocks(Path(root))
        received, decoded = Cost(int(queued), 0.0, float(seconds)), _decode(parsers, blocks)
        whole = _decode(parsers, blocks, whole=True)
        with mock.patch.object(kernel, "kernel", None):
            return received, decoded, whole, _decode(parsers, blocks)


def _blocks(root: Path) -> list[RawBlock]:
    reader = LogReader(root, "raw")
    try:
        return reader.read({}, frozenset(range(PARTITIONS)), 1 << 20)
    finally:
        reader.close()


def _decode(parsers: ParserSet, blocks: Sequence[RawBlock], *, whole: bool = False) -> Cost:
    """In the frames that the collector wrote; the first one again, so that tables are warm."""
    state, events = ParserState(), 0
    for batch in parsers.parse(blocks[0], state, int(blocks[0].receipt_ns[0]))[0]:
        dict(batch.columns)
    start = time.process_time()
    for block in blocks:
        batches, state = parsers.parse(block, state, int(block.receipt_ns[0]))
        flows = [b for b in batches if b.dataset != "unparsed" and _action(b) in _FLOWS]
        events += sum(batch.n for batch in flows)
        for batch in flows:
            _make(batch, whole)
    return Cost(events, 0.0, time.process_time() - start)


def _action(batch: EventBatch) -> str:
    """That of its first event; flows share it, and no list is made of what they share."""
    column = batch.columns["event.action"]
    return str(column.values if column.form == "constant" else column.to_list()[0])


def _make(batch: EventBatch, whole: bool) -> None:
    """Ask for its columns: for all, or for what the exporter sent."""
    columns = batch.columns
    if whole or not isinstance(columns, LazyMapping):
        dict(columns)
        return
    made = [columns.get(name) for name in columns.names() if name.startswith(_ELEMENTS)]
    if sum(column is not None for column in made) < _FEWEST:
        raise RuntimeError(f"an element of {batch.dataset} is no column")


def _theirs(collector: str, datagrams: Sequence[bytes]) -> Cost:
    with tempfile.TemporaryDirectory() as folder:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((HOST, 0))
            port = probe.getsockname()[1]
        command = [collector, "-w", folder, "-p", str(port), "-b", HOST, "-t", "3600", "-B", "8000000"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            if "Startup" in line:
                break
        _send(port, datagrams)
        time.sleep(0.5)
        process.terminate()
        told = process.stdout.read()
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
    found = re.search(r"Flows: (\d+)", told)
    return Cost(int(found[1]) if found else 0, 0.0, child_seconds(usage))


def _addresses(chance: random.Random) -> tuple[int, int]:
    return 0x0A000000 | chance.getrandbits(20), 0xCB007100 | chance.getrandbits(8)


def _flow(chance: random.Random) -> bytes:
    return _RECORD.pack(
        *_addresses(chance), 0xC0000201, 3, 7, chance.randrange(1, 50), chance.randrange(40, 90_000), 80_000, 90_000,
        chance.randrange(1024, 65_535), 443, 0x1B, 6, 0, 0, 64_500, 64_501, 24, 16,
    )  # fmt: skip


def _set(number: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    return struct.pack(">HH", number, len(body) + 4) + body


def _sets(i: int, template_set: int) -> bytes:
    chance = random.Random(i)
    template = struct.pack(">HH", 256, len(ROUTER)) + b"".join(struct.pack(">HH", *field) for field in ROUTER)
    data = _set(256, b"".join(_flow(chance) for _ in range(26)))
    return (_set(template_set, template) if i % 200 == 0 else b"") + data


def _v9(i: int) -> bytes:
    return struct.pack(">HHIIII", 9, 26, 100_000, int(time.time()), i, 7) + _sets(i, 0)


def _ipfix(i: int) -> bytes:
    body = _sets(i, 2)
    return struct.pack(">HHIII", 10, len(body) + 16, int(time.time()), i * 26, 7) + body


def _v5(i: int) -> bytes:
    chance = random.Random(i)
    records = (
        _V5.pack(
            *_addresses(chance), 0, 1, 2, 10, 4096, 85_000, 95_000, chance.randrange(1024, 65_535), 443, 0, 18, 6, 0,
            0, 0, 24, 16, 0,
        )
        for _ in range(30)
    )  # fmt: skip
    return struct.pack(">HHIIIIBBH", 5, 30, 100_000, int(time.time()), 0, i * 30, 0, 1, 0) + b"".join(records)


def _sflow(i: int) -> bytes:
    """Seven samples of the first 128 octets of an Ethernet frame."""
    chance = random.Random(i)
    samples = b""
    for k in range(7):
        source, target = _addresses(chance)
        packet = (
            bytes.fromhex("02000000001002000000000908004500057800010000400600 00".replace(" ", ""))
            + struct.pack(">II", source, target)
            + struct.pack(">HHIIHHHH", chance.randrange(1024, 65_535), 443, 1, 1, 0x5018, 8192, 0, 0)
        ).ljust(128, b"x")
        raw = struct.pack(">IIIIII", 1, 144, 1, 1418, 4, 128) + packet
        body = struct.pack(">IIIIIIII", i * 7 + k, 3, 512, 512 * (i * 7 + k), 0, 3, 7, 1) + raw
        samples += struct.pack(">II", 1, len(body)) + body
    head = struct.pack(">IIIIIII", 5, 1, 0xC0000201, 0, i, 100_000, 7)
    return head + samples


if __name__ == "__main__":
    for result in run():
        print(result)
