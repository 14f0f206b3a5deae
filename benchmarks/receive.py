"""How many log events a collector receives and makes durable for each second of CPU, beside rsyslogd and syslog-ng.

The same bytes by the same sender to each in turn, three times, the median of each. Two references: what the other
program does when it is told to sync as well (`sync="on"`, in the cheapest way it has: from a thread of its own, by the
MiB or the second), which the rows without suffix use; and what it does by default, without a sync (`.unsynced`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.entries import Entry, child_seconds, entry

TOP = Path(__file__).resolve().parents[1]
HOST = "127.7.1.1"
LINE = b"<38>Nov 20 10:00:00 web1 sshd[4711]: Failed password for invalid user admin from 203.0.113.9 port %05d ssh2"
EVENTS = {"udp": 300_000, "tcp": 600_000, "tls": 400_000, "relp": 40_000}
OFFERED = 100_000
"""Datagrams a second."""
ROUNDS = 3
UNIT = "durable events/CPU-second"
SYNCED = 'sync="on" asyncWriting="on" flushOnTXEnd="off" ioBufferSize="1m" flushInterval="1"'
Send = Callable[[int, int], None]
"""Sends so many events to a port."""


@dataclass(frozen=True)
class Case:
    """One row: how a collector and a reference are told to listen, and what is sent to both."""

    name: str
    protocol: str
    events: int
    send: Send
    rsyslog: str
    files: tuple[str, ...] = ()


def run(quick: bool = False) -> list[Entry]:
    """Every transport; the row is left without a reference where the other program is not installed."""
    with tempfile.TemporaryDirectory() as folder:
        return [row for case in cases(Path(folder), 10 if quick else 1) for row in _rows(case, 1 if quick else ROUNDS)]


def cases(folder: Path, share: int) -> Iterator[Case]:
    """All rows; `share` makes them shorter, certificates are written to the folder."""
    tcp, tls, relp, udp = (EVENTS[kind] // share for kind in ("tcp", "tls", "relp", "udp"))
    imtcp = 'module(load="imtcp"{more})\ninput(type="imtcp" port="{port}" address="{host}")'
    lines, counted = _payload(b"%b\n"), _payload(None)
    yield Case("syslog_tcp_lf", "syslog-tcp", tcp, _stream(lines), imtcp.replace("{more}", ""))
    yield Case("syslog_tcp_octet", "syslog-tcp", tcp, _stream(counted), imtcp.replace("{more}", ""))
    files = _certificates(folder)
    gtls = ' StreamDriver.Name="gtls" StreamDriver.Mode="1" StreamDriver.AuthMode="{mode}"'
    pair, authority = files[:2], files[2]
    names = "global(" + " ".join(
        f'defaultNetstreamDriver{key}File="{value}"' for key, value in zip(("Cert", "Key", "CA"), files, strict=True)
    ) + ")\n"  # fmt: skip
    server, mutual = gtls.replace("{mode}", "anon"), gtls.replace("{mode}", "x509/certvalid")
    yield Case(
        "syslog_tls",
        "syslog-tls",
        tls,
        _stream(counted, _client(authority)),
        names + imtcp.replace("{more}", server),
        pair,
    )
    yield Case(
        "syslog_tls_mutual", "syslog-tls", tls, _stream(counted, _client(authority, pair)),
        names + imtcp.replace("{more}", mutual), files,
    )  # fmt: skip
    imrelp = 'module(load="imrelp")\ninput(type="imrelp" port="{port}" address="{host}")'
    yield Case("relp", "relp", relp, _relp(128), imrelp)
    yield Case("relp_window_1024", "relp", relp, _relp(1024), imrelp)
    yield Case("relp_window_8192", "relp", relp, _relp(8192), imrelp)
    imudp = 'module(load="imudp" batchSize="128")\ninput(type="imudp" port="{port}" address="{host}" rcvbufSize="32m")'
    yield Case("syslog_udp", "syslog-udp", udp, _datagrams, imudp)


def _rows(case: Case, rounds: int) -> list[Entry]:
    """Ours against each reference, in turn, so that what else the machine does meets all alike."""
    others: dict[str, Callable[[], Measured]] = {}
    if shutil.which("rsyslogd"):
        others["synced"] = lambda: _rsyslogd(case, SYNCED)
        others["unsynced"] = lambda: _rsyslogd(case, "")
    if case.protocol == "syslog-udp" and _syslog_ng():
        others["syslog_ng"] = lambda: _syslog_ng_run(case)
    own: list[Measured] = []
    found: dict[str, list[Measured]] = {name: [] for name in others}
    for _ in range(rounds):
        own.append(_collector(case))
        for name, measure in others.items():
            found[name].append(measure())
    rate = _median(own)
    words = {
        "synced": "rsyslogd, omfile that syncs each MiB or second",
        "unsynced": "rsyslogd, omfile without sync",
        "syslog_ng": "syslog-ng, file with fsync",
    }
    rows = []
    for name in found or {"synced": []}:
        suffix = "" if name == "synced" else f".{name}"
        rows.append(
            entry(case.name + suffix, rate, UNIT, words[name], _median(found[name]))
            if found
            else entry(case.name, rate, UNIT, None, None)
        )
    if case.protocol == "syslog-udp":
        unit, theirs = f"events lost of {case.events:,} at 100 k/s", found.get("synced")
        lost = _lost(theirs, case) if theirs else None
        rows.append(entry("syslog_udp.lost", _lost(own, case), unit, words["synced"], lost, less_is_better=True))
    rows.append(entry(f"memory.{case.name}", max(m.peak_mib for m in own), "MiB at most", "at rest", own[0].rest_mib,
                      less_is_better=True))  # fmt: skip
    return rows


@dataclass(frozen=True)
class Measured:
    """One run of one program."""

    events: int
    cpu_s: float
    rest_mib: float = 0.0
    peak_mib: float = 0.0


def _median(measured: list[Measured]) -> float:
    return statistics.median(m.events / max(m.cpu_s, 1e-9) for m in measured)


def _lost(measured: list[Measured], case: Case) -> float:
    return max(case.events - m.events for m in measured)


# who sends ------------------------------------------------------------------------------------------------------------


def _payload(form: bytes | None) -> bytes:
    """5,000 messages in one framing; None counts octets."""
    lines = [LINE % i for i in range(5000)]
    return b"".join(form % line if form else b"%d %b" % (len(line), line) for line in lines)


def _stream(payload: bytes, context: ssl.SSLContext | None = None) -> Send:
    def send(port: int, events: int) -> None:
        with socket.create_connection((HOST, port)) as plain:
            sock = context.wrap_socket(plain) if context else plain
            for _ in range(events // 5000):
                sock.sendall(payload)
            if context:
                with contextlib.suppress(OSError):  # rsyslogd takes no leave
                    sock.unwrap()  # type: ignore[attr-defined]

    return send


def _relp(window: int) -> Send:
    """As librelp does: up to so many messages without an answer, which are counted as they come."""
    answer = b" rsp 6 200 OK\n"

    def send(port: int, events: int) -> None:
        offers = b"relp_version=0\ncommands=syslog"
        with socket.create_connection((HOST, port)) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(b"1 open %d %b\n" % (len(offers), offers))
            sock.recv(4096)
            sent, answered, rest = 0, 0, b""
            while answered < events:
                room = min(window - (sent - answered), events - sent)
                if room >= window // 2 or room == events - sent > 0:
                    lines = [LINE % i for i in range(sent, sent + room)]
                    sock.sendall(
                        b"".join(b"%d syslog %d %b\n" % (sent + 2 + i, len(x), x) for i, x in enumerate(lines))
                    )
                    sent += room
                rest += sock.recv(1 << 20)
                answered += rest.count(answer)
                rest = rest[rest.rfind(b"\n") + 1 :]
            sock.sendall(b"%d close 0\n" % (sent + 2))

    return send


def _datagrams(port: int, events: int) -> None:
    """At a steady pace; late is caught up."""
    lines = [LINE % i for i in range(500)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((HOST, port))
        send, began = sock.send, time.perf_counter()
        for start in range(0, events, 500):
            for line in lines:
                send(line)
            ahead = began + start / OFFERED - time.perf_counter()
            if ahead > 0:
                time.sleep(ahead)


def _client(authority: str, pair: tuple[str, ...] = ()) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(authority)
    if pair:
        context.load_cert_chain(*pair)
    return context


def _certificates(folder: Path) -> tuple[str, str, str]:
    """Certificate, key and authority, by the openssl command."""
    ca, key, request, pem = (folder / name for name in ("ca.pem", "key.pem", "request.pem", "cert.pem"))
    new = ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run([*new, "-x509", "-keyout", str(folder / "ca.key"), "-out", str(ca), "-subj", "/CN=bench authority"],
                   check=True, capture_output=True)  # fmt: skip
    subprocess.run([*new, "-keyout", str(key), "-out", str(request), "-subj", "/CN=bench"],
                   check=True, capture_output=True)  # fmt: skip
    subprocess.run(["openssl", "x509", "-req", "-in", str(request), "-CA", str(ca), "-CAkey", str(folder / "ca.key"),
                    "-CAcreateserial", "-out", str(pem), "-days", "2"], check=True, capture_output=True)  # fmt: skip
    return str(pem), str(key), str(ca)


# who receives ---------------------------------------------------------------------------------------------------------


def _collector(case: Case) -> Measured:
    with _place() as root:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.collector", str(root), case.protocol, HOST, *case.files],
            stdout=subprocess.PIPE, text=True, cwd=TOP,
        )  # fmt: skip
        assert process.stdout is not None
        port, rest_mib = process.stdout.readline().split()
        case.send(int(port), case.events)
        time.sleep(0.3)
        process.terminate()
        queued, dropped, seconds, peak = process.stdout.read().split()
        process.wait()
    if int(queued) + int(dropped) != case.events:
        raise RuntimeError(f"{case.name}: {case.events} sent, {queued} queued, {dropped} dropped")
    return Measured(int(queued), float(seconds), float(rest_mib), float(peak))


def _rsyslogd(case: Case, writing: str) -> Measured:
    with _place() as root:
        kind = socket.SOCK_DGRAM if case.protocol == "syslog-udp" else socket.SOCK_STREAM
        port = _free_port(kind)
        (root / "conf").write_text(
            f'global(workDirectory="{root}")\n{case.rsyslog.format(port=port, host=HOST)}\n'
            f'action(type="omfile" file="{root}/out.log" {writing})\n'
        )
        return _measured(["rsyslogd", "-n", "-f", str(root / "conf"), "-i", str(root / "pid")], case, port, root)


def _syslog_ng() -> tuple[list[str], dict[str, str]] | None:
    """The command and its environment: an installed one, or what `tests/servers/syslog_ng.sh` unpacked."""
    if found := shutil.which("syslog-ng"):
        return [found], {}
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "soc-tests" / "syslog-ng"
    libraries = root / "usr" / "lib" / "syslog-ng"
    if not libraries.exists():
        return None
    command = [str(root / "usr" / "sbin" / "syslog-ng"), "--module-path", str(libraries / "3.38")]
    return command, {"LD_LIBRARY_PATH": f"{libraries}:{libraries / '3.38'}"}


def _syslog_ng_run(case: Case) -> Measured:
    with _place() as root:
        port = _free_port(socket.SOCK_DGRAM)
        (root / "conf").write_text(
            "@version: 3.38\noptions { stats-freq(0); };\n"
            f'source s {{ network(ip("{HOST}") port({port}) transport("udp") so-rcvbuf(33554432)'
            " log-fetch-limit(1000) log-iw-size(100000)); };\n"
            f'destination d {{ file("{root}/out.log" fsync(yes) flush-lines(1000)); }};\n'
            "log { source(s); destination(d); };\n"
        )
        program, environment = _syslog_ng() or ([], {})
        command = [*program, "-F", "-f", str(root / "conf"), "-p", str(root / "pid"), "-c", str(root / "ctl"),
                   "-R", str(root / "persist"), "--no-caps"]  # fmt: skip
        return _measured(command, case, port, root, environment)


def _measured(
    command: list[str], case: Case, port: int, root: Path, environment: Mapping[str, str] | None = None
) -> Measured:
    """Start, send, wait until every line is written (over UDP: until no more come), stop; its CPU without the start."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet, env={**os.environ, **(environment or {})})
    try:
        _wait_until_it_listens(port, case.protocol)
        before = _cpu_of(process.pid)
        case.send(port, case.events)
        found = _lines(root / "out.log", case)
    finally:
        process.terminate()
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
    return Measured(found, child_seconds(usage) - before)


def _cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def _place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=os.environ.get("SOC_BENCH_DIR")) as folder:
        yield Path(folder)


def _free_port(kind: int) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_it_listens(port: int, protocol: str) -> None:
    for _ in range(300):
        time.sleep(0.02)
        if protocol == "syslog-udp":
            if f":{port:04X} " in Path("/proc/net/udp").read_text():
                return
            continue
        try:
            socket.create_connection((HOST, port)).close()
            return
        except ConnectionRefusedError:
            continue
    raise RuntimeError("the reference does not listen")


def _lines(path: Path, case: Case) -> int:
    found, quiet = 0, 0
    for _ in range(600):
        time.sleep(0.1)
        now = _count(path)
        if now >= case.events:
            return case.events
        quiet = quiet + 1 if now == found else 0
        found = now
        # Over TLS rsyslogd has been seen to leave the last lines of a connection unread.
        if quiet > 25 and (case.protocol == "syslog-udp" or found > 0.999 * case.events):
            return found
    raise RuntimeError(f"{case.name}: the reference wrote {found} of {case.events} lines")


def _count(path: Path) -> int:
    if not path.exists():
        return 0
    with path.open("rb") as file:
        return sum(piece.count(b"ssh2\n") for piece in iter(lambda: file.read(1 << 20), b""))


if __name__ == "__main__":
    for result in run():
        print(result)
