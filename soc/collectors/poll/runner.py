"""`Poller`: asks every source in a thread of its own and queues what comes; cursors are durable with the records."""

from __future__ import annotations

import hashlib
import logging
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from soc.collectors.counters import Counters
from soc.collectors.poll.page import FRAME_BYTES, FRAME_RECORDS, MAX_RECORD, Driver, Page, Throttled, cost
from soc.collectors.poll.place import Place
from soc.errors import SocError, StoreError
from soc.model.clock import Clock
from soc.model.record import OVERSIZE, RawBlock

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 300.0
QUEUE_WAIT_S = 1.0
SAVE_NS, SAVE_BYTES = 1_000_000_000, 16 << 20
"""A place is saved so often: long before the queue's last two segments are behind it."""
END_S = 10.0
"""Seconds in which sources are waited for at the end; a kill at any moment loses nothing either."""
DATASET = "event.dataset"
_log = logging.getLogger("soc.poll")


class Queue(Protocol):
    """The log that blocks go to; both calls as `DiskLog` has them."""

    def append(self, blocks: Sequence[RawBlock]) -> Sequence[int]:
        """Durable on return; raises StoreError and keeps none of them then."""
        ...

    def frames_after(self, seq: int) -> Iterable[RawBlock]:
        """Durable frames in order."""
        ...


@dataclass
class Health:
    """How a source is doing, as `soc source list` shows it; times are µs UTC."""

    name: str
    driver: str
    peer: str
    state: str = "starting"  # starting | ok | failing | throttled | queue_full
    fault: str = ""
    last_try_us: int | None = None
    last_success_us: int | None = None
    last_record_us: int | None = None
    next_try_us: int | None = None
    errors: int = 0
    errors_in_row: int = 0
    pages: int = 0
    records: int = 0
    repeated: int = 0
    keys_forgotten: int = 0
    lag_records: int | None = None
    lag_s: float | None = None
    counts: Counter[str] = field(default_factory=Counter)

    def to_document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**self.__dict__, "counts": dict(self.counts)}


@dataclass(frozen=True)
class Polled:
    """A source by its name in soc.toml, and what asks it."""

    name: str
    kind: str
    driver: Driver
    min_gap_s: float = 0.0


class Source:
    """Asks one driver; holds a page until the queue has it. For one thread."""

    def __init__(
        self, polled: Polled, site: str, queue: Queue, counters: Counters, clock: Clock, place: Place,
        *, one_by_one: threading.Lock, chance: Callable[[], float] = random.random,
    ) -> None:  # fmt: skip
        self.polled, self.place, self._one_by_one = polled, place, one_by_one
        self.health = Health(polled.name, polled.kind, polled.driver.peer)
        self._site, self._queue, self._counters, self._clock, self._chance = site, queue, counters, clock, chance
        self._held: Page | None = None
        self._saved_ns, self._unsaved = clock.monotonic_ns(), 0

    def run(self, stop: threading.Event) -> None:
        """Until `stop`."""
        try:
            while not stop.is_set():
                wait_s = self.step()
                self.health.next_try_us = self._clock.now_ns() // 1000 + int(wait_s * 1e6)
                if wait_s > 0:
                    stop.wait(wait_s)
        finally:
            self.polled.driver.close()
            self._save(now=True)

    def step(self) -> float:
        """Ask once and queue what came; seconds until the next step."""
        try:
            page = self._held or self._ask()
        except Throttled as error:
            return self._failed(error, "throttled", error.wait_s)
        except SocError as error:
            return self._failed(error, "failing", 0.0)
        except Exception as error:  # a driver meets strangers' bytes: one source that breaks must not end the others
            _log.exception("[poll.%s] broke", self.polled.name)
            self.polled.driver.close()
            return self._failed(error, "failing", 0.0)
        self._held = page
        try:
            self._take(page)
        except StoreError as error:
            self._say(str(error))
            self.health.state = "queue_full"
            return QUEUE_WAIT_S
        self._held = None
        self._succeeded(page)
        return max(page.wait_s, self.polled.min_gap_s)

    def _ask(self) -> Page:
        self.health.last_try_us = self._clock.now_ns() // 1000
        return self.polled.driver.fetch(self.place.cursor)

    # queueing -------------------------------------------------------------------------------------------------------

    def _take(self, page: Page) -> None:
        """Make the records durable that are not yet; then the cursor counts. Raises StoreError, DiskFull."""
        needs_keys = self._needs_keys(page)
        page = replace(page, keys=text_keys(page.records, Counter())) if needs_keys and not page.keys else page
        fresh = self._fresh(page) if page.keys else range(len(page.records))
        blocks = list(self._blocks(page, fresh, needs_keys=needs_keys))
        seq = self._append(blocks)
        at_ns = self._clock.now_ns()
        for reason, n in page.lost.items():
            _log.error("[poll.%s] %d records are lost: %s", self.polled.name, n, reason)
            self._counters.dropped(self._site, self.polled.name, self.polled.driver.peer, at_ns, reason, n)
        self.place.took(page, seq)
        self.health.records += len(fresh)
        self.health.repeated += len(page.records) - len(fresh)
        self._unsaved += sum(len(block.data) for block in blocks)
        self.polled.driver.durable(page.cursor)
        self._save()

    def _needs_keys(self, page: Page) -> bool:
        """Whether the cursor alone does not tell the records apart: a page that fits one frame, and whose cursor moves
        on, is there as a whole or not at all."""
        return (
            page.at is not None or page.cursor == self.place.cursor or bool(self.place.open) or not _fits_a_frame(page)
        )

    def _fresh(self, page: Page) -> list[int]:
        """Places of the records that the queue does not have; of those with one key the first."""
        first = {key: i for i, key in reversed(list(enumerate(page.keys)))}
        return [i for i, key in enumerate(page.keys) if first[key] == i and not self.place.is_known(key)]

    def _append(self, blocks: Sequence[RawBlock]) -> int:
        """The last frame's number; -1 when there was nothing."""
        if not blocks:
            return -1
        with self._one_by_one:  # else the counters could pass over a frame that another source is just writing
            seqs = self._queue.append(blocks)
            self._counters.queued(blocks, seqs[-1], waited=False)
        return seqs[-1]

    def _blocks(self, page: Page, fresh: Sequence[int], *, needs_keys: bool) -> Iterator[RawBlock]:
        pieces: list[Sequence[int]] = [fresh] if fresh and _fits_a_frame(page) else list(_pieces(page, fresh))
        now_ns = self._clock.now_ns()
        driver = self.polled.driver
        has_long = any(len(record) > MAX_RECORD for record in page.records)
        for k, piece in enumerate(pieces):
            keys = [page.keys[i] for i in piece] if needs_keys else []
            origin = self.place.origin(keys, page.at, page.cursor, is_last=k == len(pieces) - 1)
            if driver.dataset:
                origin[DATASET] = driver.dataset
            bits: list[int] = []
            if has_long or page.flags:
                bits = [page.flags.get(i, 0) | (OVERSIZE if len(page.records[i]) > MAX_RECORD else 0) for i in piece]
            yield RawBlock.of(
                [page.records[i][:MAX_RECORD] for i in piece], receipt_ns=now_ns, site=self._site,
                listener=self.polled.name, peer=driver.peer, format=driver.format, origin=origin,
                flags=bytes(bits) if any(bits) else b"",
            )  # fmt: skip

    def _save(self, *, now: bool = False) -> None:
        at = self._clock.monotonic_ns()
        if not now and at - self._saved_ns < SAVE_NS and self._unsaved < SAVE_BYTES:
            return
        self._saved_ns, self._unsaved = at, 0
        try:
            self.place.save()
        except StoreError as error:  # the frames have the cursor; the next save has it again
            _log.error("[poll.%s] %s", self.polled.name, error)

    # how it went ----------------------------------------------------------------------------------------------------

    def _succeeded(self, page: Page) -> None:
        health, now_us = self.health, self._clock.now_ns() // 1000
        health.state, health.errors_in_row = "ok", 0
        health.last_success_us = now_us
        health.pages += 1
        health.last_record_us = now_us if page.records else health.last_record_us
        health.lag_records, health.lag_s = page.lag_records, page.lag_s
        health.keys_forgotten = self.place.forgotten
        health.counts.update(page.counts)
        if health.fault:
            _log.info("[poll.%s] answers again", self.polled.name)
        health.fault = ""

    def _failed(self, error: Exception, state: str, least_s: float) -> float:
        """Seconds to wait: what the source asked for, or twice as long as before, with chance in it (full jitter)."""
        health = self.health
        health.state = state
        health.errors += 1
        health.errors_in_row += 1
        self._say(str(error) if isinstance(error, SocError) else f"{type(error).__name__} in the driver")
        longest = min(FIRST_WAIT_S * float(1 << min(health.errors_in_row - 1, 16)), LONGEST_WAIT_S)
        return least_s + FIRST_WAIT_S / 2 + self._chance() * longest

    def _say(self, fault: str) -> None:
        if fault != self.health.fault:
            _log.error("[poll.%s] %s", self.polled.name, fault)
        self.health.fault = fault


def text_keys(records: Sequence[bytes], met: Counter[str]) -> list[str]:
    """A key of each record's text; equal texts are told apart by how many of them `met` has counted before."""
    keys = []
    for record in records:
        digest = hashlib.blake2b(record, digest_size=12).hexdigest()
        met[digest] += 1
        keys.append(digest if met[digest] == 1 else f"{digest}.{met[digest]}")
    return keys


def _fits_a_frame(page: Page) -> bool:
    return len(page.records) <= FRAME_RECORDS and sum(map(cost, page.records)) <= FRAME_BYTES


def _pieces(page: Page, fresh: Sequence[int]) -> Iterator[list[int]]:
    """Places of the records of each frame."""
    piece: list[int] = []
    size = 0
    for i in fresh:
        length = cost(page.records[i])
        if piece and (size + length > FRAME_BYTES or len(piece) >= FRAME_RECORDS):
            yield piece
            piece, size = [], 0
        piece.append(i)
        size += length
    if piece:
        yield piece


class Poller:
    """All sources of a machine, their counters and their places below `folder`."""

    def __init__(
        self, sources: Iterable[Polled], site: str, queue: Queue, clock: Clock,
        *, folder: Path, counters_path: Path, chance: Callable[[], float] = random.random,
    ) -> None:  # fmt: skip
        """Completes counters and places by what the queue took after they were saved. Raises StoreError."""
        self._clock = clock
        self._counters = Counters(counters_path)
        lock = threading.Lock()
        self.sources = [
            Source(
                polled, site, queue, self._counters, clock,
                Place(folder / f"{polled.name}.json", polled.driver.source), one_by_one=lock, chance=chance,
            )
            for polled in sources
        ]  # fmt: skip
        self._recover(queue)

    def _recover(self, queue: Queue) -> None:
        places = {source.polled.name: source.place for source in self.sources}
        last = -1
        for block in queue.frames_after(min([self._counters.seq, *(place.seq for place in places.values())])):
            last = block.seq
            if block.seq > self._counters.seq:
                self._counters.queued([block], block.seq, waited=False)
            if block.listener in places:
                places[block.listener].recover(block)
        for place in places.values():  # a place that has its file is not looked for in the whole log again
            place.seq, place.is_changed = max(place.seq, last), True
            place.save()

    def run(self, stop: threading.Event, tell: Callable[[], None] = lambda: None) -> None:
        """Until `stop`; `tell` is called about once a second. Raises StoreError when the counters cannot be saved."""
        threads = [
            threading.Thread(target=source.run, args=(stop,), name=f"poll-{source.polled.name}", daemon=True)
            for source in self.sources
        ]
        for thread in threads:
            thread.start()
        while not stop.wait(1.0):
            self._keep()
            tell()
        for thread in threads:
            thread.join(END_S)
        self._counters.save(self._clock.now_ns())

    def _keep(self) -> None:
        try:
            self._counters.save(self._clock.now_ns())
        except StoreError as error:
            _log.error("%s", error)

    def counters(self) -> list[dict[str, Any]]:
        """As `Counters.snapshot` has them."""
        return self._counters.snapshot()

    def health(self) -> list[dict[str, Any]]:
        """Of every source, see `Health`."""
        return [source.health.to_document() for source in self.sources]
