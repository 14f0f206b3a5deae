"""The HTTP listener on real sockets, spoken to by curl and httpx."""

import base64
import concurrent.futures
import contextlib
import gzip
import hashlib
import json
import random
import re
import socket
import ssl
import subprocess
import threading
import time
import zlib
from pathlib import Path

import httpx
import pytest
import zstandard

from soc.collectors.http import connection, senders
from soc.collectors.listeners import ListenerSpec, Tls
from soc.errors import ConfigError
from tests import programs
from tests.collectors import certificates
from tests.collectors.certificates import Authority
from tests.collectors.running import MemoryQueue, balances, running, total, until

TOP = Path(__file__).parents[2]
SAMPLES = Path(__file__).parent / "samples"
HOST = "127.7.4.1"
ND = {"content-type": "application/x-ndjson"}


def spec(**options):
    return ListenerSpec("web", "http", HOST, 0, "province", **options)


class GatedQueue(MemoryQueue):
    """Takes nothing before the gate is opened."""

    def __init__(self):
        super().__init__()
        self.gate = threading.Event()

    def append(self, blocks):
        assert self.gate.wait(60)
        super().append(blocks)


@pytest.fixture
def queue():
    return MemoryQueue()


@pytest.fixture
def web(tmp_path, queue):
    """A client of a listener that only lets this machine in."""
    with running([spec()], queue, tmp_path / "c.json") as (collector, ports), client(ports) as http:
        http.collector = collector
        yield http


def client(ports, **options):
    return httpx.Client(base_url=f"http://{HOST}:{ports['web']}", timeout=60, trust_env=False, **options)


def tokens_file(path, *tables):
    lines = []
    for name, secret, *rest in tables:
        digest = hashlib.sha256(secret.encode()).hexdigest()
        lines += ["[[token]]", f'name = "{name}"', f'sha256 = "{digest}"', *rest]
    path.write_text("\n".join(lines))
    path.chmod(0o600)
    return path


def curl(*arguments, data=None):
    program = programs.program("curl")
    done = subprocess.run([program, "-sS", *arguments], check=False, input=data, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


# what shippers ask before they send -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status", "holds"),
    [
        ("GET", "/", 200, {"tagline": "You Know, for Search"}),
        ("HEAD", "/", 200, None),
        ("GET", "/_license?human=false", 200, {"license": {"type": "basic", "mode": "basic", "status": "active"}}),
        ("GET", "/_xpack", 200, {"license": {"type": "basic"}, "features": {"ilm": {"available": True}}}),
        ("GET", "/_cluster/health", 200, {"status": "green"}),
        ("GET", "/_ilm/policy/filebeat", 404, {"status": 404}),
        ("PUT", "/_ilm/policy/filebeat", 200, {"acknowledged": True}),
        ("HEAD", "/_index_template/filebeat-8.19.0", 404, None),
        ("PUT", "/_index_template/filebeat-8.19.0", 200, {"acknowledged": True}),
        ("PUT", "/_ingest/pipeline/filebeat-8.19.0-nginx", 200, {"acknowledged": True}),
        ("PUT", "/_data_stream/filebeat-8.19.0", 200, {"acknowledged": True}),
        ("HEAD", "/logs-x-default", 404, None),
        ("PUT", "/%3Cfilebeat-7.17.29-%7Bnow%2Fd%7D-000001%3E", 200, {"acknowledged": True}),
        ("GET", "/_nodes/http", 200, {"nodes": {}}),
        ("GET", "/_nodes/ingest", 200, {"nodes": {}}),
        ("GET", "/_cat/health", 200, None),
        ("GET", "/_ingest/pipeline/filebeat-8.19.0-nginx", 404, {"status": 404}),
        ("HEAD", "/_template/filebeat-7.17.0", 404, None),
        ("PUT", "/_template/filebeat-7.17.0?include_type_name=true", 200, {"acknowledged": True}),
    ],
)
def test_handshakes_of_elasticsearch_shippers(web, method, path, status, holds):
    """Each is answered as its sender expects, and always as the product that clients look for."""
    answer = web.request(method, path, content=b"{}" if method == "PUT" else None)
    assert (answer.status_code, answer.headers["x-elastic-product"]) == (status, "Elasticsearch")
    if holds is not None:
        assert _holds(answer.json(), holds)
    if method == "PUT":
        assert "not kept" in answer.headers["warning"]


def test_all_that_filebeat_says_with_index_lifecycles(web, queue):
    """`setup.ilm.enabled: true`, as many have it: it sends nothing when one answer is not as it expects."""
    said = (SAMPLES / "filebeat-7.17.29-ilm.http").read_bytes()
    with socket.create_connection((HOST, web.base_url.port), timeout=20) as sock:
        sock.sendall(said)
        sock.shutdown(socket.SHUT_WR)
        answers = b"".join(iter(lambda: sock.recv(65536), b""))
    asked = re.findall(rb"(GET|HEAD|PUT|POST) (\S+) HTTP/1.1\r\n", said)
    statuses = re.findall(rb"HTTP/1.1 (\d{3})", answers)
    refused = [one for one, status in zip(asked, statuses, strict=True) if status != b"200"]
    assert all(method in (b"GET", b"HEAD") for method, _ in refused), refused  # only: is it there already?
    assert [json.loads(r.partition(b"\n")[2])["message"] for r in queue.records] == [
        f"number {i} đăng nhập" for i in range(3)
    ]


@pytest.mark.parametrize(
    ("agent", "version"),
    [
        ("Elastic-Filebeat/9.2.1 (linux; amd64; 0123456; 2026-01-01 00:00:00 +0000 UTC)", "9.2.1"),
        ("Elastic-Winlogbeat/8.5.0 (windows; amd64)", "8.19.0"),
        ("Filebeat/7.17.0 (linux; amd64)", "8.19.0"),
        ("curl/7.88.1", "8.19.0"),
        ("Elastic-Filebeat/9999.1.1", "8.19.0"),
    ],
)
def test_a_beat_never_hears_a_lower_version_than_its_own(web, agent, version):
    """It would not send."""
    assert web.get("/", headers={"user-agent": agent}).json()["version"]["number"] == version


def _holds(found, wanted):
    if isinstance(wanted, dict):
        return all(name in found and _holds(found[name], value) for name, value in wanted.items())
    return found == wanted


# documents ------------------------------------------------------------------------------------------------------------


def test_bulk_answers_item_by_item(web, queue):
    """What is good is taken and `201`, what is not has its own error; the action line goes along with the document."""
    body = (
        b'{"create":{"_index":"logs-nginx-default"}}\n{"message":"x"}\n{"index":{"_id":"7"}}\n{"message":"\xc4\x91"}\n'
        b'{"create":{}}\n{"a":}\n{"delete":{"_index":"i","_id":"3"}}\n{"update":{"_id":"1"}}\n{"doc":{}}\n'
        b'{"create":{}}\n[1]\n'
    )
    answer = web.post("/fallback/_bulk", content=body, headers=ND)
    items = [next(iter(item.values())) for item in answer.json()["items"]]
    assert answer.status_code == 200
    assert answer.json()["errors"] is True
    assert [item["status"] for item in items] == [201, 201, 400, 400, 400, 400]
    assert [item["_index"] for item in items] == [
        "logs-nginx-default",
        "fallback",
        "fallback",
        "i",
        "fallback",
        "fallback",
    ]
    assert (items[0]["result"], items[1]["_id"]) == ("created", "7")
    assert items[2]["error"]["type"] == "document_parsing_exception"
    assert queue.records[0] == b'{"create":{"_index":"logs-nginx-default"}}\n{"message":"x"}'
    action, document = queue.records[1].split(b"\n")
    assert json.loads(action) == {"index": {"_id": "7", "_index": "fallback"}}
    assert document == b'{"message":"\xc4\x91"}'
    assert queue.blocks[0].format == "elastic"
    assert total(web.collector, "malformed") == 4
    assert balances(web.collector.counters())


def test_a_request_of_refused_documents_is_counted(web, queue):
    """Also when nothing is left of it."""
    answer = web.post("/_bulk", content=b'{"create":{"_index":"i"}}\n{"a":}\n{"delete":{"_index":"i"}}\n', headers=ND)
    assert (answer.status_code, answer.json()["errors"]) == (200, True)
    assert total(web.collector, "malformed") == 2
    assert queue.records == []


def test_the_filter_of_beats_shortens_the_answer(web):
    """`filter_path` leaves status and errors."""
    body = b'{"create":{"_index":"i"}}\n{"a":1}\n{"create":{"_index":"i"}}\n{"a":}\n'
    path = "/_bulk?filter_path=errors,items.*.error,items.*.status"
    items = web.post(path, content=body, headers=ND).json()["items"]
    assert items[0] == {"create": {"status": 201}}
    assert items[1]["create"]["status"] == 400
    assert "error" in items[1]["create"]


def test_a_single_document(web, queue):
    """As clients index one: with and without an id."""
    one = web.put("/app/_doc/17", json={"a": 1})
    two = web.post("/app/_create/18", json={"a": 2})
    assert [one.status_code, two.status_code] == [201, 201]
    assert one.json()["_id"] == "17"
    assert queue.records[0] == b'{"index":{"_index":"app","_id":"17"}}\n{"a":1}'
    assert queue.records[1].startswith(b'{"create":{')


def test_an_action_with_something_beside_it(web, queue):
    """As winston-elasticsearch 0.19 sends it: Elasticsearch 8 passes over what follows the action."""
    action = '{"index":{"_index":"logs-my.app","pipeline":null},"attempts":0}'
    answer = web.post("/_bulk", content=f'{action}\n{{"message":"a"}}\n', headers=ND).json()
    assert (answer["errors"], answer["items"][0]["index"]["status"]) == (False, 201)
    assert queue.records == [f'{action}\n{{"message":"a"}}'.encode()]


@pytest.mark.parametrize(
    "body", [b"", b"\n", b"x\n{}\n", b'{"move":{}}\n{}\n', b'{"create":{}}\n{"a":1}\n', b"[]\n", b"{}\n{}\n"]
)
def test_a_bulk_request_that_is_none(web, queue, body):
    """No body, no action, no index: refused as a whole, with Elasticsearch's shape of error."""
    answer = web.post("/_bulk", content=body, headers=ND)
    assert answer.status_code == 400
    assert answer.json()["error"]["root_cause"]
    assert queue.records == []


@pytest.mark.parametrize(
    ("body", "media", "query", "records", "form"),
    [
        (b'{"a":1}\n{"b":2}\n', "application/x-ndjson", "", [b'{"a":1}', b'{"b":2}'], "document"),
        (b' [{"a": 1},\n {"b":[2]}] ', "application/json", "", [b'{"a": 1}', b'{"b":[2]}'], "document"),
        (b'{"a":\n 1}', "application/json", "", [b'{"a":\n 1}'], "document"),
        (b"<34>one\r\n<34>two\n\n", "text/plain", "", [b"<34>one", b"<34>two"], "lines"),
        (b'{"a":1}\nplain\n', "text/plain", "", [b'{"a":1}', b"plain"], "lines"),
        (b"CEF:0|a|b|c|d|e|5|\n", "text/plain", "?format=cef", [b"CEF:0|a|b|c|d|e|5|"], "lines"),
        (
            b'{"short_message":"a","host":"b"}',
            "text/plain",
            "?format=gelf",
            [b'{"short_message":"a","host":"b"}'],
            "gelf",
        ),
        (b"\xef\xbb\xbf{}", "application/json", "", [b"{}"], "document"),
    ],
)
def test_logs_of_any_kind(web, queue, body, media, query, records, form):
    """JSON lines, arrays and text lines; each record keeps its bytes."""
    answer = web.post(f"/v1/logs{query}", content=body, headers={"content-type": media})
    assert (answer.status_code, answer.json()) == (200, {"accepted": len(records)})
    assert queue.records == records
    assert {block.format for block in queue.blocks} == {form}


@pytest.mark.parametrize(
    ("body", "place"), [(b"[{},1]", 1), (b'[{"a":1}', 1), (b"[{}]x", 1), (b'{"a":1', 0), (b"[]", 0), (b'[{"a]', 0)]
)
def test_json_that_is_none_names_its_place(web, queue, body, place):
    """Nothing of it is taken."""
    answer = web.post("/v1/logs?format=json", content=body)
    assert (answer.status_code, answer.json()["error"]["record"]) == (400, place)
    assert queue.records == []


def test_gelf_over_http(web, queue):
    """`202`, as Graylog answers."""
    assert web.post("/gelf", json={"version": "1.1", "host": "h", "short_message": "m"}).status_code == 202
    assert queue.blocks[0].format == "gelf"


def test_a_long_record_is_cut_and_flagged(tmp_path, queue):
    """The listener's limit holds for documents too; none is refused for its length."""
    with running([spec(max_bytes=100)], queue, tmp_path / "c.json") as (collector, ports), client(ports) as http:
        body = b'{"create":{"_index":"i"}}\n{"a":"%s"}\n' % (b"x" * 200)
        assert http.post("/_bulk", content=body, headers=ND).json()["errors"] is False
        assert http.post("/v1/logs", content=b"y" * 300).status_code == 200
        assert total(collector, "flagged") == 2
    assert [len(record) for record in queue.records] == [100, 100]


# Splunk ---------------------------------------------------------------------------------------------------------------


def test_events_straight_behind_each_other(web, queue):
    """HEC's batch form needs no line ends."""
    answer = web.post("/services/collector/event", content=b'{"event":"a"}{"event":{"b":"}{"}} \n{"event":1,"time":2}')
    assert (answer.status_code, answer.json()) == (200, {"text": "Success", "code": 0})
    assert queue.records == [b'{"event":"a"}', b'{"event":{"b":"}{"}}', b'{"event":1,"time":2}']
    assert queue.blocks[0].format == "hec"


def test_raw_lines_carry_what_the_query_says(web, queue):
    """With parameters each line becomes an event; without, and where it is no UTF-8, it stays a line."""
    assert web.post("/services/collector/raw?sourcetype=syslog&host=h1", content=b"one\ntwo\n").status_code == 200
    assert web.post("/services/collector/raw/1.0", content=b"three").status_code == 200
    assert web.post("/services/collector/raw?host=h", content=b"\xff\xfe").status_code == 200
    assert json.loads(queue.records[0]) == {"event": "one", "sourcetype": "syslog", "host": "h1"}
    assert queue.records[2:] == [b"three", b"\xff\xfe"]


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("", b"", 400, 5),
        ("/event", b'{"event":"a"}{"event":', 400, 6),
        ("/event", b'{"host":"a"}', 400, 12),
        ("/event", b'{"event":""}', 400, 13),
        ("/ack", b'{"acks":[0]}', 400, 10),
        ("/event?channel=../x", b'{"event":"a"}', 400, 11),
        ("/ack?channel=a", b"[]", 400, 6),
        ("/nothing", b"x", 404, 404),
    ],
)
def test_replies_of_hec(web, queue, path, body, status, code):
    """Splunk's codes, which clients act upon."""
    answer = web.post(f"/services/collector{path}", content=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert queue.records == []


def test_the_place_of_a_wrong_event_is_told(web):
    """`invalid-event-number`."""
    answer = web.post("/services/collector", content=b'{"event":"a"}{"event":"b"}{"no":1}')
    assert answer.json() == {"text": "Event field is required", "code": 12, "invalid-event-number": 2}


def test_acknowledgements_are_true_when_durable(tmp_path):
    """An id is given out when the queue has the events; what was not given out, or to another channel, is false."""
    queue = GatedQueue()
    with running([spec()], queue, tmp_path / "c.json") as (_, ports), client(ports) as http:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            path = "/services/collector/event?channel=c1"
            sent = pool.submit(http.post, path, content=b'{"event":"a"}')
            time.sleep(0.2)
            ask = {"content": b'{"acks":[0,1]}', "headers": {"x-splunk-request-channel": "c1"}}
            assert http.post("/services/collector/ack", **ask).json() == {"acks": {"0": False, "1": False}}
            assert not sent.done()
            queue.gate.set()
            assert sent.result(60).json()["ackId"] == 0
        assert http.post("/services/collector/ack", **ask).json() == {"acks": {"0": True, "1": False}}
        other = http.post("/services/collector/ack?channel=c2", content=b'{"acks":[0]}')
        assert other.json() == {"acks": {"0": False}}


# durable before the answer --------------------------------------------------------------------------------------------


def test_no_answer_before_the_queue_has_it(tmp_path):
    """Every way of sending waits for the group commit."""
    queue = GatedQueue()
    calls = [("/_bulk", b'{"create":{"_index":"i"}}\n{}\n'), ("/v1/logs", b"x"), ("/gelf", b'{"short_message":"m"}')]
    listening = running([spec()], queue, tmp_path / "c.json")
    with listening as (_, ports), client(ports) as http, concurrent.futures.ThreadPoolExecutor() as pool:
        sent = [pool.submit(http.post, path, content=body) for path, body in calls]
        time.sleep(0.3)
        assert not any(one.done() for one in sent)
        queue.gate.set()
        assert [one.result(60).status_code for one in sent] == [200, 200, 202]
    assert len(queue.records) == 3


def test_a_queue_that_takes_nothing(tmp_path, queue, monkeypatch):
    """Who has sent is told 503 when it takes too long; who comes then is told 429, both with Retry-After."""
    monkeypatch.setattr(connection, "ANSWER_S", 0.3)
    queue.is_full.set()
    with running([spec()], queue, tmp_path / "c.json") as (collector, ports), client(ports) as http:
        first = http.post("/_bulk", content=b'{"create":{"_index":"i"}}\n{}\n')
        again = http.post("/_bulk", content=b'{"create":{"_index":"i"}}\n{}\n')
        events = http.post("/services/collector", content=b'{"event":1}')
        health = http.get("/services/collector/health")
        assert [first.status_code, again.status_code, events.status_code] == [503, 429, 503]
        assert {a.headers["retry-after"] for a in (first, again, events)} == {"5"}
        assert again.json()["error"]["type"] == "es_rejected_execution_exception"
        assert events.json()["text"] == "Server is busy"
        assert (events.json()["code"], health.status_code, health.json()["code"]) == (9, 503, 18)
        assert http.get("/").status_code == 200
        queue.is_full.clear()
        assert until(lambda: http.post("/v1/logs", content=b"x").status_code == 200)
        assert balances(collector.counters())


def test_memory_under_pressure(tmp_path):
    """From half of the bound on requests are put off and their bodies thrown away, so that nothing is dropped."""
    queue = GatedQueue()
    body = b"\n".join([b"x" * 1000] * 400)
    with running([spec()], queue, tmp_path / "c.json", max_waiting=1 << 20) as (collector, ports):
        with client(ports) as http, concurrent.futures.ThreadPoolExecutor(16) as pool:
            sent = [pool.submit(http.post, "/v1/logs", content=body) for _ in range(16)]
            assert until(lambda: sum(one.done() for one in sent) >= 12)
            assert {one.result().status_code for one in sent if one.done()} == {429}
            queue.gate.set()
            statuses = [one.result(60).status_code for one in sent]
        assert total(collector, "queue_full") == 0
    assert len(queue.records) == 400 * statuses.count(200)


def test_what_is_under_way_at_the_end_is_answered(tmp_path):
    """Stopping waits for the commit of what was sent, and says so to its sender."""
    queue = GatedQueue()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        with running([spec()], queue, tmp_path / "c.json") as (collector, ports):
            http = client(ports)
            sent = pool.submit(http.post, "/v1/logs", content=b"last words")
            assert until(lambda: total(collector, "received") == 1)
            threading.Timer(0.3, queue.gate.set).start()
        assert sent.result(60).status_code == 200
    assert queue.records == [b"last words"]


# who may send ---------------------------------------------------------------------------------------------------------

SECRET = "a-secret-of-some-length"
BASE64 = base64.b64encode(f"any:{SECRET}".encode()).decode()


@pytest.mark.parametrize(
    "header",
    [
        f"Bearer {SECRET}",
        f"Splunk {SECRET}",
        f"splunk  {SECRET}",
        f"ApiKey {SECRET}",
        f"ApiKey {BASE64}",
        f"Basic {BASE64}",
    ],
)
def test_every_header_that_carries_a_token(tmp_path, queue, header):
    """As the clients send it; the token's site becomes the site of its events."""
    path = tokens_file(tmp_path / "t.toml", ("other", "x"), ("beats", SECRET, 'site = "commune-7"'))
    with running([spec(tokens=path)], queue, tmp_path / "c.json") as (_, ports), client(ports) as http:
        assert http.post("/v1/logs", content=b"x", headers={"authorization": header}).status_code == 200
    assert queue.blocks[0].site == "commune-7"


@pytest.mark.parametrize(
    ("path", "header", "status", "reason"),
    [
        ("/_bulk", "", 401, "token_missing"),
        ("/_bulk", "Bearer wrong", 401, "token_wrong"),
        ("/", "Basic !!!", 401, "token_wrong"),
        ("/v1/logs", f"Negotiate {SECRET}", 401, "token_wrong"),
        ("/services/collector", "", 401, "token_missing"),
        ("/services/collector", "Splunk wrong", 403, "token_wrong"),
        ("/v1/logs", "Bearer elsewhere", 403, "token_not_from_here"),
        ("/v1/logs", "Bearer " + "x" * 5000, 401, "token_wrong"),
    ],
)
def test_wrong_tokens_are_refused_and_counted(tmp_path, queue, path, header, status, reason):
    """Missing, wrong, or from an address that is not the token's."""
    file = tokens_file(tmp_path / "t.toml", ("a", SECRET), ("b", "elsewhere", 'allow = ["192.0.2.0/24"]'))
    with running([spec(tokens=file)], queue, tmp_path / "c.json") as (collector, ports), client(ports) as http:
        answer = http.post(path, content=b'{"event":1}', headers={"authorization": header} if header else {})
        assert answer.status_code == status
        assert ("www-authenticate" in answer.headers) == (reason != "token_not_from_here")
        (row,) = collector.counters()
        assert row["refused_for"] == {reason: 1}
    assert queue.records == []


def test_a_token_can_be_taken_back(tmp_path, queue):
    """The file is read again when it changes; with a fault in it the old tokens hold."""
    path = tokens_file(tmp_path / "t.toml", ("a", "one"))
    with running([spec(tokens=path)], queue, tmp_path / "c.json") as (_, ports), client(ports) as http:

        def status(secret):
            return http.post("/v1/logs", content=b"x", headers={"authorization": f"Bearer {secret}"}).status_code

        assert [status("one"), status("two")] == [200, 401]
        tokens_file(path, ("b", "two"))
        assert until(lambda: status("two") == 200)
        assert status("one") == 401
        path.write_text("[[token]]\nname=3")
        time.sleep(1.2)
        assert status("two") == 200


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ("", 0o644, "other people"),
        ('[[token]]\nname="a"\nsha256="12"', 0o600, "sha256"),
        ('[[token]]\nname="a"\nsha256="' + "0" * 64 + '"\nallowed=[]', 0o600, "allowed"),
        ('[[token]]\nname="a"\nsha256="' + "0" * 64 + '"\nallow=["x"]', 0o600, "allow"),
        ("token = 1", 0o600, "[[token]]"),
        ("[[token", 0o600, "no TOML"),
    ],
)
def test_a_token_file_with_faults(tmp_path, queue, text, mode, said):
    """It does not start, and says why; other people's eyes are a fault too."""
    path = tmp_path / "t.toml"
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=re.escape(said)), running([spec(tokens=path)], queue, tmp_path / "c.json"):
        raise AssertionError("it started")


@pytest.mark.parametrize(
    ("peer", "is_here"), [("127.0.0.1", True), ("127.7.4.9", True), ("::1", True), ("192.0.2.1", False), ("x", False)]
)
def test_without_tokens_only_this_machine_may_send(peer, is_here):
    """Loopback addresses alone."""
    assert senders._is_here(peer) is is_here


def test_a_listener_without_tokens_says_so(tmp_path, queue, caplog):
    """In the log, once."""
    with running([spec()], queue, tmp_path / "c.json"):
        assert "only senders on this machine" in caplog.text


def test_health_needs_no_token(tmp_path, queue):
    """Load balancers ask."""
    path = tokens_file(tmp_path / "t.toml", ("a", SECRET))
    with running([spec(tokens=path)], queue, tmp_path / "c.json") as (_, ports), client(ports) as http:
        answer = http.get("/services/collector/health")
        assert (answer.status_code, answer.json()["code"]) == (200, 17)


# TLS ------------------------------------------------------------------------------------------------------------------


def test_tls_and_client_certificates_with_curl(tmp_path, queue):
    """A peer with a listed certificate needs no token; one without a certificate gets no session."""
    authority = Authority(tmp_path)
    certificate, key = authority.pair("collector", dns=("collector.test",))
    tls = Tls(certificate, key, authority.path, ("unit-7",))
    with running([spec(tls=tls)], queue, tmp_path / "c.json") as (collector, ports):
        url = f"https://collector.test:{ports['web']}/v1/logs"
        known = ["--resolve", f"collector.test:{ports['web']}:{HOST}", "--cacert", str(authority.path), "-d", "x", url]
        pair = authority.pair("unit-7")
        assert curl("--cert", str(pair[0]), "--key", str(pair[1]), *known) == b'{"accepted":1}'
        for bad in ([], ["--cert", *map(str, authority.pair("unit-8")[:1]), "--key", str(authority.pair("unit-8")[1])]):
            done = subprocess.run(["curl", "-sS", *bad, *known], check=False, capture_output=True, timeout=60)
            assert done.returncode != 0
        assert until(lambda: total(collector, "queued") == 1)
    assert queue.records == [b"x"]


def test_who_gets_no_tls_session_is_counted_with_the_reason(tmp_path, queue, monkeypatch):
    """Wrong authority, no certificate, a name that is not listed, no TLS at all, silence; others are served."""
    monkeypatch.setattr(connection, "HANDSHAKE_S", 4.0)  # others have to be done with theirs by then
    authority, foreign = Authority(tmp_path), Authority(tmp_path, "foreign")
    tls = Tls(*authority.pair("collector"), authority.path, ("unit-7",))
    with running([spec(tls=tls)], queue, tmp_path / "c.json") as (collector, ports):

        def ask(pair):
            context = certificates.client(authority, pair)
            raw_socket = socket.create_connection((HOST, ports["web"]), 30)
            with context.wrap_socket(raw_socket) as sock:
                sock.sendall(b"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
                return sock.recv(100)

        silent = [socket.create_connection((HOST, ports["web"]), 30) for _ in range(30)]
        for pair in (None, foreign.pair("unit-7"), authority.pair("unit-8")):
            with contextlib.suppress(OSError):
                assert ask(pair) == b""
        with socket.create_connection((HOST, ports["web"]), 30) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert not plain.recv(100).startswith(b"HTTP")
        assert ask(authority.pair("unit-7")).startswith(b"HTTP/1.1 200")
        wanted = {"tls_no_certificate": 1, "tls_wrong_authority": 1, "tls_name_not_listed": 1, "tls_not_spoken": 1}
        assert until(lambda: collector.counters()[0]["refused_for"] == {**wanted, "too_slow": 30})
        for sock in silent:
            sock.close()
    assert queue.records == [b"x"]


# bodies ---------------------------------------------------------------------------------------------------------------

ENCODERS = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstandard.compress}


@pytest.mark.parametrize("name", ENCODERS)
def test_compressed_bodies(web, queue, name):
    """gzip, deflate and zstd; also two members or frames in a row, as append-only writers make them."""
    encode = ENCODERS[name]
    twice = encode(b"a\n") + encode(b"b\n") if name != "deflate" else encode(b"a\nb\n")
    assert web.post("/v1/logs", content=twice, headers={"content-encoding": name}).status_code == 200
    assert queue.records == [b"a", b"b"]


def test_bare_deflate_and_two_encodings(web, queue):
    """What some call deflate has no zlib header; encodings may be stacked."""
    bare = zlib.compressobj(wbits=-15)
    data = bare.compress(b"bare") + bare.flush()
    assert web.post("/v1/logs", content=data, headers={"content-encoding": "deflate"}).status_code == 200
    both = gzip.compress(zstandard.compress(b"both"))
    assert web.post("/v1/logs", content=both, headers={"content-encoding": "zstd, gzip"}).status_code == 200
    assert queue.records == [b"bare", b"both"]


@pytest.mark.parametrize("encode", [gzip.compress, zlib.compress])
def test_two_encodings_named_and_one_applied(web, queue, encode):
    """As graypy and pygelf do; a body that has neither is refused."""
    headers = {"content-encoding": "gzip,deflate"}
    assert web.post("/v1/logs", content=encode(b"one"), headers=headers).status_code == 200
    assert web.post("/v1/logs", content=b"neither", headers=headers).status_code == 400


def test_one_that_asks_and_goes_takes_no_room(web, queue, monkeypatch):
    """graypy opens a connection a record and closes it at once: what only waits for its answer is not counted."""
    monkeypatch.setattr(connection, "MAX_OF_PEER", 3)
    for i in range(40):
        with raw(web) as sock:
            sock.sendall(b"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n%02d" % i)
        assert until(lambda i=i: total(web.collector, "received") == i + 1), "it was let in, and read"
    assert until(lambda: len(queue.records) == 40)


@pytest.mark.parametrize("name", ENCODERS)
def test_bombs_and_damaged_bodies(web, queue, name):
    """413 for what expands too far, 400 for what is cut or no such thing, 415 for what nobody knows."""
    encode, headers = ENCODERS[name], {"content-encoding": name}
    bomb, whole = encode(b"\0" * (25 << 20)), encode(b"x" * 1000)
    assert web.post("/v1/logs", content=bomb, headers=headers).status_code == 413
    assert web.post("/v1/logs", content=whole[:-1], headers=headers).status_code == 400
    assert web.post("/v1/logs", content=b"plain text", headers=headers).status_code == 400
    assert web.post("/v1/logs", content=whole, headers={"content-encoding": "br"}).status_code == 415
    assert queue.records == []
    assert total(web.collector, "malformed") == 3


def test_curl_sends_a_large_body(web, queue):
    """It asks first (`Expect: 100-continue`), and gets its answer: taken, or too large before a byte of it came."""
    url = str(web.base_url)
    body = b"\n".join(b"line %d %s" % (i, b"x" * 500) for i in range(4000))
    assert curl(f"{url}/v1/logs", "--data-binary", "@-", data=body) == b'{"accepted":4000}'
    assert len(queue.records) == 4000
    answer = curl(
        f"{url}/v1/logs", "-o", "/dev/null", "-w", "%{http_code}", "--data-binary", "@-", data=b"x" * (25 << 20)
    )
    assert answer == b"413"


def test_a_chunked_body_that_never_ends(web):
    """It is cut at the cap, with an answer."""

    def endless():
        while True:
            yield b"x" * (1 << 20)

    try:
        status = web.post("/v1/logs", content=endless()).status_code
    except httpx.TransportError:  # the answer came while it was still writing
        status = 413
    assert status == 413
    assert web.get("/").status_code == 200


# connections ----------------------------------------------------------------------------------------------------------


def raw(web):
    return socket.create_connection((HOST, web.base_url.port), 30)


def test_pipelined_requests_are_answered_in_order(web, queue):
    """Three in one write."""
    request = b"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n%d"
    with raw(web) as sock:
        sock.sendall(
            b"".join(request % i for i in range(3)) + b"GET /nope/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert answer.count(b"HTTP/1.1 200") == 3
    assert answer.count(b"HTTP/1.1 404") == 1
    assert queue.records == [b"0", b"1", b"2"]


def test_a_sender_that_closes_its_half_gets_its_answer(web):
    """As netcat does."""
    with raw(web) as sock:
        sock.sendall(b"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("sent", [b"X-", b"Content-Length: 99\r\n\r\nx"])
def test_a_request_that_trickles_is_ended(web, monkeypatch, sent):
    """Heads and bodies have their time, also when a byte comes now and then."""
    monkeypatch.setattr(connection, "HEAD_S", 0.5)
    monkeypatch.setattr(connection, "BODY_S", 0.5)
    with raw(web) as sock:
        sock.sendall(b"POST /v1/logs HTTP/1.1\r\nHost: x\r\n" + sent)
        assert until(lambda: _is_closed(sock, b"x"))
    assert until(lambda: web.collector.counters()[0]["refused_for"] == {"too_slow": 1})


def _is_closed(sock, data):
    """Whether the peer is gone, which one more write tells."""
    time.sleep(0.05)
    try:
        sock.sendall(data)
    except OSError:
        return True
    return False


def test_one_peer_cannot_take_all_connections(web, monkeypatch, queue):
    """Beyond its share it is turned away, and served again when it closes some."""
    monkeypatch.setattr(connection, "MAX_OF_PEER", 2)
    with raw(web) as one, raw(web) as two:
        for sock in (one, two):
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert sock.recv(100).startswith(b"HTTP/1.1 200")
        with raw(web) as three:
            assert until(lambda: _is_closed(three, b"GET / HTTP/1.1\r\n"))
    assert until(lambda: web.get("/").status_code == 200)
    assert web.collector.counters()[0]["refused_for"]["too_many"] >= 1


def test_a_thousand_connections_are_served(tmp_path, queue):
    """Each sends one record, all open at once."""
    request = b"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"
    with running([spec()], queue, tmp_path / "c.json") as (collector, ports):
        socks = [socket.create_connection((HOST, ports["web"]), 30) for _ in range(1000)]
        for sock in socks:
            sock.sendall(request)
        assert all(sock.recv(1000).startswith(b"HTTP/1.1 200") for sock in socks)
        for sock in socks:
            sock.close()
        assert total(collector, "queued") == 1000


def test_noise_does_not_hurt(web, queue):
    """Bytes that are no HTTP, TLS hellos and half requests are answered 400 or closed; the next one is served."""
    dice = random.Random(7)
    hello = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), out := ssl.MemoryBIO(), server_hostname="x")
    with pytest.raises(ssl.SSLWantReadError):
        hello.do_handshake()
    noise = [out.read(), b"\r\n\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"A" * 100_000]
    noise += [dice.randbytes(dice.randrange(1, 400)) for _ in range(40)]
    noise += [
        b"POST /_bulk HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (n, dice.randbytes(n))
        for n in range(1, 60)
    ]
    for data in noise:
        with raw(web) as sock:
            try:
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                sock.recv(4096)
            except OSError:
                continue
    assert web.post("/v1/logs", content=b"still here").status_code == 200
    assert queue.records[-1] == b"still here"
