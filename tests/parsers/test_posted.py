"""Documents of shippers: bulk, HEC and GELF records to events."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.model.record import RawBlock
from soc.parsers import ParserSet, ParserState
from soc.parsers.ecs import DATASET, MAX_COLUMNS, MAX_DATASETS, claimed
from tests.parsers.conftest import RECEIPT_NS, Rows

ACTION = b'{"create":{"_index":"filebeat-8.19.0"}}\n'
WINLOG = {
    "channel": "Security", "event_id": 4625, "provider_name": "Microsoft-Windows-Security-Auditing",
    "computer_name": "dc1", "event_data": {"TargetUserName": "an", "IpAddress": "203.0.113.9", "LogonType": "3"},
}  # fmt: skip


def bulk(document: dict[str, Any], action: bytes = ACTION) -> bytes:
    """A record as the bulk endpoint makes it."""
    return action + json.dumps(document, ensure_ascii=False).encode()


def test_a_document_is_taken_by_its_names(rows: Rows) -> None:
    """Known names are typed, others kept; the time is the document's; nothing of ours can be claimed."""
    document = {
        "@timestamp": "2026-11-20T02:59:00.5Z", "message": "hello", "source": {"ip": "203.0.113.9", "port": "no"},
        "log": {"file": {"path": "/var/log/a.log"}}, "event": {"dataset": "my.app", "action": "x", "id": "stolen"},
        "soc": {"system": {"id": "stolen"}}, "organization.id": "stolen", "odd": {"a": 1},
    }  # fmt: skip
    (event,) = rows([bulk(document)], format="elastic")
    assert event["@timestamp"] == RECEIPT_NS // 1000 - 59_500_000
    assert (event["event.dataset"], event["soc.time.basis"], event["message"]) == ("my.app", "device", "hello")
    assert (event["source.ip"], event["log.file.path"]) == ("203.0.113.9", "/var/log/a.log")
    assert event["soc.rest"] == {
        "source.port": "no", "event.id": "stolen", "soc.system.id": "stolen", "organization.id": "stolen", "odd.a": 1,
    }  # fmt: skip
    assert event["soc.flags"] == ("type_mismatch",)
    assert event["event.original"] == bulk(document).decode()
    assert "soc.system.id" not in event


def test_a_stamp_too_far_off_is_not_believed(rows: Rows) -> None:
    """It is kept beside, as for every live source."""
    (event,) = rows([bulk({"@timestamp": "2020-01-01T00:00:00Z", "event.action": "x"})], format="elastic")
    assert event["@timestamp"] == RECEIPT_NS // 1000
    assert (event["soc.time.basis"], event["soc.time.device"]) == ("received", 1_577_836_800_000_000)


def test_a_line_inside_is_read_by_its_product(rows: Rows) -> None:
    """Filebeat carries sshd's line: its fields are sshd's, and the document fills in the rest."""
    line = "<86>Nov 20 09:59:58 web01 sshd[12]: Failed password for invalid user admin from 203.0.113.9 port 5022 ssh2"
    document = {"@timestamp": "2026-11-20T02:59:59Z", "message": line, "log": {"file": {"path": "/var/log/auth.log"}},
                "agent": {"type": "filebeat"}, "host": {"name": "agent1", "ip": ["10.0.0.1"]}, "x": 1,
                "source": {"port": "no"}}  # fmt: skip
    event, other = rows([bulk(document), bulk({"message": "nobody knows this"})], format="elastic")
    assert (event["event.dataset"], event["user.name"], event["source.port"]) == ("linux.sshd", "admin", 5022)
    assert (event["host.name"], event["host.ip"], event["agent.type"]) == ("web01", ("10.0.0.1",), "filebeat")
    assert (event["log.file.path"], event["event.original"]) == ("/var/log/auth.log", bulk(document).decode())
    assert event["@timestamp"] == RECEIPT_NS // 1000 - 2_000_000
    assert event["soc.rest"] == {"x": 1, "source.port": "no"}
    assert event["soc.flags"] == ("type_mismatch",)
    assert (other["event.dataset"], other["message"]) == (DATASET, "nobody knows this")


FAILED_LOGIN = "Failed password for invalid user admin from 203.0.113.9 port 5022 ssh2"


@pytest.mark.parametrize(
    "beside",
    [
        # syslog-ng's elasticsearch-http, as it came; rsyslog with its names; journald's; Filebeat's journald input.
        {"PROGRAM": "sshd", "PRIORITY": "info", "PID": "12", "MESSAGE": FAILED_LOGIN, "HOST": "web01",
         "FACILITY": "auth"},
        {"message": FAILED_LOGIN, "programname": "sshd", "procid": "12", "hostname": "web01"},
        {"MESSAGE": FAILED_LOGIN, "SYSLOG_IDENTIFIER": "sshd", "_HOSTNAME": "web01", "_PID": "12", "PRIORITY": "6"},
        {"message": FAILED_LOGIN, "log": {"syslog": {"appname": "sshd", "procid": "12"}}, "host": {"name": "web01"}},
        {"message": FAILED_LOGIN, "process": {"name": "sshd", "pid": 12}, "host": {"name": "web01"}},
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["elastic", "document"])
def test_a_line_whose_header_stands_beside_it(rows: Rows, beside: dict[str, Any], form: str) -> None:
    """Shippers take the header off the line: the program is in a name of the document, and sshd's line is sshd's."""
    (event,) = rows([bulk(beside) if form == "elastic" else json.dumps(beside).encode()], format=form)
    assert (event["event.dataset"], event["user.name"], event["source.ip"]) == ("linux.sshd", "admin", "203.0.113.9")
    assert (event["process.name"], event["process.pid"], event["host.name"]) == ("sshd", 12, "web01")


def test_a_program_beside_a_line_with_a_header_says_nothing(rows: Rows) -> None:
    """The line's own header is nearer to who wrote it."""
    line = f"<86>Nov 20 09:59:58 web01 sshd[12]: {FAILED_LOGIN}"
    (event,) = rows([bulk({"message": line, "process": {"name": "filebeat"}})], format="elastic")
    assert (event["event.dataset"], event["process.name"]) == ("linux.sshd", "sshd")


def test_what_was_understood_already_is_not_read_again(rows: Rows) -> None:
    """A document with an action or a category keeps its own names."""
    line = "<86>Nov 20 09:59:58 web01 sshd[12]: Failed password for invalid user admin from 203.0.113.9 port 5022 ssh2"
    (event,) = rows([bulk({"message": line, "event": {"category": ["authentication"]}})], format="elastic")
    assert (event["event.dataset"], event["message"]) == (DATASET, line)


@pytest.mark.parametrize("form", ["elastic", "hec"])
def test_windows_events_go_the_windows_way(rows: Rows, form: str) -> None:
    """From Winlogbeat by bulk request, or inside an HEC event."""
    document = {"@timestamp": "2026-11-20T02:59:59Z", "winlog": WINLOG, "agent": {"type": "winlogbeat"}, "tags": ["dc"]}
    record = bulk(document) if form == "elastic" else json.dumps({"event": document, "sourcetype": "x"}).encode()
    (event,) = rows([record], format=form)
    assert (event["event.dataset"], event["user.name"]) == ("windows.security", "an")
    assert (event["source.ip"], event["winlog.event_id"]) == ("203.0.113.9", "4625")
    assert (event["agent.type"], event["tags"]) == ("winlogbeat", ("dc",))
    assert event["@timestamp"] == RECEIPT_NS // 1000 - 1_000_000


@pytest.mark.parametrize(
    ("names", "extra", "dataset"),
    [
        ({"event.dataset": "nginx.access"}, "", "nginx.access"),
        ({"data_stream.dataset": "My.App"}, "", "my.app"),
        ({}, "cisco_ios", "cisco_ios"),
        ({"event.dataset": "windows.security"}, "", DATASET),
        ({"event.dataset": "unparsed"}, "", DATASET),
        ({"event.dataset": "../../etc/passwd"}, "ok", "ok"),
        ({"event.dataset": "a" * 65}, "", DATASET),
        ({"event.dataset": ["a"]}, "", DATASET),
        ({"event.dataset": "netflow.v5"}, "snmp.trap", DATASET),
        ({}, "", DATASET),
    ],
)
def test_the_dataset_that_is_claimed(names: dict[str, Any], extra: str, dataset: str) -> None:
    """Bounded, plain, and none that our own decoders make."""
    assert claimed(names, extra) == dataset


def test_a_data_stream_names_the_dataset(rows: Rows) -> None:
    """`logs-<dataset>-<namespace>`; another index says nothing."""
    stream = b'{"create":{"_index":"logs-my_app.audit-province"}}\n'
    one, two = rows([bulk({"a": 1}, stream), bulk({"a": 1})], format="elastic")
    assert (one["event.dataset"], two["event.dataset"]) == ("my_app.audit", DATASET)


def test_a_stranger_cannot_widen_the_store(rows: Rows) -> None:
    """Names and datasets have their bounds; what is beyond them is kept in `soc.rest`."""
    wide = [bulk({f"labels.k{n}_{i}": "v" for i in range(300)}) for n in range(5)]
    events = rows(wide, format="elastic")
    names = {name for event in events for name in event if name.startswith("labels.")}
    assert len(names) <= MAX_COLUMNS
    assert sum(len(e.get("soc.rest", {})) + sum(n.startswith("labels.") for n in e) for e in events) == 1500
    events = rows([bulk({"event.dataset": f"d{n}"}) for n in range(200)], format="elastic")
    assert len({event["event.dataset"] for event in events}) == MAX_DATASETS + 1


def test_events_of_hec(rows: Rows) -> None:
    """Text is read by its product or kept, objects by their names; the time and host beside them count."""
    cef = {"time": 1795143500.25, "host": "h", "event": "CEF:0|V|P|1|9|n|5|src=192.0.2.1", "fields": {"tags": ["a"]}}
    text = {"event": "nobody knows", "sourcetype": "cisco:foo", "source": "udp:514"}
    number = {"event": [1, 2]}
    metric = {"fields": {"metric_name:cpu": 1}}
    inner = {"event": '{"user.name":"an","event":{"dataset":"x.y"}}'}
    events = rows([json.dumps(e).encode() for e in (cef, text, number, metric, inner)] + [b"[]"], format="hec")
    assert (events[0]["event.dataset"], events[0]["source.ip"]) == ("generic.cef", "192.0.2.1")
    assert events[0]["host.name"] == "h"
    assert (events[0]["@timestamp"], events[0]["tags"]) == (1_795_143_500_250_000, ("a",))
    assert (events[1]["event.dataset"], events[1]["message"]) == ("cisco.foo", "nobody knows")
    assert (events[1]["splunk.hec.sourcetype"], events[1]["splunk.hec.source"]) == ("cisco:foo", "udp:514")
    assert events[2]["message"] == "[1,2]"
    assert events[3]["soc.rest"] == {"metric_name:cpu": 1}
    assert (events[4]["event.dataset"], events[4]["user.name"]) == ("x.y", "an")
    assert events[5]["event.dataset"] == "unparsed"


def test_a_gelf_message_with_a_line_of_a_product(rows: Rows) -> None:
    """As Docker's log driver sends them."""
    line = '203.0.113.9 - - [20/Nov/2026:09:59:58 +0700] "GET /x HTTP/1.1" 200 12'
    message = {"version": "1.1", "host": "c1", "short_message": line, "_container_name": "web", "level": 6}
    event, chunk = rows([json.dumps(message).encode(), b"\x1e\x0fabcdefgh\0\2x"], format="gelf", flags=b"\0\4")
    assert (event["event.dataset"], event["url.path"], event["host.name"]) == ("nginx.access", "/x", "c1")
    assert (event["log.level"], event["soc.rest"]) == ("informational", {"container_name": "web"})
    assert chunk["event.dataset"] == "unparsed"


NAMES = st.sampled_from(
    ["event", "dataset", "message", "@timestamp", "time", "host", "source", "ip", "fields", "winlog", "event_id",
     "level", "short_message", "_a", "_soc.site", "sourcetype", "event.dataset", "labels.\0x", "soc.flags", "file",
     "line", ""]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


DOCUMENTS = st.lists(st.dictionaries(NAMES, VALUES, max_size=6), min_size=1, max_size=5)


@given(DOCUMENTS, st.sampled_from(["elastic", "document", "hec", "gelf", "json"]))
def test_any_document_is_an_event(parsers: ParserSet, documents: list[dict[str, Any]], form: str) -> None:
    """One each, with every field of an event, ready for the store."""
    records = [json.dumps(d).encode() for d in documents]
    if form == "elastic":
        records = [ACTION + record for record in records]
    block = RawBlock.of(records, receipt_ns=RECEIPT_NS, format=form)
    batches, _ = parsers.parse(block, ParserState(), RECEIPT_NS)
    assert sum(batch.n for batch in batches) == len(records)
    for batch in batches:
        batch.to_table()
        assert batch.columns["soc.site"].to_list() == ["default"] * batch.n


@given(
    st.lists(st.binary(max_size=60), min_size=1, max_size=4),
    st.sampled_from(["elastic", "document", "hec", "gelf"]),
)
def test_any_bytes_are_an_event(parsers: ParserSet, records: list[bytes], form: str) -> None:
    """Nothing is lost, whatever came."""
    block = RawBlock.of(records, receipt_ns=RECEIPT_NS, format=form)
    batches, _ = parsers.parse(block, ParserState(), RECEIPT_NS)
    assert sum(batch.n for batch in batches) == len(records)
