"""Stack traces and other records of several lines: joined whole, in any portions, bounded, nothing lost."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soc.collectors import multiline
from soc.collectors.lines import PLAIN
from soc.model.record import INCOMPLETE, OVERSIZE
from tests.collectors.tailing import Tail
from tests.collectors.test_tail import write

JAVA = b"""2026-11-20 03:00:01 ERROR request failed
java.lang.IllegalStateException: closed
\tat gov.kontum.Portal.open(Portal.java:12)
Caused by: java.io.IOException: broken pipe
\tat sun.nio.ch.Net.write(Net.java:1)
\t... 12 more"""
PYTHON = b"""ERROR:root:it failed
Traceback (most recent call last):
  File "a.py", line 1, in <module>
    f()
ValueError: no

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "a.py", line 3, in <module>
    g()
app.errors.AppError: nothing"""
PLAIN_LINE = b"2026-11-20 03:00:02 INFO goes on"


@pytest.fixture
def it(tmp_path):
    return Tail(tmp_path, multiline="stack")


def test_a_python_traceback_is_one_record(it):
    """With the line before it, its chained ones and the exception's own line; the next line is another record."""
    write(it.logs / "a.log", PYTHON + b"\n" + PLAIN_LINE + b"\n" + PYTHON + b"\n")
    it.settle(2)
    assert it.records == [PYTHON, PLAIN_LINE]
    it.turn(6)
    it.commit()
    assert it.records == [PYTHON, PLAIN_LINE, PYTHON]
    assert not any(it.flags)


def test_a_pattern_says_how_a_record_begins(tmp_path):
    """Then every other line goes on, also one without white space before it."""
    it = Tail(tmp_path, multiline=r"\d{4}-\d\d-\d\d ")
    write(it.logs / "a.log", JAVA + b"\n" + PLAIN_LINE + b"\n")
    it.settle(8)
    assert it.records == [JAVA, PLAIN_LINE]


def test_interleaved_files_do_not_mix(tmp_path):
    """Each has its own open record, through restarts at any point: it lies in the file before the offset."""
    it = Tail(tmp_path, multiline=r"\d{4}-")
    parts = (JAVA + b"\n" + PLAIN_LINE + b"\n").splitlines(keepends=True)
    for part in parts:
        for name in ("a.log", "b.log"):
            write(it.logs / name, part)
            it.turn()
            it.commit()
            it.kill()
    it.settle(8)
    for name in ("a.log", "b.log"):
        found = [r for block in it.blocks if block.peer.endswith(name) for r in block.records()]
        assert found == [JAVA, PLAIN_LINE]
    assert sum(row["queued"] for row in it.counters.snapshot()) <= len(it.records) == 4


def test_the_rest_that_comes_too_late_is_flagged(it):
    """It is a record of its own; a new record behind the wait is not."""
    write(it.logs / "a.log", b"first\n  more\n")
    it.settle(2)
    it.turn(6)
    it.commit()
    write(it.logs / "a.log", b"  late\nsecond\n")
    it.settle(2)
    it.turn(6)
    it.commit()
    assert list(zip(it.records, it.flags, strict=True)) == [
        (b"first\n  more", 0), (b"  late", INCOMPLETE), (b"second", 0),
    ]  # fmt: skip


def test_a_record_is_bounded(tmp_path, monkeypatch):
    """In lines and in bytes; its pieces are flagged, no byte is lost, the next record is whole."""
    monkeypatch.setattr(multiline, "MAX_LINES", 10)
    it = Tail(tmp_path, multiline="stack", max_bytes=1000)
    many, long = b"first\n" + b"  x\n" * 35, b"second\n" + b"  " + b"y" * 2_000_000 + b"\n"
    write(it.logs / "a.log", many + long + b"third\n")
    it.settle(8)
    assert b"".join(it.records).replace(b"\n", b"") == (many + long + b"third").replace(b"\n", b"")
    assert it.flags[-1] == 0
    assert set(it.flags[:-1]) == {OVERSIZE}
    assert max(map(len, it.records)) <= 1000


def test_a_packed_file_waits_for_nothing(tmp_path):
    """Its end is the end of the last record."""
    import gzip

    it = Tail(tmp_path, "*", multiline="stack")
    write(it.logs / "a.gz", gzip.compress(JAVA.partition(b"\n")[0] + b"\n  at x\n"))
    it.settle(2)
    assert it.records == [JAVA.partition(b"\n")[0] + b"\n  at x"]


def test_utf16_records(it):
    """Joined by their own line end, so that one record is one text."""
    write(it.logs / "a.log", "\ufeffmột\r\n  hai\r\nba\r\n".encode("utf-16-le"))
    it.settle(8)
    assert [r.decode("utf-16") for r in it.records] == ["một\n  hai", "ba"]


LINES = st.lists(st.sampled_from([b"start", b" more", b"", b"Caused by: x", b"Traceback (most recent call last):",
                                  b"ValueError: x", b"\0" * 20 + b"x", b"z" * 50]), max_size=12)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=LINES, cuts=st.lists(st.integers(1, 60), max_size=10), pattern=st.sampled_from(["stack", "start", "x|^s"]))
def test_portions_make_no_difference(lines, cuts, pattern):
    """However the file grows, the records are those of the whole; no text is lost."""
    text = b"".join(line + b"\n" for line in lines)

    def read(stops):
        offset, inside, found = 0, 0, []
        for i, stop in enumerate(stops):
            got = multiline.join(text[offset:stop], PLAIN, 1000, pattern, is_start=not offset, inside=inside,
                                 is_last=i == len(stops) - 1)  # fmt: skip
            offset, inside = offset + got.used, got.inside
            found += got.records
        return found

    whole = read([len(text)])
    assert read([*sorted(min(sum(cuts[: i + 1]), len(text)) for i in range(len(cuts))), len(text)]) == whole
    assert b"".join(whole).replace(b"\n", b"").replace(b"\0", b"") == text.replace(b"\n", b"").replace(b"\0", b"")
