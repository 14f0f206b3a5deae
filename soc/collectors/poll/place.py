"""`Place`: where a source stands, recovered from the queue's own frames; so records and cursor are durable together.

The last frame of a page carries the cursor behind it. Where that is not enough (several frames, a page that stays open,
records that come again) each carries the keys of its records and the cursor that was asked with. The file beside only
spares reading the log from its beginning: it is written after the frames, and the log behind its `seq` counts more.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from pathlib import Path

import orjson

from soc.collectors.poll.page import Cursor, Page
from soc.model.record import POLLED, RawBlock
from soc.store import files

CURSOR, ASKED, KEYS, AT, SOURCE = "poll.cursor", "poll.asked", "poll.keys", "poll.at", POLLED
MAX_SEEN = 100_000
"""Keys that are remembered of a source, the newest; records that come again after their key was forgotten are doubled,
and `keys_forgotten` in the source's health counts such keys."""
_VERSION = 1


class Place:
    """Cursor and keys of one source. For one thread."""

    def __init__(self, path: Path, source: str) -> None:
        self.path, self.source = path, source
        self.seq = -1
        self.cursor: Cursor = None
        self.seen: dict[str, float] = {}
        """Keys that may come again, and of which time they are."""
        self.open: set[str] = set()
        """Keys of the page that is still open, or of which a crash left a part in the queue."""
        self.forgotten = 0
        self.is_changed = False
        self._load()

    # what is in the queue -------------------------------------------------------------------------------------------

    def recover(self, block: RawBlock) -> None:
        """A durable frame of this source, in order."""
        if block.seq <= self.seq or block.origin.get(SOURCE) != self.source:
            return
        origin = block.origin
        keys = origin[KEYS].split(" ") if origin.get(KEYS) else []
        at = float(origin[AT]) if AT in origin else None
        if ASKED in origin:
            self._move(orjson.loads(origin[ASKED]))
        self._keep(keys, at)
        if CURSOR in origin:
            self._move(orjson.loads(origin[CURSOR]))
        self.seq, self.is_changed = block.seq, True

    def took(self, page: Page, seq: int) -> None:
        """All of a page is durable, its last frame under this number."""
        before = (self.cursor, len(self.open), len(self.seen), self.seq)
        # What an open page does not show any more will not come again.
        self.open = set(page.keys) if page.at is None and page.cursor == self.cursor else set()
        if page.at is not None:
            self._keep(page.keys, page.at)
        self.cursor = page.cursor
        if page.forget_before is not None:
            self.seen = {key: at for key, at in self.seen.items() if at >= page.forget_before}
        self.seq = max(self.seq, seq)
        self.is_changed |= bool(page.keys) or before != (self.cursor, len(self.open), len(self.seen), self.seq)

    def _move(self, cursor: Cursor) -> None:
        if cursor != self.cursor:
            self.cursor, self.open = cursor, set()

    def _keep(self, keys: Sequence[str], at: float | None) -> None:
        if at is None:
            self.open.update(keys)
            return
        self.seen.update(dict.fromkeys(keys, at))
        if len(self.seen) > MAX_SEEN:
            self.forgotten += len(self.seen) - MAX_SEEN
            self.seen = dict(heapq.nlargest(MAX_SEEN, self.seen.items(), key=lambda item: item[1]))

    def is_known(self, key: str) -> bool:
        """Whether the record of this key is in the queue already."""
        return key in self.seen or key in self.open

    def origin(self, keys: Sequence[str], at: float | None, cursor: Cursor, *, is_last: bool) -> dict[str, str]:
        """What a frame carries of this."""
        found = {SOURCE: self.source}
        if keys:
            found[KEYS] = " ".join(keys)
            found[ASKED] = orjson.dumps(self.cursor).decode()
        if at is not None:
            found[AT] = repr(at)
        if is_last:
            found[CURSOR] = orjson.dumps(cursor).decode()
        return found

    # the file -------------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Replace the file, durably, when something changed. Raises StoreError; the old file is whole then."""
        if not self.is_changed:
            return
        document = {
            "version": _VERSION, "source": self.source, "seq": self.seq, "cursor": self.cursor,
            "seen": self.seen, "open": sorted(self.open),
        }  # fmt: skip
        files.replace(self.path, orjson.dumps(document), what="cannot write where a polled source stands,")
        self.is_changed = False

    def _load(self) -> None:
        way_out = "move the file away: the source is then read from the queue's last frames, or from its start"
        document = files.read_versioned(self.path, _VERSION, "where a polled source stands,", way_out)
        if document is None:
            return
        self.seq = document["seq"]
        if document["source"] == self.source:  # else it is asked from its start: the cursor was another one's
            self.cursor = document["cursor"]
            self.seen = dict(document["seen"])
            self.open = set(document["open"])
