"""`Correlating`: one step of `soc correlate`: matched documents → findings, with its state and offsets in one file."""

from __future__ import annotations

from contextlib import suppress

import orjson

from soc.config import Settings
from soc.detections.correlator import Correlator
from soc.model.clock import Clock
from soc.model.finding import Finding
from soc.model.position import Partition, Position
from soc.model.record import RawBlock
from soc.pipeline import places, records
from soc.pipeline.reread import Definitions
from soc.store import files
from soc.store.events import EventStore
from soc.store.queue import LogReader, trim

MAX_FRAMES = 512
SAVE_NS = 1_000_000_000
SAVE_SHARE = 10
"""Saving takes at most one part in so many of the time: a large state is saved less often."""
TICK_NS = 1_000_000_000
TOLD_NS = 5_000_000_000
MAX_TOLD = 20_000
"""Sources whose habits are told to the API, those heard last; all of them are watched."""
_VERSION = 1
LISTENER = "correlate"


class Correlating:
    """Feeds the correlator. Findings are durable before the snapshot, so a crash repeats them with the same ids."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        parsers = places.load_parsers(settings)
        self._definitions = Definitions(settings, parsers, clock)
        self._correlator = Correlator(self._definitions.loaded)
        self._root = places.queue(settings)
        self._reader, self._raw = LogReader(self._root, places.MATCHED), LogReader(self._root, places.RAW)
        self._findings = places.open_log(settings, places.FINDINGS, "correlate", clock)
        self._store = EventStore(places.events(settings), clock, parsers.fields)
        self._path = settings.path("run", "correlate.json")
        self._cursors: places.Cursors = {}
        self._seen = records.Seen()
        self._found: list[Finding] = []
        self._dirty = False
        self._saved_ns = self._ticked_ns = clock.monotonic_ns()
        self._save_took_ns = 0
        self._told_ns = self._saved_ns - TOLD_NS
        self.counts = {"frames": 0, "repeated": 0, "documents": 0, "findings": 0}
        self._restore()
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
            self._found += self._correlator.tick(self._safe_now_us())
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
        self._correlator = Correlator(fresh)
        self._correlator.restore(state)
        self._correlator.wake(self._woken_us)
        self._dirty = True

    def _tell(self) -> None:
        """What people see of the sources' habits; nothing depends on it, so it need not be durable."""
        told = {"at_us": self._clock.now_ns() // 1000, "sources": self._correlator.sources(MAX_TOLD)}
        path = places.habits(self._settings)
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
        return self._correlator.feed(list(records.documents(block)), self._clock.now_ns() // 1000)

    def _safe_now_us(self) -> int:
        """Now, or the oldest receipt that is still in the queue: what waits is not silence."""
        raw = self._raw.lag(places.passed(self._store.cursors(), places.RAW))
        own = self._reader.lag(self._cursors)
        waiting = (raw["oldest_receipt_ns"], own["oldest_receipt_ns"])
        return min([self._clock.now_ns(), *(ns for ns in waiting if ns is not None)]) // 1000

    def _emit(self) -> None:
        if not self._found:
            return
        self._dirty = True
        self._findings.append([
            RawBlock.of(
                [orjson.dumps(finding.to_document()) for finding in self._found],
                receipt_ns=self._clock.now_ns(), site=self._settings.site_id, listener=LISTENER, peer=LISTENER,
                format="finding",
            )
        ])  # fmt: skip
        self.counts["findings"] += len(self._found)
        self._found = []

    def save(self) -> None:
        """Write state and offsets in one renamed file, then let passed segments of the log go. Raises StoreError.

        What was found is durable before it: a snapshot that is past a finding nobody has would lose it.
        """
        began = self._clock.monotonic_ns()
        self._emit()
        state = {
            "version": _VERSION,
            "cursors": {str(k): str(v) for k, v in self._cursors.items()},
            "seen": self._seen.names(),
            "counts": self.counts,
            "correlator": self._correlator.snapshot().decode(),
        }
        files.replace(self._path, orjson.dumps(state))
        self._dirty, self._saved_ns = False, self._clock.monotonic_ns()
        self._save_took_ns = self._saved_ns - began
        trim(self._root, places.MATCHED, self._cursors)

    def _restore(self) -> None:
        state = files.read_versioned(
            self._path, _VERSION, "the state", "move it away: counting windows then begin anew"
        )
        if state is None:
            return
        self._cursors = {Partition.parse(k): Position.parse(v) for k, v in state["cursors"].items()}
        self._seen = records.Seen(state["seen"])
        self.counts |= state["counts"]
        self._correlator.restore(state["correlator"].encode())

    def close(self) -> None:
        """Save, and let everything go."""
        if self._dirty:
            self.save()
        self._store.close()
        self._reader.close()
        self._raw.close()
        self._findings.close()
