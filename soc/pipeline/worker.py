"""`Worker`: one step of `soc work`: raw frames → events, matched and projected documents, findings.

`intake` says which frames a step takes, `joining` which of them are parsed as one, `reading` parses them,
`partition_states` keeps what the parsers remember; here events are enriched, held against the rules, handed on, stored.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from soc.config import Settings
from soc.detections.detector import Detector
from soc.detections.load import DetectionSet
from soc.detections.sigma.bucket import BREAKS
from soc.errors import SocError, TryAgain, UnfitEvents
from soc.model.batch import FLAGS, Column, EventBatch
from soc.model.clock import Clock
from soc.model.fields import FieldType
from soc.model.finding import Finding
from soc.model.position import PARTITIONS, Position
from soc.model.record import RawBlock
from soc.pipeline import joining, places, records
from soc.pipeline.coverage import counting
from soc.pipeline.intake import MAX_FRAMES, Intake
from soc.pipeline.partition_states import PartitionStates
from soc.pipeline.reading import Read, Reading, halves, why
from soc.pipeline.reread import Definitions, Systems
from soc.store import files
from soc.store.events import EventStore
from soc.store.queue import DiskLog

SIMULATED = "simulated"
_log = logging.getLogger("soc.work")


@dataclass
class _Made:
    """What became of some raw frames, and what is left to do before they are passed."""

    reads: Sequence[Read]
    batches: list[EventBatch] = field(default_factory=list)
    projected: list[dict[str, Any]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    missed: counting.Counts = field(default_factory=Counter)
    ruleset: str = ""
    left: list[Callable[[], None]] = field(default_factory=list)

    @property
    def blocks(self) -> list[RawBlock]:
        """The raw frames, those of a partition in their order."""
        return sorted((block for read in self.reads for block in read.frames), key=lambda block: block.seq)


class Worker:
    """Reads its share of the partitions, appends to the event store and to the logs behind it.

    Matched and findings frames are durable before the store is; the cursor travels in the store's own frame. So a
    crash in between repeats derived frames, which their readers know by the raw frame's name, and never an event.
    Raises TryAgain while workers of another number still hold some of these partitions.
    """

    def __init__(self, settings: Settings, clock: Clock, index: int = 0) -> None:
        self._settings, self._clock, self.index = settings, clock, index
        # Stamps come before what they stamp: a change in between is then read once more, not missed.
        self._mibs = places.site_mibs(settings)
        self._mibs_at = self._mibs.stamp
        self.parsers = places.load_parsers(settings)
        self._definitions = Definitions(settings, self.parsers, clock)
        self._use(self._definitions.loaded)
        self._systems = Systems(settings, clock)
        self._partitions = frozenset(p for p in range(PARTITIONS) if p % settings.workers == index)
        self._held: _Made | None = None
        self._counts = {"frames": 0, "records": 0, "events": 0, "findings": 0, "unparsed": 0, "unmatched": 0}
        self._leases: list[int] = []
        node = f"work{index}"
        with ExitStack() as opened:  # what is open already is closed again when the rest fails
            opened.callback(self._release)
            self._matched, self._findings, self._dead = (
                opened.enter_context(closing(places.open_log(settings, name, node, clock, max_bytes=most)))
                for name, most in (
                    (places.MATCHED, settings.queue_max_bytes), (places.FINDINGS, None), (places.DEAD, None)
                )
            )  # fmt: skip
            self.store = EventStore(places.events(settings), clock, self.parsers.fields, writer=node)
            opened.enter_context(closing(self.store))
            self._lease()  # before the cursors are read: whoever had a partition moves them no more
            self._cursors = places.passed(self.store.cursors(), places.RAW, places.DEAD, places.PAUSES)
            self._intake = Intake(settings, clock, node, self._partitions, self._cursors, self._dead)
            opened.enter_context(closing(self._intake))
            self.states = PartitionStates(settings, clock, self.parsers, node, self._cursors)
            self._reading = Reading(self.parsers, self.states, self._dead)
            self.states.read_waiting(self._partitions)
            opened.callback(self._keep_states)
            self._opened = opened.pop_all()

    def _lease(self) -> None:
        for number in sorted(self._partitions):
            path = self._settings.path("run", "parsers", f"{number:02d}.lock")
            files.make_folder(path.parent)
            fd = files.take_lock(path)
            if fd is None:
                raise TryAgain(
                    f"another worker still has partition {number}", hint="workers of an earlier start must end first"
                )
            self._leases.append(fd)

    @property
    def detections(self) -> DetectionSet:
        """What it matches."""
        return self._definitions.loaded

    @property
    def counts(self) -> dict[str, int]:
        """What became of everything since its start; `dead` records are kept aside."""
        return {**self._counts, "dead": self._reading.dead}

    def _use(self, detections: DetectionSet) -> None:
        """Match with these from now on; which they are is kept before the first event is held against them."""
        ruleset = counting.note_rules(self._settings, detections, self._clock.now_ns() // 1000)
        self._detector, self._ruleset = Detector(detections), ruleset

    def step(self) -> int:
        """Handle what waits, up to the bounds; how many frames that were. Raises DiskFull, StoreError."""
        if self._systems.again():
            self._refresh_names()
        self._definitions.again()
        if self._detector.detections is not self._definitions.loaded:  # a full disk may have put it off
            self._use(self._definitions.loaded)
        if self._held is None:
            blocks = self._intake.waiting()
            if len(blocks) < MAX_FRAMES:  # what goes on with them is here already, or is not coming
                now_ns = self._clock.now_ns()
                blocks += self._intake.pauses(self.states.overdue(now_ns), now_ns)
            blocks = blocks or self._intake.kept_aside()
            if not blocks:
                self.store.roll_if_due(self._clock.now_ns())
                return 0
            self._held = self._prepare(blocks)
        made = self._held
        # What a full disk interrupts goes on from there: nothing is parsed, buried or handed on a second time.
        while made.left:
            made.left[0]()
            del made.left[0]
        self._held = None
        self._count(made)
        return len(made.blocks)

    def _prepare(self, blocks: list[RawBlock]) -> _Made:
        now_ns = self._clock.now_ns()
        groups = joining.together(blocks)
        made = self._understood([read for group in groups for read in self._reading.read(group, now_ns)])
        made.ruleset = self._ruleset
        made.left = [
            partial(self._hand_on, self._matched, "matched", made, [(d["position"], d) for d in made.projected]),
            partial(
                self._hand_on, self._findings, "finding", made,
                [(f.position, f.to_document()) for f in made.findings],
            ),
            self.states.keep,
            partial(self._store, made),
        ]  # fmt: skip
        return made

    def _understood(self, reads: Sequence[Read]) -> _Made:
        """Enriched, matched and projected; by halves when that breaks: one frame costs its neighbours nothing."""
        made = _Made(reads)
        try:
            for batch in self._enriched(reads):
                findings = self._detector.match(batch)
                made.projected += self._detector.project(batch, findings)
                made.findings += findings
                made.batches.append(batch)
                made.missed += counting.failed(batch, self._detector.failures, self._ruleset)
        except BREAKS as error:
            if len(reads) > 1:
                return _joined([self._understood(half) for half in halves(reads)])
            [read] = reads
            if len(read.frames) > 1:
                return self._understood(self._reading.halved(read, self._clock.now_ns()))
            return self._unmatched(read, error)
        return made

    def _unmatched(self, read: Read, error: Exception) -> _Made:
        """Events that no rule could be held against are still kept; what cannot even be enriched is buried."""
        [block] = read.frames
        try:
            made = _Made([read], self._enriched([read]))
        except BREAKS as fault:
            self._reading.bury([block], why(fault))
            return _Made([replace(read, batches=[])])
        _log.error("frame %s:%s:%s of %s was not searched: %s", block.node, block.log, block.seq, block.source, error)
        self._counts["unmatched"] += block.n
        made.missed = counting.skipped(made.batches, self._ruleset)
        return made

    def _enriched(self, reads: Sequence[Read]) -> list[EventBatch]:
        whole = merged(batch for read in reads for batch in read.batches)
        return [self._systems.registry.enrich(flag_simulated(b) if self._settings.simulated else b) for b in whole]

    def _hand_on(self, log: DiskLog, format: str, made: _Made, items: Sequence[tuple[str, dict[str, Any]]]) -> None:
        found = records.by_frame(items, records.closers(made.batches))
        out = [
            piece
            for block in made.blocks
            if (several := found.get((block.node, block.seq)))
            for piece in records.derived(block, format, several, int(block.receipt_ns[0]))
        ]
        if out:
            log.append(out)

    def _store(self, made: _Made) -> None:
        upto = {block.partition: Position(block.node, block.log, block.seq) for block in made.blocks}
        try:
            self.store.append(made.batches, upto, counting.stored(made.batches, made.ruleset) + made.missed)
        except (UnfitEvents, *BREAKS) as error:
            self._store_apart(made, error)
        self._cursors |= upto

    def _store_apart(self, made: _Made, error: Exception) -> None:
        """Frame by frame in their order, for each moves the cursor; what the store cannot take is kept aside instead of
        its neighbours."""
        if len(made.blocks) > 1:
            now_ns = self._clock.now_ns()
            alone = [
                one
                for read in made.reads
                for one in (self._reading.apart(read, now_ns) if len(read.frames) > 1 else [read])
            ]
            missed = made.missed  # told with the first: of which frame it was is not known any more
            for one in sorted(alone, key=lambda read: read.frames[0].seq):
                self._store(_Made([one], self._enriched([one]), missed=missed, ruleset=made.ruleset))
                missed = Counter()
            return
        [block] = made.blocks
        self._reading.bury([block], why(error))
        self.store.append([], {block.partition: Position(block.node, block.log, block.seq)}, made.missed)

    def _count(self, made: _Made) -> None:
        blocks = made.blocks
        self._counts["frames"] += len(blocks)
        self._counts["records"] += sum(block.n for block in blocks)
        self._counts["events"] += sum(batch.n for batch in made.batches)
        self._counts["unparsed"] += sum(batch.n for batch in made.batches if batch.dataset == "unparsed")
        self._counts["findings"] += len(made.findings)

    def _refresh_names(self) -> None:
        stamp = self._mibs.stamp
        if stamp != self._mibs_at:
            self._mibs_at = stamp
            self.parsers.use_names(self._mibs.names())

    def close(self) -> None:
        """Let the store and the logs go; the open hot file is sealed by whoever compacts next."""
        self._opened.close()

    def _keep_states(self) -> None:
        with suppress(SocError, OSError):  # what is not written counts anew after the restart
            self.states.keep(0)

    def _release(self) -> None:
        while self._leases:
            os.close(self._leases.pop())


def merged(batches: Iterable[EventBatch]) -> list[EventBatch]:
    """One batch for each dataset."""
    by_dataset: dict[str, list[EventBatch]] = {}
    for batch in batches:
        by_dataset.setdefault(batch.dataset, []).append(batch)
    return [EventBatch.concat(several) for several in by_dataset.values()]


def flag_simulated(batch: EventBatch) -> EventBatch:
    """Events of a simulated site say so in `soc.flags`; nothing in the packets does."""
    flags = [(*(was or ()), SIMULATED) for was in batch.values(FLAGS)]
    return batch.with_columns({FLAGS: Column.of(FieldType.KEYWORD, flags, many=True)})


def _joined(several: Sequence[_Made]) -> _Made:
    return _Made(
        [one for made in several for one in made.reads],
        [batch for made in several for batch in made.batches],
        [document for made in several for document in made.projected],
        [finding for made in several for finding in made.findings],
        sum((made.missed for made in several), Counter()),
    )
