"""`ParserSet.parse`: every record becomes at least one event, whatever it holds."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.errors import UsageError
from soc.model.fields import ALWAYS
from soc.model.position import Position, event_id_at
from soc.model.record import OVERSIZE, RawBlock
from soc.parsers import ParserSet, ParserState
from tests.parsers.conftest import RECEIPT_NS, Rows
from tests.parsers.flow_bytes import v5_of

SSH = b"<38>Nov 20 09:59:58 web01 sshd[12]: Failed password for root from 203.0.113.9 port 22 ssh2"
FILE = {"log.file.path": "/var/log/a", "first_record": "101", "soc.import.id": "i1"}
PIECES = st.sampled_from([
    SSH, b"<13>", b"Nov 20 09:59:58 ", b"sudo: ", b"%ASA-6-302013: ", b'date=2026-11-20 logid="1" type="traffic" subtype=x ',  # noqa: E501
    b'{"Event":{"System":{"EventID":1,"Channel":"Security"}}}', b'{"a":', b"}", b"\xff", b"\0", b"\n",
    b'{"@timestamp":1}',
    b'1.1.1.1 - - [20/Nov/2026:09:59:58 +0700] "GET / HTTP/1.1" 200 1', b"\x00\x05\x00\x01",
])  # fmt: skip
RECORDS = st.lists(st.binary(max_size=60) | st.lists(PIECES, max_size=4).map(b"".join), min_size=1, max_size=6)


def test_an_event_has_what_every_event_has(rows: Rows) -> None:
    """Identity, place, times, original."""
    (event,) = rows([SSH], seq=9, site="hq", listener="udp", peer="10.0.0.1")
    assert set(ALWAYS) - {"soc.system.id", "organization.id", "soc.flags"} <= set(event)
    assert event["event.id"] == event_id_at(RECEIPT_NS, Position("test", "raw", 9))
    assert (event["soc.position"], event["soc.source"]) == ("test:raw:9:0:0", "hq/udp/10.0.0.1")
    assert event["event.original"] == SSH.decode()
    assert (event["event.dataset"], event["soc.time.basis"]) == ("linux.sshd", "inferred")


def test_a_file_gives_record_numbers_and_its_name(rows: Rows) -> None:
    """`soc.record` is the number in the file."""
    events = rows([SSH, b"what", SSH], origin=FILE)
    assert [e["soc.record"] for e in events] == [101, 102, 103]
    assert {e["log.file.path"] for e in events} == {"/var/log/a"}
    assert {e["soc.import.id"] for e in events} == {"i1"}


def test_a_live_clock_that_is_wrong_is_not_believed(rows: Rows) -> None:
    """More than a day off: receipt time counts, the claim is kept and flagged."""
    (event,) = rows([b"<13>1 2020-01-01T00:00:00Z h sshd 1 - - x"])
    assert event["@timestamp"] == event["event.created"]
    assert event["soc.time.device"] == 1_577_836_800_000_000
    assert "clock_skew" in event["soc.flags"]
    assert event["soc.time.basis"] == "received"


def test_an_old_file_keeps_its_times(rows: Rows) -> None:
    """An import of old logs is no wrong clock."""
    (event,) = rows([b"<13>1 2020-01-01T00:00:00Z h sshd 1 - - x"], origin=FILE)
    assert event["@timestamp"] == 1_577_836_800_000_000
    assert "clock_skew" not in event.get("soc.flags", ())


def test_unknown_text_keeps_its_header(rows: Rows) -> None:
    """Dataset `unparsed`, and host and program where the header had them."""
    (event,) = rows([b"<13>Nov 20 09:59:58 web01 mystery[7]: what is this"])
    assert (event["event.dataset"], event["event.kind"]) == ("unparsed", "pipeline_error")
    assert event["soc.flags"] == ("unparsed",)
    assert (event["host.name"], event["process.name"]) == ("web01", "mystery")


def test_bytes_that_are_no_text_are_kept(rows: Rows) -> None:
    """Escaped to read, whole beside it, flagged; the neighbours are not touched."""
    bad, good = rows([b"\xff\x00caf\xe9", SSH])
    assert bad["event.original"] == "\\xff\x00caf\\xe9"
    assert bad["soc.original_bytes"] == b"\xff\x00caf\xe9"
    assert "not_utf8" in bad["soc.flags"]
    assert "soc.original_bytes" not in good


def test_a_cut_record_says_so(rows: Rows) -> None:
    """The listener's mark becomes a flag."""
    (event,) = rows([SSH], flags=bytes([OVERSIZE]))
    assert event["soc.flags"] == ("oversize",)


def test_the_rest_of_pairs_has_its_names_in_order(rows: Rows) -> None:
    """The same record gives the same document in every process, to the byte."""
    line = b'date=2026-11-20 time=09:59:58 devid="FG1" logid="0000000013" type="traffic" subtype="forward" vd="root"'
    (event,) = rows([line + b"".join(b" z%d=1" % i for i in range(9, 0, -1))], format="syslog")
    names = list(event["soc.rest"])
    assert set(names) > {"z1", "z9"}
    assert names == sorted(names)


def test_json_that_is_no_windows_event(rows: Rows) -> None:
    """Known names are typed, the rest is kept; a document cannot claim to belong to another unit."""
    document = {"source": {"ip": "203.0.113.9", "port": "x"}, "user.name": "an", "odd": {"a": 1},
                "time": "2026-11-20T02:00:00Z",
                "soc.system.id": "stolen", "organization": {"id": "stolen"}, "event": {"id": "00"}}  # fmt: skip
    (event,) = rows([json.dumps(document).encode()], format="json")
    assert (event["event.dataset"], event["source.ip"], event["user.name"]) == ("generic.json", "203.0.113.9", "an")
    assert event["soc.rest"]["odd.a"] == 1
    assert event["soc.rest"]["source.port"] == "x"
    assert "type_mismatch" in event["soc.flags"]
    assert event["soc.rest"]["soc.system.id"] == "stolen"
    assert "soc.system.id" not in event
    assert "organization.id" not in event
    assert len(event["event.id"]) == 16


def test_json_in_a_syslog_message_is_read(rows: Rows) -> None:
    """NXLog sends events so."""
    inner = b'{"EventID":4624,"Channel":"Security","SourceName":"x","TargetUserName":"an"}'
    (event,) = rows([b"<13>Nov 20 09:59:58 pc01 nxlog[1]: " + inner])
    assert (event["event.dataset"], event["user.name"]) == ("windows.security", "an")


def test_other_channels_have_a_dataset_of_their_own(rows: Rows) -> None:
    """The channel's name, made plain; unnamed data are there singly and together."""
    event = {"Event": {"System": {"EventID": 4104, "Channel": "Microsoft-Windows-PowerShell/Operational"},
                       "EventData": {"Data": {"#text": ["a", "b"]}}}}  # fmt: skip
    (row,) = rows([json.dumps(event).encode()], format="windows-json")
    assert row["event.dataset"] == "windows.powershell_operational"
    assert (row["winlog.event_data.param2"], row["winlog.event_data.Data"]) == ("b", "a\nb")


def test_a_damaged_evtx_record_stays_visible(rows: Rows) -> None:
    """The reader's error is the event."""
    (event,) = rows([b"damaged EVTX record: bad"], format="windows-json")
    assert event["soc.flags"] == ("unparsed", "not_json")


def test_strange_names_cannot_widen_the_store(rows: Rows) -> None:
    """A name that is no name stays in `soc.rest`."""
    event = {"Event": {"System": {"EventID": 1}, "EventData": {"a b;c": "x", "Good": "y"}}}
    (row,) = rows([json.dumps(event).encode()], format="windows-json")
    assert row["winlog.event_data.Good"] == "y"
    assert row["soc.rest"] == {"winlog.event_data.a b;c": "x"}


def test_thirty_flows_are_thirty_events(rows: Rows) -> None:
    """Parts of one datagram have their own ids and positions."""
    events = rows([v5_of(30, 30), b"\0\x09rubbish"], format="netflow", peer="192.0.2.1")
    assert len(events) == 31
    assert [e["soc.part"] for e in events[:3]] == [0, 1, 2]
    assert events[29]["flow.exporter.ip"] == "192.0.2.1"
    assert (events[30]["event.dataset"], events[30]["soc.original_bytes"]) == ("unparsed", b"\0\x09rubbish")


def test_the_source_says_which_of_two_servers_wrote_the_same_line(rows: Rows) -> None:
    """nginx and Apache write `combined` letter by letter alike: a program or the product decides, else it is nginx."""
    line = b'203.0.113.9 - - [20/Nov/2026:10:00:00 +0700] "GET / HTTP/1.1" 200 5 "-" "curl/8"'
    said = [
        rows([line]), rows([line], as_product="apache.access"), rows([b"<134>Nov 20 10:00:00 web1 httpd: " + line]),
    ]  # fmt: skip
    assert [event["event.dataset"] for [event] in said] == ["nginx.access", "apache.access", "apache.access"]
    assert {(event["source.ip"], event["url.original"]) for [event] in said} == {("203.0.113.9", "/")}


def test_a_product_can_be_forced(rows: Rows) -> None:
    """`--as` skips the recognising; an unknown product is refused with the nearest."""
    (event,) = rows([b"Failed password for root from 203.0.113.9 port 22 ssh2"], as_product="linux.sshd")
    assert event["event.dataset"] == "linux.sshd"
    with pytest.raises(UsageError, match=r"did you mean 'linux\.sshd'"):
        rows([b"x"], as_product="linux.shd")


def test_an_empty_block_is_nothing(parsers: ParserSet) -> None:
    """No record, no event."""
    block = RawBlock.of([], receipt_ns=RECEIPT_NS)
    assert parsers.parse(block, ParserState(), RECEIPT_NS) == ([], ParserState())


def test_a_very_long_line_is_kept_unmatched(rows: Rows) -> None:
    """It cannot hold up the others."""
    (event,) = rows([SSH + b" " * 40_000 + b"x"])
    assert event["soc.flags"] == ("no_shape",)
    assert len(event["event.original"]) > 40_000


@given(RECORDS, st.sampled_from(["syslog", "lines", "json", "windows-json", "netflow", "snmp"]), st.booleans())
def test_nothing_vanishes_and_nothing_raises(
    parsers: ParserSet, records: list[bytes], form: str, is_file: bool
) -> None:
    """Any bytes in any format: each record has an event, every event its own id, every column turns to Arrow."""
    block = RawBlock.of(records, receipt_ns=RECEIPT_NS, format=form, origin=FILE if is_file else None)
    batches, _ = parsers.parse(block, ParserState(), RECEIPT_NS)
    ids = [i for batch in batches for i in batch.values("event.id")]
    seen = {int(p.split(":")[3]) for batch in batches for p in batch.values("soc.position")}
    assert seen == set(range(len(records)))
    assert len(set(ids)) == len(ids)
    for batch in batches:
        assert batch.to_table().num_rows == batch.n
        for name, column in batch.columns.items():
            field = parsers.fields.get(name)
            assert field is not None, name
            assert (field.type, field.many) == (column.type, column.many), name


def test_order_within_a_dataset_does_not_change_ids(parsers: ParserSet) -> None:
    """The same block twice gives the same ids."""
    block = RawBlock.of([SSH, b"x", SSH], receipt_ns=np.int64(RECEIPT_NS).item())
    first, second = (parsers.parse(block, ParserState(), now)[0] for now in (1, 2))
    assert [b.values("event.id") for b in first] == [b.values("event.id") for b in second]
