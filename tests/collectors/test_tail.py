"""Files that grow: rotation, truncation, compression, crashes at any point; each line is in the queue once."""

import gzip
import os
import shutil
import tempfile
import time
from pathlib import Path

import orjson
import pytest
import zstandard
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from soc.collectors import tail, tail_files, tail_tracker
from soc.collectors.tail_streams import ORIGIN
from soc.errors import DiskFull
from soc.model.record import HOLE, INCOMPLETE, OVERSIZE
from soc.store import files
from tests.collectors.tailing import Tail


def lines(first, n, word=b"line"):
    return b"".join(b"%s %d\n" % (word, i) for i in range(first, first + n))


def write(path, data, mode="ab"):
    with open(path, mode) as file:
        file.write(data)


@pytest.fixture
def it(tmp_path):
    return Tail(tmp_path)


def test_what_is_there_and_what_comes_is_read_once(it):
    """From the first byte; blank lines are none; each file is a source of its own."""
    write(it.logs / "a.log", b"one\r\n\n  \ntwo\n")
    write(it.logs / "b.log", b"three\n")
    it.settle()
    write(it.logs / "a.log", b"four\n")
    it.settle()
    found = {(block.peer.rpartition("/")[2], record) for block in it.blocks for record in block.records()}
    assert found == {("a.log", b"one"), ("a.log", b"two"), ("b.log", b"three"), ("a.log", b"four")}
    assert {block.origin["log.file.path"] for block in it.blocks} == {str(it.logs / n) for n in ("a.log", "b.log")}
    (row,) = [row for row in it.counters.snapshot() if row["peer"].endswith("b.log")]
    assert row["received"] == 1


def test_a_renamed_file_is_read_to_its_end(it):
    """Its writer may go on a while under the new name, which no pattern has."""
    path = it.logs / "a.log"
    write(path, lines(0, 3))
    it.settle()
    with open(path, "ab", buffering=0) as old:
        old.write(lines(3, 2))
        path.rename(it.logs / "a.log.1")
        write(path, lines(7, 2))
        old.write(lines(5, 2))
        it.settle()
        it.turn(200)
        old.write(lines(9, 1))
        it.settle()
    assert sorted(it.records) == sorted(lines(0, 10).splitlines())
    assert {block.peer for block in it.blocks} == {str(path)}


@pytest.mark.parametrize("packer", [gzip.compress, zstandard.ZstdCompressor().compress, None])
@pytest.mark.parametrize("pattern", ["*.log", "*"])
def test_rotated_and_compressed_while_we_were_down(tmp_path, packer, pattern):
    """The rest is read inside the compressed (or only renamed) file; also when the patterns name that file too."""
    it = Tail(tmp_path, pattern)
    path = it.logs / "a.log"
    write(path, lines(0, 100))
    it.settle()
    write(path, lines(100, 100))
    it.kill()
    if packer is None:
        path.rename(it.logs / "a.log.1")
    else:
        write(it.logs / "a.log.1.gz", packer(path.read_bytes()))
        path.unlink()
    write(path, lines(200, 50))
    it.settle(8)
    it.turn(400)
    it.settle(3)
    assert it.records == lines(0, 250).splitlines()


@pytest.mark.parametrize("down", [True, False])
def test_copied_and_truncated(tmp_path, down):
    """What was not read before the cut is read from the copy, and before what is new."""
    it = Tail(tmp_path, "*")
    path = it.logs / "a.log"
    write(path, lines(0, 100))
    it.settle()
    write(path, lines(100, 100))
    if down:
        it.kill()
    shutil.copy(path, it.logs / "a.log.1")
    os.truncate(path, 0)
    write(path, lines(200, 2, b"another line"))
    it.settle(6)
    it.turn(400)
    it.settle(6)
    assert it.records == [*lines(0, 200).splitlines(), *lines(200, 2, b"another line").splitlines()]


def test_a_copy_that_lacks_the_newest_lines_is_no_new_file(tmp_path):
    """Lines that were written between copy and cut were read; the copy, shorter than the first block, adds nothing."""
    it = Tail(tmp_path, "*")
    path = it.logs / "a.log"
    write(path, lines(0, 100))
    shutil.copy(path, it.logs / "a.log.1")
    write(path, lines(100, 10))
    it.settle()
    os.truncate(path, 0)
    write(path, lines(110, 10))
    it.settle(50)
    assert it.records == lines(0, 120).splitlines()


def test_a_truncated_file_that_is_longer_again(it):
    """Told by what stood before the offset, not by the size."""
    path = it.logs / "a.log"
    write(path, lines(0, 10))
    it.settle()
    write(path, lines(50, 200), "wb")
    it.settle()
    assert it.records == lines(0, 10).splitlines() + lines(50, 200).splitlines()


def test_bytes_that_were_cut_away_unread_are_told(it):
    """Nobody can give them back, but they are not silent."""
    path = it.logs / "a.log"
    write(path, b"begun, not ended")
    it.settle(2)
    write(path, b"new\n", "wb")
    it.settle()
    assert it.records == [b"new"]
    assert ("a.log", "truncated") in it.refused


def test_a_reused_inode_is_another_file(it, monkeypatch):
    """Same device and inode, other content."""
    path = it.logs / "a.log"
    write(path, lines(0, 10))
    it.settle()
    it.kill()
    inode = path.stat().st_ino
    path.unlink()
    for i in range(200):
        write(it.logs / "b.log", lines(500, 100))
        if (it.logs / "b.log").stat().st_ino == inode:
            break
        (it.logs / "b.log").rename(it.logs / f"b.{i}.txt")
    else:  # the file system gives no inode twice: another content in the same one is the same thing
        write(path, lines(0, 10))
        it.settle()
        write(path, lines(500, 100), "wb")
    it.settle()
    assert it.records[-100:] == lines(500, 100).splitlines()


def test_two_files_that_begin_alike_are_both_read(tmp_path):
    """Of related names and equal so far: the second is taken for a copy in the making, but not for ever."""
    it = Tail(tmp_path)
    write(it.logs / "w-1.log", b"started\n")
    it.settle()
    write(it.logs / "w-2.log", b"started\n")
    it.settle(2)
    assert len(it.records) == 1
    write(it.logs / "w-2.log", b"own work\n")
    it.settle(40)
    assert it.records == [b"started", b"started", b"own work"]


def test_a_last_line_without_its_end_waits_then_is_flagged(it):
    """So is its rest, when it comes after all."""
    path = it.logs / "a.log"
    write(path, b"whole\nbegun")
    it.settle(2)
    assert it.records == [b"whole"]
    it.turn(tail.PARTIAL_S + 1)
    it.commit()
    write(path, b" and ended\nnext\n")
    it.settle()
    assert it.records == [b"whole", b"begun", b" and ended", b"next"]
    assert it.flags == [0, INCOMPLETE, INCOMPLETE, 0]


def test_a_line_beyond_the_limit_goes_on_in_the_next_record(tmp_path):
    """All pieces are flagged, no byte is lost, memory stays bounded, also over a crash."""
    it = Tail(tmp_path, max_bytes=1000)
    write(it.logs / "a.log", b"short\n" + b"x" * 3_000_000 + b"\nend\n")
    it.turn()
    it.commit()
    it.kill()
    it.settle(4)
    assert b"".join(it.records) == b"short" + b"x" * 3_000_000 + b"end"
    assert (max(map(len, it.records)), it.flags[0], it.flags[-1], set(it.flags[1:-1])) == (1000, 0, 0, {OVERSIZE})


def test_a_hole_is_left_out_and_flagged(it):
    """A writer that keeps its place after the cut leaves NULs before its next line."""
    path = it.logs / "a.log"
    with open(path, "wb", buffering=0) as writer:
        writer.write(lines(0, 200_000))
        it.settle()
        os.truncate(path, 0)
        writer.write(b"after the cut\nnext\n")
        it.settle()
    assert it.records[200_000:] == [b"after the cut", b"next"]
    assert it.flags[200_000:] == [HOLE, 0]


def test_room_made_ahead_is_waited_for(it):
    """NULs with nothing behind them are no hole: what is written there later is read."""
    path = it.logs / "a.log"
    write(path, b"first\n" + bytes(5000))
    it.settle()
    it.turn(60)
    with open(path, "r+b") as writer:
        writer.seek(6)
        writer.write(b"second\n")
    it.settle()
    assert it.records == [b"first", b"second"]
    assert not any(it.flags)


@pytest.mark.parametrize("mark", [True, False])
@pytest.mark.parametrize("name", ["utf-16-le", "utf-16-be"])
def test_utf16(it, name, mark):
    """Lines are cut at whole characters, each record tells its own coding; a restart knows it still."""
    path = it.logs / "a.log"
    write(path, ("\ufeff" * mark + "so một\r\nઊ ਊ hai\r\n").encode(name))
    it.settle()
    it.kill()
    write(path, "ba\r\n".encode(name))
    it.settle()
    assert [record.decode("utf-16") for record in it.records] == ["so một", "ઊ ਊ hai", "ba"]


def test_a_mark_of_utf8_is_no_text(it):
    """Only at the beginning of the file."""
    write(it.logs / "a.log", b"\xef\xbb\xbfone\n\xef\xbb\xbftwo\n")
    it.settle()
    assert it.records == [b"one", b"\xef\xbb\xbftwo"]


def test_packed_files_of_the_patterns_are_read_whole(tmp_path):
    """By their first bytes, not their names; one that is still being written is read when it is whole."""
    it = Tail(tmp_path, "*")
    packed = gzip.compress(lines(0, 20_000))
    write(it.logs / "old.gz", packed[:-500])
    it.settle(2)
    write(it.logs / "old.gz", packed[-500:])
    it.settle(3)
    assert it.records == lines(0, 20_000).splitlines()
    it.save()
    it.kill()
    it.settle(2)
    (it.logs / "old.gz").rename(it.logs / "old.1.gz")
    it.settle(3)
    assert len(it.records) == 20_000


def test_a_bomb_ends(tmp_path, monkeypatch):
    """Told by name; the files beside it are read."""
    from soc.collectors import unpack

    monkeypatch.setattr(unpack, "MAX_EXPANSION", 1)
    monkeypatch.setattr(unpack, "FREE_BYTES", 1000)
    it = Tail(tmp_path, "*")
    write(it.logs / "bomb.gz", gzip.compress(b"0" * 1_000_000))
    write(it.logs / "a.log", b"here\n")
    it.settle()
    assert b"here" in it.records
    assert ("bomb.gz", "expansion") in it.refused
    assert len(it.records) < 20


def test_links_fifos_and_our_own_files(tmp_path):
    """A link is its target, once; what is no file, or belongs to us, is told and not read."""
    it = Tail(tmp_path, "*", guarded=tmp_path / "home")
    (tmp_path / "home").mkdir()
    write(tmp_path / "home" / "secret.key", b"secret\n")
    write(it.logs / "a.log", b"one\n")
    (it.logs / "b.log").symlink_to(it.logs / "a.log")
    (it.logs / "c.log").symlink_to(it.logs / "nothing")
    (it.logs / "d.log").symlink_to(it.logs / "d.log")
    (it.logs / "e.log").symlink_to(tmp_path / "home" / "secret.key")
    os.mkfifo(it.logs / "f.log")
    it.settle()
    assert it.records == [b"one"]
    assert it.refused == {
        ("c.log", "link_to_nothing"), ("d.log", "link_loop"), ("e.log", "own_files"), ("f.log", "no_regular_file"),
    }  # fmt: skip


def test_permission_denied_is_told_and_tried_again(it, monkeypatch):
    """Root reads everything, so the kernel's answer is made here."""
    write(it.logs / "a.log", b"one\n")
    allowed, opened = [], tail_files.os.open

    def refuses(path, *args, **options):
        if str(path).endswith("a.log") and not allowed:
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **options)

    monkeypatch.setattr(tail_files.os, "open", refuses)
    it.settle(2)
    assert (it.records, it.refused) == ([], {("a.log", "permission_denied")})
    allowed.append(True)
    it.settle(2)
    assert it.records == [b"one"]


def test_names_that_are_no_utf8(it):
    """Shown escaped; the queue takes only Unicode."""
    write(os.fsencode(it.logs) + b"/\xff.log", b"one\n")
    it.settle()
    it.save()
    it.kill()
    write(os.fsencode(it.logs) + b"/\xff.log", b"two\n")
    it.settle()
    assert it.records == [b"one", b"two"]
    assert it.blocks[0].peer.endswith("\\xff.log")


def test_patterns(tmp_path):
    """Folders, any depth, files that appear and vanish; hidden ones only when asked for."""
    it = Tail(tmp_path, "", "deep/**/*.txt", ".hidden.log")
    for name in ("plain", ".hidden.log", ".other", "deep/a.txt", "deep/b/c/d.txt", "deep/b/e.log"):
        (it.logs / name).parent.mkdir(parents=True, exist_ok=True)
        write(it.logs / name, name.encode() + b"\n")
    (it.logs / "deep" / "loop").symlink_to(it.logs / "deep")
    it.settle(2)
    write(it.logs / "late", b"late\n")
    (it.logs / "plain").unlink()
    it.settle(2)
    assert sorted(it.records) == [b".hidden.log", b"deep/a.txt", b"deep/b/c/d.txt", b"late", b"plain"]


def test_too_many_files_are_told(tmp_path, monkeypatch):
    """The bound is a number that somebody can see."""
    from soc.collectors import tail_paths

    monkeypatch.setattr(tail_paths, "MAX_FILES", 3)
    it = Tail(tmp_path)
    for i in range(5):
        write(it.logs / f"{i}.log", b"x%d\n" % i)
    it.settle(2)
    assert it.records == [b"x0", b"x1", b"x2"]
    assert ("3.log", "too_many_files") in it.refused


def test_files_beyond_those_held_open_are_read_too(tmp_path, monkeypatch):
    """In turns."""
    monkeypatch.setattr(tail_tracker, "MAX_OPEN", 2)
    it = Tail(tmp_path)
    for round in range(3):
        for i in range(7):
            write(it.logs / f"{i}.log", b"%d of %d\n" % (round, i))
        it.settle(8)
    assert sorted(it.records) == sorted(b"%d of %d" % (r, i) for r in range(3) for i in range(7))


def test_thousands_of_files_at_once(tmp_path):
    """A folder of a month of hosts: never more descriptors than the bound, nobody is told off, and no file is compared
    with all the others."""
    it = Tail(tmp_path)
    for i in range(1500):
        write(it.logs / f"host{i}.log", b"%d begins\n" % i)
    began, most = time.process_time(), 0
    for _ in range(8):
        it.turn()
        most = max(most, sum(stream.source is not None for stream in it.receiver._book))
        it.commit()
    assert time.process_time() - began < 60
    assert len(it.records) == 1500
    assert most == tail_tracker.MAX_OPEN
    assert not it.refused
    it.close()


def test_files_that_always_grow_leave_others_a_turn(tmp_path, monkeypatch):
    """More of them than may be open."""
    monkeypatch.setattr(tail_tracker, "MAX_OPEN", 2)
    it = Tail(tmp_path)
    for round in range(20):
        for i in range(5):
            write(it.logs / f"{i}.log", b"%d of %d\n" % (round, i))
        it.turn()
        it.commit()
    assert {record[-1:] for record in it.records} == {b"%d" % i for i in range(5)}
    it.settle(8)
    assert sorted(it.records) == sorted(b"%d of %d" % (r, i) for r in range(20) for i in range(5))


def test_no_frame_is_split(it):
    """Each frame has its own offset: millions of short lines, and blocks that follow each other without a gap."""
    write(it.logs / "a.log", b"x\n" * 300_000)
    it.settle(2)
    offsets = [orjson.loads(block.origin[ORIGIN])["offset"] for block in it.blocks]
    assert offsets == [2 * sum(b.n for b in it.blocks[: i + 1]) for i in range(len(offsets))]
    assert len(it.records) == 300_000


def test_a_frame_that_was_torn_takes_its_offset_along(it):
    """Bytes of the queue's last write are lost with the machine: the lines are read again, no others."""
    for i in range(3):
        write(it.logs / "a.log", lines(i * 10, 10))
        it.turn()
        it.commit()
    it.queue.close()
    (segment,) = (it.root / "queue" / "raw" / "n1").glob("*.log")
    os.truncate(segment, segment.stat().st_size - 5)
    (it.root / "queue" / "raw" / "n1" / "durable").unlink()
    it = Tail(it.root)
    assert len(it.records) == 20
    it.settle()
    assert it.records == lines(0, 30).splitlines()


def test_what_the_queue_has_not_is_not_kept(it):
    """A snapshot between the reading and the commit does not run ahead of the queue."""
    write(it.logs / "a.log", lines(0, 10))
    it.settle()
    write(it.logs / "a.log", lines(10, 10))
    it.turn()
    it.save()
    it.kill()
    it.settle()
    assert it.records == lines(0, 20).splitlines()


@pytest.mark.parametrize("step", ["write", "fsync", "replace", "sync_folder"])
def test_a_snapshot_that_fails_costs_nothing(it, monkeypatch, step):
    """At each step: the old one stays whole, the frames say the rest, the next one is written."""
    for i in range(2):
        write(it.logs / "a.log", lines(i * 10, 10))
        it.settle()
        if i == 0:
            it.save()
    owner, name = {
        "write": (files.os, "write"), "fsync": (files.os, "fsync"), "replace": (Path, "replace"),
        "sync_folder": (files, "sync_folder"),
    }[step]  # fmt: skip

    def fails(*args, **options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fails)
        with pytest.raises(DiskFull):
            it.save()
    it.kill()
    it.settle()
    it.save()
    it.kill()
    it.settle()
    assert it.records == lines(0, 20).splitlines()


def test_a_w3c_log_keeps_its_header(it):
    """Each frame says under which `#Fields` its rows stand, also after a restart and when they change in the middle."""
    path = it.logs / "u_ex.log"
    write(path, b"#Software: IIS\r\n#Fields: date time c-ip\r\n1 2 3\r\n")
    it.settle()
    it.kill()
    write(path, b"4 5 6\r\n#Date: x\r\n#Fields: date x\r\n7 8\r\n")
    it.settle()
    it.save()
    it.kill()
    write(path, b"9 9\r\n")
    it.settle()
    found = [(r, orjson.loads(b.origin["columns"]), b.format) for b in it.blocks for r in b.records()]
    old, new = ["date", "time", "c-ip"], ["date", "x"]
    assert found == [(r, names, "w3c") for r, names in ((b"1 2 3", old), (b"4 5 6", old), (b"7 8", new), (b"9 9", new))]


def test_a_zeek_log_keeps_its_header(it):
    """The rotated file's #close ends it, the new one brings a header of its own."""
    path = it.logs / "conn.log"
    write(path, b"#separator \\x09\n#path\tconn\n#fields\tts\tuid\n#types\ttime\tstring\n1.5\tC1\n")
    it.settle()
    it.kill()
    write(path, b"2.5\tC2\n#close\t2026-11-20\n")
    it.settle()
    found = [(r, b.format, b.origin["path"], b.origin["separator"]) for b in it.blocks for r in b.records()]
    assert found == [(b"1.5\tC1", "zeek", "conn", "\t"), (b"2.5\tC2", "zeek", "conn", "\t")]


def test_a_full_queue_holds_the_reading_back(tmp_path):
    """Nothing is dropped, memory stays bounded, and it goes on where it was."""
    it = Tail(tmp_path)
    write(it.logs / "a.log", b"x" * 99 + b"\n")
    with open(it.logs / "a.log", "ab") as file:
        for _ in range(1000):
            file.write((b"x" * 99 + b"\n") * 600)
    for _ in range(200):
        it.turn()
    assert it.intake._waiting < 36 << 20
    it.settle(2)
    assert sum(block.n for block in it.blocks) == 600_001
    assert sum(sum(row["dropped"].values()) for row in it.counters.snapshot()) == 0


class Rotations(RuleBasedStateMachine):
    """Writers, rotations, crashes and commits in any order: at the end each line is in the queue once."""

    root: Path
    patterns: str

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=self.root))
        self.it = Tail(self.folder, self.patterns)
        self.path = self.it.logs / "a.log"
        self.written, self.made = [], 0

    def _shift(self):
        """a.log.2.gz → a.log.3.gz and so on, as logrotate does."""
        if self.patterns == "*.log":  # what was never seen under a name of the patterns cannot be known
            self.it.settle(3)
        for i in range(40, 0, -1):
            for name in (f"a.log.{i}", f"a.log.{i}.gz"):
                if (self.it.logs / name).exists():
                    (self.it.logs / name).rename(self.it.logs / name.replace(f".{i}", f".{i + 1}"))

    @rule(n=st.integers(1, 40))
    def write(self, n):
        new = [b"%07d some text" % (self.made + i) for i in range(n)]
        self.made += n
        self.written += new
        write(self.path, b"".join(line + b"\n" for line in new))

    @rule()
    def rename(self):
        if self.path.exists():
            self._shift()
            self.path.rename(self.it.logs / "a.log.1")
            self.path.touch()

    @rule()
    def copy_and_truncate(self):
        if self.path.exists():
            self._shift()
            shutil.copy(self.path, self.it.logs / "a.log.1")
            os.truncate(self.path, 0)

    @rule(half=st.booleans(), n=st.integers(0, 5), down=st.booleans(), down_later=st.booleans())
    def copy_slowly_and_truncate(self, half, n, down, down_later):
        """The copy is seen half done, and lines that were written after it are read before the cut."""
        if not self.path.exists():
            return
        self._shift()
        self.it.settle(3)  # a copy that is shorter than the first block is only known by who saw it (docs/files.md)
        data, copy = self.path.read_bytes(), self.it.logs / "a.log.1"
        if half:
            write(copy, data[: len(data) // 2])
            self.it.turn()
        write(copy, data, "wb")
        self.write(n)
        self.it.settle(3)
        if down:
            self.it.kill()
        os.truncate(self.path, 0)
        if down_later:
            self.it.turn()
            self.it.kill()

    @rule(i=st.integers(1, 4))
    def compress(self, i):
        path = self.it.logs / f"a.log.{i}"
        if path.exists():
            write(self.it.logs / f"a.log.{i}.gz", gzip.compress(path.read_bytes()), "wb")
            path.unlink()

    @rule(seconds=st.sampled_from([0.3, 1.1, 5, 70, 400]))
    def look(self, seconds):
        self.it.turn(seconds)

    @rule()
    def commit(self):
        self.it.commit()

    @rule()
    def save(self):
        self.it.save()

    @rule()
    def kill(self):
        self.it.kill()

    @invariant()
    def nothing_twice(self):
        records = self.it.records
        assert len(records) == len(set(records))

    def teardown(self):
        self.it.settle(20)
        self.it.settle(6, 310)
        records = sorted(self.it.records)
        self.it.close()
        shutil.rmtree(self.folder)
        assert records == self.written


@pytest.mark.parametrize("patterns", ["*.log", "*"])
def test_any_order_of_rotations_and_crashes(tmp_path, patterns):
    """The proof of exactly once, beside the argument in docs/files.md."""
    machine = type("Machine", (Rotations,), {"root": tmp_path, "patterns": patterns})
    run_state_machine_as_test(
        machine,
        settings=settings(stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)),
    )
