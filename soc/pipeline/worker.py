"""`Worker`: one step of `soc work`: raw frames → events, matched and projected documents, findings."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
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
from soc.parsers import ParserState, audit
from soc.parsers.groups import PAUSE, Group
from soc.pipeline import aside, joining, places, records
from soc.pipeline.coverage import counting
from soc.pipeline.reread import Definitions
from soc.pipeline.waiting import Waiting
from soc.store import files
from soc.store.events import EventStore
from soc.store.queue import DiskLog, LogReader, trim

MAX_FRAMES, FRAMES = 512, 32
MAX_BYTES = 4 << 20
"""One step takes at most so many frames and about so many bytes: memory stays bounded (as Python objects an event has
some thirty times its size), a crash repeats little. Frames are read so many at a time."""
SIMULATED = "simulated"
PRODUCT = "as_product"
REGISTRY_CHECK_NS = 2_000_000_000
COUNTS_AGE_NS = 10_000_000_000
"""Counts of flow exporters are written so late; after a crash in between they begin anew, templates do not."""
_log = logging.getLogger("soc.work")


@dataclass(frozen=True)
class _Read:
    """Frames that were parsed as one, their events, and the state they were parsed from."""

    frames: Sequence[RawBlock]
    batches: list[EventBatch]
    before: ParserState


@dataclass
class _Made:
    """What became of some raw frames, and what is left to do before they are passed."""

    reads: list[_Read]
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
        self._registry_at = _stamp(settings)
        self._registry = places.load_registry(settings)
        self._registry_due_ns = 0
        self._partitions = frozenset(p for p in range(PARTITIONS) if p % settings.workers == index)
        self._states: dict[int, ParserState] = {}
        self._pauses = clock.now_ns() // 1000
        self._regrouped: set[int] = set()
        self._learned: set[int] = set()
        self._aged: dict[int, int] = {}
        node, root = f"work{index}", places.queue(settings)
        self._matched = places.open_log(settings, places.MATCHED, node, clock, max_bytes=settings.queue_max_bytes)
        self._findings = places.open_log(settings, places.FINDINGS, node, clock)
        self._dead = places.open_log(settings, places.DEAD, node, clock)
        self._reader = LogReader(root, places.RAW)
        self._aside: LogReader | None = LogReader(root, places.DEAD)
        self._aside_upto = self._dead.last_seq
        self.store = EventStore(places.events(settings), clock, self.parsers.fields, writer=node)
        self._held: _Made | None = None
        self._leases: list[int] = []
        self.counts = {"frames": 0, "records": 0, "events": 0, "findings": 0, "dead": 0, "unparsed": 0, "unmatched": 0}
        try:
            self._lease()  # before the cursors are read: whoever had a partition moves them no more
            self._cursors = places.passed(self.store.cursors(), places.RAW, places.DEAD, places.PAUSES)
            self._pauses = max([self._pauses, *(at.seq for at in places.passed(self._cursors, places.PAUSES).values())])
            self._waiting = Waiting(settings, node)
            for number in self._partitions:
                if number in self._waiting:
                    self._state(number)  # its sources may be silent for good
        except BaseException:
            self.close()
            raise

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

    def _use(self, detections: DetectionSet) -> None:
        """Match with these from now on; which they are is kept before the first event is held against them."""
        ruleset = counting.note_rules(self._settings, detections, self._clock.now_ns() // 1000)
        self._detector, self._ruleset = Detector(detections), ruleset

    def step(self) -> int:
        """Handle what waits, up to the bounds; how many frames that were. Raises DiskFull, StoreError."""
        self._refresh_registry()
        self._definitions.again()
        if self._detector.detections is not self._definitions.loaded:  # a full disk may have put it off
            self._use(self._definitions.loaded)
        if self._held is None:
            blocks = self._take()
            if len(blocks) < MAX_FRAMES:
                blocks += self._pauses_due()  # what goes on with them is here already, or is not coming
            blocks = blocks or self._kept_aside()
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
        made = self._understood([read for group in joining.together(blocks) for read in self._read(group, now_ns)])
        made.ruleset = self._ruleset
        made.left = [
            partial(self._hand_on, self._matched, "matched", made, [(d["position"], d) for d in made.projected]),
            partial(
                self._hand_on, self._findings, "finding", made,
                [(f.position, f.to_document()) for f in made.findings],
            ),
            self._keep_states,
            partial(self._store, made),
        ]  # fmt: skip
        return made

    def _understood(self, reads: list[_Read]) -> _Made:
        """Enriched, matched and projected; when that breaks, each frame alone: one costs its neighbours nothing."""
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
                return _joined([self._understood([one]) for one in reads])
            [read] = reads
            return self._understood(self._apart(read)) if len(read.frames) > 1 else self._unmatched(read, error)
        return made

    def _unmatched(self, read: _Read, error: Exception) -> _Made:
        """Events that no rule could be held against are still kept; what cannot even be enriched is buried."""
        [block] = read.frames
        try:
            made = _Made([read], self._enriched([read]))
        except BREAKS as fault:
            self._bury([block], _why(fault))
            return _Made([replace(read, batches=[])])
        _log.error("frame %s:%s:%s of %s was not searched: %s", block.node, block.log, block.seq, block.source, error)
        self.counts["unmatched"] += block.n
        made.missed = counting.skipped(made.batches, self._ruleset)
        return made

    def _kept_aside(self) -> list[RawBlock]:
        """What was kept aside before this start, once, as much as a step takes: this version may understand it.

        Only when nothing else waits: then the raw frame of each was passed. All in one step, so that a crash leaves
        either everything as it was or nothing to do.
        """
        reader, self._aside = self._aside, None
        if reader is None:
            return []
        trim(places.queue(self._settings), places.DEAD, places.passed(self._cursors, places.DEAD))
        standing, ahead, size = aside.Standing(self._cursors), places.Cursors(), 0
        taken: list[RawBlock] = []
        while size < MAX_BYTES and len(taken) < MAX_FRAMES:
            more = reader.read(ahead, self._partitions, FRAMES, MAX_BYTES - size)
            if not more:
                break
            for block in more:
                ahead[block.partition] = Position(block.node, block.log, block.seq)
                if block.node == self._dead.node and block.seq > self._aside_upto:
                    continue
                stands = standing.stands(block)
                if not standing.is_passed(block):
                    taken.append(block if stands else aside.emptied(block))
                    size += len(block.data)
        reader.close()
        return taken

    def _take(self) -> list[RawBlock]:
        taken: list[RawBlock] = []
        ahead = dict(self._cursors)
        size = 0
        while size < MAX_BYTES and len(taken) < MAX_FRAMES:
            more = self._reader.read(ahead, self._partitions, FRAMES, MAX_BYTES - size)
            if not more:
                break
            for block in more:
                ahead[block.partition] = Position(block.node, block.log, block.seq)
                size += len(block.data)
            taken.extend(more)
        return taken

    def _pauses_due(self) -> list[RawBlock]:
        """A block for each source that has something which waited long enough for its rest. They are frames of a log
        that nobody writes: the cursor over it, in the store with the events, says what was closed."""
        now_ns = self._clock.now_ns()
        sources = [source for state in self._states.values() for source in state.groups.overdue(now_ns)]
        blocks = []
        for site, listener, peer in sources:
            self._pauses += 1
            pause = RawBlock.of(
                [], receipt_ns=[now_ns], site=site, listener=listener, peer=peer, format=PAUSE,
                node=f"work{self.index}", seq=self._pauses,
            )  # fmt: skip
            blocks.append(replace(pause, log=places.PAUSES))
        return blocks

    def _enriched(self, reads: list[_Read]) -> list[EventBatch]:
        whole = merged(batch for read in reads for batch in read.batches)
        return [self._registry.enrich(flag_simulated(b) if self._settings.simulated else b) for b in whole]

    def _read(self, frames: Sequence[RawBlock], now_ns: int) -> list[_Read]:
        """Parsed as one, or each alone when that breaks or records of the source wait for those that go on."""
        block = RawBlock.joined(frames)
        before = self._state(block.partition.number)
        if len(frames) == 1:
            return [_Read(frames, self._parse(block, now_ns), before)]
        if not before.groups.of(block):
            with suppress(Exception):
                batches, state = self.parsers.parse(block, before, now_ns, as_product=block.origin.get(PRODUCT))
                self._learn(block, state)
                return [_Read(frames, batches, before)]
        return [read for frame in frames for read in self._read([frame], now_ns)]

    def _apart(self, read: _Read) -> list[_Read]:
        """Frames that were parsed as one, each parsed alone; what is remembered stays as it is."""
        apart, state, now_ns = [], read.before, self._clock.now_ns()
        for block in read.frames:
            batches: list[EventBatch] = []
            before = state
            try:
                batches, state = self.parsers.parse(block, state, now_ns, as_product=block.origin.get(PRODUCT))
            except Exception as error:
                self._bury([block], _why(error))
            apart.append(_Read([block], batches, before))
        return apart

    def _parse(self, block: RawBlock, now_ns: int) -> list[EventBatch]:
        number = block.partition.number
        state = self._state(number)
        try:
            if block.log == places.DEAD:  # what came since knows more
                return self.parsers.parse_alone(block, state, now_ns, as_product=block.origin.get(PRODUCT))
            batches, state = self.parsers.parse(block, state, now_ns, as_product=block.origin.get(PRODUCT))
        except Exception as error:
            waiting = state.groups.of(block) if block.log != places.DEAD else []
            if not waiting:
                self._bury([block], _why(error))
                return []
            # Whether it was they or what goes on with them: a source must not stumble over the same lines for ever.
            self._bury([], _why(error), waiting)
            self._states[number] = replace(state, groups=state.groups.without(waiting))
            self._regrouped.add(number)
            return self._parse(block, now_ns)
        self._learn(block, state)
        return batches

    def _learn(self, block: RawBlock, state: ParserState) -> None:
        number = block.partition.number
        if state.groups is not self._states[number].groups:
            self._regrouped.add(number)
        if state.revision != self._states[number].revision:
            self._learned.add(number)
        elif state.memory:
            self._aged.setdefault(number, self._clock.monotonic_ns())
        self._states[number] = state if block.format == PAUSE else state.after(block.node, block.seq)

    def _state(self, number: int) -> ParserState:
        """What the parsers remember of a partition's sources; read from disk when another worker had it before."""
        if number not in self._states:
            state = self._restored(self._state_file(number))
            passed = self._passed(number)
            state = audit.at(self.parsers.resumed(state) if state.is_behind(passed) else state, passed)
            self._states[number] = replace(state, groups=self._waiting.of(number).at(self._cursors, number))
        return self._states[number]

    def _passed(self, number: int) -> dict[str, int]:
        """By node the last raw frame of a partition that the store has."""
        raw = places.passed(self._cursors, places.RAW)
        return {where.node: at.seq for where, at in raw.items() if where.number == number}

    @staticmethod
    def _restored(path: Path) -> ParserState:
        try:
            return ParserState.restore(path.read_bytes())
        except FileNotFoundError:
            return ParserState()
        except ValueError as error:
            _log.error("%s is damaged, what parsers remembered must come again: %s", path, error)
            return ParserState()

    def _state_file(self, number: int) -> Path:
        return self._settings.path("run", "parsers", f"{number:02d}.json")

    def _keep_states(self, age_ns: int = COUNTS_AGE_NS) -> None:
        """What was learned, before the cursor moves: a state that is newer than the cursor only knows more, or also
        what it knew before (`Groups.at`, `audit.at`).

        Counts are written after a while: 64 files a step, with two syncs each, would cost more than reading the flows.
        """
        for number in self._regrouped:
            state = self._states[number]
            self._states[number] = replace(state, groups=state.groups.settled(self._cursors, number))
        if self._regrouped:
            self._waiting.keep({number: self._states[number].groups for number in self._regrouped})
        self._regrouped.clear()
        now = self._clock.monotonic_ns()
        due = self._learned | {number for number, since in self._aged.items() if now - since >= age_ns}
        for number in sorted(due):
            self._states[number] = audit.settled(self._states[number], self._passed(number))
            files.replace(self._state_file(number), self._states[number].snapshot())
            self._aged.pop(number, None)
        self._learned.clear()

    def _bury(self, blocks: Sequence[RawBlock], why: str, groups: Iterable[Group] = ()) -> None:
        """Keep frames that cannot become events, what they closed, and groups; `soc source list` counts them."""
        closed = [group for block in blocks for group in self._closed_by(block)]
        pieces = [(group.block(), group.records[0].at.ordinal + 1) for group in (*closed, *groups)]
        for block, piece in [*((block, 0) for block in blocks if block.n), *pieces]:
            _log.error("frame %s:%s:%s of %s is kept aside: %s", block.node, block.log, block.seq, block.source, why)
            self._dead.append([aside.buried(block, why, piece)])
            self.counts["dead"] += block.n

    def _closed_by(self, block: RawBlock) -> list[Group]:
        number = block.partition.number
        closed = self._states[number].groups.closed if number in self._states else ()
        return [group for group in closed if group.is_closed_by(block)]

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
            alone = [one for read in made.reads for one in (self._apart(read) if len(read.frames) > 1 else [read])]
            missed = made.missed  # told with the first: of which frame it was is not known any more
            for one in sorted(alone, key=lambda read: read.frames[0].seq):
                self._store(_Made([one], self._enriched([one]), missed=missed, ruleset=made.ruleset))
                missed = Counter()
            return
        [block] = made.blocks
        self._bury([block], _why(error))
        self.store.append([], {block.partition: Position(block.node, block.log, block.seq)}, made.missed)

    def _count(self, made: _Made) -> None:
        blocks = made.blocks
        self.counts["frames"] += len(blocks)
        self.counts["records"] += sum(block.n for block in blocks)
        self.counts["events"] += sum(batch.n for batch in made.batches)
        self.counts["unparsed"] += sum(batch.n for batch in made.batches if batch.dataset == "unparsed")
        self.counts["findings"] += len(made.findings)

    def _refresh_registry(self) -> None:
        now = self._clock.monotonic_ns()
        if now < self._registry_due_ns:
            return
        self._registry_due_ns = now + REGISTRY_CHECK_NS
        self._refresh_names()
        stamp = _stamp(self._settings)
        if stamp == self._registry_at:
            return
        self._registry_at = stamp  # a broken file is said once, and read again when it changes
        try:
            self._registry = places.load_registry(self._settings)
        except (SocError, OSError) as error:
            _log.error("the registry of before stays in use: %s", error)

    def _refresh_names(self) -> None:
        stamp = self._mibs.stamp
        if stamp != self._mibs_at:
            self._mibs_at = stamp
            self.parsers.use_names(self._mibs.names())

    def close(self) -> None:
        """Let the store and the logs go; the open hot file is sealed by whoever compacts next."""
        with suppress(SocError, OSError):  # what is not written counts anew after the restart
            self._keep_states(0)
        self.store.close()
        self._reader.close()
        if self._aside is not None:
            self._aside.close()
        for log in (self._matched, self._findings, self._dead):
            log.close()
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


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, SocError) else f"{type(error).__name__}: {error}"


def _stamp(settings: Settings) -> tuple[tuple[str, int], ...]:
    """Names and times of the registry's files: when it differs they are read again."""
    found = []
    for origin in places.registry_files(settings):
        for path in sorted(origin.rglob("*")) if origin.is_dir() else [origin]:
            with suppress(FileNotFoundError):  # a file on its way to its name is gone between the two looks
                if path.is_file():
                    found.append((str(path), path.stat().st_mtime_ns))
    return tuple(found)
