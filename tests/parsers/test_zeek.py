"""Zeek's own format: rows under their header become what its JSON would say."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.model.record import RawBlock
from soc.parsers import ParserSet, ParserState
from soc.parsers.decoders import zeek
from tests.parsers.conftest import RECEIPT_NS, Rows

# https://superdb.org/docs/integrations/zeek/reading-zeek-log-formats
CONN = """ts uid id.orig_h id.orig_p id.resp_h id.resp_p proto service duration orig_bytes resp_bytes conn_state
local_orig local_resp missed_bytes history orig_pkts orig_ip_bytes resp_pkts resp_ip_bytes tunnel_parents"""
TYPES = """time string addr port addr port enum string interval count count string bool bool count string count
count count count set[string]"""
ROW = """1521911721.255387 C8Tful1TvM3Zf5x8fl 10.164.94.120 39681 10.47.3.155 3389 tcp - 0.004266 97 19 RSTR - T 0
ShADTdtr 10 730 6 342 -"""
HEADER = {
    "separator": "\t", "path": "conn", "columns": json.dumps(CONN.split()), "types": json.dumps(TYPES.split()),
    "set_separator": ",",
    "empty_field": "(empty)", "unset_field": "-",
}  # fmt: skip


def test_a_row_becomes_an_event(rows: Rows) -> None:
    """Names of Zeek and of ECS; what is unset is absent."""
    (event,) = rows(
        ["\t".join(ROW.split()).encode()], format="zeek", origin={**HEADER, "log.file.path": "x", "first_record": "9"}
    )
    assert (event["event.dataset"], event["zeek.conn.conn_state"]) == ("zeek.conn", "RSTR")
    assert (event["source.ip"], event["destination.port"], event["source.bytes"]) == ("10.164.94.120", 3389, 730)
    assert event["@timestamp"] == 1_521_911_721_255_387
    assert event["zeek.conn.local_resp"] == "true"
    assert "zeek.conn.service" not in event
    assert "soc.rest" not in event


def test_sets_empty_fields_and_escapes() -> None:
    """A set's members are parted by its own separator; a separator inside a value is written as \\x09."""
    header = {"path": "x", "types": '["set[string]","vector[int]","string","string"]', "set_separator": "|"}
    (row,) = zeek.rows(["a\\x09b|c\t(empty)\t(empty)\t\\xc4\\x91"], ["a", "b", "c", "d"], header)
    assert row == {"_path": "x", "a": ["a\tb", "c"], "b": [], "c": "", "d": "đ"}


@pytest.mark.parametrize("row", ["a", "a\tb\tc", ""])
def test_a_row_that_does_not_fit_is_kept_unparsed(rows: Rows, row: str) -> None:
    """Flagged, whole."""
    (event,) = rows([row.encode() or b"\t\t"], format="zeek", origin={"columns": '["a","b"]', "separator": "\t"})
    assert (event["event.dataset"], event["soc.flags"]) == ("unparsed", ("unparsed", "not_zeek"))


@given(
    st.lists(st.text(max_size=60), min_size=1, max_size=5),
    st.dictionaries(st.sampled_from(sorted(HEADER)), st.text(max_size=20)),
)
def test_any_row_under_any_header(parsers: ParserSet, texts: list[str], header: dict[str, str]) -> None:
    """A hostile header or row makes one event a record."""
    records = [text.encode("utf-8", "replace") for text in texts]
    block = RawBlock.of(records, receipt_ns=RECEIPT_NS, format="zeek", origin={**HEADER, **header})
    batches, _ = parsers.parse(block, ParserState(), RECEIPT_NS)
    assert sum(batch.n for batch in batches) == len(records)
