"""rsyslogd as nobody here wrote it: what it sends by every transport it has arrives, and RELP survives kill -9."""

import contextlib
import os
import signal
import subprocess
import time
from collections import Counter

import pytest

from soc.collectors.listeners import ListenerSpec, Tls
from tests import programs
from tests.collectors.certificates import Authority
from tests.collectors.running import MemoryQueue, running, total, until
from tests.collectors.test_collect import start, stored

HOST = "127.7.0.1"
N = 20_000
TEXT = b"number %06d " + b"and some text that repeats itself, " * 4  # omfwd compresses what gets shorter


def lines(n=N):
    return [b"<13>probe: " + TEXT % i for i in range(n)]


@contextlib.contextmanager
def rsyslogd(folder, action, globals_="", n=N, content=None):
    """rsyslogd that reads a file (numbered lines) and forwards them; stopped at the end."""
    program = programs.program("rsyslogd", "rsyslog rsyslog-relp rsyslog-gnutls rsyslog-elasticsearch")
    work = folder / "rsyslog"
    work.mkdir()
    (work / "in.log").write_bytes(content or b"".join(TEXT % i + b"\n" for i in range(n)))
    (work / "conf").write_text(
        f"""
        global(workDirectory="{work}" {globals_})
        module(load="imfile" mode="polling" pollingInterval="1")
        module(load="omrelp")
        template(name="probe" type="string" string="<13>probe: %msg%")
        input(type="imfile" file="{work}/in.log" tag="probe" ruleset="out")
        ruleset(name="out") {{
          action({action} target="{HOST}" template="probe" action.resumeRetryCount="-1" action.resumeInterval="1"
                 queue.type="LinkedList" queue.size="100000" queue.timeoutEnqueue="60000")
        }}
        """
    )
    command = [program, "-n", "-f", str(work / "conf"), "-i", str(work / "pid")]
    with (work / "said").open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
    try:
        yield work / "said"
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    "options",
    [
        'protocol="udp"',
        'protocol="udp" compression.mode="single" zipLevel="9"',
        'protocol="tcp"',
        'protocol="tcp" TCP_Framing="octet-counted"',
        'protocol="tcp" compression.mode="single" zipLevel="9"',
        'protocol="tcp" compression.mode="stream:always"',
        'protocol="tcp" TCP_Framing="octet-counted" compression.mode="stream:always" zipLevel="1"',
    ],
)
def test_omfwd_arrives(tmp_path, options):
    """N messages sent, N stored, in order: plain, octet-counted, compressed by message and as a stream."""
    queue = MemoryQueue()
    spec = ListenerSpec("wire", "syslog-udp" if "udp" in options else "syslog-tcp", HOST, 0, "province")
    with (
        running([spec], queue, tmp_path / "c.json") as (collector, ports),
        rsyslogd(tmp_path, f'type="omfwd" port="{ports["wire"]}" {options}') as said,
    ):
        assert until(lambda: total(collector, "queued") >= N), said.read_text()
    assert queue.records == lines()


@pytest.mark.parametrize("mode", ["x509/name", "anon"])
def test_omfwd_over_tls_arrives(tmp_path, mode):
    """GnuTLS with octet counting (RFC 5425): mutual with a listed name, and without a client certificate."""
    authority, queue = Authority(tmp_path), MemoryQueue()
    mine, theirs = authority.pair("collector", dns=["collector.example"]), authority.pair("fw01", dns=["fw01.example"])
    is_mutual = mode != "anon"
    tls = Tls(*mine, authority.path if is_mutual else None, ("fw01.example",) if is_mutual else ())
    names = f'defaultNetstreamDriverCAFile="{authority.path}"'
    permitted = ""
    if is_mutual:
        names += f' defaultNetstreamDriverCertFile="{theirs[0]}" defaultNetstreamDriverKeyFile="{theirs[1]}"'
        permitted = 'StreamDriverPermittedPeers="collector.example"'
    with running([ListenerSpec("wire", "syslog-tls", HOST, 0, "s", tls=tls)], queue, tmp_path / "c.json") as (c, ports):
        action = (
            f'type="omfwd" port="{ports["wire"]}" protocol="tcp" TCP_Framing="octet-counted" StreamDriver="gtls"'
            f' StreamDriverMode="1" StreamDriverAuthMode="{mode}" {permitted}'
        )
        with rsyslogd(tmp_path, action, names) as said:
            assert until(lambda: total(c, "queued") >= N), said.read_text()
    assert queue.records == lines()


def mutual(folder):
    """A listener's side of mutual TLS, and omrelp's."""
    authority = Authority(folder)
    mine, theirs = authority.pair("collector", dns=["collector.example"]), authority.pair("fw01")
    return Tls(*mine, authority.path, ("fw01",)), (
        f'tls="on" tls.authmode="name" tls.permittedpeer=["collector.example"] tls.cacert="{authority.path}"'
        f' tls.mycert="{theirs[0]}" tls.myprivkey="{theirs[1]}"'
    )


@pytest.mark.parametrize("protocol", ["relp", "relp-tls"])
def test_omrelp_arrives(tmp_path, protocol):
    """librelp's client, plain and over mutual TLS: N messages sent, N stored, in order, none twice."""
    queue = MemoryQueue()
    tls, more = mutual(tmp_path) if protocol == "relp-tls" else (None, "")
    with (
        running([ListenerSpec("wire", protocol, HOST, 0, "s", tls=tls)], queue, tmp_path / "c.json") as (c, ports),
        rsyslogd(tmp_path, f'type="omrelp" port="{ports["wire"]}" {more}') as said,
    ):
        assert until(lambda: total(c, "queued") >= N), said.read_text()
    assert queue.records == lines()


def test_a_full_queue_costs_relp_nothing(tmp_path):
    """The collector ends with a full queue: rsyslogd keeps what was not answered and gives it to the next collector."""
    first, second = MemoryQueue(), MemoryQueue()
    first.is_full.set()
    spec = ListenerSpec("wire", "relp", HOST, 0, "s")
    with contextlib.ExitStack() as stack:
        with running([spec], first, tmp_path / "c.json") as (collector, ports):
            stack.enter_context(rsyslogd(tmp_path, f'type="omrelp" port="{ports["wire"]}"'))
            assert until(lambda: collector.fault)
        again = ListenerSpec("wire", "relp", HOST, ports["wire"], "s")
        collector, _ = stack.enter_context(running([again], second, tmp_path / "d.json"))
        assert until(lambda: len(set(second.records)) >= N)
    assert first.records == []
    assert set(second.records) == set(lines())


@pytest.mark.parametrize("protocol", ["relp", "relp-tls"])
def test_relp_survives_kill_9(tmp_path, protocol):
    """The collector is killed again and again under load: every message is stored; only a resend is there twice."""
    n, before, more, options = 60_000, [], "", ()
    if protocol == "relp-tls":
        (_, more), options = mutual(tmp_path), (f"tls={tmp_path}",)
    process, port = start(tmp_path / "home", protocol, 0, *options)
    with rsyslogd(tmp_path, f'type="omrelp" port="{port}" {more}', n=n):
        for alive in (0.1, 1.2, 1.4):
            assert until(lambda: stored(tmp_path / "home")), "it sends nothing"
            time.sleep(alive)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            process.stdout.close()
            before.append(sum(map(len, stored(tmp_path / "home").values())))
            process, _ = start(tmp_path / "home", protocol, port, *options)
        found = []

        def is_complete():
            found[:] = [record for records in stored(tmp_path / "home").values() for record in records]
            return len(set(found)) >= n

        assert until(is_complete), len(set(found))
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    process.stdout.close()
    assert set(found) == set(lines(n))
    assert 0 < before[0] < n, "the first kill was not under load"
    # A session has 128 messages without an answer at most (librelp's window): each kill may double those.
    twice = sum(count - 1 for count in Counter(found).values())
    assert twice <= 3 * 128
