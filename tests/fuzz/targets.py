"""What bytes from strangers go through, for Hypothesis (test_targets.py) and for atheris (covering.py): a target raises
for what must not happen."""

from __future__ import annotations

from collections.abc import Callable

from soc import content
from soc.collectors.framing import SyslogFramer
from soc.collectors.gelf import Assembly, GelfFramer
from soc.collectors.gelf import expanded as gelf_expanded
from soc.collectors.http import elastic, hec
from soc.collectors.http import plain as plain_lines
from soc.collectors.http.bodies import MAX_BODY, BadBody, expanded
from soc.collectors.http.calls import Call, Reply, Taken
from soc.model.record import RawBlock
from soc.parsers import ParserSet, ParserState
from tests.parsers.conftest import without_kernel
from tests.parsers.flow_bytes import PLAIN, a_set, plain, v9, v9_template

NOW_NS = 1_795_143_600_000_000_000
PARSERS = ParserSet.load(content.roots("parsers"))
DIALECTS = (elastic.Elastic(), hec.Hec(), plain_lines.Plain())
PATHS = (
    "/_bulk", "/a/_bulk", "/a/_doc/1", "/_ilm/policy/x", "/services/collector", "/services/collector/raw",
    "/services/collector/ack", "/v1/logs", "/gelf", "/",
)  # fmt: skip
ENCODINGS = ("", "gzip", "deflate", "zstd", "gzip,deflate")
FORMS = ("elastic", "document", "hec", "gelf", "syslog", "lines")
SEEDS = (
    b'{"create":{"_index":"logs-a.b-c"}}\n{"message":"x","@timestamp":"2026-11-20T03:00:00Z"}\n',
    b'{"create":{}}\n{"winlog":{"event_id":1,"provider_name":"Microsoft-Windows-Sysmon"},"process":{"pid":1}}\n',
    b'{"time":1,"host":"h","sourcetype":"a","event":{"message":"x"}}{"event":"CEF:0|a|b|c|d|e|5|src=1.2.3.4"}',
    b'{"version":"1.1","host":"h","short_message":"m","_a":1}', b"\x1e\x0f12345678\x00\x02{",
    b'{"Event":{"System":{"Provider":{"#attributes":{"Name":"a"}},"EventID":1,"Channel":"Security","Level":null},'
    b'"EventData":{"Image":"C:\\\\a\\u00e9.exe","n":-5,"b":true},"UserData":{"E":{"P":"x"}}}}\n'
    b'{"Event":{"System":{"EventID":{"#text":1},"Channel":"a"},"EventData":{"Data":["a","b"]}}}',
    b"<34>1 2026-11-20T03:00:00Z h app 1 - - LEEF:2.0|a|b|c|d|^|src=1.2.3.4^sev=5",
)  # fmt: skip


def http(data: bytes) -> None:
    """A body through its encoding and dialect: an answer, records, or BadBody; and every record has its event."""
    if len(data) < 2:
        return
    path, encoding, body = PATHS[data[0] % len(PATHS)], ENCODINGS[data[1] % len(ENCODINGS)], data[2:]
    dialect = DIALECTS[0] if data[0] % len(PATHS) < 4 else DIALECTS[1] if data[0] % len(PATHS) < 7 else DIALECTS[2]
    found = None
    try:
        body = expanded(body, encoding)
        assert len(body) <= MAX_BODY
        found = dialect.answer(Call("POST", path, {}, {}, body, "who", 2000))
    except BadBody as error:
        refused = dialect.fault(error.status, str(error), error.number)
    else:
        refused = None
    if refused is not None:
        assert 400 <= refused.status < 600
        return
    if isinstance(found, Taken):
        assert 200 <= found.reply().status < 300
        parse(found.records, found.form)
    else:
        assert isinstance(found, Reply)


def records(data: bytes) -> None:
    """A record of any form has an event, whatever is in it."""
    if data:
        parse(data[1:].split(b"\0"), FORMS[data[0] % len(FORMS)])


def flows(data: bytes) -> None:
    """Datagrams of flow exports, each behind its length: compiled kernel and pure code tell the same of them."""
    datagrams, at = [v9(v9_template(256, PLAIN), a_set(256, plain()), seq=0)], 0
    while at < len(data):
        size = data[at]
        datagrams.append(v9(a_set(256, plain() * (size % 4)), seq=len(datagrams)) + data[at + 1 : at + 1 + size // 4])
        at += 1 + size
        datagrams.append(data[at - size : at])
    block = RawBlock.of(datagrams, receipt_ns=NOW_NS, format="netflow")

    def told() -> tuple[list[dict[str, object]], bytes]:
        batches, state = PARSERS.parse(block, ParserState(), NOW_NS)
        return [row for batch in batches for row in batch.rows()], state.snapshot()

    compiled = told()
    with without_kernel():
        assert told() == compiled


def windows(data: bytes) -> None:
    """Windows events, a line each: compiled kernel and pure code tell the same of them."""
    block = RawBlock.of(data.split(b"\n"), receipt_ns=NOW_NS, format="json")

    def told() -> list[tuple[str, str]]:
        batches, _ = PARSERS.parse(block, ParserState(), NOW_NS)
        return [(batch.dataset, str(list(batch.json_rows()))) for batch in batches]

    compiled = told()
    with without_kernel():
        assert told() == compiled


def streams(data: bytes) -> None:
    """GELF's chunks and frames, and syslog's: nothing raises, nothing is kept beyond the bounds."""
    assembly = Assembly()
    for n, chunk in enumerate(data.split(b"\n")):
        whole, _ = assembly.add("p", b"\x1e\x0f" + chunk, float(n))
        if whole is not None:
            assert len(gelf_expanded(whole, 1000)[0]) <= 1000
    assembly.expired(float("inf"))
    assert not len(assembly)
    assert not assembly.size
    for framer in (GelfFramer(64), SyslogFramer(64)):
        found = [*framer.feed(data[: len(data) // 2])[0], *framer.feed(data[len(data) // 2 :])[0], *framer.close()[0]]
        assert all(len(record) <= 64 for record in found)


def parse(records: list[bytes], form: str) -> None:
    """At least one event a record."""
    block = RawBlock.of(records, receipt_ns=NOW_NS, format=form)
    batches, _ = PARSERS.parse(block, ParserState(), NOW_NS)
    places = {int(p.split(":")[3]) for batch in batches for p in batch.columns["soc.position"].to_list()}
    assert places == set(range(len(records)))
    for batch in batches:
        batch.to_table()


TARGETS: dict[str, Callable[[bytes], None]] = {
    "http": http, "records": records, "streams": streams, "flows": flows, "windows": windows,
}  # fmt: skip
