"""Windows events: columns that are made when they are asked for are the columns that all readers get."""

from __future__ import annotations

import gc
import json
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.model.batch import EventBatch
from soc.model.record import RawBlock
from soc.parsers import ParserSet, ParserState, envelope

SYSMON = "Microsoft-Windows-Sysmon/Operational"
NOW_NS = 1_795_143_600_000_000_000
TEXT = st.text(max_size=8) | st.sampled_from(["-", "", "C:\\a\\b.exe", "4625", "::1", "SHA1=a,MD5=b", "EX\\alice"])
VALUE: st.SearchStrategy[Any] = st.none() | st.booleans() | st.integers() | TEXT | st.lists(TEXT, max_size=2)
DATA = st.dictionaries(
    st.sampled_from(["Image", "ProcessId", "SourceIp", "SourcePort", "Hashes", "User", "a b", "Data"]) | TEXT, VALUE
)
SYSTEM = st.fixed_dictionaries(
    {
        "EventID": st.sampled_from([1, 3, 7, "4625", {"#text": 1}, True]),
        "Channel": st.sampled_from([SYSMON, "Security", "Other", 1, True, None]),
    },
    optional={
        "Provider": st.dictionaries(st.sampled_from(["Name", "#attributes"]), VALUE),
        "TimeCreated": st.fixed_dictionaries({"SystemTime": st.just("2026-11-20T02:59:58Z") | VALUE}),
        "Level": VALUE,
        "Execution": VALUE,
        "Version": VALUE,
    },
)
EVENT = st.fixed_dictionaries({"System": SYSTEM}, optional={"EventData": DATA | VALUE, "UserData": DATA})


def parse(parsers: ParserSet, events: list[Any], **block: Any) -> list[EventBatch]:
    """The batches of these events, in evtx_dump's shape."""
    lines = [json.dumps({"Event": event}).encode() for event in events]
    raw = RawBlock.of(lines, receipt_ns=NOW_NS, format="json", **block)
    return parsers.parse(raw, ParserState(), NOW_NS)[0]


@given(st.lists(EVENT, min_size=1, max_size=6), st.randoms())
def test_a_column_is_the_same_alone_and_with_all_others(parsers: ParserSet, events: list[Any], random: Any) -> None:
    """Whatever is asked for first, and whatever stands in the events."""
    at_once = parse(parsers, events)
    one_by_one = parse(parsers, events)
    assert sum(batch.n for batch in at_once) == len(events)
    for whole, single in zip(at_once, one_by_one, strict=True):
        names = list(whole.columns)
        for name in random.sample(names, len(names)):
            assert single.columns[name] == whole.columns[name], name
        assert list(single.columns) == names
        assert all(len(column) == whole.n for column in whole.columns.values())


def test_what_nobody_reads_is_not_made(parsers: ParserSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that reads a command line pays for no identity, no time and no original."""

    def never(*_: object) -> bytes:
        raise AssertionError("nobody asked for an id")

    monkeypatch.setattr(envelope, "event_id", never)
    [batch] = parse(parsers, [{"System": {"EventID": 1, "Channel": "Security"}, "EventData": {"CommandLine": "x"}}])
    assert batch.columns["winlog.event_data.CommandLine"].to_list() == ["x"]
    assert batch.columns["winlog.event_id"].to_list() == ["1"]
    with pytest.raises(AssertionError, match="nobody asked"):
        batch.columns.get("event.id")


def test_what_events_say_is_told_from_what_is_made_of_it(parsers: ParserSet) -> None:
    """Keywords search the first: `egress` is a word of ours for `Initiated: true`."""
    data = {"Image": "C:\\a.exe", "Initiated": "true", "Some Name": "x"}
    system = {"EventID": 3, "Channel": SYSMON, "Computer": "PC01"}
    [batch] = parse(parsers, [{"System": system, "EventData": data, "UserData": {"E": {"Param": "y"}}}])
    assert batch.columns["network.direction"].to_list() == ["egress"]
    said = {name: batch.columns[name].to_list()[0] for name in batch.said() if name in batch.columns}
    assert {"C:\\a.exe", "true", "x", "y", "PC01", "3"} <= set(said.values())
    assert "event.original" not in said  # it has names in it, which are no values
    assert "egress" not in said.values()
    assert "process.executable" not in said
    [odd] = parse(parsers, [{"System": system, "EventData": {"è": "z"}}])
    assert odd.columns["soc.rest"].to_list() == [{"winlog.event_data.è": "z"}]  # no other column has this value
    assert "soc.rest" in odd.said()
    for events in (batch, odd):
        plain = events.with_columns({})  # what the live stream matches, whose columns are all made
        assert set(plain.said()) == {name for name in events.said() if name in events.columns}


def test_a_list_is_no_address(parsers: ParserSet) -> None:
    """Where a field of ECS has one value, a list is kept as text, and breaks nothing."""
    system = {"EventID": 3, "Channel": SYSMON}
    [batch] = parse(parsers, [{"System": system, "EventData": {"SourceIp": ["10.0.0.1", "x"], "SourcePort": ["1"]}}])
    assert batch.columns["soc.flags"].to_list() == [("type_mismatch",)]
    assert batch.columns["soc.rest"].to_list()[0]["source.ip"] == "10.0.0.1\nx"
    assert batch.columns["winlog.event_data.SourceIp"].to_list() == [("10.0.0.1", "x")]


@given(st.lists(DATA, min_size=2, max_size=5))
def test_picked_events_are_those_that_were_picked(parsers: ParserSet, data: list[Any]) -> None:
    """A finding asks its few events alone: what is made of them is what the whole batch has, to the bit."""
    events = [
        {
            "System": {"EventID": 3, "Channel": SYSMON, "TimeCreated": {"SystemTime": f"2026-11-20T02:59:0{i}Z"}},
            "EventData": {"Image": f"{i}.exe", "SourcePort": i} | each,
        }
        for i, each in enumerate(data)
    ]
    for batch, again in zip(parse(parsers, events), parse(parsers, events), strict=True):
        rows = [*reversed(range(batch.n)), 0]
        taken = again.take(np.array(rows))
        picked = batch.pick(rows)
        assert picked == taken
        assert batch.with_columns({}).pick(rows) == taken
        assert list(picked.said()) == list(batch.said())
        assert picked.left() == {n: batch.left()[i] for n, i in enumerate(rows) if i in batch.left()}


def test_events_go_when_their_batch_goes(parsers: ParserSet) -> None:
    """Nothing holds a batch in a circle: files are read with Python's search for circles hardly ever running."""
    [batch] = parse(parsers, [{"System": {"EventID": 1, "Channel": SYSMON}}])
    assert list(batch.rows())
    gone = weakref.ref(batch.columns)
    gc.disable()
    try:
        del batch
        assert gone() is None
    finally:
        gc.enable()
