"""`TailReceiver`: follows files as they grow, through rotation, truncation and compression, into the queue.

Polling: a look at every name once a second, at files that grow four times a second. It works on every file system, and
a look costs about 3 µs a file (docs/files.md has the figures beside inotify's limits).
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterable
from functools import partial

import orjson

from soc.collectors.counters import Counters
from soc.collectors.intake import Intake
from soc.collectors.lines import CODINGS, MIN_HOLE, PLAIN, Coding, Lines, coding, cut
from soc.collectors.listeners import ListenerSpec, allow_files
from soc.collectors.multiline import join
from soc.collectors.tables import directives, form_of, looks_like_w3c, looks_like_zeek
from soc.collectors.tail_streams import ORIGIN, Book, Mark, Source, Stream, is_same, shown
from soc.collectors.tail_tracker import COPY_S, SCAN_S, Tracker
from soc.collectors.threads import Threaded
from soc.collectors.unpack import Damaged
from soc.errors import SocError, StoreError
from soc.model.clock import Clock
from soc.model.record import HOLE, RawBlock

POLL_S = 0.25
"""Seconds between two looks at files that are open."""
CHUNK = 1 << 20
"""Bytes read at once of one file; the next file's turn is then. Also the longest record."""
MAX_LINES = 32_768
"""Lines of a frame, so that no block is ever split over two frames: each frame has its own offset."""
PARTIAL_S = 10.0
"""A last line without its end is waited for so long, then taken and flagged."""
IDLE_S = 60.0
"""An open file that does not grow for so long is closed, and looked at by its name."""
MIN_RECORD = 256
"""A listener's `max_bytes` below this counts as this much."""
_MARKED = 4
"""Bytes that tell how characters lie."""
_LOG_S = 600.0
_MAX_TOLD = 10_000
_log = logging.getLogger("soc.collectors.tail")


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
        self._tracker = Tracker(book, clock, self._tell)
        self._told: dict[tuple[str, str], float] = {}
        if frames_after is not None:
            book.fold(block for block in frames_after(book.seq) if block.listener == spec.name)

    @property
    def name(self) -> str:
        """The listener's."""
        return self._spec.name

    def start(self) -> None:
        """Begin to follow."""
        allow_files()
        super().start()

    def prepared(self, spec: ListenerSpec) -> Callable[[], None]:
        """What makes the listener be as `spec` says from the next look on."""

        def change() -> None:
            self._spec, self._tracker.has_new_paths = spec, True

        return change

    def drop(self, name: str) -> bool:
        """There is only this listener: stop it."""
        return name == self._spec.name

    def save(self, seq: int) -> None:
        """Keep what the queue has up to frame `seq`; called by the thread of the group commit. Raises StoreError."""
        if self._book.is_changed:
            self._book.is_changed = False
            try:
                self._book.save(seq)
            except StoreError:
                self._book.is_changed = True
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
            self._tracker.scan(self._spec, now)
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
            stream.is_finished = self._book.is_changed = isinstance(error, SocError)
            self._tell(stream.where.path, error)
        except Exception:  # whatever one file does to us, the others are followed
            _log.exception("%s: reading failed", stream.name)
            stream.close()
        return False

    # content --------------------------------------------------------------------------------------------------------

    def _advance(self, stream: Stream, now: float) -> bool:
        """A chunk of one file; whether there may be more right now."""
        source, mark, packed = stream.source, stream.mark, stream.where.packed
        assert source is not None
        if stream.before is not None:
            if stream.before.source is not None and stream.before.grew_at == now:
                return True  # what was written before the rotation comes first
            stream.before = None
        if not packed and not is_same(source, mark):
            self._tracker.truncated(self._spec, stream, now)
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
            stream.kept, self._book.is_changed = after, True
        stream.mark, stream.grew_at = after, now

    def _settled(self, stream: Stream, after: Mark, is_durable: bool) -> None:
        """The queue has a block, or gives it up at the end of the process: then its lines are read again."""
        if is_durable:
            stream.kept, self._book.is_changed = after, True
            stream.settled += 1

    def _at_end(self, stream: Stream, source: Source, now: float) -> None:
        """Nothing more at the moment: a file that is packed or gone is finished, one that stays quiet is closed."""
        status = source.status()
        is_over = bool(stream.where.packed) or (status.st_nlink == 0 and now - stream.grew_at > IDLE_S)
        if is_over and stream.given == stream.settled:
            stream.stamp, stream.is_finished, self._book.is_changed = status.st_mtime_ns, True, True
            stream.close()
            if status.st_nlink == 0:
                self._book.leave(stream)
        elif not is_over and now - stream.grew_at > IDLE_S:
            self._tracker.close(stream, now)

    def _damaged(self, stream: Stream, error: Damaged) -> None:
        """A packed file that ends early may still be written; one that does not change any more stays as it is."""
        assert stream.source is not None
        age = self._clock.now_ns() - stream.source.status().st_mtime_ns
        stream.stamp = 0
        if age > COPY_S * 1_000_000_000:
            stream.stamp, stream.is_finished, self._book.is_changed = stream.source.status().st_mtime_ns, True, True
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


def _word(error: Exception) -> str:
    """A short reason for counters."""
    if isinstance(error, OSError):
        return {errno.EACCES: "permission_denied", errno.EPERM: "permission_denied"}.get(error.errno or 0, "unreadable")
    return "expansion"
