"""logger, loggen and syslog-ng, as nobody here wrote them: every message arrives once, and its bytes are those sent."""

import contextlib
import os
import re
import subprocess
from pathlib import Path

import pytest

from soc.collectors.listeners import ListenerSpec, Tls
from soc.parsers.decoders import syslog
from tests import programs
from tests.collectors.certificates import Authority
from tests.collectors.running import MemoryQueue, running, total, until
from tests.collectors.tap import tap

HOST = "127.7.0.1"
SERVERS = Path(__file__).parents[1] / "servers"
N = 4000


@pytest.fixture(scope="session")
def package():
    """The folder with syslog-ng and loggen, and the environment that they need there."""
    root = Path(programs.server("syslog_ng"))
    libraries = root / "usr" / "lib" / "syslog-ng"
    paths = f"{libraries}:{libraries / '3.38'}"
    return root, {**os.environ, "LD_LIBRARY_PATH": paths, "SYSLOGNG_PREFIX": str(root / "usr")}


@contextlib.contextmanager
def listening(folder, protocol, tls=None):
    """A collector, its queue, and what to connect to."""
    queue = MemoryQueue()
    with running([ListenerSpec("wire", protocol, HOST, 0, "s", tls=tls)], queue, folder / "c.json") as (c, ports):
        yield c, queue, (HOST, ports["wire"])


def unframed(data, counted):
    """The messages in what a client sent over a connection, as RFC 6587 puts it and in as few lines as possible."""
    if not counted:
        return [line for line in re.split(rb"[\n\0]", data) if line]
    found = []
    while data:
        count, _, data = data.partition(b" ")
        found.append(bytes(data[: int(count)]))
        data = data[int(count) :]
    return found


# logger ---------------------------------------------------------------------------------------------------------------

ELEMENTS = ["--sd-id", "origin@32473", "--sd-param", r'path="C:\\temp\\x \"y\" [z\]"', "--sd-param", 'unit="xã"',
            "--sd-id", "timeQuality", "--sd-param", 'tzKnown="1"']  # fmt: skip


@pytest.mark.parametrize("kind", ["udp", "tcp"])
@pytest.mark.parametrize(
    "options",
    [["--rfc3164"], ["--rfc5424"], ["--rfc5424=notime,notq,nohost"], ["--rfc5424", "--msgid", "ID47", *ELEMENTS]],
    ids=["3164", "5424", "5424 of hyphens", "structured data"],
)
@pytest.mark.parametrize("counted", [False, True], ids=["lines", "counted"])
def test_logger(tmp_path, kind, options, counted):
    """util-linux: both formats, both transports, both framings; fifty lines of a file, Vietnamese and long ones."""
    if kind == "udp" and counted:
        options = [*options, "--id=4711"]  # nothing is counted over UDP; a process id instead
    logger = programs.program("logger", "bsdutils")
    texts = [f"đăng nhập {i} " + "x" * (i * 15) for i in range(50)]
    (tmp_path / "in").write_text("".join(f"{text}\n" for text in texts), "utf-8")
    with (
        listening(tmp_path, f"syslog-{kind}") as (collector, queue, target),
        tap(kind, target) as (port, seen),
    ):
        command = [logger, "--server", HOST, "--port", str(port), f"--{kind}", *options, "--tag", "probe",
                   "--priority", "local3.warning", "--size", "2KiB", "--file", str(tmp_path / "in")]  # fmt: skip
        command += ["--octet-count"] if counted and kind == "tcp" else []
        subprocess.run(command, check=True, timeout=60)
        assert until(lambda: total(collector, "queued") == 50)
    sent = seen if kind == "udp" else [m for data in seen for m in unframed(bytes(data), counted)]
    assert queue.records == sent
    heads = syslog.decode([record.decode() for record in queue.records], [0] * 50)
    assert [message.rstrip("\n") for message in heads.message] == texts
    assert set(heads.program) == {"probe"}
    if "ID47" in options:
        assert heads.structured[0]["origin@32473"] == {"path": r'C:\temp\x "y" [z]', "unit": "xã"}
        assert heads.msgid[0] == "ID47"


# loggen ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("protocol", "options"),
    [
        ("syslog-udp", ["-i", "-D"]),
        ("syslog-tcp", ["-i", "-S"]),
        ("syslog-tcp", ["-i", "-S", "-P", "-p", '[test@32473 name="value"]']),
        ("syslog-tcp", ["-i", "-S", "-P", "-F"]),
        ("syslog-tcp", ["-i", "-S", "--active-connections=4", "--idle-connections=10"]),
        ("syslog-tls", ["-U"]),
        ("syslog-tls", ["-U", "-P"]),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_loggen(tmp_path, package, protocol, options):
    """Numbered messages at full rate: each once, in order for its connection, as they were sent."""
    root, environment = package
    tls = Tls(*Authority(tmp_path).pair("collector")) if protocol == "syslog-tls" else None
    peers = 4 if "--active-connections=4" in options else 1
    kind = "udp" if "-D" in options else "tcp"
    with (
        listening(tmp_path, protocol, tls) as (collector, queue, target),
        tap(kind, target) as (port, seen),
    ):
        rate = "2000" if kind == "udp" else "20000"  # nothing holds datagrams back
        command = [
            str(root / "usr/bin/loggen"),
            *options,
            "-r",
            rate,
            "-n",
            str(N),
            "-I",
            "60",
            "-s",
            "200",
            "-Q",
            HOST,
        ]
        command.append(str(port))
        done = subprocess.run(command, check=False, timeout=60, env=environment, capture_output=True, text=True)
        assert until(lambda: total(collector, "queued") == N * peers), (total(collector, "queued"), done.stderr)
    if kind == "udp":
        assert queue.records == seen
    elif tls is None:
        counted = "-P" in options and "-F" not in options
        assert sorted(queue.records) == sorted(m for data in seen for m in unframed(bytes(data), counted))
    numbers = {}
    for record in queue.records:
        found = re.search(rb"seq: (\d+), thread: (\d+)", record)
        numbers.setdefault(found[2], []).append(int(found[1]))
    assert list(map(len, numbers.values())) == [N] * peers
    assert all(found == sorted(set(found)) for found in numbers.values())


# syslog-ng ------------------------------------------------------------------------------------------------------------


def lines(n=N):
    """What syslog-ng reads from a file and sends."""
    return [b"<13>probe: line %06d " % i + "được ".encode() * (i % 9) + b"." for i in range(n)]


@contextlib.contextmanager
def syslog_ng(folder, package, driver):
    """It follows a file of lines and hands them to a driver."""
    root, environment = package
    (folder / "in.log").write_bytes(b"".join(line.removeprefix(b"<13>probe: ") + b"\n" for line in lines()))
    (folder / "conf").write_text(
        "@version: 3.38\noptions { stats-freq(0); keep-hostname(yes); time-reopen(1); };\n"
        f'source in {{ file("{folder}/in.log" follow-freq(0.2) flags(no-parse) log-iw-size(10000)'
        ' program-override("probe") host-override("gw")); };\n'
        f"destination out {{ {driver}; }};\nlog {{ source(in); destination(out); flags(flow-control); }};\n"
    )
    command = [f"{root}/usr/sbin/syslog-ng", "-F", "-f", str(folder / "conf"), "-R", str(folder / "persist"), "-p",
               str(folder / "pid"), "-c", str(folder / "ctl"), "--no-caps", "--module-path",
               f"{root}/usr/lib/syslog-ng/3.38"]  # fmt: skip
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env=environment)
    try:
        yield folder / "said"
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls", "mutual"])
@pytest.mark.parametrize("driver", ["network", "syslog"])
def test_syslog_ng(tmp_path, package, driver, transport):
    """Its `network()` driver sends lines, its `syslog()` driver RFC 5424 with counted octets; TLS with either."""
    authority = Authority(tmp_path)
    mine, theirs = authority.pair("collector", dns=[HOST]), authority.pair("gw", dns=["gw.example"])
    tls, options = None, f"transport({'tls' if transport == 'mutual' else transport})"
    if transport in ("tls", "mutual"):
        tls = Tls(*mine, authority.path, ("gw.example",)) if transport == "mutual" else Tls(*mine)
        pair = f'cert-file("{theirs[0]}") key-file("{theirs[1]}")' if transport == "mutual" else ""
        options += f' tls(ca-file("{authority.path}") peer-verify(required-trusted) {pair})'
    options += " throttle(2000)" if transport == "udp" else ""  # nothing holds datagrams back
    template = 'template("<13>probe: $MSG\\n")' if driver == "network" else ""
    protocol = "syslog-tls" if tls else f"syslog-{transport}"
    kind = "udp" if transport == "udp" else "tcp"
    with (
        listening(tmp_path, protocol, tls) as (collector, queue, target),
        tap(kind, target) as (port, seen),
        syslog_ng(tmp_path, package, f'{driver}("{HOST}" port({port}) {options} {template})') as said,
    ):
        assert until(lambda: total(collector, "queued") >= N), (
            total(collector, "queued"),
            said.read_text()[-3000:],
        )
    if kind == "udp":
        assert queue.records == seen
    elif tls is None:
        assert queue.records == [m for data in seen for m in unframed(bytes(data), driver == "syslog")]
    if driver == "network":
        assert [record.rstrip(b"\n") for record in queue.records] == lines()
        return
    heads = syslog.decode([record.decode() for record in queue.records], [0] * N)
    assert [b"<13>probe: " + message.encode() for message in heads.message] == lines()
    assert (set(heads.host), set(heads.program)) == ({"gw"}, {"probe"})
    assert len(heads.version) == N, "RFC 5424"
