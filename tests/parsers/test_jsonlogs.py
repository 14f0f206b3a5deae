"""JSON of known products: recognised by what stands in it, mapped by paths, nothing lost, nothing claimed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.errors import ContentError
from soc.model.record import RawBlock
from soc.parsers import ParserSet, ParserState
from tests.parsers.conftest import RECEIPT_NS, Rows

ACME = """
id: acme.log
title: Acme log
layer: application
decode: json
recognise: {document: {kind: acme, what.id: '*'}}
fields: {acme.log.kind: keyword, acme.log.what.id: many long, acme.log.whole: keyword, acme.log.line: keyword}
sigma: {Whole: acme.log.whole}
common:
  fields:
    acme.log.whole: what
    acme.log.line: {from: [args, tail], join: ' '}
    user.name: 'pairs[user]'
    source.ip: {from: peer, take: ip}
shapes:
  - {name: bad, when: {ok: 'false'}, set: {event.outcome: failure}}
  - {name: named, when: {tail: '*'}, set: {event.outcome: unknown}}
tests:
  - {json: '{"kind":"acme","what":{"id":1},"ok":false}', origin: synthetic, expect: {event.outcome: failure}}
  - {json: '{"kind":"else"}', origin: synthetic, expect: null}
"""
DOCUMENT = {
    "kind": "acme", "what": [{"id": 1, "x": "y"}, {"id": "2"}], "args": ["a", True, 3], "tail": "t", "ok": False,
    "pairs": [{"name": "other", "value": "no"}, {"name": "user", "value": "an"}], "peer": "[2001:db8::1]:443",
    "left": {"deep": [1]},
}  # fmt: skip


@pytest.fixture
def acme(folder: Callable[[str], Path]) -> Callable[..., list[dict[str, Any]]]:
    """Parse documents with one definition."""
    parsers = ParserSet.load([folder(ACME)])

    def parse(*documents: Any, as_product: str | None = None) -> list[dict[str, Any]]:
        block = RawBlock.of([orjson.dumps(d) for d in documents], receipt_ns=RECEIPT_NS, format="json")
        batches, _ = parsers.parse(block, ParserState(), RECEIPT_NS, as_product=as_product)
        return [row for batch in batches for row in batch.rows()]

    return parse


def test_paths_become_columns(acme) -> None:
    """Through lists, pairs and joins; a declared field needs no mapping; an object is taken whole as text."""
    (event,) = acme(DOCUMENT)
    assert (event["event.dataset"], event["acme.log.kind"], event["acme.log.what.id"]) == ("acme.log", "acme", (1, 2))
    assert event["acme.log.whole"] == '[{"id":1,"x":"y"},{"id":"2"}]'
    assert event["acme.log.line"] == "a true 3 t"
    assert (event["user.name"], event["source.ip"], event["event.outcome"]) == ("an", "2001:db8::1", "failure")


def test_what_nothing_maps_stays_beside(acme) -> None:
    """Under `soc.rest`; what was read, piece by piece or whole, is not there twice."""
    (event,) = acme(DOCUMENT)
    assert event["soc.rest"] == {
        "ok": False, "left.deep": [1], "pairs": DOCUMENT["pairs"],
    }  # fmt: skip


def test_a_document_is_known_by_all_of_its_conditions(acme) -> None:
    """One that lacks a part, or says something else there, is somebody else's."""
    events = acme({"kind": "acme"}, {"kind": "other", "what": {"id": 1}}, {"kind": "acme", "what": {"id": 1}})
    assert sorted(e["event.dataset"] for e in events) == ["acme.log", "generic.json", "generic.json"]


def test_a_product_may_be_given(acme) -> None:
    """Then every document is its own, and what is no document is kept unparsed."""
    events = acme({"kind": "x"}, [1], as_product="acme.log")
    assert sorted(e["event.dataset"] for e in events) == ["acme.log", "unparsed"]


def test_a_value_that_does_not_fit_is_kept(acme) -> None:
    """As everywhere: in the rest, flagged."""
    (event,) = acme({"kind": "acme", "what": {"id": "many"}})
    assert event["soc.rest"]["acme.log.what.id"] == "['many']"
    assert set(event["soc.flags"]) == {"type_mismatch", "no_shape"}


def test_a_document_does_not_say_whose_event_it_is(acme) -> None:
    """Names of the engine in it are only names."""
    (event,) = acme({"kind": "acme", "what": {"id": 1}, "soc.source": "x", "event": {"id": "y"}})
    assert event["soc.source"] != "x"
    assert (event["soc.rest"]["soc.source"], event["soc.rest"]["event.id"]) == ("x", "y")


@pytest.mark.parametrize(("old", "new", "message"), [
    ("Whole: acme.log.whole", "Whole: acme.log.wohle", "unknown field 'acme.log.wohle' (did you mean 'acme.log.whole'"),
    ("document: {kind: acme, what.id: '*'}", "document: [kind]", "'document' should be a mapping of paths"),
])  # fmt: skip
def test_a_fault_is_named(folder: Callable[[str], Path], old: str, new: str, message: str) -> None:
    """A name for rules that leads nowhere, a recognition that is none."""
    with pytest.raises(ContentError) as caught:
        ParserSet.load([folder(ACME.replace(old, new))])
    assert any(message in str(fault) for fault in caught.value.faults)


NAMES = st.sampled_from([
    "eventVersion", "eventSource", "eventName", "awsRegion", "requestParameters", "category", "operationName",
    "properties", "protoPayload", "metadata", "event", "events", "parameters", "name", "value", "kind", "id", "verb",
    "Operation", "RecordType", "Workload", "CreationTime", "ExtendedProperties", "logtype", "dst_host", "node_id",
    "process", "executable", "path", "exec", "target", "soc.system.id", "a.b", "",
])  # fmt: skip
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | NAMES
TREES = st.recursive(PLAIN, lambda t: st.lists(t, max_size=4) | st.dictionaries(NAMES, t, max_size=6), max_leaves=30)


@given(st.lists(st.dictionaries(NAMES, TREES, max_size=12), min_size=1, max_size=5))
def test_any_document_becomes_one_event(parsers: ParserSet, documents: list[dict[str, Any]]) -> None:
    """Whatever hostile tree stands under the names that products are known by."""
    records = [orjson.dumps(d, default=str) if _fits(d) else b"{}" for d in documents]
    for product in (None, "aws.cloudtrail", "google_workspace.admin", "apple.es_file"):
        block = RawBlock.of(records, receipt_ns=RECEIPT_NS, format="json")
        batches, _ = parsers.parse(block, ParserState(), RECEIPT_NS, as_product=product)
        assert sum(batch.n for batch in batches) == len(records)
        for batch in batches:
            list(batch.rows())


def _fits(document: Any) -> bool:
    try:
        orjson.dumps(document)
    except TypeError:  # an integer of more than 64 bits
        return False
    return True


def test_a_syslog_header_before_the_document(rows: Rows) -> None:
    """Shippers put one there; host and time of the header fill in."""
    line = b'<14>Nov 20 10:00:00 lb01 canary: {"logtype":2000,"dst_host":"10.0.0.1","node_id":"n"}'
    (event,) = rows([line])
    assert (event["event.dataset"], event["host.name"], event["event.action"]) == (
        "opencanary.events", "lb01", "ftp_login",
    )  # fmt: skip
