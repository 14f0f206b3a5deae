"""rsyslogd's omelasticsearch, syslog-ng's HTTP destinations and curl, as nobody here wrote them."""

import contextlib
import json
import os
import subprocess
import textwrap
import threading
from collections import Counter
from pathlib import Path

import pytest

from tests import programs
from tests.collectors.running import MemoryQueue, balances, total, until
from tests.collectors.test_http import curl
from tests.collectors.test_http_clients import SECRET, TEXTS, Door, N, events, listening, parsers, stored
from tests.collectors.test_http_kill import HOST as PROCESS_HOST
from tests.collectors.test_http_kill import collector as collector_process

__all__ = ["parsers"]
SERVERS = Path(__file__).parents[1] / "servers"


@contextlib.contextmanager
def daemon(folder, command, **environment):
    """A program that runs until the end; what it said is in `said`."""
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env={**os.environ, **environment})
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def rsyslogd(folder, door, texts):
    """It reads a file of lines and indexes them; a token goes as the password of a user."""
    program = programs.program("rsyslogd", "rsyslog rsyslog-relp rsyslog-gnutls rsyslog-elasticsearch")
    work = folder / "rsyslog"
    work.mkdir()
    (work / "in.log").write_text("".join(f"{text}\n" for text in texts))
    secret = f'uid="shipper" pwd="{door.token}" usehttps="on" tls.cacert="{door.ca}"' if door.ca else ""
    (work / "conf").write_text(
        f"""
        global(workDirectory="{work}")
        module(load="imfile" mode="polling" pollingInterval="1")
        module(load="omelasticsearch")
        input(type="imfile" file="{work}/in.log" tag="probe" ruleset="out")
        ruleset(name="out") {{
          action(type="omelasticsearch" server="{door.host}" serverport="{door.port}" bulkmode="on" {secret}
                 searchIndex="logs-my.app-default" errorFile="{work}/errors"
                 action.resumeRetryCount="-1" action.resumeInterval="1" queue.type="LinkedList" queue.size="50000")
        }}
        """
    )
    with daemon(work, [program, "-n", "-f", str(work / "conf"), "-i", str(work / "pid")]):
        yield work


@contextlib.contextmanager
def syslog_ng(folder, door, texts, destination):
    """It follows a file of lines."""
    root = programs.server("syslog_ng")
    work = folder / "syslog-ng"
    work.mkdir()
    (work / "in.log").write_text("".join(f"{text}\n" for text in texts))
    tls = f'tls(ca-file("{door.ca}") peer-verify(yes))' if door.ca else ""
    token = f'"Authorization: Bearer {door.token}",' if door.token else ""
    common = f"batch-lines(50) batch-timeout(200) time-reopen(1) retries(100) {tls}"
    body = "$(format-json --scope none event=$MESSAGE host=$HOST time=$S_UNIXTIME sourcetype=my.app)"
    kinds = {
        "elasticsearch-http": f'elasticsearch-http(url("{door.url}/_bulk") index("logs-my.app-default") type("")'
        f' headers({token} "Content-Type: application/x-ndjson") {common})',
        "http": f'http(url("{door.url}/services/collector/event") headers({token} "Content-Type: application/json")'
        f" method(POST) body('{body}') {common})",
    }
    (work / "conf").write_text(
        textwrap.dedent(f"""\
        @version: 3.38
        @include "{root}/usr/share/syslog-ng/include/scl/elasticsearch/elastic-http.conf"
        options {{ stats-freq(0); }};
        source in {{ file("{work}/in.log" follow-freq(0.2) flags(no-parse) log-iw-size(10000)); }};
        destination out {{ {kinds[destination]}; }};
        log {{ source(in); destination(out); flags(flow-control); }};
        """)
    )
    command = [f"{root}/usr/sbin/syslog-ng", "-F", "-f", str(work / "conf"), "-R", str(work / "persist"), "-p",
               str(work / "pid"), "-c", str(work / "ctl"), "--no-caps", "--module-path",
               f"{root}/usr/lib/syslog-ng/3.38"]  # fmt: skip
    with daemon(work, command, LD_LIBRARY_PATH=f"{root}/usr/lib/syslog-ng:{root}/usr/lib/syslog-ng/3.38"):
        yield work


DAEMONS = {
    "omelasticsearch": rsyslogd,
    "elasticsearch-http": lambda *a: syslog_ng(*a, "elasticsearch-http"),
    "http": lambda *a: syslog_ng(*a, "http"),
}


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https with token"])
@pytest.mark.parametrize("name", DAEMONS)
def test_each_line_arrives_once(tmp_path, parsers, name, tls):
    """N lines, N events with their text, under the dataset that the daemon names."""
    queue = MemoryQueue()
    with listening(tmp_path, queue, tls=tls) as (collector, door), DAEMONS[name](tmp_path, door, TEXTS) as work:
        assert until(lambda: total(collector, "queued") >= N), (work / "said").read_text()
        assert balances(collector.counters())
    found = events(parsers, queue)
    assert Counter(event["message"] for event in found) == Counter(TEXTS)
    assert {event["event.dataset"] for event in found} == {"my.app"}
    assert all(event["host.name"] for event in found)
    assert {event["soc.time.basis"] for event in found} == {"device"}


@pytest.mark.parametrize("name", DAEMONS)
def test_each_line_arrives_once_after_429(tmp_path, parsers, name):
    """Told to come again, it does; omelasticsearch, which would give up, finds its connection closed."""
    queue = MemoryQueue()
    with listening(tmp_path, queue, tls=False) as (collector, door):
        queue.is_full.set()
        first = threading.Thread(target=curl, args=(f"{door.url}/v1/logs", "-d", "the one that meets it"))
        first.start()
        assert until(lambda: collector.fault)
        with DAEMONS[name](tmp_path, door, TEXTS) as work:
            assert until(lambda: _busy(collector) > 0), (work / "said").read_text()
            queue.is_full.clear()
            assert until(lambda: total(collector, "queued") >= N + 1), (work / "said").read_text()
        first.join()
        assert balances(collector.counters())
    assert Counter(event["message"] for event in events(parsers, queue)[1:]) == Counter(TEXTS)


def _busy(collector):
    return sum(row["refused_for"].get("busy", 0) for row in collector.counters())


@pytest.mark.parametrize("name", ["omelasticsearch", "elasticsearch-http"])
def test_nothing_is_lost_to_kill_9(tmp_path, name):
    """Killed while it flows and started again on its port: a batch without its answer comes again, and only such a one
    may be there twice."""
    texts = [f"number {i}" for i in range(8000)]
    with collector_process(tmp_path) as (_, port):
        door = Door(port, None, "", host=PROCESS_HOST)
        running = contextlib.ExitStack()
        work = running.enter_context(DAEMONS[name](tmp_path, door, texts))
        assert until(lambda: len(stored(tmp_path)) > 100)
    with running, collector_process(tmp_path, port=port):
        assert until(lambda: len({message(r) for r in stored(tmp_path)}) == len(texts)), (work / "said").read_text()
    counts = Counter(message(record) for record in stored(tmp_path))
    assert counts.keys() == set(texts)
    assert max(counts.values()) <= 2


def message(record):
    document = json.loads(record.rpartition(b"\n")[2])
    return document.get("message") or document["MESSAGE"]


@pytest.mark.parametrize("program", [["gzip", "-c"], ["zstd", "-c", "-q"]], ids=lambda p: p[0])
def test_curl_sends_what_programs_compressed(tmp_path, program):
    """gzip's and zstd's own output, over HTTPS with a token."""
    programs.program(program[0])
    lines = "\n".join(TEXTS).encode()
    body = subprocess.run(program, input=lines, check=True, capture_output=True).stdout
    queue = MemoryQueue()
    with listening(tmp_path, queue, tls=True) as (_, door):
        options = ["--cacert", str(door.ca), "-H", f"Authorization: Bearer {SECRET}"]
        said = curl(
            f"{door.url}/v1/logs", *options, "-H", f"Content-Encoding: {program[0]}", "--data-binary", "@-", data=body
        )
    assert said == b'{"accepted":%d}' % N
    assert queue.records == lines.split(b"\n")
