"""`Books`: what every source sent, where each of its records is now, and what could not become events."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson

from soc.collectors.counters import KEPT_HOURS
from soc.collectors.uploads import LISTENER, Uploads
from soc.config import Settings
from soc.model.clock import Clock
from soc.model.position import Position
from soc.model.record import RawBlock
from soc.model.scope import Scope
from soc.pipeline import aside, places, sources, waiting
from soc.pipeline.accounting import FRAMES_AT_ONCE, HOUR_US, MAX_PENDING_FRAMES, Account, Accounts
from soc.pipeline.services.cases import ENGINE
from soc.pipeline.services.units import Units
from soc.pipeline.states import read_state, state_file
from soc.registry import Registry
from soc.store.events import EventStore
from soc.store.queue import LogReader

IMPORT = "import"
"""The node of the log that uploads write."""
SHOWN_BYTES = 200
"""Of the first record of a frame that is kept aside, for people to see what it is."""


@dataclass
class Books:
    """Reads the counters of who receives, the queue, and the store; the registry of now says whose a source is."""

    settings: Settings
    clock: Clock
    store: EventStore
    uploads: Uploads
    units: Units
    registry: Callable[[], Registry]

    def accounts(self, since_us: int) -> Accounts:
        """Every source's account from the full hour before `since_us` (µs UTC) until now; at most a week."""
        now_us = self.clock.now_ns() // 1000
        # What the collector has forgotten would look like events that nobody sent.
        accounts = Accounts(max(since_us, now_us - (KEPT_HOURS - 1) * HOUR_US), now_us)
        counted = self._counted(accounts)
        cursors = accounts.stored(self.store, Scope.everything(ENGINE, "accounting"))
        self._in_between(accounts, counted, cursors)
        return accounts

    def _counted(self, accounts: Accounts) -> dict[str, int]:
        """Enter what collector, hub and uploads counted; up to which frame, by node or upload."""
        own = places.own_counters(self.settings)
        counted = dict.fromkeys((node for node, _ in own), -1)
        hub = sorted(places.relay_counters(self.settings).glob("*.json"))
        for node, path in (*own, *((path.stem, path) for path in hub)):
            with suppress(FileNotFoundError):
                document = orjson.loads(path.read_bytes())
                accounts.collected(document["counts"])
                counted[node] = document["seq"]
        for state in self.uploads.states():
            counted[state["id"]] = state["seq"]
            if state["state"] in ("queued", "reading"):  # it may go on between this look and the next
                counted[IMPORT] = min(state["seq"], counted.get(IMPORT, state["seq"]))
            hours = state.get("hours", {state["created_us"]: state["records"]})
            records = sum(n for hour_us, n in hours.items() if int(hour_us) >= accounts.since_us)
            if records:
                accounts.queued((state["site"], LISTENER, state["id"]), records)
        return counted

    def _in_between(self, accounts: Accounts, counted: Mapping[str, int], cursors: places.Cursors) -> None:
        """Frames that the counters or the store do not know yet, all from one look at the log.

        Read after both, so that it reaches further than either: the equations then hold at every moment.
        """
        after = {}
        for partition, position in places.passed(cursors, places.RAW).items():
            least = min(position.seq, counted.get(partition.node, position.seq))
            after[partition] = Position(partition.node, places.RAW, least)
        for n, block in enumerate(self._frames(places.RAW, after), 1):
            accounts.is_whole = n < MAX_PENDING_FRAMES
            if block.seq > counted.get(block.peer if block.listener == LISTENER else block.node, block.seq):
                accounts.late(block)
            if block.partition not in cursors or block.seq > cursors[block.partition].seq:
                accounts.pending(block)
        for block in self._buried(cursors):
            accounts.dead(block)
        for number, groups in waiting.kept(self.settings).items():
            for group in groups.at(cursors, number).open.values():
                accounts.pending(group.block())

    def _buried(self, cursors: places.Cursors) -> Iterator[RawBlock]:
        """Frames kept aside whose records are not stored, each once."""
        standing = aside.Standing(cursors)
        return (block for block in self._frames(places.DEAD, {}) if standing.stands(block))

    def kept_aside(self, most: int) -> dict[str, Any]:
        """Frames that could not become events, the newest first: whose they are, how many records, why. A worker tries
        them once more at each start. `{frames, total}`; total counts all of them."""
        cursors = self.store.cursors()
        newest: deque[RawBlock] = deque(maxlen=most)
        total = 0
        for block in self._buried(cursors):
            newest.append(block)
            total += 1
        frames = [
            {
                "site": block.site, "listener": block.listener, "peer": block.peer, "format": block.format,
                "received_us": int(block.receipt_ns[0]) // 1000, "records": block.n, "bytes": len(block.data),
                "why": block.origin.get(aside.WHY, ""), "position": f"{block.node}:{block.log}:{block.seq}",
                "begins": next(block.records())[:SHOWN_BYTES].decode("utf-8", "backslashreplace"),
            }
            for block in reversed(newest)
        ]  # fmt: skip
        return {"frames": frames, "total": total}

    def _frames(self, log: str, cursors: places.Cursors) -> Iterator[RawBlock]:
        """Frames past these cursors, few of them in memory at a time."""
        reader = LogReader(places.queue(self.settings), log)
        ahead = dict(cursors)
        left = MAX_PENDING_FRAMES
        try:
            while left > 0 and (some := reader.read(ahead, None, min(FRAMES_AT_ONCE, left))):
                left -= len(some)
                ahead |= {block.partition: Position(block.node, block.log, block.seq) for block in some}
                yield from some
        finally:
            reader.close()

    def sources(self, since_us: int) -> dict[str, Any]:
        """`{sources: [...], totals: {...}}`, see `Accounts` and `sources.describe`."""
        accounts = self.accounts(since_us)
        rows = accounts.rows()
        self._add_polls(rows, accounts.now_us)
        sources.describe(rows, self.settings, self.registry(), accounts.now_us)
        return {"since_us": accounts.since_us, "sources": rows, "totals": accounts.totals()}

    def _add_polls(self, rows: list[dict[str, Any]], now_us: int) -> None:
        """How each polled source is doing, also of one that never gave a record."""
        state = read_state(state_file(self.settings, places.POLL)) or {}
        of = {(row["listener"], row["peer"]): row for row in rows}
        for health in state.get(places.POLLS, ()):
            row = of.get((health["name"], health["peer"]))
            if row is None:
                row = Account().to_document((self.settings.site_id, health["name"], health["peer"]), now_us)
                rows.append(row)
            row["poll"] = health

    def points(self, since_us: int) -> list[dict[str, Any]]:
        """Monitoring points and what they saw, see `sources.points`."""
        rows = self.accounts(since_us).rows()
        return sources.points(rows, self.settings, sources.Heard.read(self.settings), self.units.relays())
