"""`Uploads`: parts, commits and reading into the queue exactly once."""

from __future__ import annotations

import errno
import gzip
import io
import random
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from soc.collectors import uploads
from soc.collectors.uploads import Uploads
from soc.errors import Conflict, DiskFull, NotFound, UsageError
from soc.model.clock import FixedClock
from soc.model.record import RawBlock
from soc.store.queue import DiskLog, LogReader

NOW = FixedClock(1_795_600_000_000_000_000)
LINES = b"".join(b"line %d\n" % i for i in range(10_000))


@pytest.fixture
def log(tmp_path: Path) -> DiskLog:
    """The raw log of the process that takes uploads."""
    return DiskLog(tmp_path / "queue", "raw", "import", NOW)


def made(tmp_path: Path, log: DiskLog) -> Uploads:
    """Uploads of a site."""
    return Uploads(tmp_path / "imports", log, NOW, site="kontum")


def sent(store: Uploads, data: bytes, name: str = "auth.log") -> str:
    """The id of a whole upload, committed."""
    state = store.begin(name, len(data), "lan", format="lines")
    size = state["part_bytes"]
    for n in range(state["parts"]):
        store.put(state["id"], n, data[n * size : (n + 1) * size])
    store.commit(state["id"])
    return str(state["id"])


def queued(tmp_path: Path) -> list[RawBlock]:
    """Every frame of the raw log."""
    return LogReader(tmp_path / "queue", "raw").read({}, None, 1000)


def test_every_line_is_queued_with_its_import_and_number(tmp_path: Path, log: DiskLog) -> None:
    """The frames name the import, the file as the person knows it, and the first record's number."""
    store = made(tmp_path, log)
    id = sent(store, LINES, name="../../etc/auth.log")
    assert store.read(id, threading.Event())["state"] == "done"
    blocks = queued(tmp_path)
    assert sum(block.n for block in blocks) == 10_000
    assert {(b.site, b.listener, b.peer, b.origin["log.file.path"]) for b in blocks} == {
        ("kontum", "import", id, "auth.log")
    }
    assert [int(block.origin["first_record"]) for block in blocks] == [1, 4097, 8193]


def test_a_part_sent_twice_and_a_commit_asked_twice_change_nothing(
    tmp_path: Path, log: DiskLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retries double nothing."""
    monkeypatch.setattr(uploads, "PART_BYTES", 1000)
    store = made(tmp_path, log)
    state = store.begin("a", 1500, "lan", format="lines")
    data = b"x\n" * 750
    for n, part in ((0, data[:1000]), (0, data[:1000]), (1, data[1000:])):
        store.put(state["id"], n, part)
    assert store.commit(state["id"])["state"] == store.commit(state["id"])["state"] == "queued"
    assert store.read(state["id"], threading.Event())["records"] == 750


@pytest.mark.parametrize("crash_after", [0, 1, 2])
def test_a_crash_while_reading_goes_on_behind_what_the_queue_has(
    tmp_path: Path, log: DiskLog, monkeypatch: pytest.MonkeyPatch, crash_after: int
) -> None:
    """The process dies after a block is durable and before its state is: every record is queued once."""
    store = made(tmp_path, log)
    id = sent(store, LINES)
    appended = log.append
    calls = []

    def dies(blocks: Sequence[RawBlock]) -> list[int]:
        calls.append(appended(blocks))
        if len(calls) > crash_after:
            raise KeyboardInterrupt
        return calls[-1]

    with monkeypatch.context() as patch:
        patch.setattr(log, "append", dies)
        with pytest.raises(KeyboardInterrupt):
            store.read(id, threading.Event())
    again = made(tmp_path, log)
    assert again.waiting() == [id]
    assert again.read(id, threading.Event())["records"] == 10_000
    records = [record for block in queued(tmp_path) for record in block.records()]
    assert records == LINES.splitlines()


def test_a_full_queue_is_asked_again_later(tmp_path: Path) -> None:
    """DiskFull leaves the upload waiting; once there is room it is read to its end."""
    small = DiskLog(tmp_path / "queue", "raw", "import", NOW, max_bytes=60_000)
    store = made(tmp_path, small)
    id = sent(store, LINES)
    with pytest.raises(DiskFull):
        store.read(id, threading.Event())
    small.max_bytes = None
    assert store.read(id, threading.Event())["records"] == 10_000
    assert sum(block.n for block in queued(tmp_path)) == 10_000


def test_what_is_missing_is_named(tmp_path: Path, log: DiskLog) -> None:
    """A commit without a part, a part of a wrong size, a strange id: each is one clear sentence."""
    store = made(tmp_path, log)
    state = store.begin("a", 10, "lan")
    with pytest.raises(Conflict, match="lacks part 0"):
        store.commit(state["id"])
    with pytest.raises(UsageError, match="4 bytes where 10 are due"):
        store.put(state["id"], 0, b"four")
    with pytest.raises(UsageError, match="part 7"):
        store.put(state["id"], 7, b"")
    with pytest.raises(NotFound):
        store.state("../../etc/passwd")
    with pytest.raises(UsageError, match="xls"):
        store.begin("a", 10, "lan", format="xls")
    with pytest.raises(UsageError, match="not taken"):
        store.begin("a", uploads.MAX_BYTES + 1, "lan")


def test_a_damaged_file_is_failed_with_its_reason_and_keeps_what_came_before(tmp_path: Path, log: DiskLog) -> None:
    """An EVTX file that is none: the reason is shown, the state is final."""
    store = made(tmp_path, log)
    state = store.begin("broken.evtx", 16, "lan", format="evtx")
    store.put(state["id"], 0, b"ElfFile\x00" + b"\x00" * 8)
    store.commit(state["id"])
    failed = store.read(state["id"], threading.Event())
    assert failed["state"] == "failed"
    assert "EVTX" in failed["error"]
    assert store.waiting() == []


def test_an_empty_file_is_done_with_nothing(tmp_path: Path, log: DiskLog) -> None:
    """No parts, no records, no error."""
    store = made(tmp_path, log)
    state = store.read(sent(store, b""), threading.Event())
    assert (state["state"], state["records"], state["error"]) == ("done", 0, "")


def test_a_part_may_be_sent_by_two_at_once(tmp_path: Path, log: DiskLog) -> None:
    """A client that had no answer sends again while the first request still writes: both are the same part."""
    store = made(tmp_path, log)
    id = store.begin("a", 100_000, "lan")["id"]
    faults: list[Exception] = []

    def send() -> None:
        for _ in range(20):
            try:
                store.put(id, 0, b"x" * 100_000)
            except Exception as error:
                faults.append(error)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_a_file_that_breaks_its_reader_does_not_hold_up_the_next(
    tmp_path: Path, log: DiskLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong in a reader, the import ends as failed; tried for ever, it would block every other one."""
    store = made(tmp_path, log)
    first, second = sent(store, LINES, "first"), sent(store, LINES, "second")

    def breaks(*_: object, **__: object) -> list[RawBlock]:
        raise RecursionError("too deep")

    with monkeypatch.context() as patch:
        patch.setattr(uploads, "read_blocks", breaks)
        assert store.read(first, threading.Event())["error"] == "RecursionError: too deep"
    assert store.waiting() == [second]
    assert store.read(second, threading.Event())["records"] == 10_000


def test_old_imports_cost_nothing(tmp_path: Path, log: DiskLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is asked twice a second: no file of the many that are done is opened for it."""
    store = made(tmp_path, log)
    store.read(sent(store, b"one\n"), threading.Event())
    id = sent(store, b"two\n")
    monkeypatch.setattr(Uploads, "states", lambda _: pytest.fail("every state was read"))
    assert store.waiting() == [id]


def test_records_are_counted_by_the_hour_of_their_receipt(tmp_path: Path, log: DiskLog) -> None:
    """Also those that a crash left uncounted."""
    store = made(tmp_path, log)
    id = sent(store, LINES)
    hour = str(NOW.now_ns() // 3_600_000_000_000 * 3_600_000_000)
    assert store.read(id, threading.Event())["hours"] == {hour: 10_000}


def test_no_room_for_the_joined_file_is_told_as_such(
    tmp_path: Path, log: DiskLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Try again later, not 'a mistake of the service'; the parts are kept."""
    store = made(tmp_path, log)
    id = store.begin("a", 3, "lan")["id"]
    store.put(id, 0, b"abc")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(uploads.os, "fsync", full)
        with pytest.raises(DiskFull):
            store.commit(id)
    assert store.commit(id)["state"] == "queued"


def test_what_nobody_goes_on_with_is_let_go(tmp_path: Path, log: DiskLog) -> None:
    """Its parts are deleted and its state says so; what is whole or new stays."""
    store = made(tmp_path, log)
    old, whole = store.begin("a", 10, "lan")["id"], sent(store, LINES)
    store.put(old, 0, b"x" * 10)
    assert store.prune() == 0
    later = FixedClock(NOW.now_ns() + (uploads.KEPT_S + 3600) * 1_000_000_000)
    later.set(time.time_ns() + (uploads.KEPT_S + 3600) * 1_000_000_000)
    again = Uploads(tmp_path / "imports", log, later, site="kontum")
    assert (again.prune(), again.prune()) == (1, 0)
    assert again.state(old)["state"] == "abandoned"
    assert not list((tmp_path / "imports" / old).glob("part-*"))
    with pytest.raises(Conflict, match="abandoned"):
        again.put(old, 0, b"x" * 10)
    assert again.state(whole)["state"] == "queued"


def test_another_content_than_announced_is_refused(tmp_path: Path, log: DiskLog) -> None:
    """The file changed between the client's two looks."""
    store = made(tmp_path, log)
    id = store.begin("a", 4, "lan", sha256="0" * 64)["id"]
    store.put(id, 0, b"abc\n")
    with pytest.raises(Conflict, match="not what was announced"):
        store.commit(id)


@pytest.mark.parametrize("crash_after", [0, 1, 3])
def test_an_archive_goes_on_after_a_crash(
    tmp_path: Path, log: DiskLog, monkeypatch: pytest.MonkeyPatch, crash_after: int
) -> None:
    """Members are read in the same order again; each record once, each member with its line in the report."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a.log", "b.log", "c.gz"):
            archive.writestr(name, LINES if name != "c.gz" else b"\x1f\x8b\x08 no gzip")
    store = made(tmp_path, log)
    state = store.begin("logs.zip", len(buffer.getvalue()), "lan")
    store.put(state["id"], 0, buffer.getvalue())
    store.commit(state["id"])
    appended, calls = log.append, []

    def dies(blocks: Sequence[RawBlock]) -> list[int]:
        calls.append(appended(blocks))
        if len(calls) > crash_after:
            raise KeyboardInterrupt
        return calls[-1]

    with monkeypatch.context() as patch:
        patch.setattr(log, "append", dies)
        with pytest.raises(KeyboardInterrupt):
            store.read(state["id"], threading.Event())
    done = made(tmp_path, log).read(state["id"], threading.Event())
    records = [record for block in queued(tmp_path) for record in block.records()]
    assert records == LINES.splitlines() * 2
    report = {member["name"]: (member["state"], member["records"]) for member in done["members"]}
    assert report == {
        "logs.zip!a.log": ("read", 10_000), "logs.zip!b.log": ("read", 10_000), "logs.zip!c.gz": ("failed", 0),
    }  # fmt: skip
    assert (done["state"], done["records"]) == ("failed", 20_000)
    assert done["error"].startswith("logs.zip!c.gz")
    assert {block.origin["log.file.path"] for block in queued(tmp_path)} == {"logs.zip!a.log", "logs.zip!b.log"}


READER = """
import sys, threading
from pathlib import Path
from soc.collectors.uploads import Uploads
from soc.model.clock import SystemClock
from soc.store.queue import DiskLog
root = Path(sys.argv[1])
with DiskLog(root / "queue", "raw", "import", SystemClock()) as log:
    store = Uploads(root / "imports", log, SystemClock(), site="kontum")
    print("begins", flush=True)
    for id in store.waiting():
        store.read(id, threading.Event())
    print("ends", flush=True)
"""


def test_a_reader_that_is_killed_again_and_again(tmp_path: Path) -> None:
    """kill -9 at random moments inside a compressed archive: every record once, none lost."""
    lines = b"".join(b"%07d of a file that is long enough to be killed in\n" % i for i in range(150_000))
    packed = gzip.compress(lines, 1)
    with DiskLog(tmp_path / "queue", "raw", "import", NOW) as log:
        store = made(tmp_path, log)
        state = store.begin("a.gz", len(packed), "lan")
        for n in range(state["parts"]):
            store.put(state["id"], n, packed[n * uploads.PART_BYTES : (n + 1) * uploads.PART_BYTES])
        store.commit(state["id"])
    chance, kills = random.Random(4), 0
    while True:
        process = subprocess.Popen([sys.executable, "-c", READER, tmp_path], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        if kills < 5:
            time.sleep(chance.uniform(0.0, 0.15))
            kills += process.poll() is None
            process.kill()
        out = process.stdout.read()
        process.wait()
        process.stdout.close()
        if out == "ends\n":
            break
    with DiskLog(tmp_path / "queue", "raw", "import", NOW) as log:
        assert made(tmp_path, log).state(state["id"])["records"] == 150_000
        assert [record for block in log.frames_after(-1) for record in block.records()] == lines.splitlines()
    assert kills >= 1
