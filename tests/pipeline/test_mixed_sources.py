"""Many sources that send little each: parsed, matched and stored together they give what each gives alone."""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from soc.errors import UnfitEvents
from soc.model.batch import EventBatch
from soc.model.record import RawBlock
from soc.parsers import ParserState, audit
from soc.parsers.ecs import MAX_COLUMNS, MAX_DATASETS
from soc.parsers.envelope import Envelope
from soc.pipeline import Worker, joining, records
from soc.simulate import wire
from soc.store.queue import DiskLog
from tests.parsers.flow_bytes import PLAIN, a_set, ipfix, plain, template, v5_of, v9, v9_options, v9_template
from tests.parsers.test_audit import EXECVE, SYSCALL, TITLE, lines
from tests.pipeline.test_joining import ONE, OTHER, THIRD, breaking
from tests.pipeline.world import NOW_NS, World, failures

PARSING, MATCHING, STORING = "198.51.100.1", "198.51.100.2", "198.51.100.3"
"""Addresses of events that a bug in one of the rooms breaks on."""


def windows(event_id: int, channel: str, **data: Any) -> bytes:
    """A Windows event in evtx_dump's shape."""
    system = {"Provider": {"#attributes": {"Name": "p"}}, "EventID": event_id, "Channel": channel, "Computer": "pc",
              "TimeCreated": {"#attributes": {"SystemTime": "2026-11-24T02:00:00Z"}}}  # fmt: skip
    return json.dumps({"Event": {"System": system, "EventData": data}}).encode()


SYSLOG = [
    *failures(2),
    b"<13>Nov 24 10:00:00 h2 app: hello",
    b"no header \xff\xfe at all",
    b"",
    "tiếng Việt".encode("utf-16"),
    b'<189>date=2026-11-24 time=10:00:00 devname="fw" logid="0000000013" type="traffic" subtype="forward" '
    b'level="notice" srcip=10.0.0.1 srcport=5 dstip=192.0.2.1 dstport=443 proto=6 action="close" tz="+0700"',
]
POISONED = [failures(1, source=poison)[0] for poison in (PARSING, MATCHING, STORING)]
WINDOWS = [
    windows(4625, "Security", TargetUserName="root", IpAddress="10.0.0.9", LogonType="3"),
    windows(4624, "Security", TargetUserName=["a", "b"], IpPort="x"),
    windows(1, "Microsoft-Windows-Sysmon/Operational", Image="C:\\a.exe", CommandLine="whoami", **{"odd name!": 1}),
    windows(7045, "System", ServiceName="s"), b'{"Event": 1}', b"no json",
]  # fmt: skip
JSON = [b'{"event.dataset": "site.app", "user.name": "u", "x": 1}', b'{"user.name": ["a", "b"], "process.pid": "no"}',
        b'{"@timestamp": "2026-11-24T02:00:00Z", "message": "m"}', b"[1]"]  # fmt: skip
HEC = [b'{"event": "%s", "sourcetype": "x:y"}' % failures(1)[0], b'{"event": {"user.name": "u"}, "fields": {"a": "b"}}',
       b'{"event": %s}' % WINDOWS[0], b"{}"]  # fmt: skip
SNMP = [wire.snmp_trap("linkDown", 7, 700, 3), b"\x30\x03no"]
TEMPLATE, OTHER_TEMPLATE = v9_template(256, PLAIN), v9_template(256, PLAIN[:-1])
FLOWS = [
    v5_of(2, 2), v5_of(2, 2, seq=9), v5_of(1, 1, seq=11, engine=2), v9(TEMPLATE), v9(OTHER_TEMPLATE, seq=3),
    v9(a_set(256, plain()), seq=1), v9(a_set(256, plain(port=22) + plain()), seq=2), v9(a_set(256, plain()), domain=3),
    v9(v9_options(257, [(1, 4)], [(34, 4)]), a_set(257, struct.pack(">II", 0, 1000)), seq=2),
    v9(v9_options(258, [(2, 4)], [(82, 8)]), a_set(258, struct.pack(">I", 3) + b"Gi0/3".ljust(8, b"\0")), seq=3),
    ipfix(template(256, PLAIN), a_set(256, plain())), ipfix(a_set(256, plain()), seq=1), b"\0\x08 of no kind", b"\0",
]  # fmt: skip
POOLS = {
    "syslog": SYSLOG, "windows-json": WINDOWS, "json": JSON, "lines": SYSLOG[:-1], "hec": HEC, "snmp": SNMP,
    "netflow": FLOWS,
}  # fmt: skip
PEERS = st.sampled_from([ONE, OTHER, THIRD, "127.1.4.2"])
FRAMES = st.lists(
    st.sampled_from(list(POOLS)).flatmap(
        lambda form: st.tuples(st.just(form), PEERS, st.lists(st.sampled_from(POOLS[form]), min_size=1, max_size=4))
    ),
    max_size=12,
)
POISON = st.lists(st.tuples(st.just("syslog"), PEERS, st.sampled_from(POISONED).map(lambda one: [one])), max_size=2)
AUDITED = st.lists(st.tuples(PEERS, st.integers(1, 3)), max_size=6, unique=True)
"""Sources of audit records, and the number of an event, which another source may use as well."""


Frame = tuple[str, str, list[bytes]]
"""Format, peer, records."""


class Side:
    """A worker that may parse so many records as one, and what it gave."""

    def __init__(self, home: Path, most: int) -> None:
        self._world, self._most = World.make(home), most
        self._worker = Worker(self._world.settings, self._world.clock)
        self._events: list[dict[str, Any]] = []
        self._logs: dict[str, list[RawBlock]] = {"_matched": [], "_findings": [], "_dead": []}
        for name, kept in self._logs.items():
            self._listen(getattr(self._worker, name), kept)
        append, match = self._worker.store.append, self._worker._detector.match

        def stores(batches: Sequence[EventBatch], *rest: Any) -> int:
            if any(STORING in batch.values("source.ip") for batch in batches):
                raise UnfitEvents("a field that is in no dictionary")
            self._events += [row for batch in batches for row in batch.rows()]
            return append(batches, *rest)

        def matches(batch: EventBatch) -> Any:
            if MATCHING in batch.values("source.ip"):
                raise TypeError("a bug")
            return match(batch)

        self._worker.store.append, self._worker._detector.match = stores, matches  # type: ignore[method-assign]

    @staticmethod
    def _listen(log: DiskLog, kept: list[RawBlock]) -> None:
        append = log.append

        def appends(blocks: Sequence[RawBlock]) -> Any:
            kept.extend(blocks)
            return append(blocks)

        log.append = appends  # type: ignore[method-assign]

    def gave(self, sent: Sequence[Frame]) -> dict[str, Any]:
        """What became of these frames, and what is remembered after them."""
        for kept in (self._events, *self._logs.values()):
            kept.clear()
        counts = Counter(self._worker.counts)
        self._world.raw.append([
            RawBlock.of(texts, receipt_ns=NOW_NS, listener="any", peer=peer, format=form) for form, peer, texts in sent
        ])  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(joining, "MAX_RECORDS", self._most)
            patch.setattr(Envelope, "texts", breaking(PARSING))
            while self._worker.step():
                pass
        upto = {"collect": self._world.raw.last_seq}  # which the store has by now
        states = {n: audit.settled(self._worker.states.of(n), upto) for n in self._worker._partitions}
        return {
            "events": sorted(map(plain_row, self._events), key=lambda row: str(row["soc.position"])),
            "derived": [told(self._logs[name]) for name in ("_matched", "_findings")],
            "dead": sorted((one.origin["input"], one.origin["why"], one.data) for one in self._logs["_dead"]),
            "counts": Counter(self._worker.counts) - counts,
            "memory": {number: known for number, state in states.items() if (known := remembered(state))},
        }

    def close(self) -> None:
        self._worker.close()


def remembered(state: ParserState) -> dict[str, Any]:
    """What would be saved of a state."""
    return {kind: known for kind, known in json.loads(state.snapshot())["memory"].items() if known}


def plain_row(row: dict[str, Any]) -> dict[str, Any]:
    """The event, and a list of one value of Windows data as that value: it is one where another event of its batch has
    several."""
    data = {name: value for name, value in row.items() if name.startswith("winlog.event_data.")}
    return row | {name: v[0] for name, v in data.items() if isinstance(v, tuple) and len(v) == 1}


def told(blocks: Sequence[RawBlock]) -> tuple[list[tuple[str, str]], Counter[str]]:
    """The frames that documents name, with each document of theirs; and how often each source is said to have spoken,
    which is told once a batch."""
    spoke: Counter[str] = Counter()
    found = []
    for block in blocks:
        for document in records.documents(block):
            if document["kind"] == "sources":
                spoke[document["source"]] += document["n"]
            else:
                found.append((block.origin["input"], json.dumps(document, sort_keys=True)))
    return sorted(found), spoke


def same(joined: dict[str, Any], apart: dict[str, Any]) -> None:
    """Both gave the same; fails with the first event and its fields that differ."""
    for one, other in zip(joined["events"], apart["events"], strict=False):
        assert {k: (v, other.get(k)) for k, v in one.items() if v != other.get(k)} == {}, other
    assert joined == apart


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    """Two workers over the same frames: one parses what goes together as one, the other each frame alone."""
    both = Side(tmp_path_factory.mktemp("joined"), joining.MAX_RECORDS), Side(tmp_path_factory.mktemp("apart"), 0)
    yield both
    for side in both:
        side.close()


# What both sides remember grows from example to example, so that a failure cannot be made smaller.
@settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(FRAMES, POISON, AUDITED, st.randoms(use_true_random=False))
def test_what_sources_say_is_the_same_together_and_apart(
    sides: tuple[Side, Side], sent: list[Frame], poisoned: list[Frame], audited: list[tuple[str, int]], dice: Any
) -> None:
    """Every field of every event, matched documents, findings, what is kept aside and why, counts, and what the parsers
    remember; with events that break one of the rooms, and with audit events that begin in one frame and end in another.
    """
    beginnings: list[Frame] = [
        ("syslog", peer, [line.replace(b"/usr/bin/cat", peer.encode()) for line in lines(n, (SYSCALL,))])
        for peer, n in audited
    ]
    rest: list[Frame] = [("syslog", peer, lines(n, (EXECVE, TITLE))) for peer, n in audited]
    rest += [*sent, *poisoned]
    dice.shuffle(rest)
    joined, apart = (side.gave([*beginnings, *rest]) for side in sides)
    same(joined, apart)
    told_of = [row for row in joined["events"] if row.get("linux.auditd.type") == "EXECVE"]
    assert len(told_of) == len(audited)
    assert all(row["process.executable"] in row["soc.source"] for row in told_of)


def test_many_sources_are_parsed_as_one(sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty sources with a frame each cost one batch, which is what all of this is for."""
    made: list[int] = []
    columns = Envelope.columns

    def counted(self: Envelope, rows: Sequence[int], *rest: Any, **named: Any) -> Any:
        made.append(len(rows))
        return columns(self, rows, *rest, **named)

    monkeypatch.setattr(Envelope, "columns", counted)
    sent = [("syslog", f"127.2.0.{n}", failures(2)) for n in range(40)]
    joined = sides[0].gave(sent)
    assert made == [80]
    assert len({row["soc.source"] for row in joined["events"]}) == 40
    assert joined == sides[1].gave(sent)


@pytest.mark.parametrize("flood", [
    [("json", THIRD, [json.dumps({f"a{n}": 1 for n in range(MAX_COLUMNS + 1)}).encode()])],
    [("json", THIRD, [json.dumps({"event.dataset": f"site.d{n}"}).encode() for n in range(MAX_DATASETS + 1)])],
    [("windows-json", THIRD, [windows(4625, "Security", **{f"A{n}": "1" for n in range(MAX_COLUMNS + 1)})])],
])  # fmt: skip
def test_who_names_too_much_has_it_at_its_own_cost(sides: tuple[Side, Side], flood: list[Frame]) -> None:
    """The fields and datasets of its neighbours stay columns and datasets, as they are when each is parsed alone."""
    neighbours = [("windows-json", ONE, WINDOWS[:2]), ("json", ONE, JSON[:2])]
    joined, apart = (side.gave([*flood, *neighbours]) for side in sides)
    assert joined == apart
    of_neighbour = [row for row in joined["events"] if row["soc.source"].endswith(ONE)]
    assert {"root", "site.app"} <= {value for row in of_neighbour for value in map(str, row.values())}
