"""Clients of PyPI as nobody here wrote them: each record arrives once, with its fields, also after pressure."""

import base64
import contextlib
import datetime as dt
import http.client
import json
import logging
import os
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import splunk_handler
from elasticsearch import Elasticsearch
from elasticsearch import helpers as bulk
from splunk_hec_handler import SplunkHecHandler

from soc.collectors.listeners import ListenerSpec, Tls
from soc.content import shipped
from soc.model.record import RawBlock
from soc.parsers import ParserSet, ParserState
from soc.store.queue import LogReader
from tests import programs
from tests.collectors.certificates import Authority
from tests.collectors.running import MemoryQueue, balances, running, total, until
from tests.collectors.test_http import tokens_file
from tests.collectors.test_http_kill import collector as collector_process

HOST = "localhost"
SECRET = "0f2d6f0c-3b0a-4a53-8d0b-6c6d1f7c2b11"
N = 300
TEXTS = [f"number {i} đăng nhập" for i in range(N)]
STAMP = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
"""One that is believed, whenever the tests run."""


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch):
    """Proxies and authorities that `requests` would take before what a client was told."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def parsers():
    return ParserSet.load([shipped("parsers")])


def events(parsers, queue):
    """The events of all that the queue has."""
    found = []
    for block in queue.blocks:
        now_ns = int(block.receipt_ns[-1])
        numbered = RawBlock.of(list(block.records()), receipt_ns=now_ns, format=block.format, listener=block.listener)
        batches, _ = parsers.parse(numbered, ParserState(), now_ns)
        found += [row for batch in batches for row in batch.rows()]
    return found


@dataclass
class Door:
    """Where a client finds the collector, and what it needs to be let in."""

    port: int
    ca: Path | None
    token: str
    host: str = HOST

    @property
    def scheme(self):
        return "https" if self.ca else "http"

    @property
    def url(self):
        return f"{self.scheme}://{self.host}:{self.port}"


@contextlib.contextmanager
def listening(folder, queue, *, tls):
    """The listener: HTTPS with tokens, or HTTP for this machine."""
    options, ca = {}, None
    if tls:
        authority = Authority(folder)
        ca = authority.path
        options = {"tls": Tls(*authority.pair("collector", dns=(HOST,))),
                   "tokens": tokens_file(folder / "tokens.toml", ("shipper", SECRET))}  # fmt: skip
    spec = ListenerSpec("web", "http", "127.0.0.1", 0, "province", **options)
    with running([spec], queue, folder / "c.json") as (collector, ports):
        yield collector, Door(ports["web"], ca, SECRET if tls else "")


# the clients ----------------------------------------------------------------------------------------------------------


def elasticsearch(door, **options):
    """The official client, with an API key in its own form when there is one."""
    key = {"api_key": base64.b64encode(f"shipper:{door.token}".encode()).decode()} if door.token else {}
    ca = {"ca_certs": str(door.ca)} if door.ca else {}
    return Elasticsearch(door.url, **key, **ca, request_timeout=60, **options)


def documents(texts, **action):
    for i, text in enumerate(texts):
        yield {"_op_type": "create", "_index": "logs-my.app-default", **action, "@timestamp": STAMP,
               "message": text, "user": {"name": f"u{i}"}}  # fmt: skip


PATIENT = {"max_retries": 12, "initial_backoff": 0.2, "max_backoff": 0.5}


def helpers_bulk(door, texts):
    with elasticsearch(door, http_compress=True) as client:
        assert bulk.bulk(client, documents(texts), chunk_size=50, **PATIENT) == (len(texts), [])


def helpers_streaming_bulk(door, texts):
    with elasticsearch(door) as client:
        answers = list(bulk.streaming_bulk(client, documents(texts, _op_type="index"), chunk_size=70, **PATIENT))
    assert [ok for ok, _ in answers] == [True] * len(texts)


def helpers_parallel_bulk(door, texts):
    with elasticsearch(door) as client:
        answers = list(bulk.parallel_bulk(client, documents(texts), thread_count=4, chunk_size=25))
    assert all(ok for ok, _ in answers)
    assert len(answers) == len(texts)


def client_index(door, texts):
    """One document a call; the client asks how we are before."""
    with elasticsearch(door) as client:
        assert client.info()["version"]["number"].startswith("8.")
        assert client.ping()
        assert client.cluster.health()["status"] == "green"
        for i, document in enumerate(documents(texts)):
            body = {name: value for name, value in document.items() if name[0] != "_"}
            assert client.index(index="logs-my.app-default", document=body, id=str(i))["result"] == "created"


ELASTIC = [helpers_bulk, helpers_streaming_bulk, helpers_parallel_bulk, client_index]


def logged(handler, texts, before_close=None):
    """What a Python program logs through a handler; one that fails says so."""
    logger = logging.getLogger(f"test.{id(handler)}")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    faults = []
    handler.handleError = faults.append
    for i, text in enumerate(texts):
        logger.warning(text, extra={"user.name": f"u{i}"})
    logger.removeHandler(handler)
    if before_close is not None:
        before_close()
    handler.close()
    assert not faults


def splunk_handler_batches(door, texts):
    """Its `close` may return while its other thread still waits to send again, so that one is waited for."""
    verify = str(door.ca) if door.ca else False
    handler = splunk_handler.SplunkHandler(
        host=door.host, port=door.port, token=door.token or "none", index="main", sourcetype="my.app",
        protocol=door.scheme, verify=verify, flush_interval=0.2, queue_size=0, retry_count=11, retry_backoff=0.1,
    )  # fmt: skip

    def is_done():
        return not (handler.queue or handler.log_payload or handler.processing_payload)

    logged(handler, texts, before_close=lambda: until(is_done, 60))


def splunk_hec_handler(door, texts):
    verify = str(door.ca) if door.ca else False
    logged(
        SplunkHecHandler(
            door.host, door.token or "none", port=door.port, proto=door.scheme, ssl_verify=verify,
            source="unit test", sourcetype="my.app",
        ),
        texts,
    )  # fmt: skip


HEC = [splunk_handler_batches, splunk_hec_handler]


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https with token"])
@pytest.mark.parametrize("send", [*ELASTIC, *HEC], ids=lambda f: f.__name__)
def test_each_record_arrives_once(tmp_path, parsers, send, tls):
    """N sent, N in the queue, each with its text, its dataset and its own fields."""
    texts = TEXTS[:60] if send in (client_index, splunk_hec_handler) else TEXTS
    queue = MemoryQueue()
    with listening(tmp_path, queue, tls=tls) as (collector, door):
        send(door, texts)
        assert total(collector, "queued") == len(texts)
        assert balances(collector.counters())
    found = events(parsers, queue)
    assert Counter(event["message"] for event in found) == Counter(texts)
    assert {event["event.dataset"] for event in found} == {"my.app"}
    if send in ELASTIC:
        assert {(e["message"], e["user.name"]) for e in found} == {(text, f"u{i}") for i, text in enumerate(texts)}
        assert len({event["@timestamp"] for event in found}) == 1
    else:
        assert all(event["host.name"] for event in found)


PATIENT_ONES = [helpers_bulk, helpers_streaming_bulk, splunk_handler_batches]


@pytest.mark.parametrize("send", PATIENT_ONES, ids=lambda f: f.__name__)
def test_each_record_arrives_once_after_429(tmp_path, parsers, send):
    """The queue takes nothing for a second: who is told to come again does, and nothing is there twice."""
    queue = MemoryQueue()
    with listening(tmp_path, queue, tls=False) as (collector, door):
        queue.is_full.set()
        first = http.client.HTTPConnection("127.0.0.1", door.port, timeout=60)
        first.request("POST", "/v1/logs", b"the one that meets it")
        assert until(lambda: collector.fault)
        threading.Timer(1.0, queue.is_full.clear).start()
        send(door, TEXTS)
        assert first.getresponse().status == 200
        assert total(collector, "queued") == N + 1
        assert balances(collector.counters())
    assert Counter(event["message"] for event in events(parsers, queue)[1:]) == Counter(TEXTS)


@pytest.mark.parametrize("send", [helpers_bulk, splunk_handler_batches], ids=lambda f: f.__name__)
def test_nothing_is_lost_to_kill_9(tmp_path, send):
    """Killed while it flows and started again on its port: the client sends again what had no answer. Only that may be
    there twice, one request at a time, as neither protocol has an identity that we could know a record by."""
    texts = [f"number {i}" for i in range(4000)]
    with collector_process(tmp_path) as (_, port):
        door = Door(port, None, "", host="127.7.4.2")
        client = threading.Thread(target=_patiently, args=(send, door, texts))
        client.start()
        assert until(lambda: len(stored(tmp_path)) > 100)
    with collector_process(tmp_path, port=port):
        client.join(60)
        assert not client.is_alive()
    counts = Counter(_message(record) for record in stored(tmp_path))
    assert counts.keys() == set(texts)
    assert sum(counts.values()) - len(texts) <= (50 if send is helpers_bulk else len(texts))
    assert max(counts.values()) <= 2


def _patiently(send, door, texts):
    if send is helpers_bulk:
        # Without retries of its own for lost connections the helper gives up: who wants them says so.
        with Elasticsearch(door.url, max_retries=0) as client:
            left = list(documents(texts))
            while left:
                part, left = left[:50], left[50:]
                while True:
                    with contextlib.suppress(Exception):
                        bulk.bulk(client, part, chunk_size=50)
                        break
    else:
        send(door, texts)


def stored(root):
    return [record for block in LogReader(root, "raw").read({}, None, 1_000_000) for record in block.records()]


def _message(record):
    document = json.loads(record.rpartition(b"\n")[2])
    return document.get("message") or document["event"]


BULK_OF_ANOTHER_VERSION = """
import sys
from elasticsearch import Elasticsearch, helpers
client = Elasticsearch(sys.argv[1])
assert client.info()["tagline"] == "You Know, for Search"
made = ({"_op_type": "create", "_index": "logs-my.app-default", "message": f"number {i}"} for i in range(300))
assert helpers.bulk(client, made, chunk_size=40) == (300, [])
"""


@pytest.mark.parametrize("version", ["7.17.13", "9.5.1"])
def test_clients_of_other_versions(tmp_path, parsers, version):
    """The handshakes of 7 (it looks for the product) and 9 (its media types), and their bulk helpers."""
    folder = Path(programs.server("elasticsearch_clients")) / version
    queue = MemoryQueue()
    with listening(tmp_path, queue, tls=False) as (_, door):
        command = [sys.executable, "-c", BULK_OF_ANOTHER_VERSION, door.url]
        subprocess.run(command, check=True, timeout=60, env={**os.environ, "PYTHONPATH": str(folder)})
    assert Counter(event["message"] for event in events(parsers, queue)) == Counter(f"number {i}" for i in range(300))
