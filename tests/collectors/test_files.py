"""The file reader: text, JSON and EVTX, plain or gzipped; nothing is dropped."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soc.collectors import files, unpack
from soc.collectors.files import detect_format, read_blocks
from soc.errors import SocError, UsageError
from soc.model.clock import FixedClock
from soc.model.record import RawBlock
from tests.collectors.evtx_writer import event, evtx

CLOCK = FixedClock(1_795_143_600_000_000_000)


def read(path: Path, **options: object) -> list[RawBlock]:
    """All blocks of a file."""
    return list(read_blocks(path, clock=CLOCK, **options))  # type: ignore[arg-type]


def numbered(blocks: list[RawBlock]) -> list[tuple[int, bytes]]:
    """Records with their numbers in the file."""
    return [(int(b.origin["first_record"]) + i, r) for b in blocks for i, r in enumerate(b.records())]


@pytest.fixture
def file(tmp_path: Path):
    """A file with these bytes."""

    def write(data: bytes, name: str = "a.log") -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


def test_lines_have_their_numbers(file) -> None:
    """The number is the line's; a blank line is no record but is counted."""
    blocks = read(file(b"a\r\n\n  \nb\nc"))
    assert numbered(blocks) == [(1, b"a"), (4, b"b"), (5, b"c")]
    assert {b.format for b in blocks} == {"lines"}


def test_blocks_state_their_origin(file) -> None:
    """Site, listener, the file's name and whatever the caller adds."""
    path = file(b"a\nb\nc\n")
    blocks = read(path, site="hq", max_records=2, origin={"soc.import.id": "i1"})
    assert [b.n for b in blocks] == [2, 1]
    assert blocks[1].origin == {"soc.import.id": "i1", "log.file.path": str(path), "first_record": "3"}
    assert (blocks[0].site, blocks[0].listener, blocks[0].peer) == ("hq", "file", str(path))
    assert blocks[0].seq != blocks[1].seq


def test_a_line_beyond_the_limit_goes_on_in_the_next_record(file, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flagged, and no byte is lost."""
    monkeypatch.setattr(files, "MAX_RECORD", 8)
    blocks = read(file(b"short\n" + b"x" * 20 + b"\nend\n"))
    cut = [b.is_oversize(i) for b in blocks for i in range(b.n)]
    assert b"".join(r for _, r in numbered(blocks)) == b"short" + b"x" * 20 + b"end"
    assert cut == [False, True, True, True, False]
    assert numbered(blocks)[-1] == (3, b"end")


def test_json_lines_stay_as_they_are(file) -> None:
    """One document a line."""
    blocks = read(file(b'{"a":1}\n{"a":2}\n'))
    assert numbered(blocks) == [(1, b'{"a":1}'), (2, b'{"a":2}')]
    assert blocks[0].format == "json"


@pytest.mark.parametrize("text", [
    '[{"a":1},{"a":2}]', '[\n {"a":1},\n {"a":2}\n]', '{\n "a":1\n}\n{\n "a":2\n}\n',
])  # fmt: skip
def test_json_over_many_lines(file, text: str) -> None:
    """An array gives its elements, pretty-printed documents themselves."""
    assert [json.loads(r) for _, r in numbered(read(file(text.encode())))] == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("text", [
    '{"Records":[{"a":1},{"a":2}]}', '{ "@odata.context": "https://x", "value": [{"a":1}, {"a":2}]}',
    '{"records":[{"a":1}]}\n{"records":[{"a":2}]}\n', '{\n "records": [{"a": 1},\n {"a": 2}]\n}',
])  # fmt: skip
def test_what_clouds_wrap_is_unwrapped(file, text: str) -> None:
    """CloudTrail's files, Azure's messages and Microsoft Graph's pages are many events in one document."""
    assert [json.loads(r) for _, r in numbered(read(file(text.encode())))] == [{"a": 1}, {"a": 2}]


def test_what_a_wrapper_says_beside_its_events_is_kept(file) -> None:
    """Its own names come last; a document whose list comes later is an event like any other."""
    text = b'{"Records":[{"a":1}],"digest":"x"}'
    assert [json.loads(r) for _, r in numbered(read(file(text)))] == [{"a": 1}, {"digest": "x"}]
    event = b'{"a":1,"records":[{"b":1}]}'
    assert [r for _, r in numbered(read(file(event)))] == [event]


def test_gzip_is_told_by_its_magic(file) -> None:
    """Whatever the name."""
    assert numbered(read(file(gzip.compress(b"a\nb\n")))) == [(1, b"a"), (2, b"b")]


def test_a_gzip_bomb_is_refused(file, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence, no memory."""
    monkeypatch.setattr(unpack, "MAX_EXPANSION", 1)
    path = file(gzip.compress(b"0" * (70 << 20)))
    with pytest.raises(SocError, match="expands more than"):
        sum(b.n for b in read_blocks(path, clock=CLOCK))


def test_a_damaged_gzip_file_is_one_error(file) -> None:
    """With its name, no traceback."""
    with pytest.raises(SocError, match="damaged gzip"):
        read(file(gzip.compress(b"a\n" * 50_000)[:-20]))


def test_lines_before_the_damage_are_read(file) -> None:
    """The error comes after the last line that could be read."""
    lines = [os.urandom(20).hex().encode() for _ in range(9000)]
    blocks = read_blocks(file(gzip.compress(b"\n".join(lines))[:-4000]), clock=CLOCK, max_records=100_000)
    found = list(next(blocks).records())
    assert found == lines[: len(found)]
    assert len(found) > 4000
    with pytest.raises(SocError, match="damaged gzip"):
        next(blocks)


def test_evtx_gives_one_document_a_record(file) -> None:
    """In evtx_dump's shape, also out of a gzip file."""
    data = evtx([event(4625, {"TargetUserName": "Nguyễn"}), event(4624, {"TargetUserName": "b"})])
    for blocks in (read(file(data)), read(file(gzip.compress(data), "b"))):
        assert [b.format for b in blocks] == ["windows-json"]
        documents = [json.loads(r)["Event"] for r in blocks[0].records()]
        assert [d["EventData"]["TargetUserName"] for d in documents] == ["Nguyễn", "b"]


def test_a_damaged_evtx_record_stays_a_record(file) -> None:
    """The reader's error stands in its place; the others are read."""
    data = bytearray(evtx([event(4625, {"A": "1"}), event(4624, {"A": "2"})]))
    data[4096 + 512 + 40 : 4096 + 512 + 60] = b"\xff" * 20
    (first, second) = [r for _, r in numbered(read(file(bytes(data))))]
    assert first.startswith(b"damaged EVTX record")
    assert json.loads(second)["Event"]["EventData"] == {"A": "2"}


def test_damage_in_an_event_log_takes_nothing_along(file, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the reader gives it for a record or raises it, what came before it and comes behind it keeps its place;
    records are taken from it many at a time."""

    class Reader:
        def __init__(self, _source: object) -> None:
            self.left: list[object] = [{"data": str(n)} for n in range(100)]
            self.left[3] = self.left[70] = RuntimeError("record")
            self.left.insert(20, OSError("chunk"))

        def records_json(self) -> Reader:
            return self

        def __iter__(self) -> Reader:
            return self

        def __next__(self) -> object:
            if not self.left:
                raise StopIteration
            found = self.left.pop(0)
            if isinstance(found, OSError):
                raise found
            return found

    monkeypatch.setattr("soc.collectors.evtx_records.PyEvtxParser", Reader)
    expected = [str(n).encode() for n in range(100)]
    expected[3] = expected[70] = b"damaged EVTX record: record"
    expected.insert(20, b"damaged EVTX record: chunk")
    assert numbered(read(file(b"ElfFile\0"))) == list(enumerate(expected, 1))


def test_an_evtx_file_that_was_cut_off_gives_what_is_there(file) -> None:
    """Each whole record of its last chunk, nothing made up of half a one, and that it was cut off."""
    data = evtx([event(4625, {"A": "1"}), event(4624, {"A": "2"})])
    second = data.index(b"**\0\0", data.index(b"**\0\0", 4096) + 4)
    for end, wanted in ((len(data) - 1, ["1", "2"]), (second + 100, ["1"]), (second - 1, []), (4096 + 600, [])):
        *whole, last = [r for _, r in numbered(read(file(data[:end])))]
        assert [json.loads(r)["Event"]["EventData"]["A"] for r in whole] == wanted
        assert last == b"damaged EVTX record: the file ends within a chunk, %d of 65536 octets are there" % (end - 4096)
    assert len(numbered(read(file(data + bytes(512))))) == 2  # room that was never used


def test_a_file_that_only_begins_like_evtx_is_one_error(file) -> None:
    """With the file's name."""
    with pytest.raises(SocError, match=r"a\.log: no readable EVTX"):
        read(file(b"ElfFile\0 and no more"))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(4096, 6500), value=st.integers(0, 255))
def test_any_damaged_byte_ends(file, at: int, value: int) -> None:
    """A changed byte never hangs or crashes the reader."""
    data = bytearray(evtx([event(4625, {"A": "1"}), event(4624, {"A": "2"})]))
    data[at] = value
    try:
        found = numbered(read(file(bytes(data))))
    except SocError:
        found = []
    assert len(found) <= 10


@pytest.mark.parametrize(("head", "name"), [
    (b"ElfFile\0", "evtx"), (b' {"a":1}', "json"), (b"\xef\xbb\xbf{", "json"), (b"<?xml ", "xml"), (b"", "lines"),
    (b"\xd4\xc3\xb2\xa1", "pcap"), (b"<34>Oct 11", "lines"), (b"[Sun Oct 11] x", "lines"), (b'[{"a":1}]', "json"),
])  # fmt: skip
def test_formats_are_told_apart(head: bytes, name: str) -> None:
    """By the first bytes."""
    assert detect_format(head) == name


@pytest.mark.parametrize("name", ["xls", "tar"])
def test_a_format_that_is_not_built_is_refused_by_name(file, name: str) -> None:
    """Exit code 2."""
    with pytest.raises(UsageError, match=f"format '{name}'") as error:
        read(file(b"a"), format=name)
    assert error.value.exit_code == 2


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """No path: the name is `-`."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\nb\n")))
    (block,) = read_blocks(None, clock=CLOCK)
    assert (block.n, block.origin["log.file.path"]) == (2, "-")


def test_standard_input_may_be_gzipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """`zcat` is not needed."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(b"a\n"))))
    (block,) = read_blocks(None, clock=CLOCK)
    assert list(block.records()) == [b"a"]


@given(data=st.binary(max_size=400))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_byte_of_a_text_is_lost(file, data: bytes) -> None:
    """All but blank lines and line ends comes back."""
    found = b"".join(r for _, r in numbered(read(file(b"." + data), format="lines")))
    bare = b"." + data
    wanted = b"".join(line.rstrip(b"\r") for line in bare.split(b"\n") if line.strip())
    assert found.replace(b"\r", b"") == wanted.replace(b"\r", b"")


LINE = st.sampled_from(
    [b"\n", b"\r\n", b" \t\n", b"a\n", b"a\r\n", b"ab\r\r\n", b"1234567\n", b"12345678\n", b"x" * 23 + b"\n"]
)


def _plainly(data: bytes, size: int) -> list[tuple[int, bytes, bool]]:
    """What a reader gives that looks at one line after another: number, record, whether it is a piece."""
    found = []
    for number, line in enumerate(re.findall(rb"[^\n]*\n|[^\n]+", data), 1):
        pieces = [line[i : i + size] for i in range(0, len(line), size)]
        for piece in pieces:
            text = piece.rstrip(b"\r\n") if piece.endswith(b"\n") else piece
            if text.strip():
                found.append((number, text, len(pieces) > 1 or (len(piece) == size and piece[-1:] != b"\n")))
    return found


@given(st.lists(LINE, max_size=60).map(b"".join), st.sampled_from([b"", b"tail", b"12345678", b" "]), st.integers(1, 9))
def test_lines_read_in_runs_are_the_lines_one_by_one(data: bytes, tail: bytes, most: int) -> None:
    """Numbers, pieces and blocks do not show that most lines are handed on many at a time."""
    with tempfile.NamedTemporaryFile() as file, pytest.MonkeyPatch.context() as patch:
        file.write(data + tail)
        file.flush()
        patch.setattr(files, "MAX_RECORD", 8)
        patch.setattr(files, "_RUN_BYTES", 12)
        blocks = list(read_blocks(Path(file.name), clock=CLOCK, format="lines", max_records=most, max_bytes=40))
    got = []
    for block in blocks:
        first = int(block.origin["first_record"])
        got += [(first + i, data, block.is_oversize(i)) for i, data in enumerate(block.records())]
        assert block.n <= most
        assert len(block.data) <= 40
    assert got == _plainly(data + tail, 8)
