"""`TailReceiver`: follows files as they grow, through rotation, truncation and compression, into the queue.

Polling: a look at every name once a second, at files that grow four times a second. It works on every file system, and
a look costs about 3 µs a file (docs/files.md has the figures beside inotify's limits).
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
import zlib
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import orjson

from soc.collectors.counters import Counters
from soc.collectors.intake import Intake
from soc.collectors.lines import CODINGS, MIN_HOLE, PLAIN, Coding, Lines, coding, cut
from soc.collectors.listeners import ListenerSpec
from soc.collectors.multiline import join
from soc.collectors.tables import directives, form_of, looks_like_w3c, looks_like_zeek
from soc.collectors.tail_paths import matching, stem
from soc.collectors.tail_streams import (
    ORIGIN,
    Book,
    Likeness,
    Mark,
    Place,
    Source,
    Stream,
    Where,
    begins_like,
    likeness,
    shown,
)
from soc.collectors.threads import Threaded
from soc.collectors.unpack import Damaged, compression
from soc.errors import SocError, StoreError
from soc.model.clock import Clock
from soc.model.record import HOLE, RawBlock

SCAN_S = 1.0
"""Seconds between two looks at the names."""
POLL_S = 0.25
"""Seconds between two looks at files that are open."""
CHUNK = 1 << 20
"""Bytes read at once of one file; the next file's turn is then. Also the longest record."""
MAX_LINES = 32_768
"""Lines of a frame, so that no block is ever split over two frames: each frame has its own offset."""
MAX_OPEN = 512
"""Files that are held open; of more the one that grew longest ago is closed and only looked at."""
PARTIAL_S = 10.0
"""A last line without its end is waited for so long, then taken and flagged."""
IDLE_S = 60.0
"""An open file that does not grow for so long is closed, and looked at by its name."""
GONE_S = 5.0
"""A removed file that is still open and does not grow for so long has been read to its end."""
COPY_S = 30.0
"""A file that begins like one we follow is a copy in the making (copytruncate, gzip) for so long, then its own file."""
SEARCH_S = 3600.0
"""How long the rest of a file that is gone is looked for under other names, less and less often."""
KEPT_S = 30 * 86_400
"""What was read of a file that is gone is remembered for so long, to know its copies."""
MIN_RECORD = 256
"""A listener's `max_bytes` below this counts as this much."""
_MARKED = 4
"""Bytes that tell how characters lie."""
_LOG_S = 600.0
_MAX_TOLD = 10_000
_log = logging.getLogger("soc.collectors.tail")


class _Copy(NamedTuple):
    """A file that looked like a copy of a stream, and since when it has had this size."""

    since: float
    size: int
    of: Stream


class TailReceiver(Threaded):
    """The files of one `file` listener, in one thread.

    `frames_after` gives the queue's frames above a sequence number; the offsets in them complete the snapshot.
    """

    def __init__(
        self,
        spec: ListenerSpec,
        intake: Intake,
        counters: Counters,
        clock: Clock,
        book: Book,
        frames_after: Callable[[int], Iterable[RawBlock]] | None,
    ) -> None:
        super().__init__(f"tail-{spec.name}")
        self._spec = spec
        self._intake, self._counters, self._clock, self._book = intake, counters, clock, book
        self._scan_at = 0.0
        self._copies: dict[Place, _Copy] = {}
        self._told: dict[tuple[str, str], float] = {}
        self._changed = self._has_new_paths = False
        if frames_after is not None:
            book.fold(block for block in frames_after(book.seq) if block.listener == spec.name)

    @property
    def name(self) -> str:
        """The listener's."""
        return self._spec.name

    def prepared(self, spec: ListenerSpec) -> Callable[[], None]:
        """What makes the listener be as `spec` says from the next look on."""

        def change() -> None:
            self._spec, self._has_new_paths = spec, True

        return change

    def drop(self, name: str) -> bool:
        """There is only this listener: stop it."""
        return name == self._spec.name

    def save(self, seq: int) -> None:
        """Keep what the queue has up to frame `seq`; called by the thread of the group commit. Raises StoreError."""
        if self._changed:
            self._changed = False
            try:
                self._book.save(seq)
            except StoreError:
                self._changed = True
                raise

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                is_busy = self.turn()
            except Exception:  # whatever one file does, the others are followed on
                _log.exception("a look at the files failed")
                is_busy = False
            if not is_busy:
                self._stop.wait(POLL_S)
        for stream in self._book:
            stream.close()

    @property
    def _now(self) -> float:
        return self._clock.monotonic_ns() / 1e9

    def turn(self) -> bool:
        """One look: names when that is due, then a chunk of each file that has more; whether there may be more yet."""
        now, is_busy = self._now, False
        if now >= self._scan_at:
            self._scan(self._spec, now)
            self._scan_at = now + SCAN_S
        for stream in self._book:
            if stream.source is None or self._stop.is_set():
                continue
            if self._intake.is_half_full:
                return False
            is_busy |= self._guarded(stream, now)
        return is_busy

    def _guarded(self, stream: Stream, now: float) -> bool:
        try:
            return self._advance(stream, now)
        except Damaged as error:
            self._damaged(stream, error)
        except (OSError, SocError) as error:
            stream.close()
            stream.is_finished = self._changed = isinstance(error, SocError)
            self._tell(stream.where.path, error)
        except Exception:  # whatever one file does to us, the others are followed
            _log.exception("%s: reading failed", stream.name)
            stream.close()
        return False

    # names ----------------------------------------------------------------------------------------------------------

    def _scan(self, spec: ListenerSpec, now: float) -> None:
        seen: dict[Place, tuple[str, os.stat_result]] = {}
        for path, found in matching(spec.paths, self._tell):
            seen.setdefault(_place(found), (path, found))
        if self._has_new_paths:
            self._has_new_paths = False
            for stream in self._book:
                if stream.where.place not in seen and shown(stream.where.path) == stream.name:
                    stream.close()  # not rotated, but no longer wanted
                    stream.is_finished = True
        for stream in self._book:
            path, place, _ = stream.where
            if place not in seen and not stream.is_finished and (status := _status(path, place)) is not None:
                seen[place] = (path, status)  # rotated to a name that no pattern has
        for stream in self._book:
            if stream.where.place in seen:
                stream.seen_at = self._seconds
            elif stream.source is None:
                self._missing(stream, seen, now)
        waiting = self._copies
        self._copies = {}
        for place, (path, status) in seen.items():
            known = self._book.at(place)
            if known is None:
                self._meet(spec, path, status, waiting.get(place), now)
            else:
                known.where = known.where._replace(path=path)
                self._look(spec, known, status, now)
        self._close_some()

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
            is_other = packed != _packed(path) or (
                packed and stream.mark.offset and _likeness(path, stream.mark) is not Likeness.WHOLE
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
        try:
            stream.source = Source(path, packed)
        except OSError as error:
            self._tell(path, error)
            return
        if _place(stream.source.status()) != place:
            stream.close()  # another file took the name just now; the next look sees it
            return
        stream.grew_at, stream.waiting, stream.nul_to, stream.is_finished = now, 0, 0, False

    def _close(self, stream: Stream, now: float) -> None:
        """A file at its end; what changes later shows in its time. Times are coarse: a fresh one shows nothing yet."""
        if stream.source is None:
            return
        stream.stamp = stream.source.status().st_mtime_ns if now - stream.grew_at > SCAN_S else 0
        stream.close()

    def _close_some(self) -> None:
        held = [stream for stream in self._book if stream.source is not None]
        if len(held) > MAX_OPEN:
            for stream in sorted(held, key=lambda one: one.grew_at)[: len(held) - MAX_OPEN]:
                self._close(stream, self._now)

    def _meet(self, spec: ListenerSpec, path: str, status: os.stat_result, seen: _Copy | None, now: float) -> None:
        """A file that nobody knows: the copy of one that is known, or a new one. `seen`: what it looked like before."""
        if not status.st_size:
            return  # it has nothing yet, and may become a copy
        if spec.guarded is not None and _is_below(path, spec.guarded):
            self._tell(path, "own_files")
            return
        try:
            packed = _packed(path)
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
        where = Where(path, _place(status), packed)
        if like is not None and not is_in_place:
            self._take_over(like, where, now)
            return
        if like is not None:
            since = seen.since if seen is not None and seen.size == status.st_size else now
            if now - since < COPY_S:
                self._copies[where.place] = _Copy(since, status.st_size, like)
                return
        before = next((one for one in self._book if one.where.path == path), None)
        self._begin(spec, shown(path), where, before, now)

    def _begin(self, spec: ListenerSpec, name: str, where: Where, before: Stream | None, now: float) -> None:
        stream = Stream(secrets.token_hex(8), name, where, seen_at=self._seconds, before=before)
        self._book.add(stream)
        self._open(stream, now)

    def _like(self, path: str, packed: str, size: int) -> Stream | None:
        """A stream of a related name whose content this file begins with."""
        related = (
            stream
            for stream in self._book
            if stem(stream.name) == stem(path) and os.path.dirname(stream.where.path) == os.path.dirname(path)
        )
        for stream in related:
            other, place, is_packed = stream.where
            there = None if packed or is_packed else _status(other, place)
            if there is not None and size <= there.st_size and begins_like(path, size, other):
                return stream  # a copy in the making
            if stream.mark.offset and _likeness(path, stream.mark) is not Likeness.NONE:
                return stream
        return None

    def _is_in_place(self, stream: Stream, now: float) -> bool:
        """Whether the file of a stream is where it was, with all that was read of it, or is still being read."""
        if stream.source is not None:
            is_gone = stream.source.status().st_nlink == 0 and now - stream.grew_at > GONE_S
            return not is_gone and (bool(stream.where.packed) or self._is_same(stream, stream.source))
        path, place, _ = stream.where
        if _status(path, place) is None:
            return False
        return not stream.mark.offset or _likeness(path, stream.mark) is not Likeness.NONE

    def _take_over(self, stream: Stream, where: Where, now: float) -> None:
        """The content goes on in another file: what was not read yet is read there."""
        self._book.move(stream, where)
        stream.search_pause, stream.stamp, self._changed = 0.5, 0, True
        if _likeness(where.path, stream.mark) is not Likeness.WHOLE:  # it has nothing that was not read
            stream.is_finished = True
            with contextlib.suppress(OSError):
                stream.stamp = os.stat(where.path).st_mtime_ns
            return
        self._open(stream, now)

    # what is gone ---------------------------------------------------------------------------------------------------

    def _missing(self, stream: Stream, seen: dict[Place, tuple[str, os.stat_result]], now: float) -> None:
        """The file is not where it was: look for its content, renamed, copied or compressed, in its folder."""
        age = self._seconds - stream.seen_at
        if age > KEPT_S:
            self._book.remove(stream)
            return
        if stream.is_finished or now < stream.next_search or age > SEARCH_S:
            return
        stream.next_search, stream.search_pause = now + stream.search_pause, min(stream.search_pause * 2, 300.0)
        near = _neighbours(stream.where.path)
        for path, status in near:
            if _place(status) == stream.where.place and self._is_renamed(stream, path):
                stream.where = stream.where._replace(path=path)
                seen[stream.where.place] = (path, status)
                return
        if not stream.mark.offset:
            self._book.remove(stream)
            return
        for path, status in near:
            if self._holds_rest(stream, path, status):
                self._take_over(stream, Where(path, _place(status), _packed(path)), now)
                seen[_place(status)] = (path, status)
                return

    def _is_renamed(self, stream: Stream, path: str) -> bool:
        """Whether the file that has a stream's inode now is the stream's: inodes are used again."""
        try:
            if stream.mark.offset:
                return _likeness(path, stream.mark) is Likeness.WHOLE
            return stem(path) == stem(stream.name) and _packed(path) == stream.where.packed
        except OSError:
            return False

    def _holds_rest(self, stream: Stream, path: str, status: os.stat_result) -> bool:
        if stem(path) != stem(stream.name):
            return False
        owner = self._book.at(_place(status))
        if owner is not None and owner.mark.offset:
            return False
        try:
            return _likeness(path, stream.mark) is not Likeness.NONE
        except OSError:
            return False

    def _truncated(self, stream: Stream, now: float) -> None:
        """What was read is not in the file any more: it begins anew; the rest of before may be in a copy."""
        where, unread = stream.where, stream.size - stream.mark.offset
        self._book.leave(stream)
        stream.next_search = 0.0
        self._missing(stream, {}, now)
        if unread > 0 and stream.source is None:
            self._tell(where.path, "truncated", f"{unread} bytes were not read before it was cut")
        self._begin(self._spec, stream.name, where, stream, now)

    # content --------------------------------------------------------------------------------------------------------

    def _advance(self, stream: Stream, now: float) -> bool:
        """A chunk of one file; whether there may be more right now."""
        source, mark, packed = stream.source, stream.mark, stream.where.packed
        assert source is not None
        if stream.before is not None:
            if stream.before.source is not None and stream.before.grew_at == now:
                return True  # what was written before the rotation comes first
            stream.before = None
        if not packed and not self._is_same(stream, source):
            self._truncated(stream, now)
            return True
        if not packed:
            self._shrunk(stream, source)
        chunk = source.read(mark.offset, CHUNK)
        stream.size = max(stream.size, mark.offset + len(chunk))
        if not chunk:
            self._at_end(stream, source, now)
            return False
        if mark.header or (not mark.offset and (looks_like_w3c(chunk) or looks_like_zeek(chunk))):
            used, header = directives(chunk, mark.header)
            if used:
                stream.code = PLAIN.name
                self._pass(stream, mark.after(chunk[:used], 0, header), now)
                return True
            chunk = chunk[: chunk.find(b"\n#") + 1] or chunk
        is_last = self._has_waited(stream, chunk, now)
        if not mark.offset:
            is_plain = chunk.endswith(b"\n") and b"\0" not in chunk
            if len(chunk) < _MARKED and not is_plain and not is_last:
                return False  # the first bytes tell how characters lie
            stream.code = coding(chunk).name
        code = CODINGS[stream.code]
        if code is PLAIN and not chunk[:MIN_HOLE].strip(b"\0") and len(chunk) >= MIN_HOLE:
            return self._skip(stream, source, now)
        if is_last and code is PLAIN:
            chunk = chunk.rstrip(b"\0")  # room that was made ahead for what is to come
        spec = self._spec
        lines = _lines(spec, chunk, mark, code, is_last=is_last)
        return bool(lines.used) and self._give(spec, stream, chunk[: lines.used], lines, now)

    def _shrunk(self, stream: Stream, source: Source) -> None:
        """Bytes that were there and not read yet are gone, what was read is not; trimmed room is no loss."""
        size = source.status().st_size
        if size < stream.size:
            if stream.nul_to < stream.size:
                self._tell(stream.where.path, "truncated", f"{stream.size - size} bytes were cut away")
            stream.size = size

    def _is_same(self, stream: Stream, source: Source) -> bool:
        """Whether what lies before the offset is still what was read."""
        mark = stream.mark
        if not mark.offset:
            return True
        last = source.read(mark.offset - len(mark.last), len(mark.last))
        return last == mark.last and zlib.crc32(source.read(0, mark.head_size)) == mark.head_crc

    def _has_waited(self, stream: Stream, chunk: bytes, now: float) -> bool:
        """Whether what has no line end will not get one: the file is packed, or did not grow for `PARTIAL_S`."""
        if len(chunk) == CHUNK:
            return False
        end = stream.mark.offset + len(chunk)
        if stream.waiting != end:
            stream.waiting, stream.waits_since = end, now
        wait = self._spec.multiline_wait_s if self._spec.multiline and b"\n" in chunk[-2:] else PARTIAL_S
        return bool(stream.where.packed) or now - stream.waits_since >= wait

    def _skip(self, stream: Stream, source: Source, now: float) -> bool:
        """NULs: a hole when something stands behind them, else room made ahead, which is waited for."""
        mark = stream.mark
        at = max(stream.nul_to, mark.offset)
        for _ in range(16):
            piece = source.read(at, CHUNK)
            text = piece.lstrip(b"\0")
            at += len(piece) - len(text)
            if text or not piece:
                break
        else:
            stream.nul_to = at
            return True
        if not text:
            stream.nul_to = at
            self._at_end(stream, source, now)
            return False
        stop = min(at, mark.offset + 16 * CHUNK)
        while mark.offset < stop:
            mark = mark.after(bytes(min(CHUNK, stop - mark.offset)), mark.inside | HOLE)
        stream.mark, stream.grew_at = mark, now
        return True

    def _give(self, spec: ListenerSpec, stream: Stream, chunk: bytes, lines: Lines, now: float) -> bool:
        """Lines to the intake, with the offset behind them; False when there is no room."""
        after = stream.mark.after(chunk, lines.inside)
        if lines.records:
            flags = bytearray(len(lines.records)) if lines.flags else bytearray()
            for i, bits in lines.flags.items():
                flags[i] = bits
            origin = {
                **spec.origin,
                "log.file.path": stream.name,
                ORIGIN: orjson.dumps(stream.to_document(after)).decode(),
            }
            form = spec.format
            if stream.mark.header:
                header = orjson.loads(stream.mark.header)
                form, origin = form_of(header), origin | header
            if spec.product:
                origin["as_product"] = spec.product
            block = RawBlock.of(
                lines.records, receipt_ns=self._clock.now_ns(), site=spec.site, listener=spec.name, peer=stream.name,
                format=form, origin=origin, flags=bytes(flags), node="",
            )  # fmt: skip
            stream.given += 1
            if not self._intake.put(spec, block, partial(self._settled, stream, after)):
                stream.given -= 1
                return False
            stream.mark, stream.grew_at = after, now
        else:
            self._pass(stream, after, now)
        return True

    def _pass(self, stream: Stream, after: Mark, now: float) -> None:
        """Nothing for the queue up to there: kept at once, unless lines before it are still on their way."""
        if stream.given == stream.settled:
            stream.kept, self._changed = after, True
        stream.mark, stream.grew_at = after, now

    def _settled(self, stream: Stream, after: Mark, is_durable: bool) -> None:
        """The queue has a block, or gives it up at the end of the process: then its lines are read again."""
        if is_durable:
            stream.kept, self._changed = after, True
            stream.settled += 1

    def _at_end(self, stream: Stream, source: Source, now: float) -> None:
        """Nothing more at the moment: a file that is packed or gone is finished, one that stays quiet is closed."""
        status = source.status()
        is_over = bool(stream.where.packed) or (status.st_nlink == 0 and now - stream.grew_at > IDLE_S)
        if is_over and stream.given == stream.settled:
            stream.stamp, stream.is_finished, self._changed = status.st_mtime_ns, True, True
            stream.close()
            if status.st_nlink == 0:
                self._book.leave(stream)
        elif not is_over and now - stream.grew_at > IDLE_S:
            self._close(stream, now)

    def _damaged(self, stream: Stream, error: Damaged) -> None:
        """A packed file that ends early may still be written; one that does not change any more stays as it is."""
        assert stream.source is not None
        age = self._clock.now_ns() - stream.source.status().st_mtime_ns
        stream.stamp = 0
        if age > COPY_S * 1_000_000_000:
            stream.stamp, stream.is_finished, self._changed = stream.source.status().st_mtime_ns, True, True
            self._tell(stream.where.path, "damaged", str(error))
        stream.close()

    # telling --------------------------------------------------------------------------------------------------------

    def _tell(self, path: str, what: str | Exception, text: str = "") -> None:
        """Say and count that a file is not read, the same of the same file once in ten minutes."""
        word = what if isinstance(what, str) else _word(what)
        now, path = self._now, shown(path)
        if now - self._told.get((path, word), -_LOG_S) < _LOG_S:
            return
        if len(self._told) > _MAX_TOLD:
            self._told.clear()
        self._told[path, word] = now
        self._counters.refused(self._spec.site, self.name, path, self._clock.now_ns(), word)
        _log.warning("[listen.%s] %s is not read: %s", self.name, path, text or (what if what != word else word))


def _lines(spec: ListenerSpec, chunk: bytes, mark: Mark, code: Coding, *, is_last: bool) -> Lines:
    """`cut` or `join`, of so much of the chunk that a frame holds its lines."""
    max_bytes = min(max(spec.max_bytes, MIN_RECORD), CHUNK // 2)
    if code is not PLAIN:
        short = chunk[: MAX_LINES * 2]
    elif chunk.count(b"\n") > MAX_LINES:
        short = chunk[: len(chunk) - len(chunk.split(b"\n", MAX_LINES)[-1])]
    else:
        short = chunk
    is_last = is_last and len(short) == len(chunk)
    if spec.multiline:
        return join(
            short, code, max_bytes, spec.multiline, is_start=not mark.offset, inside=mark.inside, is_last=is_last
        )
    return cut(short, code, max_bytes, is_start=not mark.offset, inside=mark.inside, is_last=is_last)


def _place(status: os.stat_result) -> Place:
    return status.st_dev, status.st_ino


def _status(path: str, place: Place) -> os.stat_result | None:
    """Of the file at this path, when it is the one of this place."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status if _place(status) == place else None


def _packed(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return compression(os.read(fd, 8))
    finally:
        os.close(fd)


def _likeness(path: str, mark: Mark) -> Likeness:
    """`likeness` of a file; none (yet) when it is damaged. Raises OSError."""
    try:
        return likeness(path, _packed(path), mark)
    except SocError:
        return Likeness.NONE


def _neighbours(path: str) -> list[tuple[str, os.stat_result]]:
    """Regular files in the folder of a path, the newest first."""
    folder, found = os.path.dirname(path), []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.is_file(follow_symlinks=False):
                        found.append((entry.path, entry.stat(follow_symlinks=False)))
    except OSError:
        return []
    return sorted(found, key=lambda one: -one[1].st_mtime_ns)


def _is_below(path: str, folder: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _word(error: Exception) -> str:
    """A short reason for counters."""
    if isinstance(error, OSError):
        return {errno.EACCES: "permission_denied", errno.EPERM: "permission_denied"}.get(error.errno or 0, "unreadable")
    return "expansion"
