"""`DiskLog`: what was acknowledged is there."""

import errno
import os

import pytest

from soc.errors import DiskFull, StoreError, TryAgain
from soc.model.clock import FixedClock
from soc.model.record import RawBlock
from soc.store.queue import DiskLog, LogReader
from soc.store.queue.segment import segments

CLOCK = FixedClock(1_000_000_000)


def block(*texts, peer="10.0.0.1"):
    return RawBlock.of([t.encode() for t in texts], receipt_ns=5, peer=peer)


def open_log(root, **options):
    return DiskLog(root, "raw", "n1", CLOCK, **options)


def contents(root):
    return [r.decode() for b in LogReader(root, "raw").read({}, None, 10_000) for r in b.records()]


def newest(root):
    folder = root / "raw" / "n1"
    return max(folder.glob("*.log"))


def test_appended_blocks_are_read_back(tmp_path):
    """Blocks come back in order with the node, log and sequence numbers that append returned."""
    with open_log(tmp_path) as log:
        assert log.append([block("a"), block("b", "c")]) == [0, 1]
        assert log.append([block("d")]) == [2]
        found = LogReader(tmp_path, "raw").read({}, None, 10)
    assert [(b.node, b.log, b.seq, list(b.records())) for b in found] == [
        ("n1", "raw", 0, [b"a"]),
        ("n1", "raw", 1, [b"b", b"c"]),
        ("n1", "raw", 2, [b"d"]),
    ]


def test_one_append_is_one_sync(tmp_path, monkeypatch):
    """A group of blocks costs one fdatasync."""
    with open_log(tmp_path) as log:
        calls = []
        monkeypatch.setattr(os, "fdatasync", calls.append)
        log.append([block(str(i)) for i in range(50)])
    assert len(calls) == 1


def test_sequence_goes_on_after_reopening(tmp_path):
    """A second opening continues where the first ended."""
    with open_log(tmp_path) as log:
        log.append([block("a"), block("b")])
    with open_log(tmp_path) as log:
        assert log.append([block("c")]) == [2]
    assert contents(tmp_path) == ["a", "b", "c"]


def test_segments_roll_and_are_named_by_their_first_frame(tmp_path):
    """A full segment is followed by one named after the next sequence number, 20 digits."""
    with open_log(tmp_path, segment_bytes=300) as log:
        for i in range(10):
            log.append([block("x" * 100 + str(i))])
    names = sorted(p.name for p in (tmp_path / "raw" / "n1").glob("*.log"))
    assert names[:2] == ["00000000000000000000.log", "00000000000000000002.log"]
    assert len(contents(tmp_path)) == 10


def test_a_second_writer_is_refused(tmp_path):
    """Two writers of one node's log never meet."""
    with open_log(tmp_path), pytest.raises(TryAgain, match="another process writes"):
        open_log(tmp_path)


def test_a_torn_end_is_cut_off(tmp_path):
    """Half a frame at the end vanishes at the next opening and the log goes on behind the last whole one."""
    with open_log(tmp_path) as log:
        log.append([block("a")])
        whole = newest(tmp_path).read_bytes()
    newest(tmp_path).write_bytes(whole + whole[:40])
    with open_log(tmp_path) as log:
        assert newest(tmp_path).stat().st_size == len(whole)
        assert log.damaged == 0
        log.append([block("b")])
    assert contents(tmp_path) == ["a", "b"]


def test_damage_inside_is_passed_over_and_counted(tmp_path):
    """One broken frame costs itself only, and both writer and reader count the place."""
    with open_log(tmp_path) as log:
        for text in "abc":
            log.append([block(text)])
    data = bytearray(newest(tmp_path).read_bytes())
    data[len(data) // 2] ^= 0xFF
    newest(tmp_path).write_bytes(data)
    with open_log(tmp_path) as log:
        assert log.damaged == 1
    reader = LogReader(tmp_path, "raw")
    assert [list(b.records()) for b in reader.read({}, None, 10)] == [[b"a"], [b"c"]]
    assert reader.damaged == 1


def test_damage_of_an_acknowledged_end_is_kept_and_its_number_not_reused(tmp_path):
    """A broken last frame that was acknowledged is no torn write: a cursor may stand on its number already."""
    with open_log(tmp_path) as log:
        log.append([block("a")])
        log.append([block("b")])
    data = bytearray(newest(tmp_path).read_bytes())
    data[-1] ^= 0xFF
    newest(tmp_path).write_bytes(data)
    with open_log(tmp_path) as log:
        assert log.damaged == 1
        assert log.append([block("c")])[0] > 1
    assert contents(tmp_path) == ["a", "c"]


def test_the_share_of_the_disk_is_kept(tmp_path):
    """An append that would exceed `max_bytes` is refused before anything is written."""
    with open_log(tmp_path, max_bytes=1000) as log:
        log.append([block("a")])
        size = newest(tmp_path).stat().st_size
        with pytest.raises(DiskFull, match="1000 bytes"):
            log.append([block("x" * 2000)])
        assert newest(tmp_path).stat().st_size == size
        assert log.append([block("b")]) == [1]


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    """ENOSPC in the middle of a write raises DiskFull, and the file is as long as before."""
    real, calls = os.pwritev, []

    def full(fd, pieces, at):
        calls.append(at)
        if len(calls) == 1:
            return real(fd, [b"".join(pieces)[:20]], at)
        raise OSError(errno.ENOSPC, "No space left on device")

    with open_log(tmp_path) as log:
        log.append([block("a")])
        size = newest(tmp_path).stat().st_size
        monkeypatch.setattr(os, "pwritev", full)
        with pytest.raises(DiskFull):
            log.append([block("b")])
        monkeypatch.undo()
        assert newest(tmp_path).stat().st_size == size
        log.append([block("b")])
    assert contents(tmp_path) == ["a", "b"]


@pytest.mark.parametrize("most", [1, 7, 20, 333])
def test_a_write_that_stops_goes_on_where_it_stopped(tmp_path, monkeypatch, most):
    """The system may take fewer octets than it was given, wherever that ends; the log is the same, octet by octet."""
    blocks = [block("a" * 30, "b", peer="10.0.0.2"), block("c" * 400), block("d")]
    with open_log(tmp_path / "whole") as log:
        log.append(blocks)
    real = os.pwritev
    monkeypatch.setattr(os, "pwritev", lambda fd, pieces, at: real(fd, [b"".join(pieces)[:most]], at))
    with open_log(tmp_path / "halting") as log:
        log.append(blocks)
    assert newest(tmp_path / "halting").read_bytes() == newest(tmp_path / "whole").read_bytes()


def test_more_sources_than_one_write_takes(tmp_path):
    """Linux takes 1,024 pieces in a call; a group of 700 frames has 2,100."""
    texts = [f"{i}" for i in range(700)]
    with open_log(tmp_path) as log:
        log.append([block(text, peer=f"10.0.{i >> 8}.{i & 255}") for i, text in enumerate(texts)])
    assert contents(tmp_path) == texts


def test_readers_do_not_see_what_is_not_durable(tmp_path, monkeypatch):
    """A frame that is written but not synced yet is invisible; it may still vanish."""
    seen = []
    with open_log(tmp_path) as log:
        log.append([block("a")])
        real = os.fdatasync

        def sync(fd):
            seen.append(contents(tmp_path))
            real(fd)

        monkeypatch.setattr(os, "fdatasync", sync)
        log.append([block("b")])
        assert seen == [["a"]]
        assert contents(tmp_path) == ["a", "b"]


def test_frames_after_a_number(tmp_path):
    """The recount sees exactly the frames above a sequence number, over segments."""
    with open_log(tmp_path, segment_bytes=300) as log:
        for i in range(10):
            log.append([block("x" * 100 + str(i))])
        assert [b.seq for b in log.frames_after(3)] == [4, 5, 6, 7, 8, 9]
        assert len(segments(log.folder)) > 2


def test_text_that_is_no_unicode_is_refused_by_name(tmp_path):
    """A peer name with a lone surrogate is an error that names the source, not a crash."""
    with open_log(tmp_path) as log, pytest.raises(StoreError, match="cannot be stored"):
        log.append([block("a", peer="\udc80")])


def test_an_append_after_close_is_refused(tmp_path):
    """A closed log says so."""
    log = open_log(tmp_path)
    log.close()
    with pytest.raises(StoreError, match="closed"):
        log.append([block("a")])
