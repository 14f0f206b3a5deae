"""What goes on while it is read: the tail of new events (NDJSON) and the notices of changes (server-sent events).

Every stream ends when the service stops, and when its caller may no longer see what it shows: a person who is
disabled or moved to another unit, or whose token was revoked, is asked for again every few seconds.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import StreamingResponse

from soc.errors import SocError, TryAgain
from soc.model.clock import DAY_US
from soc.model.query import And, Between
from soc.model.query import Query as Tree
from soc.store.cases import Change
from soc.store.events import Aggregate
from soc.web.auth import Allowed, Asking, Peer, identify

router = APIRouter()
TICK_S = 0.5
ALIVE_S = 2.0
"""A tail says where it is at least this often."""
COMMENT_S = 10.0
ROWS_PER_TICK = 500
CHANGES_PER_TICK = 500
OVERLAP_US = 10_000_000
"""Events appear up to this long after the time of ingest they carry: they are stamped first and made durable then."""
WINDOW_US = DAY_US
"""A tail is of live events: what claims to be older than this (an import) is found by search."""
CATCH_UP_US = 60_000_000
"""A tail that goes on after a longer pause counts what is older instead of sending it: it may be a whole day."""
MOST = 64
"""So many streams at once; each one asks the store twice a second."""
_places = threading.BoundedSemaphore(MOST)


@dataclass
class Tail:
    """New events of one query within one scope. `mark_us` is the newest time of ingest that was dealt with.

    Within one stream nothing is sent twice or missed, whatever the order in which workers become visible; a stream
    that goes on from a position (`after`) begins strictly behind that time of ingest.
    """

    ask: Asking
    query: Tree
    mark_us: int
    skipped: int = 0
    _seen: dict[bytes, int] = field(default_factory=dict)
    _first_us: int = 0
    _stepped_us: int = 0

    def __post_init__(self) -> None:
        self._first_us = self._stepped_us = self.mark_us

    def step(self) -> list[dict[str, Any]]:
        """The events since the step before, oldest first; of too many the newest, the rest is counted in `skipped`."""
        self._catch_up()
        news = self._news()
        for id, at_us in news:
            self._seen[id] = at_us
        self.mark_us = max(self.mark_us, max((at for _, at in news), default=0))
        self._forget()
        cut = max(len(news) - ROWS_PER_TICK, 0)
        self.skipped += cut
        return self.ask.services.store.get(self.ask.scope, [id for id, _ in news[cut:]])

    def _catch_up(self) -> None:
        """After a pause (a position of yesterday, a reader that stood still) the old ones are only counted."""
        now_us, before_us = self.ask.now_us, self._stepped_us
        self._stepped_us = now_us
        if now_us - before_us <= CATCH_UP_US:
            return
        start = now_us - CATCH_UP_US
        span = Between("event.ingested", low=self.mark_us, high=start, low_strict=True)
        rows = self.ask.services.store.aggregate(
            self.ask.scope, And((self.query, span)), Aggregate(), since_us=now_us - WINDOW_US
        )
        self.skipped += sum(row["count"] for row in rows)
        self.mark_us = self._first_us = max(self.mark_us, start)

    def _news(self) -> list[tuple[bytes, int]]:
        """Ids and times of ingest of what was not seen yet, in the order of ingest."""
        low = max(self.mark_us - OVERLAP_US, self._first_us)
        query = And((self.query, Between("event.ingested", low=low, low_strict=low == self._first_us)))
        since_us = self.ask.now_us - WINDOW_US
        found: list[tuple[bytes, int]] = []
        columns = ("event.id", "event.ingested")
        for batch in self.ask.services.store.scan(self.ask.scope, query, columns, since_us=since_us):
            found += zip(*(batch.columns[name].to_list() for name in columns), strict=True)
        return sorted((pair for pair in found if pair[0] not in self._seen), key=lambda pair: (pair[1], pair[0]))

    def _forget(self) -> None:
        low = self.mark_us - OVERLAP_US
        self._seen = {id: at for id, at in self._seen.items() if at >= low}

    def position(self) -> dict[str, Any]:
        """Where to go on from, and how many events were cut since the position before."""
        skipped, self.skipped = self.skipped, 0
        return {"position": str(self.mark_us), "skipped": skipped}

    async def lines(self) -> AsyncIterator[bytes]:
        """The stream: events, and a position after every batch of them and at least every `ALIVE_S`."""
        said = 0.0
        while True:
            rows = await run_in_threadpool(self.step)
            for row in rows:
                yield orjson.dumps({"event": row}) + b"\n"
            now = time.monotonic()
            if rows or now - said >= ALIVE_S:
                said = now
                yield orjson.dumps(self.position()) + b"\n"
            else:
                yield b""
            await asyncio.sleep(TICK_S)


def streamed(request: Request, lines: AsyncIterator[bytes], media_type: str) -> StreamingResponse:
    """A stream with a place of its own among `MOST`. Raises TryAgain when all are taken."""
    if not _places.acquire(blocking=False):
        raise TryAgain(f"{MOST} streams are open already", hint="close one, or try again in a moment")
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return _Placed(_guarded(request, lines), media_type=media_type, headers=headers)


class _Placed(StreamingResponse):
    """Gives its place back however it ends."""

    async def __call__(self, *args: Any) -> None:
        try:
            await super().__call__(*args)
        finally:
            _places.release()


async def _guarded(request: Request, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The stream until the service stops or the caller is no longer who they were; an error ends it, without words."""
    stop: threading.Event = request.app.state.stop
    asked = time.monotonic()
    try:
        async for line in lines:
            if stop.is_set():
                return
            if time.monotonic() - asked >= COMMENT_S:
                asked = time.monotonic()
                if not await run_in_threadpool(_is_still, request):
                    return
            if line:
                yield line
    except SocError:
        return  # the client comes again and is told then


def _is_still(request: Request) -> bool:
    """Whether the caller would be let in as the same person with the same rights."""
    try:
        peer = request.scope["state"].get("peer", Peer())
        return bool(identify(request.app.state.services, peer, request.headers) == request.state.caller)
    except SocError:
        return False


@router.get("/v1/changes")
async def changes(
    request: Request,
    ask: Annotated[Asking, Depends(Allowed("alert.read"))],
    after: Annotated[int | None, Query(ge=0, le=2**62)] = None,
) -> StreamingResponse:
    """Notices of changes after a number, as server-sent events; without one, from now on."""
    resumed = request.headers.get("last-event-id", "")
    start = int(resumed) if resumed.isdigit() else after
    last = await run_in_threadpool(ask.services.cases.last_change)
    # A number that was never given (another database) would wait for ever.
    return streamed(request, _notices(ask, last if start is None else min(start, last)), "text/event-stream")


async def _notices(ask: Asking, seq: int) -> AsyncIterator[bytes]:
    said = time.monotonic()
    yield b"id: %d\n\n" % seq  # an id without data: nothing happened yet, but this is where to go on from
    while True:
        found = await run_in_threadpool(ask.services.cases.changes_after, seq, CHANGES_PER_TICK)
        for change in found:
            seq = change.seq
        lines = list(_shown(ask, found))
        if lines:
            said = time.monotonic()
        elif time.monotonic() - said >= COMMENT_S:
            said = time.monotonic()
            lines = [b": alive\nid: %d\n\n" % seq]
        for line in lines or [b""]:
            yield line
        if len(found) < CHANGES_PER_TICK:
            await asyncio.sleep(TICK_S)


def _shown(ask: Asking, found: list[Change]) -> Iterator[bytes]:
    """The notices that the caller may see; those of no unit are for people who see everything."""
    for change in found:
        if ask.scope.allows(change.unit):
            data = {name: value for name, value in asdict(change).items() if name != "unit"}
            yield b"id: %d\nevent: change\ndata: %s\n\n" % (change.seq, orjson.dumps(data))
