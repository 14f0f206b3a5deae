"""SNMP traps: what a collector makes durable and a worker parses for each second of CPU; next to snmptrapd."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.entries import Cost, Entry, child_seconds, entry
from soc.collectors import snmp_users
from soc.collectors.snmp_engine import Engine
from soc.collectors.snmp_usm import TRAP, Usm
from soc.content import shipped
from soc.model.ber import OCTETS, SEQUENCE, tlv, write_integer, write_oid
from soc.model.clock import SystemClock
from soc.parsers import ParserSet, ParserState
from soc.store.queue import LogReader

TOP = Path(__file__).resolve().parents[1]
TRAPS = 60_000
HOST = "127.7.1.2"
BURST = 32
PAUSE_S = 0.001
USERS = """
[[user]]
name = "noc"
auth = "SHA-256"
auth_passphrase = "authentication"
privacy = "AES"
privacy_passphrase = "confidential"
"""
_WORDS = "snmptrapd to a log file, no sync, no names"
_TICKS = os.sysconf("SC_CLK_TCK")


def run(quick: bool = False) -> list[Entry]:
    """Three rows each of v2c and v3 (SHA-256, AES): received and durable, parsed from the queue, both together."""
    traps = TRAPS // 10 if quick else TRAPS
    with tempfile.TemporaryDirectory() as folder:
        users = Path(folder) / "users.toml"
        users.write_text(USERS)
        users.chmod(0o600)
        sender = Usm(snmp_users.load(users), Engine(Path(folder) / "sender.json", SystemClock()))
        return [
            *_rows("snmp_v2c", [_v2c(i) for i in range(traps)], None, sender),
            *_rows("snmp_v3", [_v3(i, sender) for i in range(traps)], users, sender),
        ]


def _rows(name: str, datagrams: Sequence[bytes], users: Path | None, sender: Usm) -> list[Entry]:
    has_reference = shutil.which("snmptrapd") is not None
    reference = _snmptrapd(datagrams, sender) if has_reference else None
    received, parsed = _own(datagrams, users)
    both = Cost(received.events, received.wall_s + parsed.wall_s, received.cpu_s + parsed.cpu_s)
    rate = None if reference is None else reference.rate
    words = _WORDS if has_reference else None
    return [
        entry(name, received.rate, "durable traps/CPU-second", words, rate),
        entry(f"{name}.parse", parsed.rate, "events/CPU-second", words, rate),
        entry(f"{name}.whole", both.rate, "durable and parsed/CPU-second", words, rate),
    ]


# datagrams -----------------------------------------------------------------------------------------------------------


def _pdu(i: int) -> bytes:
    """linkDown of one of 48 interfaces, as a switch sends it: five variables, and the two that name it."""
    port = 1 + i % 48
    binds = (
        ("1.3.6.1.2.1.1.3.0", write_integer(1_000_000 + i, 0x43)),
        ("1.3.6.1.6.3.1.1.4.1.0", write_oid("1.3.6.1.6.3.1.1.5.3")),
        (f"1.3.6.1.2.1.2.2.1.1.{port}", write_integer(port)),
        (f"1.3.6.1.2.1.2.2.1.7.{port}", write_integer(1)),
        (f"1.3.6.1.2.1.2.2.1.8.{port}", write_integer(2)),
        (f"1.3.6.1.2.1.2.2.1.2.{port}", tlv(OCTETS, f"GigabitEthernet0/{port}".encode())),
        (f"1.3.6.1.2.1.31.1.1.1.18.{port}", tlv(OCTETS, f"uplink {i % 977}".encode())),
    )
    inner = tlv(SEQUENCE, *(tlv(SEQUENCE, write_oid(oid), value) for oid, value in binds))
    return tlv(TRAP, write_integer(0x4000_0000 + i * 7919), write_integer(0), write_integer(0), inner)


def _v2c(i: int) -> bytes:
    return tlv(SEQUENCE, write_integer(1), tlv(OCTETS, b"public"), _pdu(i))


def _v3(i: int, sender: Usm) -> bytes:
    body = tlv(SEQUENCE, tlv(OCTETS, sender.engine.engine_id), tlv(OCTETS), _pdu(i))
    return sender.message(0x4000_0000 + i, sender.users.get(b"noc"), 2, body)


# receivers -----------------------------------------------------------------------------------------------------------


def _send(port: int, datagrams: Sequence[bytes], wait: Callable[[int], None]) -> None:
    """In bursts; `wait` holds the sender back, with how many were sent: none may be dropped, by nobody."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((HOST, port))
        for start in range(0, len(datagrams), BURST):
            for data in datagrams[start : start + BURST]:
                sock.send(data)
            wait(start)


def _own(datagrams: Sequence[bytes], users: Path | None) -> tuple[Cost, Cost]:
    with tempfile.TemporaryDirectory() as root:
        command = [sys.executable, "-m", "tests.collectors.collect_program", root, "snmp-trap", HOST, "0"]
        process = subprocess.Popen(
            command + ([f"users={users}"] if users else []), stdout=subprocess.PIPE, text=True, cwd=TOP
        )
        assert process.stdout is not None
        _send(int(process.stdout.readline()), datagrams, lambda _: time.sleep(PAUSE_S))  # our buffer is large
        time.sleep(0.3)
        process.terminate()
        queued, dropped, seconds = process.stdout.read().split()
        process.wait()
        if int(queued) != len(datagrams) or int(dropped):
            raise RuntimeError(f"{len(datagrams)} sent, {queued} queued, {dropped} dropped")
        return Cost(int(queued), float(seconds), float(seconds)), _parsed(Path(root), int(queued))


def _parsed(root: Path, events: int) -> Cost:
    parsers = ParserSet.load([shipped("parsers")])
    found, seconds = 0, 0.0
    for block in LogReader(root, "raw").read({}, None, events):
        start = time.process_time()
        batches, _ = parsers.parse(block, ParserState(), time.time_ns())
        seconds += time.process_time() - start
        found += sum(batch.n for batch in batches if batch.dataset == "snmp.trap")
    if found != events:
        raise RuntimeError(f"{events} queued, {found} parsed")
    return Cost(events, seconds, seconds)


def _snmptrapd(datagrams: Sequence[bytes], sender: Usm) -> Cost:
    with tempfile.TemporaryDirectory() as folder:
        root, port = Path(folder), _free_port()
        (root / "snmptrapd.conf").write_text(
            "disableAuthorization yes\nauthUser log noc\n"
            f"createUser -e 0x{sender.engine.engine_id.hex()} noc SHA-256 authentication AES confidential\n"
        )
        environment = {"PATH": os.environ["PATH"], "SNMP_PERSISTENT_DIR": f"{root}/state", "SNMPCONFPATH": "/-"}
        command = [
            shutil.which("snmptrapd") or "", "-f", "-C", "-c", f"{root}/snmptrapd.conf", "-n", "-m", "", "-On",
            "-Lf", f"{root}/traps.log", f"udp:{HOST}:{port}",
        ]  # fmt: skip
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment)
        try:
            log = _TrapLog(root / "traps.log")
            _until(lambda: _is_bound(port))
            before = _cpu_of(process.pid)
            _send(port, datagrams, log.wait_for)
            log.wait_for(len(datagrams))
        finally:
            process.terminate()
            _, _, usage = os.wait4(process.pid, 0)
            process.returncode = 0
        seconds = child_seconds(usage) - before
    return Cost(len(datagrams), seconds, seconds)


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


class _TrapLog:
    """What snmptrapd wrote; its buffer is small, so the sender waits for the lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = self._traps = 0

    def wait_for(self, n: int) -> None:
        """Until it has so many traps."""
        _until(lambda: self._seen() >= n)

    def _seen(self) -> int:
        with self._path.open("rb") as file:
            file.seek(self._at)
            data = file.read()
        whole = data.rfind(b"\n") + 1
        self._at += whole
        self._traps += data[:whole].count(b".1.3.6.1.6.3.1.1.4.1.0")
        return self._traps


def _is_bound(port: int) -> bool:
    address = f"{int.from_bytes(socket.inet_aton(HOST), 'little'):08X}:{port:04X}"
    return address in Path("/proc/net/udp").read_text()


def _until(condition: Callable[[], bool]) -> None:
    for _ in range(30_000):
        if condition():
            return
        time.sleep(0.001)
    raise RuntimeError("snmptrapd does not listen, or did not write every trap")
