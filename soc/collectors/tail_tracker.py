"""`Tracker`: which file has which content: new ones, rotated, copied, compressed, removed; and which are held open."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections import deque
from typing import NamedTuple, Protocol

from soc.collectors.listeners import ListenerSpec
from soc.collectors.tail_files import is_below, likeness_of, neighbours, packed_as, place_of, status_at
from soc.collectors.tail_paths import matching, stem
from soc.collectors.tail_relatives import Relatives, first_bytes
from soc.collectors.tail_streams import Book, Likeness, Place, Source, Stream, Where, begins_like, is_same, shown
from soc.model.clock import Clock

SCAN_S = 1.0
"""Seconds between two looks at the names."""
MAX_OPEN = 512
"""Files that are held open; of more the one that grew longest ago is closed and only looked at."""
GONE_S = 5.0
"""A removed file that is still open and does not grow for so long has been read to its end."""
COPY_S = 30.0
"""A file that begins like one we follow is a copy in the making (copytruncate, gzip) for so long, then its own file."""
SEARCH_S = 3600.0
"""How long the rest of a file that is gone is looked for under other names, less and less often."""
KEPT_S = 30 * 86_400
"""What was read of a file that is gone is remembered for so long, to know its copies."""


class Telling(Protocol):
    """Says and counts that a file is not read: its path, why (a word, or the fault), and a sentence."""

    def __call__(self, path: str, what: str | Exception, text: str = "") -> None: ...


Seen = dict[Place, tuple[str, os.stat_result]]
"""Path and status of every file that was seen."""


class _Copy(NamedTuple):
    """A file that looked like a copy of a stream, and since when it has had this size."""

    since: float
    size: int
    of: Stream


class Tracker:
    """The streams of a book, and where each lies. For one thread; `now` are monotonic seconds."""

    def __init__(self, book: Book, clock: Clock, tell: Telling) -> None:
        self._book, self._clock, self._tell = book, clock, tell
        self._copies: dict[Place, _Copy] = {}
        self._relatives: Relatives | None = None
        self._room = MAX_OPEN
        self._closable: deque[Stream] = deque()
        self.has_new_paths = False
        """The patterns are other ones since the last scan."""

    # names ----------------------------------------------------------------------------------------------------------

    def scan(self, spec: ListenerSpec, now: float) -> None:
        """Look at every name: new files, known ones that changed, and those that are not where they were."""
        seen: Seen = {}
        for path, found in matching(spec.paths, self._tell):
            seen.setdefault(place_of(found), (path, found))
        if self.has_new_paths:
            self.has_new_paths = False
            for stream in self._book:
                if stream.where.place not in seen and shown(stream.where.path) == stream.name:
                    stream.close()  # not rotated, but no longer wanted
                    stream.is_finished = True
        for stream in self._book:
            path, place, _ = stream.where
            if place not in seen and not stream.is_finished and (status := status_at(path, place)) is not None:
                seen[place] = (path, status)  # rotated to a name that no pattern has
        for stream in self._book:
            if stream.where.place in seen:
                stream.seen_at = self._seconds
            elif stream.source is None:
                self._missing(stream, seen, now)
        waiting, self._copies, self._relatives = self._copies, {}, None
        self._count_open(now)
        for place, (path, status) in self._in_turn(seen):
            known = self._book.at(place)
            if known is None:
                self._meet(spec, path, status, waiting.get(place), now)
            else:
                known.where = known.where._replace(path=path)
                self._look(spec, known, status, now)

    def _in_turn(self, seen: Seen) -> list[tuple[Place, tuple[str, os.stat_result]]]:
        """In the order of the names; of more files than may be open those come first that were not for longest."""

        def opened_at(place: Place) -> float:
            known = self._book.at(place)
            return known.opened_at if known is not None else 0.0

        return sorted(seen.items(), key=lambda each: opened_at(each[0]) if len(seen) > MAX_OPEN else 0.0)

    @property
    def _seconds(self) -> int:
        return self._clock.now_ns() // 1_000_000_000

    def _look(self, spec: ListenerSpec, stream: Stream, status: os.stat_result, now: float) -> None:
        """Open a known file when something of it changed."""
        path, _, packed = stream.where
        is_all_read = stream.is_finished or status.st_size == stream.mark.offset
        if stream.source is not None or (status.st_mtime_ns == stream.stamp and is_all_read):
            return
        try:
            is_other = packed != packed_as(path) or (
                packed and stream.mark.offset and likeness_of(path, stream.mark) is not Likeness.WHOLE
            )
        except OSError as error:
            self._tell(path, error)
            return
        if is_other:  # the inode was used again
            self._book.leave(stream)
            self._meet(spec, path, status, None, now)
            return
        self._open(stream, now)

    def _open(self, stream: Stream, now: float) -> None:
        path, place, packed = stream.where
        if not self._has_room(now):
            stream.stamp = 0
            return
        try:
            stream.source = Source(path, packed)
        except OSError as error:
            self._tell(path, error)
            return
        if place_of(stream.source.status()) != place:
            stream.close()  # another file took the name just now; the next look sees it
            return
        self._room -= 1
        stream.opened_at = stream.grew_at = now
        stream.waiting, stream.nul_to, stream.is_finished = 0, 0, False

    def close(self, stream: Stream, now: float) -> None:
        """A file at its end; what changes later shows in its time. Times are coarse: a fresh one shows nothing yet."""
        if stream.source is None:
            return
        stream.stamp = stream.source.status().st_mtime_ns if now - stream.grew_at > SCAN_S else 0
        stream.close()

    def _count_open(self, now: float) -> None:
        """How many more may be opened, and whose turn it is to be closed for others: who did not grow for longest, and
        when all grow, who was opened first."""
        held = [stream for stream in self._book if stream.source is not None]
        self._room = MAX_OPEN - len(held)
        idle = [stream for stream in held if now - stream.grew_at > SCAN_S]
        busy = [stream for stream in held if now - stream.grew_at <= SCAN_S < now - stream.opened_at]
        self._closable = deque(sorted(idle, key=lambda one: one.grew_at))
        self._closable += sorted(busy, key=lambda one: one.opened_at)

    def _has_room(self, now: float) -> bool:
        """Whether one more may be opened; who may not comes with one of the next scans."""
        while self._room <= 0 and self._closable:
            stream = self._closable.popleft()
            if stream.source is not None:
                self.close(stream, now)
                self._room += 1
        return self._room > 0

    def _meet(self, spec: ListenerSpec, path: str, status: os.stat_result, seen: _Copy | None, now: float) -> None:
        """A file that nobody knows: the copy of one that is known, or a new one. `seen`: what it looked like before."""
        if not status.st_size:
            return  # it has nothing yet, and may become a copy
        if spec.guarded is not None and is_below(path, spec.guarded):
            self._tell(path, "own_files")
            return
        try:
            packed = packed_as(path)
            if packed and abs(self._clock.now_ns() - status.st_mtime_ns) < COPY_S * 1e9:
                return  # still being written; gzip and the like give a whole file the time of its original
            like = self._like(path, packed, status.st_size)
            if like is None and seen is not None and seen.size == status.st_size:
                like = seen.of  # it was cut off meanwhile: all of the copy was read before, and more
            is_in_place = like is not None and self._is_in_place(like, now)
            if like is not None and is_in_place and not packed and status.st_size > os.stat(like.where.path).st_size:
                like = None  # no copy is longer than its original
        except OSError as error:
            self._tell(path, error)
            return
        where = Where(path, place_of(status), packed)
        if like is not None and not is_in_place:
            self._take_over(like, where, now)
            return
        if like is not None:
            since = seen.since if seen is not None and seen.size == status.st_size else now
            if now - since < COPY_S:
                self._copies[where.place] = _Copy(since, status.st_size, like)
                return
        self._begin(spec, shown(path), where, self._known.at(path), now)

    def _begin(self, spec: ListenerSpec, name: str, where: Where, before: Stream | None, now: float) -> None:
        stream = Stream(secrets.token_hex(8), name, where, seen_at=self._seconds, before=before)
        self._book.add(stream)
        if self._relatives is not None:
            self._relatives.add(stream)
        self._open(stream, now)

    @property
    def _known(self) -> Relatives:
        """The streams as they were when a new file was met first in this scan."""
        if self._relatives is None:
            self._relatives = Relatives(self._book)
        return self._relatives

    def _like(self, path: str, packed: str, size: int) -> Stream | None:
        """A stream of a related name whose content this file begins with."""
        for stream in self._known.of(path, first_bytes(path, packed)):
            other, place, is_packed = stream.where
            there = None if packed or is_packed else status_at(other, place)
            if there is not None and size <= there.st_size and begins_like(path, size, other):
                return stream  # a copy in the making
            if stream.mark.offset and likeness_of(path, stream.mark) is not Likeness.NONE:
                return stream
        return None

    def _is_in_place(self, stream: Stream, now: float) -> bool:
        """Whether the file of a stream is where it was, with all that was read of it, or is still being read."""
        if stream.source is not None:
            is_gone = stream.source.status().st_nlink == 0 and now - stream.grew_at > GONE_S
            return not is_gone and (bool(stream.where.packed) or is_same(stream.source, stream.mark))
        path, place, _ = stream.where
        if status_at(path, place) is None:
            return False
        return not stream.mark.offset or likeness_of(path, stream.mark) is not Likeness.NONE

    def _take_over(self, stream: Stream, where: Where, now: float) -> None:
        """The content goes on in another file: what was not read yet is read there."""
        self._book.move(stream, where)
        stream.search_pause, stream.stamp, self._book.is_changed = 0.5, 0, True
        if likeness_of(where.path, stream.mark) is not Likeness.WHOLE:  # it has nothing that was not read
            stream.is_finished = True
            with contextlib.suppress(OSError):
                stream.stamp = os.stat(where.path).st_mtime_ns
            return
        self._open(stream, now)

    # what is gone ---------------------------------------------------------------------------------------------------

    def _missing(self, stream: Stream, seen: Seen, now: float) -> None:
        """The file is not where it was: look for its content, renamed, copied or compressed, in its folder."""
        age = self._seconds - stream.seen_at
        if age > KEPT_S:
            self._book.remove(stream)
            return
        if stream.is_finished or now < stream.next_search or age > SEARCH_S:
            return
        stream.next_search, stream.search_pause = now + stream.search_pause, min(stream.search_pause * 2, 300.0)
        near = neighbours(stream.where.path)
        for path, status in near:
            if place_of(status) == stream.where.place and self._is_renamed(stream, path):
                stream.where = stream.where._replace(path=path)
                seen[stream.where.place] = (path, status)
                return
        if not stream.mark.offset:
            self._book.remove(stream)
            return
        for path, status in near:
            if self._holds_rest(stream, path, status):
                self._take_over(stream, Where(path, place_of(status), packed_as(path)), now)
                seen[place_of(status)] = (path, status)
                return

    def _is_renamed(self, stream: Stream, path: str) -> bool:
        """Whether the file that has a stream's inode now is the stream's: inodes are used again."""
        try:
            if stream.mark.offset:
                return likeness_of(path, stream.mark) is Likeness.WHOLE
            return stem(path) == stem(stream.name) and packed_as(path) == stream.where.packed
        except OSError:
            return False

    def _holds_rest(self, stream: Stream, path: str, status: os.stat_result) -> bool:
        if stem(path) != stem(stream.name):
            return False
        owner = self._book.at(place_of(status))
        if owner is not None and owner.mark.offset:
            return False
        try:
            return likeness_of(path, stream.mark) is not Likeness.NONE
        except OSError:
            return False

    def truncated(self, spec: ListenerSpec, stream: Stream, now: float) -> None:
        """What was read is not in the file any more: it begins anew; the rest of before may be in a copy."""
        where, unread = stream.where, stream.size - stream.mark.offset
        self._book.leave(stream)
        stream.next_search = 0.0
        self._missing(stream, {}, now)
        if unread > 0 and stream.source is None:
            self._tell(where.path, "truncated", f"{unread} bytes were not read before it was cut")
        self._begin(spec, stream.name, where, stream, now)
