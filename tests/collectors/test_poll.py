"""Polled sources: cursors that are durable with the records, whatever cuts in; faults, pauses, health and counters."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from soc.collectors.poll.page import FRAME_BYTES, MAX_RECORD, Cursor, Page, Throttled
from soc.collectors.poll.place import MAX_SEEN, Place
from soc.errors import ConfigError, DiskFull, NewerStore, StoreError, TryAgain
from soc.model.record import OVERSIZE
from tests.collectors.polls import Home, Shelf, all_of, process, serving, until


def numbered(first: int, last: int, pad: int = 0) -> list[bytes]:
    """Records that can be told apart."""
    return [b"record %d %s" % (n, b"x" * pad) for n in range(first, last)]


class Keyed(Shelf):
    """A source that shows its last `window` records at each look, all of them new to who does not remember keys."""

    def __init__(self, records: list[bytes], window: int = 8) -> None:
        super().__init__(records)
        self.window = window

    def fetch(self, cursor: Cursor) -> Page:
        shown = self.records[-self.window :]
        first = len(self.records) - len(shown)
        keys = [f"k{first + i}" for i in range(len(shown))]
        now = float(len(self.records))
        return Page(shown, {"seen": now}, 60.0, keys, at=now, forget_before=now - self.window)


# the cursor and the records are one ---------------------------------------------------------------------------------


def test_what_comes_is_queued_under_the_sources_name(tmp_path: Path) -> None:
    """Site, listener, peer, format; the cursor stands in the frame that completes the page."""
    home = Home(tmp_path)
    poller = home.poller(Shelf(numbered(0, 25)))
    assert all_of(poller) == 4
    assert home.records() == numbered(0, 25)
    blocks = home.blocks()
    assert {(b.site, b.listener, b.peer, b.format) for b in blocks} == {("tinh", "src", "192.0.2.7", "lines")}
    assert [b.origin["poll.cursor"] for b in blocks] == ["10", "20", "25"]


def test_a_new_start_goes_on_behind_the_last_frame_without_any_file(tmp_path: Path) -> None:
    """The place's file may be of long ago or gone: the queue's frames say more."""
    home, shelf = Home(tmp_path), Shelf(numbered(0, 40))
    poller = home.poller(shelf)
    poller.sources[0].step()
    poller.sources[0].step()
    shutil.rmtree(tmp_path / "poll")
    again = home.poller(Shelf(numbered(0, 40)))
    assert again.sources[0].place.cursor == 20
    all_of(again)
    assert home.records() == numbered(0, 40)


def test_a_crash_at_every_byte_of_the_log_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """A page of several frames, torn anywhere: what is there is left out of the page that is asked for again."""
    records = [*numbered(0, 30, 300_000), b"twin", b"twin"]
    home = Home(tmp_path / "whole")
    all_of(home.poller(Shelf(records, size=32)))
    [segment] = (tmp_path / "whole" / "queue" / "raw" / "poll").glob("*.log")
    size = segment.stat().st_size
    frames = home.blocks()
    assert len(frames) > 3
    assert [("poll.cursor" in b.origin) for b in frames] == [False] * (len(frames) - 1) + [True]
    cuts = [0, 1, size - 1, size, *(size * k // 23 for k in range(1, 23))]
    for cut in cuts:
        torn = Home(tmp_path / f"torn{cut}")
        shutil.copytree(tmp_path / "whole" / "queue", torn.path / "queue")
        folder = torn.path / "queue" / "raw" / "poll"
        (folder / "durable").unlink()  # the mark was not written either
        os.truncate(folder / segment.name, cut)
        all_of(torn.poller(Shelf(records, size=32)))
        assert Counter(torn.records()) == Counter(records), cut
        assert torn.log is not None
        torn.log.close()
        shutil.rmtree(torn.path)


def test_without_the_keys_in_the_frames_a_torn_page_would_double(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutant of the test above: frames that carry no keys."""
    monkeypatch.setattr(
        Place, "origin", lambda self, _keys, _at, cursor, *, is_last: {
            "poll.source": self.source, **({"poll.cursor": orjson.dumps(cursor).decode()} if is_last else {}),
        },
    )  # fmt: skip
    records = numbered(0, 30, 300_000)
    home = Home(tmp_path)
    all_of(home.poller(Shelf(records, size=32)))
    [segment] = (tmp_path / "queue" / "raw" / "poll").glob("*.log")
    assert home.log is not None
    home.log.close()
    (segment.parent / "durable").unlink()
    os.truncate(segment, segment.stat().st_size - 1)
    shutil.rmtree(tmp_path / "poll")
    all_of(home.poller(Shelf(records, size=32)))
    assert len(home.records()) > len(records)


def test_a_torn_page_behind_a_cursor_that_only_moved_in_memory(tmp_path: Path) -> None:
    """An empty page moved the cursor, nothing wrote that down, the next was torn: its frames say where it began."""
    records = numbered(0, 12, 300_000)

    class Hop(Shelf):
        def fetch(self, cursor: Cursor) -> Page:
            if cursor is None:
                return Page([], 1, 0.0)
            return Page(records, 2, 0.0) if cursor == 1 else Page([], 2, 60.0)

    home = Home(tmp_path)
    all_of(home.poller(Hop([])))
    [segment] = (tmp_path / "queue" / "raw" / "poll").glob("*.log")
    assert home.log is not None
    home.log.close()
    (segment.parent / "durable").unlink()
    os.truncate(segment, segment.stat().st_size - 1)
    all_of(home.poller(Hop([])))
    assert Counter(home.records()) == Counter(records)


@pytest.mark.slow
def test_killed_at_any_moment_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    """A real process, a real interface, twelve times kill -9."""
    rows = [{"n": n, "text": "x" * (n % 700)} for n in range(4000)]
    pace = threading.Event()

    def answer(_method: str, _path: str, params: dict[str, Any], _headers: dict[str, str]) -> Any:
        pace.wait(0.02)
        first = int(params["from"])
        return {"rows": rows[first : first + int(params["n"])]}

    options = {"paging": "offset", "next_param": "from", "limit_param": "n", "limit": 50, "items": "rows"}
    chance = random.Random(7)
    home = Home(tmp_path)
    with serving(answer) as api:
        for _ in range(12):
            child = process(tmp_path, "rest", url=api.url, **options)
            time.sleep(chance.uniform(0.02, 0.35))
            child.send_signal(signal.SIGKILL)
            child.wait()
        pace.set()
        child = process(tmp_path, "rest", url=api.url, **options)
        until(lambda: len(home.records()) >= len(rows))
        time.sleep(0.2)
        child.kill()
        child.wait()
    assert [orjson.loads(record)["n"] for record in home.records()] == list(range(4000))
    poller = home.poller(Shelf([]))
    assert sum(row["queued"] for row in poller.counters()) == 4000


def test_a_full_queue_holds_the_page_and_asks_for_nothing_more(tmp_path: Path) -> None:
    """The same page goes in when there is room; the source was asked once for it."""
    home, shelf = Home(tmp_path), Shelf(numbered(0, 10))
    poller = home.poller(shelf)
    assert home.log is not None
    append = home.log.append
    home.log.append = lambda _blocks: _raise(DiskFull("no room"))  # type: ignore[method-assign]
    [source] = poller.sources
    assert source.step() == 1.0
    assert source.step() == 1.0
    assert (source.health.state, source.health.fault, shelf.told) == ("queue_full", "no room", [])
    home.log.append = append  # type: ignore[method-assign]
    source.step()
    assert home.records() == numbered(0, 10)
    assert (shelf.asked, shelf.told, source.health.state) == (1, [10], "ok")


def _raise(error: Exception) -> Any:
    raise error


def test_the_source_is_told_only_what_is_durable(tmp_path: Path) -> None:
    """Each cursor after its frame, in order."""
    home, shelf = Home(tmp_path), Shelf(numbered(0, 25))
    told: list[tuple[Cursor, int]] = []
    shelf.durable = lambda cursor: told.append((cursor, len(home.records())))  # type: ignore[method-assign]
    all_of(home.poller(shelf))
    assert told == [(10, 10), (20, 20), (25, 25), (25, 25)]


# what comes again ---------------------------------------------------------------------------------------------------


def test_a_record_that_comes_again_is_left_out_also_after_a_crash(tmp_path: Path) -> None:
    """Keys are remembered as long as their records can come again, and come back from frames and file."""
    home, source = Home(tmp_path), Keyed(numbered(0, 3))
    for grown in range(3, 40, 2):
        source.records = numbered(0, grown)
        if grown % 3 == 0:
            shutil.rmtree(tmp_path / "poll", ignore_errors=True)
        poller = home.poller(source)
        poller.sources[0].step()
        poller.sources[0].step()
    assert home.records() == numbered(0, 39)
    assert len(poller.sources[0].place.seen) < 30


def test_keys_are_bounded_and_what_is_forgotten_is_counted(tmp_path: Path) -> None:
    """The newest stay."""
    place = Place(tmp_path / "p.json", "s")
    for at in range(4):
        keys = [f"{at}-{n}" for n in range(MAX_SEEN // 3)]
        place.took(Page([], at + 1, 0, keys, at=float(at)), at)
    assert len(place.seen) == MAX_SEEN
    assert place.forgotten == 4 * (MAX_SEEN // 3) - MAX_SEEN
    assert place.is_known("3-0")
    assert sum(place.is_known(f"0-{n}") for n in range(MAX_SEEN // 3)) == MAX_SEEN - 3 * (MAX_SEEN // 3)


def test_the_same_key_twice_on_one_page_is_one_record(tmp_path: Path) -> None:
    """And the second is counted as repeated."""
    home, shelf = Home(tmp_path), Shelf([])
    shelf.fetch = lambda _cursor: Page([b"a", b"b"], 1, 60.0, ["k", "k"])  # type: ignore[method-assign]
    poller = home.poller(shelf)
    poller.sources[0].step()
    assert home.records() == [b"a"]
    assert poller.health()[0]["repeated"] == 1


def test_equal_records_are_all_kept(tmp_path: Path) -> None:
    """Two equal lines are two events."""
    home = Home(tmp_path)
    all_of(home.poller(Shelf([b"same"] * 35)))
    assert home.records() == [b"same"] * 35


def test_the_cursor_of_another_source_is_not_believed(tmp_path: Path) -> None:
    """A section that is pointed elsewhere begins anew."""
    home = Home(tmp_path)
    all_of(home.poller(Shelf(numbered(0, 5))))
    other = Shelf(numbered(100, 103))
    other.source = "another shelf"
    all_of(home.poller(other))
    assert home.records() == [*numbered(0, 5), *numbered(100, 103)]


# bounds -------------------------------------------------------------------------------------------------------------


def test_no_frame_is_ever_split_by_the_queue_and_long_records_are_cut_and_flagged(tmp_path: Path) -> None:
    """A page larger than a frame becomes several of ours; a record over 1 MiB is cut."""
    home = Home(tmp_path)
    records = [b"a" * (MAX_RECORD + 5), *numbered(0, 9, 400_000), b"b" * MAX_RECORD]
    poller = home.poller(Shelf(records, size=100))
    all_of(poller)
    blocks = home.blocks()
    assert all(len(block.data) <= FRAME_BYTES for block in blocks)
    assert [len(r) for r in home.records()] == [MAX_RECORD, *(len(r) for r in records[1:])]
    flags = b"".join(block.flags or bytes(block.n) for block in blocks)
    assert flags == bytes([OVERSIZE, *[0] * 10])
    assert sum(row["flagged"] for row in poller.counters()) == 1


# how it is doing ----------------------------------------------------------------------------------------------------


def test_a_source_that_fails_is_asked_later_and_later_and_says_why(tmp_path: Path) -> None:
    """Twice as long each time up to a bound, with chance; one good answer ends it."""
    shelf = Shelf(numbered(0, 1))
    shelf.faults = [TryAgain("away")] * 12
    poller = Home(tmp_path).poller(shelf)
    [source] = poller.sources
    source._chance = lambda: 1.0
    waits = [source.step() for _ in range(12)]
    assert waits == [0.5 + min(2**n, 300) for n in range(12)]
    assert (source.health.state, source.health.fault, source.health.errors_in_row) == ("failing", "away", 12)
    source.step()
    assert (source.health.state, source.health.fault, source.health.errors_in_row) == ("ok", "", 0)
    assert source.health.errors == 12


def test_a_source_that_asks_for_a_pause_gets_it(tmp_path: Path) -> None:
    """At least so long."""
    shelf = Shelf([])
    shelf.faults = [Throttled("slower", 120.0)]
    [source] = Home(tmp_path).poller(shelf).sources
    assert source.step() >= 120
    assert source.health.state == "throttled"


def test_a_driver_that_breaks_does_not_end_the_others(tmp_path: Path) -> None:
    """Its fault names the kind only: a stranger's bytes may be in the text."""
    broken, whole = Shelf([]), Shelf(numbered(0, 15))
    broken.faults = [RuntimeError("secret bytes")] * 1000
    home = Home(tmp_path)
    poller = home.poller(broken, whole)
    stop = threading.Event()
    thread = threading.Thread(target=poller.run, args=(stop,))
    thread.start()
    until(lambda: len(home.records()) == 15)
    stop.set()
    thread.join(60)
    assert poller.health()[0]["fault"] == "RuntimeError in the driver"
    assert poller.health()[1]["state"] == "ok"


def test_counters_balance_and_come_back_after_a_crash(tmp_path: Path) -> None:
    """Received = queued + dropped, with what a source says it lost; the log completes a file that was not saved."""
    home, shelf = Home(tmp_path), Shelf(numbered(0, 12))
    poller = home.poller(shelf)
    all_of(poller)
    shelf.fetch = lambda cursor: Page([], cursor, 60.0, lost={"source_expired": 4})  # type: ignore[method-assign]
    poller.sources[0].step()
    [row] = poller.counters()
    assert (row["received"], row["queued"], row["dropped"]) == (16, 12, {"source_expired": 4})
    [row] = home.poller(Shelf([])).counters()  # killed before the first save
    assert (row["received"], row["queued"]) == (12, 12)


def test_lag_and_times_are_told(tmp_path: Path) -> None:
    """What the driver says of them."""
    poller = Home(tmp_path).poller(Shelf(numbered(0, 25)))
    poller.sources[0].step()
    [health] = poller.health()
    assert (health["lag_records"], health["records"], health["pages"], health["state"]) == (15, 10, 1, "ok")
    assert health["last_record_us"] >= health["last_try_us"] - 1


def test_a_damaged_or_newer_place_is_refused_with_the_way_out(tmp_path: Path) -> None:
    """Neither is guessed at."""
    path = tmp_path / "p.json"
    path.write_bytes(b"{")
    with pytest.raises(StoreError, match="where a polled source stands"):
        Place(path, "s")
    path.write_bytes(b'{"version": 9}')
    with pytest.raises(NewerStore):
        Place(path, "s")


def test_two_sources_share_a_log(tmp_path: Path) -> None:
    """Each finds its own frames again."""
    home = Home(tmp_path)
    one, two = Shelf(numbered(0, 30)), Shelf(numbered(100, 150))
    two.peer = "192.0.2.8"
    poller = home.poller(one, two)
    for _ in range(3):
        for source in poller.sources:
            source.step()
    shutil.rmtree(tmp_path / "poll")
    again = home.poller(one, two)
    assert [source.place.cursor for source in again.sources] == [30, 30]
    assert isinstance(again.sources[0].place, Place)


def test_a_log_that_was_trimmed_is_not_needed_for_the_place(tmp_path: Path) -> None:
    """The file reaches further than the frames that are gone."""
    home = Home(tmp_path)
    all_of(home.poller(Shelf(numbered(0, 40)), segment_bytes=64))
    folder = tmp_path / "queue" / "raw" / "poll"
    home.poller(Shelf(numbered(0, 40)), segment_bytes=64)  # a start saves the places
    for segment in sorted(folder.glob("*.log"))[:-1]:
        segment.unlink()
    poller = home.poller(Shelf(numbered(0, 50)), segment_bytes=64)
    assert poller.sources[0].place.cursor == 40


def test_soc_poll_without_sources_says_so(tmp_path: Path) -> None:
    """Exit 2, with the page that helps."""
    from soc import processes
    from soc.processes.starting import commands
    from tests.collectors.polls import settings

    with pytest.raises(ConfigError, match="no \\[poll"):
        processes.poll(settings(tmp_path, ""))
    assert ("poll", ("poll",)) not in commands(settings(tmp_path, ""), False)
    with_one = settings(tmp_path, '[poll.a]\ndriver = "rest"\nurl = "https://a.example/x"\n')
    assert ("poll", ("poll",)) in commands(with_one, False)
