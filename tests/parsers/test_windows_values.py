"""Windows events that a kernel locates in their block are the events that the pure code decodes, whatever is sent."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.model import kernel
from soc.model.batch import EventBatch
from soc.model.multiline import MAX_BYTES, PATTERN, WAIT_S
from soc.model.record import RawBlock
from soc.parsers import ParserSet, ParserState
from soc.parsers.windows_values import Located
from tests.parsers import windows_kernel
from tests.parsers.windows_kernel import KERNELS, each_kernel

NOW_NS = 1_795_143_600_000_000_000
SYSMON = "Microsoft-Windows-Sysmon/Operational"

# JSON as text, so that it may be what no writer writes ---------------------------------------------------------------

NAMES = ["Image", "CommandLine", "User", "a b", "Hashes", "SourceIp"]
ODD_NAMES = ["param1", "Data", "#attributes", "#text", "xmlns", "é", "EventID", "a\\u0062", "x" * 130, ""]
ELEMENTS = ["Provider", "TimeCreated", "Execution", "Level", "Computer", "Security", "Correlation"]
ATTRIBUTES = ["Name", "Guid", "SystemTime", "ProcessID", "ThreadID", "UserID"]
USUAL = [
    '"-"', '"4625"', '""', r'"C:\\Windows\\é.exe"', "1", "0", "true", "false", "null", '"::1"', "-7", r'"\u00e9\n\t\/"',
    '"2026-11-20T02:59:58Z"',
]  # fmt: skip
ODD = [
    r'"\ud800"', r'"\ud83d\ude00"', r'"\u0000"', '"é😀"', '"tab\there"', r'"\x"', '"open', "-0", "01", "1e400", "1e5",
    "1.5", "5.0", "12345678901234567890", "123456789012345678901234567890", "1.2345678901234567890123456789", "NaN",
    "tru", "[" * 80 + "]" * 80, '{"#text":4625,"#attributes":{"Qualifiers":"16384"}}', '{"#attributes":{}}', "[]", "{}",
    '["a","b"]', '{"a":1,"a":2}', '{"#attributes":1}', '{"Name":"a"}',
]  # fmt: skip
OTHERS = [
    b'{"winlog":{"event_id":1,"channel":"Security","event_data":{"Image":"x"}}}', b"{}", b"[1]", b"", b"{" * 500,
    b'{"EventID":1,"Channel":"Security","Image":"x"}', b'{"Event.System.EventID":1,"Event.System.Channel":"Security"}',
    b"<34>1 2026-11-20T03:00:00Z h app 1 - - text", b'<14>Nov 20 03:00:00 pc app: {"Event":{"System":{"EventID":1}}}',
    b'\xef\xbb\xbf{"Event":{"System":{"EventID":1,"Channel":"Security"}}}', b'{"Event":{"System":{}},"Event":1}',
    b'{"Event":{"System":{"EventID":1,"Channel":"Security"},"EventData":{"A":"\xff"}}}', b"\0{\0", b'{"a":1}\r\n',
    '{"Event":{"System":{"EventID":1,"Channel":"Security"}}}'.encode("utf-16"),
]  # fmt: skip
UNNAMED = [
    '"x"', "5", '["a","b"]', '["a","",5,true,"\\u00e9\\n"]', '{"#text":["a","b"]}', '{"#attributes":{},"#text":"a"}',
    "[]", "null", '{"a":1}', '[["a"]]', '[null]', '{"#text":{"#text":"a"}}', '{"#text":"a","#text":"b"}',
]  # fmt: skip
EVENT_IDS = ["1", "3", '"1"', '{"#attributes":{"Qualifiers":0},"#text":1}', "4625"]
CHANNELS = [f'"{SYSMON}"', r'"Secur\u0069ty"', '"Security"', '"Other"']
Pairs = list[tuple[str, str]]


class Writer:
    """Writes records that are mostly usual: what is odd comes once in so many choices."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._odd_in = self._random.choice([5, 20, 100, 10_000])

    def records(self) -> list[bytes]:
        """A block's."""
        return [self._record() for _ in range(self._random.randint(1, 24))]

    def _is_odd(self) -> bool:
        return self._random.randrange(self._odd_in) == 0

    def _record(self) -> bytes:
        if self._is_odd():
            return self._random.choice(OTHERS)
        event = self._event()
        record = self._object([("Event", event)]).encode("utf-8", "surrogatepass")
        if self._is_odd():
            at = self._random.randrange(len(record))
            record = record[:at] + self._random.choice([b"", b"\0", b"\xff", b'"', b"}", record[at + 1 :]])
        return record

    def _event(self) -> str:
        data = self._data()
        if self._random.random() < 0.15:
            data.append(("Data", self._random.choice(UNNAMED)))
        event_data = self._value() if self._is_odd() else self._object(data)
        parts = [("System", self._system()), ("EventData", event_data)]
        if self._random.random() < 0.3:
            below = self._data() if self._is_odd() else [("EventXML", self._object(self._data()))]
            parts.append(("UserData", self._object(below)))
        if self._random.random() < 0.2:
            parts.append(("RenderingInfo", self._object([("Message", self._value())])))
        return self._object(parts)

    def _system(self) -> str:
        channel = "1" if self._is_odd() else self._random.choice(CHANNELS)
        event_id = self._value() if self._is_odd() else self._random.choice(EVENT_IDS)
        pairs = [("Channel", channel), ("EventID", event_id)]
        pairs += [(name, self._element()) for name in self._random.sample(ELEMENTS, self._random.randint(0, 5))]
        if self._is_odd():
            pairs.append(("Provider_attributes", self._element()))
        self._random.shuffle(pairs)
        return self._object(pairs)

    def _element(self) -> str:
        if self._random.random() < 0.3:
            return self._value()
        attributes = [(name, self._value()) for name in self._random.sample(ATTRIBUTES, 2)]
        return self._object([("#attributes", self._object(attributes))])

    def _data(self) -> Pairs:
        names = self._random.sample(NAMES, self._random.randint(0, 4))
        return [(self._random.choice(ODD_NAMES) if self._is_odd() else name, self._value()) for name in names]

    def _value(self) -> str:
        return self._random.choice(ODD if self._is_odd() else USUAL)

    def _object(self, pairs: Pairs) -> str:
        space = self._random.choice(["", "", " ", "\t\n"])
        if pairs and self._is_odd():
            pairs = [*pairs, (self._random.choice(pairs)[0], self._value())]
        return "{" + ",".join(f'{space}"{name}"{space}:{space}{value}' for name, value in pairs) + space + "}"


SEEDS = st.integers(0, 1 << 32)


@contextmanager
def using(what: Any) -> Iterator[None]:
    """With this kernel, or None."""
    before = kernel.kernel
    kernel.kernel = what
    try:
        yield
    finally:
        kernel.kernel = before


def parsed(parsers: ParserSet, records: list[bytes], used: Any, **block: Any) -> list[EventBatch]:
    """Batches with this kernel."""
    with using(used):
        raw = RawBlock.of(records, **{"receipt_ns": NOW_NS, "format": "json", **block})
        batches, _ = parsers.parse(raw, ParserState(), NOW_NS)
        for batch in batches:
            len(batch.columns)  # all are made here
        return batches


def shown(batches: list[EventBatch]) -> list[tuple[str, str, list[str]]]:
    """All that a person or a rule may see."""
    return [(b.dataset, json.dumps(list(b.json_rows()), default=str), sorted(b.said())) for b in batches]


def same(parsers: ParserSet, records: list[bytes], used: Any, **block: Any) -> None:
    assert shown(parsed(parsers, records, used, **block)) == shown(parsed(parsers, records, None, **block))


@each_kernel
@given(seed=SEEDS, form=st.sampled_from(["json", "lines", "syslog"]))
def test_any_block_gives_the_same_batches(parsers: ParserSet, used: Any, seed: int, form: str) -> None:
    """Well-formed or not, alone or among others."""
    same(parsers, Writer(seed).records(), used, format=form)


@each_kernel
def test_about_half_of_them_are_located(used: Any) -> None:
    """Else the test before would compare the pure code with itself."""
    records = [record for seed in range(200) for record in Writer(seed).records()]
    block = RawBlock.of(records, receipt_ns=NOW_NS)
    left = used.WindowsBlock(block.data, block.end.tobytes(), json.loads).left
    assert 0.2 < len(left) / len(records) < 0.7


@each_kernel
@given(seed=SEEDS)
def test_any_column_alone_is_the_column_of_all(parsers: ParserSet, used: Any, seed: int) -> None:
    """Whatever is asked for first."""
    records = Writer(seed).records()
    whole = parsed(parsers, records, None)
    with using(used):
        single, _ = parsers.parse(RawBlock.of(records, receipt_ns=NOW_NS, format="json"), ParserState(), NOW_NS)
        for one, all_of_them in zip(single, whole, strict=True):
            names = list(all_of_them.columns)
            for name in random.Random(seed).sample(names, len(names)):
                assert one.columns[name] == all_of_them.columns[name], name


def event(data: dict[str, Any], channel: str = SYSMON, event_id: Any = 1, **more: Any) -> bytes:
    """An event in evtx_dump's shape."""
    return json.dumps(
        {"Event": {"System": {"Channel": channel, "EventID": event_id}, "EventData": data, **more}}
    ).encode()


@each_kernel
@pytest.mark.parametrize("form", ["json", "lines", "windows-json", "syslog"])
def test_the_usual_is_located_and_nothing_is_decoded(
    parsers: ParserSet, used: Any, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of files, EVTX and a listener; else all of this would prove nothing."""
    records = [event({"Image": f"C:\\{i}.exe", "ProcessId": i}) for i in range(3)]
    records += [event({}, "Security", 1102, UserData={"LogFileCleared": {"SubjectUserName": "alice"}})]
    monkeypatch.setattr(Located, "decoded", functools.cached_property(lambda _: pytest.fail("decoded")))
    sysmon, security = parsed(parsers, records, used, format=form)
    assert sysmon.columns["winlog.event_data.Image"].to_list() == ["C:\\0.exe", "C:\\1.exe", "C:\\2.exe"]
    assert sysmon.columns["winlog.event_data.ProcessId"].to_list() == ["0", "1", "2"]
    assert security.columns["winlog.user_data.SubjectUserName"].to_list() == ["alice"]
    assert security.columns["event.original"].to_list() == [records[3].decode()]


@each_kernel
def test_one_odd_event_among_others_of_its_kind(parsers: ParserSet, used: Any) -> None:
    """They make one batch, in the order of their records."""
    records = [event({"Image": "a"}), event({"Data": ["x", "y"], "Image": "b"}), event({"Image": "c"})]
    [batch] = parsed(parsers, records, used)
    assert batch.columns["winlog.event_data.Image"].to_list() == ["a", "b", "c"]
    assert batch.columns["winlog.event_data.param2"].to_list() == [None, "y", None]
    same(parsers, records, used)


@each_kernel
@pytest.mark.parametrize(("event_data", "user_data"), [
    ('{"a":1,"a":2}', "{}"), ('{"Data":"x","Data":"y"}', "{}"), ('{"Data":["x"],"param1":"y"}', "{}"),
    ("{}", '{"E":{"a":1},"E":"gone"}'), ("{}", '{"E":{"a":1},"F":{"a":2}}'), ("{}", '{"E":{"a":1,"a":2}}'),
])  # fmt: skip
def test_of_a_name_that_comes_twice_the_last_counts(
    parsers: ParserSet, used: Any, event_data: str, user_data: str
) -> None:
    """As for every reader of JSON: else an event could be shown to one and hidden from the other."""
    system = '{"Channel":"Security","EventID":1102}'
    event = f'{{"Event":{{"System":{system},"EventData":{event_data},"UserData":{user_data}}}}}'
    same(parsers, [event.encode()], used)


@each_kernel
def test_batches_come_in_the_order_of_their_first_events(parsers: ParserSet, used: Any) -> None:
    """Also when the kernel took only the later ones."""
    records = [event({"Data": "odd"}, "Security"), event({"a": 1}), event({"a": 1}, "Security")]
    assert [batch.n for batch in parsed(parsers, records, used)] == [2, 1]
    same(parsers, records, used)


@each_kernel
def test_joined_lines_are_left(parsers: ParserSet, used: Any) -> None:
    """Where a listener joins, a record may be a part of an event."""
    origin = {PATTERN: "^\\s", WAIT_S: "5", MAX_BYTES: "10000"}
    same(parsers, [event({"a": 1}), b"  at b", event({"a": 2})], used, format="syslog", origin=origin)


def _fails(*_: Any) -> Any:
    raise RuntimeError("the kernel panicked")


def test_a_kernel_that_breaks_costs_nothing(parsers: ParserSet) -> None:
    """The pure code reads the block, and the failure is counted."""
    before = kernel.failures["WindowsBlock"]
    same(parsers, [event({"Image": "a"})], SimpleNamespace(WindowsBlock=_fails))
    assert kernel.failures["WindowsBlock"] == before + 1


def test_a_column_that_breaks_costs_nothing(parsers: ParserSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The events are decoded then."""
    monkeypatch.setattr(windows_kernel.WindowsEvents, "column", _fails)
    before = kernel.failures["WindowsEvents.column"]
    same(parsers, [event({"Image": "a"}), event({"Image": "b", "n": 1.5})], windows_kernel.PYTHON)
    assert kernel.failures["WindowsEvents.column"] > before


@pytest.mark.parametrize("record", [
    b'{"Event":{"System":{"Channel":"a","EventID":1},"EventData":{%s}}}' % b",".join(b'"%x":1' % i for i in range(999)),
    b'{"Event":{"System":{"Channel":"a","EventID":1,"X":%s1%s}}}' % (b"[" * 30, b"]" * 30),
    b'{"Event":{"System":{"Channel":"a","EventID":1}}}', b"{" * 200,
], ids=["names", "depth", "short", "brackets"])  # fmt: skip
@each_kernel
def test_a_hostile_block_is_bounded(used: Any, record: bytes) -> None:
    """Of 2 MiB; what the compiled one takes is memory of the process."""
    records = [record] * ((2 << 20) // len(record))
    block = RawBlock.of(records, receipt_ns=NOW_NS, format="json")
    before = _resident()
    found = used.WindowsBlock(block.data, block.end.tobytes(), json.loads)
    grown = _resident() - before
    assert len(found.left) + sum(len(found.events([i]).rows) for i in range(len(found.kinds()))) == len(records)
    if used is not KERNELS["python"]:
        assert grown < 10 * len(block.data)


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
