"""Real samples, damaged: what a device, a network or an attacker may make of them, on the whole way to a finding."""

from __future__ import annotations

import itertools
from contextlib import suppress
from functools import cache
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from soc import content
from soc.collectors.framing import SyslogFramer
from soc.detections import DetectionSet, Detector
from soc.model.clock import FixedClock
from soc.model.record import RawBlock
from soc.parsers import ParserSet, ParserState
from soc.registry import Registry
from soc.simulate import wire
from soc.simulate.province import build
from soc.store.queue.frame import Damage, encode, scan

NOW_NS = 1_795_143_600_000_000_000
FORMATS = ("syslog", "lines", "json", "windows-json", "netflow", "snmp", "elastic", "document", "hec", "gelf")


@cache
def parsers() -> ParserSet:
    """What ships."""
    return ParserSet.load(content.roots("parsers"))


@cache
def detector() -> Detector:
    """With the rules that ship."""
    return Detector(DetectionSet.load(content.roots("detections"), fields=parsers().fields))


@cache
def registry() -> Registry:
    """The simulated province's systems."""
    return Registry.load(*build(7, FixedClock(NOW_NS)).documents)


@cache
def samples() -> list[bytes]:
    """Every sample of every shipped definition, and the wire formats that have none as text."""
    cases = [case for definition in parsers().definitions.values() for case in definition.cases]
    texts = [bytes.fromhex(case.text) if case.kind == "hex" else case.text.encode() for case in cases]
    flow = ("203.0.113.9", "10.40.2.9", 50_000, 443, 6, 9, 4096, 900, 0x1B)
    return [
        *texts,
        wire.netflow_v5(NOW_NS, NOW_NS - 10**12, 0, [flow] * 3),
        wire.snmp_trap("linkDown", 1, 100, 7),
        wire.windows(NOW_NS, "dc01", "Security", provider="P", event_id=4625, data={"TargetUserName": "an"}),
    ]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A sample after some cuts, insertions, changed bytes, repeats, or the end of another sample."""
    data = draw(st.sampled_from(samples()))
    for how in draw(st.lists(st.sampled_from(("cut", "put", "flip", "repeat", "graft")), max_size=4)):
        at = draw(st.integers(0, len(data)))
        end = draw(st.integers(at, min(len(data), at + 40)))
        if how == "cut":
            data = data[:at] + data[end:]
        elif how == "put":
            data = data[:at] + draw(st.binary(max_size=12) | st.text(max_size=6).map(_utf8)) + data[at:]
        elif how == "flip" and at < len(data):
            data = data[:at] + bytes([data[at] ^ draw(st.integers(1, 255))]) + data[at + 1 :]
        elif how == "repeat":
            data = data[:at] + data[at:end] * draw(st.integers(2, 30)) + data[end:]
        elif how == "graft":
            data = data[:at] + draw(st.sampled_from(samples()))[at:]
    return data


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@given(st.lists(damaged(), min_size=1, max_size=5), st.sampled_from(FORMATS))
def test_a_damaged_record_passes_every_room(records: list[bytes], form: str) -> None:
    """Each record has an event, and neither registry nor detection nor the JSON of it raises."""
    _pass_every_room(records, form)


def _pass_every_room(records: list[bytes], form: str) -> None:
    block = RawBlock.of(records, receipt_ns=NOW_NS, format=form)
    batches, _ = parsers().parse(block, ParserState(), NOW_NS)
    seen: set[int] = set()
    for batch in batches:
        owned = registry().enrich(batch)
        seen |= {int(position.split(":")[3]) for position in owned.values("soc.position")}
        found = detector().match(owned)
        orjson.dumps([finding.to_document() for finding in found])
        orjson.dumps(detector().project(owned, found))
        rows = [orjson.dumps(row) for row in owned.json_rows()]
        assert owned.to_table().num_rows == len(rows) == batch.n
    assert seen == set(range(len(records)))


@given(st.deferred(lambda: st.sampled_from(parsers().products)), damaged())
def test_a_forced_product_keeps_what_it_cannot_read(product: str, record: bytes) -> None:
    """`soc parse --as PRODUCT` gives at least one event for whatever the file holds."""
    block = RawBlock.of([record], receipt_ns=NOW_NS, origin={"log.file.path": "x", "first_record": "1"})
    batches, _ = parsers().parse(block, ParserState(), NOW_NS, as_product=product)
    assert sum(batch.n for batch in batches) >= 1


@cache
def documents() -> list[Any]:
    """Every sample that is a JSON object."""
    return [parsed for sample in samples() if sample.lstrip()[:1] == b"{" and isinstance(parsed := _json(sample), dict)]


def _json(sample: bytes) -> Any:
    with suppress(orjson.JSONDecodeError):
        return orjson.loads(sample)
    return None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8) | st.sampled_from(("1795140000", "2026-11-30T00:00:00Z", "10.0.0.1", "4625")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3), max_leaves=4,
)  # fmt: skip


@st.composite
def other_values(draw: st.DrawFn) -> bytes:
    """A JSON sample in which some values, or what holds them, are another JSON value."""
    whole = orjson.loads(orjson.dumps(draw(st.sampled_from(documents()))))
    for _ in range(draw(st.integers(1, 3))):
        at: Any = whole
        while at and isinstance(at, dict | list):
            key = draw(st.sampled_from(list(at) if isinstance(at, dict) else range(len(at))))
            if not (isinstance(at[key], dict | list) and at[key]) or draw(st.sampled_from((False, False, True))):
                at[key] = draw(JSON)
                break
            at = at[key]
    return orjson.dumps(whole)


@given(
    st.lists(other_values(), min_size=1, max_size=3), st.sampled_from(("json", "document", "windows-json", "elastic"))
)
def test_a_value_of_another_kind_passes_every_room(records: list[bytes], form: str) -> None:
    """A number where a text was, a list where a time was: whoever sends it gets an event, and nobody else loses one."""
    _pass_every_room(records, form)


@given(st.lists(damaged(), max_size=4), st.lists(st.integers(0, 200)), st.sampled_from((64, 65_536)))
def test_how_a_stream_is_cut_changes_nothing(records: list[bytes], cuts: list[int], max_bytes: int) -> None:
    """Framing gives the same records whatever pieces the network delivers."""
    stream = b"".join(wire.octet_counted(r) if i % 2 else wire.lf_framed(r) for i, r in enumerate(records))
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    pieces = [stream[a:b] for a, b in itertools.pairwise(places)]
    assert _framed(pieces, max_bytes) == _framed([stream], max_bytes)


def _framed(pieces: list[bytes], max_bytes: int) -> list[bytes]:
    framer, found = SyslogFramer(max_bytes), []
    for records, _ in [*(framer.feed(piece) for piece in pieces), framer.close()]:
        found += records
    return found


@given(st.lists(damaged(), min_size=1, max_size=4), st.data())
def test_a_log_with_a_changed_byte_is_read_to_its_end(records: list[bytes], data: st.DataObject) -> None:
    """Whatever byte of a disk log changes, every byte is a frame's or is reported as damage."""
    stream = bytearray(b"".join(encode(RawBlock.of([r], receipt_ns=NOW_NS), i) for i, r in enumerate(records)))
    at = data.draw(st.integers(0, len(stream) - 1))
    stream[at] ^= data.draw(st.integers(1, 255))
    items = list(scan(bytes(stream), final=True))
    assert sum(item.size for item in items) == len(stream)
    assert any(isinstance(item, Damage) for item in items)
