"""Bodies and dialects without sockets: what any bytes may do, and what must come out as it went in."""

import gzip
import json
import tracemalloc
import zlib

import orjson
import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from soc.collectors.http import bodies, elastic, hec, plain, tokens
from soc.collectors.http.bodies import MAX_BODY, MAX_RECORDS, BadBody, expanded, objects
from soc.collectors.http.calls import Call, Reply, Taken

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.lists(st.dictionaries(st.text(max_size=6), JSON, max_size=4), min_size=1, max_size=6)
PIECES = st.sampled_from(
    [b"{", b"}", b"[", b"]", b'"', b"\\", b",", b":", b"1", b"a", b" ", b"\n", b'{"event":1}', b"\xff", b"\0",
     b'{"create":{"_index":"i"}}', b'{"create":{}}', b'{"delete":{"_id":1}}']
)  # fmt: skip
NOISE = st.binary(max_size=80) | st.lists(PIECES, max_size=16).map(b"".join)


def refused_or(call, *statuses):
    """What the call gives; None when it refuses the body with one of these."""
    try:
        return call()
    except BadBody as error:
        if error.status not in statuses:
            raise
        return None


@given(OBJECTS, st.sampled_from(["lines", "straight", "array", "pretty", "blanks"]))
def test_objects_come_out_as_they_were_written(values, layout):
    """In every layout, byte for byte."""
    indent = 1 if layout == "pretty" else None
    texts = [json.dumps(value, ensure_ascii=False, indent=indent).encode() for value in values]
    body = {
        "lines": b"\r\n".join(texts) + b"\n",
        "straight": b"".join(texts),
        "array": b"\xef\xbb\xbf [" + b",".join(texts) + b"]\n",
        "pretty": b"\n".join(texts),
        "blanks": b"\n\n ".join(texts) + b" \n ",
    }[layout]
    assert objects(body, 1 << 20) == texts


@given(NOISE)
@example(b'{"a":"')
@example(b'[[{"a":1}]]')
@example(b"}{")
def test_objects_out_of_noise(body):
    """Every record is an object, or the body is refused."""
    found = refused_or(lambda: objects(body, 1 << 20), 400)
    if found is None:
        return
    assert all(isinstance(orjson.loads(text), dict) for text in found)


def test_long_batches_on_one_line_stay_apart():
    """HEC senders write a batch without line ends; its length is no record's."""
    assert objects(b'{"event":"a"}' * 1000, 50) == [b'{"event":"a"}'] * 1000
    assert objects(b'{"a":1}\n{"b":1}{"c":1}\n', 50) == [b'{"a":1}', b'{"b":1}', b'{"c":1}']


def test_an_object_that_will_be_cut_is_not_looked_into():
    """It is one record all the same."""
    long = b'{"a":"' + b"x" * 100 + b'"}'
    assert objects(long + b"\n" + long, 50) == [long, long]
    assert objects(b"[" + long + b"," + long + b"]", 50) == [long, long]


@pytest.mark.parametrize("piece", [b"\n", b"aa\n"])
@pytest.mark.parametrize("path", ["/v1/logs", "/services/collector/event", "/services/collector/raw", "/_bulk"])
def test_line_ends_alone_take_no_memory(path, piece):
    """A few KiB of gzip become 24 million lines; they are counted before any is made."""
    dialect = {"/v1/logs": plain.Plain, "/_bulk": elastic.Elastic}.get(path, hec.Hec)()
    call = Call("POST", path, body=piece * (MAX_BODY // len(piece)))
    tracemalloc.start()
    try:
        refused_or(lambda: dialect.answer(call), 400, 413)
        assert tracemalloc.get_traced_memory()[1] < 2 * MAX_BODY
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("body", [b"{}" * (MAX_RECORDS + 1), b"x\n" * (MAX_RECORDS + 1), b"{}\n" * (MAX_RECORDS + 1)])
def test_too_many_records(body):
    """413, before they fill the memory."""
    with pytest.raises(BadBody, match="more than") as caught:
        bodies.lines(body) if body[:1] == b"x" else objects(body, 1000)
    assert caught.value.status == 413


@pytest.mark.parametrize("body", [b"[" * 1_000_000, b'{"a":' * 1_000_000, b'"' * 1_000_001, b'["' + b"\\" * 1_000_001])
def test_deep_nesting_is_no_more_than_an_error(body):
    """No recursion, and no time that grows faster than the body."""
    with pytest.raises(BadBody):
        objects(body, 1 << 24)


@given(st.binary(max_size=300), st.sampled_from(["gzip", "deflate", "zstd", "zstd, gzip"]), st.data())
def test_damaged_compression_is_refused_or_harmless(text, names, data):
    """Whole bodies come back; of damaged ones nothing but BadBody is heard."""
    body = text
    for name in names.split(", "):
        body = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstandard.compress}[name](body)
    assert expanded(body, names) == text
    at = data.draw(st.integers(0, len(body) - 1))
    for damaged in (body[:at], body[:at] + bytes([body[at] ^ 0x55]) + body[at + 1 :], body + b"\x01"):
        found = refused_or(lambda body=damaged: expanded(body, names), 400, 413)
        assert found is None or len(found) <= MAX_BODY


@given(NOISE, st.sampled_from(["/_bulk", "/i/_bulk", "/i/_doc", "/i/_create/1", "/_bulk?"]), st.booleans())
def test_elastic_out_of_noise(body, path, is_short):
    """As many items as documents and refusals, each record an action and a document; or one error."""
    query = {"filter_path": "errors,items.*.status"} if is_short else {}
    found = refused_or(lambda: elastic.Elastic().answer(Call("POST", path, query, body=body)), 400, 413)
    if found is None:
        return
    if isinstance(found, Reply):
        assert found.status in (200, 201, 400, 404)
        return
    for record in found.records:
        action, document = record.split(b"\n", 1)
        assert isinstance(orjson.loads(action), dict)
        assert isinstance(orjson.loads(document), dict)
    answer = orjson.loads(found.reply().body)
    assert len(answer.get("items", [answer])) == len(found.records) + found.refused


@given(NOISE, st.sampled_from(["", "/event", "/raw", "/ack", "/raw/1.0"]), st.text(max_size=8))
def test_hec_out_of_noise(body, path, channel):
    """Records or a reply that Splunk knows."""
    call = Call("POST", f"/services/collector{path}", {"channel": channel, "host": "h"}, body=body)
    found = refused_or(lambda: hec.Hec().answer(call), 400)
    if found is None:
        return
    if isinstance(found, Taken):
        assert found.reply().status == 200
        assert all(found.records)
    else:
        assert "code" in orjson.loads(found.body)


@given(NOISE, st.sampled_from(["/v1/logs", "/gelf"]), st.sampled_from(["auto", "json", "lines", "x"]))
def test_plain_out_of_noise(body, path, form):
    """Records, or a sentence that says why not."""
    found = refused_or(lambda: plain.Plain().answer(Call("POST", path, {"format": form}, body=body)), 400)
    if found is None:
        return
    assert isinstance(found, Reply) or all(found.records)


@pytest.mark.parametrize(
    ("body", "records"),
    [
        (b'{"records":[{"a":1},{"a":2}]}', [b'{"a":1}', b'{"a":2}']),
        (b'{"Records":[{"a":1}],"digest":"x"}', [b'{"a":1}', b'{"digest":"x"}']),
        (b'[{"records":[{"a":1}]},{"b":2}]', [b'{"a":1}', b'{"b":2}']),
        (b'{"records":[{"a":1}]}\n{"records":[{"a":2}]}\n', [b'{"a":1}', b'{"a":2}']),
        (b'{"records":[]}', [b'{"records":[]}']),
        (b'{"records":[1]}', [b'{"records":[1]}']),
        (b'{"a":1,"records":[{"b":1}]}', [b'{"a":1,"records":[{"b":1}]}']),
    ],
)
@pytest.mark.parametrize("form", ["auto", "json"])
def test_what_clouds_wrap_around_events_is_opened(body: bytes, records: list[bytes], form: str) -> None:
    """As in files (Azure, CloudTrail); nothing vanishes: what holds no events stays as it is."""
    taken = plain.Plain().answer(Call("POST", "/v1/logs", {"format": form}, body=body))
    assert isinstance(taken, Taken)
    assert (taken.records, taken.form) == (records, "document")
    assert orjson.loads(taken.reply().body) == {"accepted": len(records)}


def test_a_wrapper_longer_than_a_record_is_opened_before_anything_is_cut() -> None:
    """Azure posts a megabyte at once, of which no event is long; one with too many events stays whole."""
    many = b'{"records":[' + b",".join(b'{"n":%d}' % n for n in range(9_000)) + b"]}"
    taken = plain.Plain().answer(Call("POST", "/v1/logs", {}, body=many, max_bytes=65_536))
    assert isinstance(taken, Taken)
    assert len(taken.records) == 9_000
    too_many = b'{"records":[' + b",".join([b'{"n":1}'] * (MAX_RECORDS + 1)) + b"]}"
    taken = plain.Plain().answer(Call("POST", "/v1/logs", {}, body=too_many, max_bytes=65_536))
    assert isinstance(taken, Taken)
    assert taken.records == [too_many]


@given(st.text(max_size=60) | st.text(max_size=20).map(lambda t: f"Basic {t}"))
def test_no_header_opens_the_door(header):
    """Whatever stands in it."""
    known = tokens.Tokens([tokens.Token("a", b"\0" * 32)])
    assert known.find(header) is None


def test_forgotten_channels_make_clients_send_again():
    """The bound on channels never makes an acknowledgement true that was not given."""
    dialect = hec.Hec()
    for number in range(hec.MAX_CHANNELS + 1):
        dialect.answer(Call("POST", "/services/collector", {"channel": f"c{number}"}, body=b'{"event":1}')).reply()
    ask = Call("POST", "/services/collector/ack", {"channel": "c0"}, body=b'{"acks":[0]}')
    assert orjson.loads(dialect.answer(ask).body) == {"acks": {"0": False}}
