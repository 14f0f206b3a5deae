"""`LogReader` and `trim`."""

from hypothesis import given, settings
from hypothesis import strategies as st

from soc.model.clock import FixedClock
from soc.model.position import Position, partition_of
from soc.model.record import RawBlock
from soc.store.queue import DiskLog, LogReader, trim
from soc.store.queue.segment import segments

CLOCK = FixedClock(1_000_000_000)


def block(text, peer="10.0.0.1", at=5):
    return RawBlock.of([text.encode()], receipt_ns=at, peer=peer)


def move(cursors, blocks):
    for b in blocks:
        cursors[b.partition] = Position(b.node, b.log, b.seq, b.n - 1)


def texts(blocks):
    return [r.decode() for b in blocks for r in b.records()]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4), st.booleans()), max_size=30))
def test_every_frame_is_read_once_while_the_log_grows(tmp_path_factory, steps):
    """Whatever the interleaving of appends, small reads and reopened readers, each frame is consumed once, in order."""
    root = tmp_path_factory.mktemp("log")
    reader, cursors, written, got = LogReader(root, "raw"), {}, [], []
    with DiskLog(root, "raw", "n1", CLOCK, segment_bytes=600) as log:
        for peer, take, reopen in steps:
            written.append(f"{len(written)}")
            log.append([block(written[-1], peer=str(peer))])
            if reopen:
                reader = LogReader(root, "raw")
            found = reader.read(cursors, None, take)
            move(cursors, found)
            got += texts(found)
        while found := reader.read(cursors, None, 3):
            move(cursors, found)
            got += texts(found)
    assert got == written


def test_a_frame_is_returned_until_its_cursor_moves(tmp_path):
    """A consumer that failed gets the same frames again."""
    reader = LogReader(tmp_path, "raw")
    with DiskLog(tmp_path, "raw", "n1", CLOCK) as log:
        log.append([block("a"), block("b")])
        assert texts(reader.read({}, None, 10)) == ["a", "b"]
        assert texts(reader.read({}, None, 10)) == ["a", "b"]


def test_partitions_are_read_apart(tmp_path):
    """A worker that leases some partitions gets their frames only, and a changed lease starts over."""
    mine, other = partition_of("default", "test", "p1"), partition_of("default", "test", "p2")
    assert mine != other
    reader = LogReader(tmp_path, "raw")
    with DiskLog(tmp_path, "raw", "n1", CLOCK) as log:
        log.append([block("a", "p1"), block("b", "p2"), block("c", "p1")])
        assert texts(reader.read({}, [mine], 10)) == ["a", "c"]
        assert texts(reader.read({}, [mine, other], 10)) == ["a", "b", "c"]


def test_cursors_that_moved_back_are_obeyed(tmp_path):
    """A consumer that restores an older state reads from there."""
    reader, cursors = LogReader(tmp_path, "raw"), {}
    with DiskLog(tmp_path, "raw", "n1", CLOCK) as log:
        log.append([block("a"), block("b")])
        move(cursors, reader.read(cursors, None, 10))
        assert reader.read(cursors, None, 10) == []
        assert texts(reader.read({}, None, 10)) == ["a", "b"]


def test_all_nodes_are_read(tmp_path):
    """Frames of several nodes come out, in order for each, and none of them is starved."""
    with DiskLog(tmp_path, "raw", "n1", CLOCK) as one, DiskLog(tmp_path, "raw", "n2", CLOCK) as two:
        one.append([block(f"1{i}") for i in range(5)])
        two.append([block(f"2{i}") for i in range(5)])
        found = texts(LogReader(tmp_path, "raw").read({}, None, 4))
    assert sorted(found) == ["10", "11", "20", "21"]


def test_an_incomplete_end_is_waited_for(tmp_path):
    """Without a mark, half a frame ends the reading quietly and is read once it is whole."""
    with DiskLog(tmp_path, "raw", "n1", CLOCK) as log:
        log.append([block("a")])
        log.append([block("b")])
    folder = tmp_path / "raw" / "n1"
    (folder / "durable").unlink()
    segment = folder / "00000000000000000000.log"
    data = segment.read_bytes()
    segment.write_bytes(data[:-3])
    reader = LogReader(tmp_path, "raw")
    assert texts(reader.read({}, None, 10)) == ["a"]
    segment.write_bytes(data)
    assert texts(reader.read({}, None, 10)) == ["a", "b"]
    assert reader.damaged == 0


def test_lag_counts_what_is_pending(tmp_path):
    """Frames, records and the oldest receipt past the cursors, over segments and partitions."""
    reader, cursors = LogReader(tmp_path, "raw"), {}
    with DiskLog(tmp_path, "raw", "n1", CLOCK, segment_bytes=500) as log:
        for i in range(20):
            log.append([block("x" * 50, f"p{i % 3}", at=100 + i)])
        assert reader.lag(cursors) == {"frames": 20, "records": 20, "oldest_receipt_ns": 100}
        move(cursors, LogReader(tmp_path, "raw").read(cursors, None, 7))
        assert reader.lag(cursors) == {"frames": 13, "records": 13, "oldest_receipt_ns": 107}
        log.append([block("more", at=300)])
        assert reader.lag(cursors)["frames"] == 14


def test_lag_of_nothing(tmp_path):
    """A log that does not exist has no lag."""
    assert LogReader(tmp_path, "raw").lag({}) == {"frames": 0, "records": 0, "oldest_receipt_ns": None}


def test_trim_deletes_only_what_everyone_passed(tmp_path):
    """Segments behind all cursors go, a partition without cursor keeps its own, the newest two stay."""
    with DiskLog(tmp_path, "raw", "n1", CLOCK, segment_bytes=300) as log:
        for i in range(20):
            log.append([block("x" * 100, "p1" if i < 15 else "p2")])
        folder, before = log.folder, len(segments(log.folder))
        cursors = {}
        assert trim(tmp_path, "raw", cursors) == 0
        move(cursors, LogReader(tmp_path, "raw").read({}, [partition_of("default", "test", "p1")], 9))
        assert trim(tmp_path, "raw", cursors) == 4
        move(cursors, LogReader(tmp_path, "raw").read(cursors, None, 100))
        trim(tmp_path, "raw", cursors)
        assert len(segments(folder)) == 2 < before
        assert log.append([block("y")]) == [20]


def test_a_reader_survives_trimming(tmp_path):
    """A segment deleted under a reader is one everybody has passed; it reads on behind it."""
    reader, cursors = LogReader(tmp_path, "raw"), {}
    with DiskLog(tmp_path, "raw", "n1", CLOCK, segment_bytes=300) as log:
        for i in range(20):
            log.append([block("x" * 100 + str(i))])
        move(cursors, reader.read(cursors, None, 15))
        trim(tmp_path, "raw", cursors)
        assert [b.seq for b in reader.read(cursors, None, 100)] == [15, 16, 17, 18, 19]
        assert LogReader(tmp_path, "raw").lag(cursors)["frames"] == 5


def test_bytes_are_bounded_for_each_node(tmp_path):
    """A node is asked for no more once its frames reached its part; one frame always comes, and nothing is left out."""
    for node in ("a", "b"):
        with DiskLog(tmp_path, "raw", node, CLOCK) as log:
            log.append([block("x" * 1_000 + str(n)) for n in range(5)])
    reader, cursors, got = LogReader(tmp_path, "raw"), {}, []
    while found := reader.read(cursors, None, 10, 4_000):
        assert len(found) <= 4
        move(cursors, found)
        got += [(b.node, text[1_000:]) for b, text in zip(found, texts(found), strict=True)]
    assert sorted(got) == [(node, str(n)) for node in ("a", "b") for n in range(5)]
    assert len(LogReader(tmp_path, "raw").read({}, None, 10, 1)) == 2
    assert len(LogReader(tmp_path, "raw").read({}, None, 10)) == 10
