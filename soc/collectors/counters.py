"""How many records every source sent in every hour and what became of them; kept over restarts and crashes."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from soc.errors import StoreError
from soc.model.record import RawBlock
from soc.store import files

HOUR_NS = 3_600_000_000_000
KEPT_HOURS = 7 * 24
"""Hours that stay in the file; what is older belongs to whoever keeps accounts of the stores."""
MAX_PEERS = 10_000
"""Peers of one listener and hour that are counted by name; datagrams with forged senders must not fill the memory."""
MAX_ROWS = 30_000
"""Rows of all hours: of more the senders of the oldest hours are counted together, but those of the last two."""
OTHERS = "+others"
"""The peer under which the rest is counted."""
EVERYBODY = "*"
"""The peer under which the kernel's drops are counted: it does not say whose they were."""
_VERSION = 1

Key = tuple[str, str, str, int]
"""Site, listener, peer, hour (ns since the epoch)."""


@dataclass
class Count:
    """Records of one source and hour. At rest received = queued + dropped; `bytes` are those of queued records.

    `refused` counts connections, not records, that we turned away or ended, `refused_for` the same by reason.
    `unbelieved` counts records that are kept but not believed, by reason (SNMPv3); they are among the flagged ones.
    """

    queued: int = 0
    bytes: int = 0
    flagged: int = 0
    refused: int = 0
    refused_for: dict[str, int] = field(default_factory=dict)
    unbelieved: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    waiting: int = 0

    @property
    def received(self) -> int:
        """All that arrived, also what still waits for the next group commit."""
        return self.queued + sum(self.dropped.values()) + self.waiting

    def add(self, other: Count) -> None:
        """The counts of another source of the hour too."""
        self.queued += other.queued
        self.bytes += other.bytes
        self.flagged += other.flagged
        self.refused += other.refused
        for mine, more in (
            (self.refused_for, other.refused_for), (self.unbelieved, other.unbelieved), (self.dropped, other.dropped),
        ):  # fmt: skip
            for reason, n in more.items():
                mine[reason] = mine.get(reason, 0) + n


class Counters:
    """The counts of a collector. Thread-safe.

    The file holds only what is settled, and the sequence number of the last frame in it, so that after a crash the
    frames behind that number complete it: what was in memory then was neither queued nor counted. It also keeps since
    when (µs UTC) each listener has heard somebody.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seq = -1
        self.unsaved_drops = False
        self._lock = threading.Lock()
        self._counts: dict[Key, Count] = {}
        self._peers: dict[tuple[str, str, int], int] = {}
        self._since: dict[tuple[str, str], int] = {}
        self._changed = False
        self._load()

    # counting -------------------------------------------------------------------------------------------------------

    def arrived(self, site: str, listener: str, peer: str, at_ns: int, n: int) -> None:
        """So many records wait for the next group commit."""
        with self._lock:
            self._count(site, listener, peer, at_ns).waiting += n

    def queued(self, blocks: Iterable[RawBlock], seq: int | None, *, waited: bool = True) -> None:
        """These blocks are durable, the last of them in frame `seq` (None: the queue does not number frames)."""
        with self._lock:
            for block in blocks:
                self._queued(block, waited)
            self.seq = self.seq if seq is None else max(self.seq, seq)
            self._changed = True

    def _queued(self, block: RawBlock, waited: bool) -> None:
        if not block.n:
            return
        first, last = int(block.receipt_ns.min()) // HOUR_NS, int(block.receipt_ns.max()) // HOUR_NS
        if first == last:  # nearly always; and then nothing needs to be taken apart
            flagged = len(block.flags) - block.flags.count(0)
            self._add(block, first, block.n, int(block.end[-1]), flagged, waited)
            return
        hours = block.receipt_ns // HOUR_NS
        sizes = np.diff(block.end.astype(np.int64), prepend=0)
        flags = np.frombuffer(block.flags, np.uint8) != 0 if block.flags else np.zeros(block.n, bool)
        for hour in np.unique(hours).tolist():
            mask = hours == hour
            self._add(block, hour, int(mask.sum()), int(sizes[mask].sum()), int(flags[mask].sum()), waited)

    def _add(self, block: RawBlock, hour: int, n: int, size: int, flagged: int, waited: bool) -> None:
        count = self._count(block.site, block.listener, block.peer, hour * HOUR_NS)
        count.queued += n
        count.bytes += size
        count.flagged += flagged
        if waited:
            count.waiting -= n

    def dropped(
        self, site: str, listener: str, peer: str, at_ns: int, reason: str, n: int = 1, *, waited: bool = False
    ) -> None:
        """So many records are lost to us, and why."""
        with self._lock:
            count = self._count(site, listener, peer, at_ns)
            count.dropped[reason] = count.dropped.get(reason, 0) + n
            if waited:
                count.waiting -= n
            self._changed = self.unsaved_drops = True

    def withdrawn(self, block: RawBlock) -> None:
        """The records of a block that waited stay where they came from, and will come again."""
        with self._lock:
            for at_ns in block.receipt_ns.tolist():
                self._count(block.site, block.listener, block.peer, at_ns).waiting -= 1

    def refused(self, site: str, listener: str, peer: str, at_ns: int, reason: str = "not_allowed") -> None:
        """A connection was turned away, or ended by us. Reasons come from a short list, never from the peer."""
        with self._lock:
            count = self._count(site, listener, peer, at_ns)
            count.refused += 1
            count.refused_for[reason] = count.refused_for.get(reason, 0) + 1
            self._changed = True

    def unbelieved(self, site: str, listener: str, peer: str, at_ns: int, reason: str) -> None:
        """A record is kept, but not believed. Reasons come from a short list, never from the peer."""
        with self._lock:
            count = self._count(site, listener, peer, at_ns)
            count.unbelieved[reason] = count.unbelieved.get(reason, 0) + 1
            self._changed = True

    def _count(self, site: str, listener: str, peer: str, at_ns: int) -> Count:
        hour = at_ns // HOUR_NS * HOUR_NS
        count = self._counts.get((site, listener, peer, hour))
        if count is not None:
            return count
        self._since.setdefault((site, listener), at_ns // 1000)
        place = (site, listener, hour)
        known = self._peers.get(place, 0)
        if known >= MAX_PEERS and peer != EVERYBODY:
            return self._counts.setdefault((site, listener, OTHERS, hour), Count())
        self._peers[place] = known + 1
        return self._counts.setdefault((site, listener, peer, hour), Count())

    def snapshot(self) -> list[dict[str, Any]]:
        """All counts, by hour and source: site, listener, peer, hour_us, received, queued, bytes, flagged, refused,
        refused_for, unbelieved and dropped (by reason)."""
        with self._lock:
            rows = sorted(self._counts.items(), key=lambda item: (item[0][3], item[0]))
            return [_row(key, count, count.received) for key, count in rows]

    # keeping --------------------------------------------------------------------------------------------------------

    def save(self, now_ns: int) -> None:
        """Replace the file, durably, when something changed. Raises StoreError; the old file is whole then."""
        with self._lock:
            if not self._changed:
                return
            this_hour = now_ns // HOUR_NS * HOUR_NS
            self._forget(this_hour - KEPT_HOURS * HOUR_NS)
            self._fold(this_hour - HOUR_NS)
            rows = [_row(key, count, count.received - count.waiting) for key, count in self._counts.items()]
            since = [[*place, at_us] for place, at_us in self._since.items()]
            data = orjson.dumps({"version": _VERSION, "seq": self.seq, "counts": rows, "since": since})
            had_drops, self._changed, self.unsaved_drops = self.unsaved_drops, False, False
        try:
            files.replace(self.path, data, what="cannot write the counters")
        except StoreError:
            with self._lock:
                self._changed, self.unsaved_drops = True, self.unsaved_drops or had_drops
            raise

    def _forget(self, before_ns: int) -> None:
        for key in [key for key in self._counts if key[3] < before_ns]:
            del self._counts[key]
            self._peers.pop((key[0], key[1], key[3]), None)

    def _fold(self, before_ns: int) -> None:
        """Count the senders of old hours together, the oldest first, until there are few enough rows."""
        for hour in sorted({key[3] for key in self._counts if key[3] < before_ns}):
            if len(self._counts) <= MAX_ROWS:
                return
            for key, count in [(key, count) for key, count in self._counts.items() if key[3] == hour]:
                site, listener, peer, _ = key
                if peer not in (EVERYBODY, OTHERS) and not count.waiting:
                    self._peers[site, listener, hour] = MAX_PEERS
                    self._counts.setdefault((site, listener, OTHERS, hour), Count()).add(self._counts.pop(key))

    def _load(self) -> None:
        document = files.read_versioned(
            self.path, _VERSION, "the counters", "move the file away to count from the queue anew"
        )
        if document is None:
            return
        self.seq = document["seq"]
        self._since = {(site, listener): at_us for site, listener, at_us in document.get("since", [])}
        for row in document["counts"]:
            count = self._count(row["site"], row["listener"], row["peer"], row["hour_us"] * 1000)
            count.queued, count.bytes, count.flagged = row["queued"], row["bytes"], row["flagged"]
            count.refused, count.dropped = row["refused"], row["dropped"]
            count.refused_for = row.get("refused_for", {})
            count.unbelieved = row.get("unbelieved", {})
        for site, listener, peer, hour in self._counts:
            if peer == OTHERS:  # who is heard of that hour now is one of them
                self._peers[site, listener, hour] = MAX_PEERS


def _row(key: Key, count: Count, received: int) -> dict[str, Any]:
    site, listener, peer, hour_ns = key
    return {
        "site": site,
        "listener": listener,
        "peer": peer,
        "hour_us": hour_ns // 1000,
        "received": received,
        "queued": count.queued,
        "bytes": count.bytes,
        "flagged": count.flagged,
        "refused": count.refused,
        "refused_for": dict(count.refused_for),
        "unbelieved": dict(count.unbelieved),
        "dropped": dict(count.dropped),
    }
