"""`Correlating`: one step of `soc correlate`: matched documents → findings, with its state and offsets in one file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from soc.config import Settings
from soc.detections.correlation.correlator import WHOLE
from soc.detections.correlation.shard import Shard
from soc.detections.correlator import Correlator
from soc.detections.load import DetectionSet
from soc.model.alert import uuid7
from soc.model.clock import Clock
from soc.model.finding import Finding
from soc.model.position import Partition, Position
from soc.model.record import RawBlock
from soc.pipeline import places, records
from soc.pipeline.coverage.late import note
from soc.pipeline.reread import Definitions
from soc.store import files
from soc.store.events import EventStore
from soc.store.journal import Journal
from soc.store.queue import LogReader, trim

MAX_FRAMES = 512
SAVE_NS = 1_000_000_000
SAVE_SHARE = 10
"""Saving takes at most one part in so many of the time: a large state is saved less often."""
TICK_NS = 1_000_000_000
TOLD_NS = 5_000_000_000
MAX_TOLD = 20_000
"""Sources whose habits are told to the API, those heard last; all of them are watched."""
SETTLE_US = 2_000_000
"""What was received may be on its way into the log for so long: time is let pass that much later."""
_VERSION = 2
_WAY_OUT = "move it away: counting windows then begin anew"
LISTENER = "correlate"


def state_path(settings: Settings, shard: Shard) -> Path:
    """Where the state of one of so many shards lies."""
    name = "" if shard == WHOLE else f"-{shard.index}of{shard.of}"
    return settings.path("run", f"{places.CORRELATE}{name}.state")


def before_path(settings: Settings) -> Path:
    """The whole state, as version 1 wrote it each time; there were no shards then."""
    return settings.path("run", "correlate.json")


class Correlating:
    """Feeds the correlator. Findings are durable before the snapshot, so a crash repeats them with the same ids.

    Of several `shard`s each reads the whole log and keeps the groups that are its own, with a state of its own.
    """

    def __init__(self, settings: Settings, clock: Clock, shard: Shard = WHOLE) -> None:
        self._settings, self._clock, self._shard = settings, clock, shard
        parsers = places.load_parsers(settings)
        self._definitions = Definitions(settings, parsers, clock)
        self._correlator = Correlator(self._definitions.loaded, shard)
        self._root = places.queue(settings)
        self._reader, self._raw = LogReader(self._root, places.MATCHED), LogReader(self._root, places.RAW)
        self._node = places.correlate_node(shard.index)
        self._findings = places.open_log(settings, places.FINDINGS, self._node, clock)
        self._store = EventStore(places.events(settings), clock, parsers.fields)
        self._journal = Journal(state_path(settings, shard), "the state", _WAY_OUT)
        self._before = before_path(settings)
        self._cursors: places.Cursors = {}
        self._seen = records.Seen()
        self._found: list[Finding] = []
        self._dirty = False
        self._saved_ns = self._ticked_ns = clock.monotonic_ns()
        self._save_took_ns = 0
        self._told_ns = self._saved_ns - TOLD_NS
        self.counts = {"frames": 0, "repeated": 0, "documents": 0, "findings": 0}
        self._restore()
        self._durable = dict(self._cursors)
        self._woken_us = clock.now_ns() // 1000
        self._correlator.wake(self._woken_us)

    def step(self) -> int:
        """Feed what waits, let time pass, save when due; how many frames were read.

        Findings that a full disk refuses are kept and come first at the next step. Raises DiskFull, StoreError.
        """
        self._emit()
        self._refresh()
        blocks = self._reader.read(self._cursors, None, MAX_FRAMES)
        now = self._clock.monotonic_ns()
        self._dirty = self._dirty or bool(blocks)
        for block in blocks:
            self._found += self._feed(block)
        if now - self._ticked_ns >= TICK_NS:
            self._ticked_ns = now
            settled_us = self._safe_now_us()
            self._found += self._correlator.tick(settled_us)
            self._note_late(settled_us)
        self._emit()
        if self._dirty and now - self._saved_ns >= max(SAVE_NS, SAVE_SHARE * self._save_took_ns):
            self.save()
        if now - self._told_ns >= TOLD_NS:
            self._told_ns = now
            self._tell()
        return len(blocks)

    def _refresh(self) -> None:
        """Take definitions that were read again; what did not change keeps its windows and what it learned."""
        fresh = self._definitions.again()
        if fresh is None:
            return
        state = self._correlator.snapshot()
        self._correlator = Correlator(fresh, self._shard)
        self._correlator.restore(state)
        self._correlator.wake(self._woken_us)
        self._journal.close()  # the next save is a whole: what changed since the last one was told to nobody
        self._dirty = True

    def _note_late(self, settled_us: int) -> None:
        """Hand what came too late to the coverage ledger; a crash before the next save hands it over twice."""
        late = self._correlator.correlations.late_due(settled_us)
        if late is not None:
            now_ns = self._clock.now_ns()
            note(self._settings, late, uuid7(now_ns, os.urandom(10)), now_ns // 1000)
            self._correlator.correlations.late.clear()
            self._dirty = True

    def told(self) -> dict[str, Any]:
        """What people see of it: what it did, how many groups it keeps, how many late events wait to be looked at, what
        is `left_out`, by reason, and at how many places the log of what matched was `damaged` since the start.
        """
        correlations = self._correlator.correlations
        kept = {"groups": correlations.groups, "late_waiting": correlations.late.events}
        return {**self.counts, **kept, "damaged": self._reader.damaged, "left_out": self._correlator.left_out()}

    def _tell(self) -> None:
        """What people see of the sources' habits; nothing depends on it, so it need not be durable."""
        told = {
            "at_us": self._clock.now_ns() // 1000, "sources": self._correlator.sources(MAX_TOLD),
            "cursors": {str(k): str(v) for k, v in self._durable.items()},
        }  # fmt: skip
        path = places.correlate_told(self._settings, self._shard.index)
        fresh = path.with_suffix(".new")
        with suppress(OSError):
            fresh.write_bytes(orjson.dumps(told))
            fresh.replace(path)

    def _feed(self, block: RawBlock) -> list[Finding]:
        self._cursors[block.partition] = Position(block.node, block.log, block.seq)
        self.counts["frames"] += 1
        if not self._seen.is_new(block):
            self.counts["repeated"] += 1
            return []
        self.counts["documents"] += block.n
        # By the clock of receipt and not by ours: the same frames then always give the same.
        return self._correlator.feed(list(records.documents(block)), int(block.receipt_ns[-1]) // 1000)

    def _safe_now_us(self) -> int:
        """A moment ago, or the oldest receipt that is still in the queue: what waits is neither silence nor late."""
        raw = self._raw.lag(places.passed(self._store.cursors(), places.RAW))
        own = self._reader.lag(self._cursors)
        waiting = (raw["oldest_receipt_ns"], own["oldest_receipt_ns"])
        moment_ago = self._clock.now_ns() - SETTLE_US * 1000
        return min([moment_ago, *(ns for ns in waiting if ns is not None)]) // 1000

    def _emit(self) -> None:
        if not self._found:
            return
        self._dirty = True
        self._findings.append([
            RawBlock.of(
                [orjson.dumps(finding.to_document()) for finding in self._found],
                receipt_ns=self._clock.now_ns(), site=self._settings.site_id, listener=LISTENER, peer=self._node,
                format="finding",
            )
        ])  # fmt: skip
        self.counts["findings"] += len(self._found)
        self._found = []

    def save(self) -> None:
        """Write what changed, with the offsets, then let passed segments of the log go. Raises StoreError.

        What was found is durable before it: a state that is past a finding nobody has would lose it.
        """
        began = self._clock.monotonic_ns()
        self._emit()
        if self._journal.wants_whole:
            self._journal.replace(orjson.dumps(self.handed_over()))
            self._before.unlink(missing_ok=True)
        else:
            changes = {**self._place(), "seen": self._seen.fresh(), "correlator": self._correlator.changes()}
            self._journal.append(orjson.dumps(changes))
        self._dirty, self._saved_ns = False, self._clock.monotonic_ns()
        self._save_took_ns = self._saved_ns - began
        self._durable = dict(self._cursors)
        if self._shard.of == self._settings.correlators:  # else the state is about to be shared out anew
            passed = self._cursors if self._shard == WHOLE else places.correlated(self._settings)
            trim(self._root, places.MATCHED, passed)

    def _place(self) -> dict[str, Any]:
        cursors = {str(k): str(v) for k, v in self._cursors.items()}
        return {"version": _VERSION, "cursors": cursors, "counts": self.counts}

    def _restore(self) -> None:
        payloads = self._journal.read()
        if payloads:
            place = f"the state {self._journal.path}"
            whole, *later = (files.versioned(payload, _VERSION, place, _WAY_OUT) for payload in payloads)
            self._correlator.restore_state(whole["correlator"])
            for changes in later:
                self._correlator.apply(changes["correlator"])
            self._take_up([whole, *later])
            return
        if self._shard != WHOLE:
            return
        before = files.read_versioned(self._before, _VERSION, "the state", _WAY_OUT)
        if before is not None:
            self._correlator.restore(before["correlator"].encode())
            self._take_up([before])

    def _take_up(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Go on behind what the last of these says was read."""
        last = states[-1]
        self._cursors = {Partition.parse(k): Position.parse(v) for k, v in last["cursors"].items()}
        self._seen = records.Seen(name for state in states for name in state["seen"])
        self.counts |= last["counts"]

    # For who shares the state out anew, see `sharing`.

    @property
    def detections(self) -> DetectionSet:
        """What it correlates."""
        return self._definitions.loaded

    @property
    def cursors(self) -> places.Cursors:
        """How far it has read."""
        return dict(self._cursors)

    def catch_up(self, blocks: Sequence[RawBlock]) -> None:
        """Feed those of these frames that it has not passed; they go on where another shard's cursors are."""
        for block in blocks:
            passed = self._cursors.get(block.partition)
            if passed is None or passed.seq < block.seq:
                self._found += self._feed(block)
                self._dirty = True

    def handed_over(self) -> dict[str, Any]:
        """Its whole state, with its place."""
        return {**self._place(), "seen": self._seen.names(), "correlator": self._correlator.state()}

    def take_over(self, state: Mapping[str, Any]) -> None:
        """Go on from what `handed_over` gave; durable on return. Raises DiskFull, StoreError."""
        self._correlator.restore_state(state["correlator"])
        self._take_up([state])
        self.save()

    def close(self) -> None:
        """Save, and let everything go."""
        if self._dirty:
            self.save()
        self._journal.close()
        self._store.close()
        self._reader.close()
        self._raw.close()
        self._findings.close()
