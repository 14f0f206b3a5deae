"""`Worker`: one step of `soc work`: raw frames → events, matched and projected documents, findings."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from soc.config import Settings
from soc.detections.detector import Detector
from soc.errors import NotFound, SocError, StoreError
from soc.model.batch import FLAGS, Column, EventBatch
from soc.model.clock import Clock
from soc.model.fields import FieldType
from soc.model.finding import Finding
from soc.model.position import PARTITIONS, Partition, Position
from soc.model.record import RawBlock
from soc.parsers import ParserState
from soc.pipeline import places, records
from soc.store import files
from soc.store.events import EventStore
from soc.store.queue import DiskLog, LogReader

MAX_FRAMES = 512
MAX_BYTES = 8 << 20
"""One step takes at most so many frames and about so many bytes: memory stays bounded, a crash repeats little."""
SIMULATED = "simulated"
PRODUCT = "as_product"
REGISTRY_CHECK_NS = 2_000_000_000
_log = logging.getLogger("soc.work")


class Worker:
    """Reads its share of the partitions, appends to the event store and to the logs behind it.

    Matched and findings frames are durable before the store is; the cursor travels in the store's own frame. So a
    crash in between repeats derived frames, which their readers know by the raw frame's name, and never an event.
    """

    def __init__(self, settings: Settings, clock: Clock, index: int = 0) -> None:
        self._settings, self._clock, self.index = settings, clock, index
        self.parsers = places.load_parsers(settings)
        self.detections = places.load_detections(settings, self.parsers)
        self._detector = Detector(self.detections)
        self._registry = places.load_registry(settings)
        self._registry_at = _stamp(settings)
        self._registry_due_ns = 0
        self._partitions = frozenset(p for p in range(PARTITIONS) if p % settings.workers == index)
        self._states: dict[int, ParserState] = {}
        self._learned: set[int] = set()
        node, root = f"work{index}", places.queue(settings)
        self._matched = DiskLog(root, places.MATCHED, node, clock, max_bytes=settings.queue_max_bytes)
        self._findings = DiskLog(root, places.FINDINGS, node, clock)
        self._dead = DiskLog(root, places.DEAD, node, clock)
        self._reader = LogReader(root, places.RAW)
        self.store = EventStore(places.events(settings), clock, self.parsers.fields, writer=node)
        self._cursors = places.passed(self.store.cursors(), places.RAW)
        self.counts = {"frames": 0, "records": 0, "events": 0, "findings": 0, "dead": 0, "unparsed": 0}

    def step(self) -> int:
        """Handle what waits, up to the bounds; how many frames that were. Raises DiskFull, StoreError."""
        self._refresh_registry()
        blocks = self._take()
        if not blocks:
            self.store.roll_if_due(self._clock.now_ns())
            return 0
        batches = self._parsed(blocks)
        found = [(batch, self._detector.match(batch)) for batch in batches]
        projected = [document for batch, findings in found for document in self._detector.project(batch, findings)]
        findings = [finding for _, several in found for finding in several]
        self._hand_on(blocks, projected, findings)
        self._keep_states()
        upto = {block.partition: Position(block.node, block.log, block.seq) for block in blocks}
        self._store(blocks, batches, upto)
        self._cursors |= upto
        self._count(blocks, batches, findings)
        return len(blocks)

    def _take(self) -> list[RawBlock]:
        taken: list[RawBlock] = []
        ahead = dict(self._cursors)
        size = 0
        while size < MAX_BYTES and len(taken) < MAX_FRAMES:
            more = self._reader.read(ahead, self._partitions, 32)
            if not more:
                break
            for block in more:
                ahead[block.partition] = Position(block.node, block.log, block.seq)
                size += len(block.data)
            taken.extend(more)
        return taken

    def _parsed(self, blocks: Sequence[RawBlock]) -> list[EventBatch]:
        now_ns = self._clock.now_ns()
        by_dataset: dict[str, list[EventBatch]] = {}
        for block in blocks:
            for batch in self._parse(block, now_ns):
                by_dataset.setdefault(batch.dataset, []).append(batch)
        whole = [EventBatch.concat(several) for several in by_dataset.values()]
        return [self._registry.enrich(flag_simulated(b) if self._settings.simulated else b) for b in whole]

    def _parse(self, block: RawBlock, now_ns: int) -> list[EventBatch]:
        number = block.partition.number
        state = self._state(number)
        try:
            batches, state = self.parsers.parse(block, state, now_ns, as_product=block.origin.get(PRODUCT))
        except Exception as error:
            self._bury([block], f"{type(error).__name__}: {error}")
            return []
        if state is not self._states.get(number):
            self._states[number] = state
            self._learned.add(number)
        return batches

    def _state(self, number: int) -> ParserState:
        """What the parsers remember of a partition's sources; read from disk when another worker had it before."""
        if number not in self._states:
            try:
                self._states[number] = ParserState.restore(self._state_file(number).read_bytes())
            except FileNotFoundError:
                self._states[number] = ParserState()
            except ValueError as error:
                _log.error("%s is damaged, templates must come again: %s", self._state_file(number), error)
                self._states[number] = ParserState()
        return self._states[number]

    def _state_file(self, number: int) -> Path:
        return self._settings.path("run", "parsers", f"{number:02d}.json")

    def _keep_states(self) -> None:
        """Before the cursor moves: a state that is newer than the cursor only knows more."""
        for number in sorted(self._learned):
            files.replace(self._state_file(number), self._states[number].snapshot())
        self._learned.clear()

    def _bury(self, blocks: Iterable[RawBlock], why: str) -> None:
        """Keep frames that cannot become events; `soc source list` counts them."""
        for block in blocks:
            _log.error("frame %s:%s:%s of %s is kept aside: %s", block.node, block.log, block.seq, block.source, why)
            self._dead.append([replace(block, origin={**block.origin, **records.naming(block), "why": why[:500]})])
            self.counts["dead"] += block.n

    def _hand_on(self, blocks: Sequence[RawBlock], projected: list[dict[str, Any]], findings: list[Finding]) -> None:
        frames = {(block.node, block.seq): block for block in blocks}
        for log, format, items in (
            (self._matched, "matched", records.by_frame((d["position"], d) for d in projected)),
            (self._findings, "finding", records.by_frame((f.position, f.to_document()) for f in findings)),
        ):
            out = [
                piece
                for key, several in items.items()
                for piece in records.derived(frames[key], format, several, int(frames[key].receipt_ns[0]))
            ]
            if out:
                log.append(out)

    def _store(
        self, blocks: Sequence[RawBlock], batches: Sequence[EventBatch], upto: dict[Partition, Position]
    ) -> None:
        try:
            self.store.append(batches, upto)
        except StoreError as error:
            if error.exit_code != SocError.exit_code or "not in the dictionary" not in str(error):
                raise
            self._bury(blocks, str(error))
            self.store.append([], upto)

    def _count(self, blocks: Sequence[RawBlock], batches: Sequence[EventBatch], findings: Sequence[Finding]) -> None:
        self.counts["frames"] += len(blocks)
        self.counts["records"] += sum(block.n for block in blocks)
        self.counts["events"] += sum(batch.n for batch in batches)
        self.counts["unparsed"] += sum(batch.n for batch in batches if batch.dataset == "unparsed")
        self.counts["findings"] += len(findings)

    def _refresh_registry(self) -> None:
        now = self._clock.monotonic_ns()
        if now < self._registry_due_ns:
            return
        self._registry_due_ns = now + REGISTRY_CHECK_NS
        stamp = _stamp(self._settings)
        if stamp == self._registry_at:
            return
        try:
            self._registry = places.load_registry(self._settings)
            self._registry_at = stamp
        except (SocError, NotFound) as error:
            _log.error("the registry of before stays in use: %s", error)

    def close(self) -> None:
        """Let the store and the logs go; the open hot file is sealed by whoever compacts next."""
        self.store.close()
        self._reader.close()
        for log in (self._matched, self._findings, self._dead):
            log.close()


def flag_simulated(batch: EventBatch) -> EventBatch:
    """Events of a simulated site say so in `soc.flags`; nothing in the packets does."""
    flags = [(*(was or ()), SIMULATED) for was in batch.values(FLAGS)]
    return batch.with_columns({FLAGS: Column.of(FieldType.KEYWORD, flags, many=True)})


def _stamp(settings: Settings) -> tuple[tuple[str, int], ...]:
    """Names and times of the registry's files: when it differs they are read again."""
    files = [
        path
        for origin in places.registry_files(settings)
        for path in (sorted(origin.rglob("*")) if origin.is_dir() else [origin])
        if path.is_file()
    ]
    return tuple((str(path), path.stat().st_mtime_ns) for path in files)
