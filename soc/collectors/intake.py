"""Records between their receipt and the next group commit: by source, in order, bounded."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from soc.collectors.counters import Counters
from soc.collectors.listeners import ListenerSpec
from soc.collectors.packed import Packed
from soc.model.record import RawBlock

MAX_WAITING = 64 << 20
"""Bytes that may wait in memory; a stream stops reading at half of it, datagrams are dropped and counted at all."""
_RECORD_OVERHEAD = 64
QUEUE_FULL = "queue_full"
Durable = Callable[[bool], None]
_Key = tuple[int, str]
"""Which specification (a listener has one for each form of its records, and another after a reload) and peer."""


@dataclass
class _Source:
    spec: ListenerSpec
    peer: str
    size: int = 0
    pieces: list[bytes] = field(default_factory=list)  # of the joined records
    sizes: array[int] = field(default_factory=lambda: array("I"))  # of the records
    runs: list[tuple[int, int]] = field(default_factory=list)  # (how many records, their receipt in ns)
    flags: dict[int, int] = field(default_factory=dict)

    def block(self) -> RawBlock:
        n, spec = len(self.sizes), self.spec
        flags = bytearray(n) if self.flags else bytearray()
        for i, bits in self.flags.items():
            flags[i] = bits
        lengths, times = zip(*self.runs, strict=True)
        return RawBlock(
            spec.site,
            spec.name,
            self.peer,
            spec.format,
            np.full(n, times[0], np.int64) if len(times) == 1 else np.repeat(np.array(times, np.int64), lengths),
            np.frombuffer(self.sizes, np.uintc).cumsum(dtype=np.uint32),
            b"".join(self.pieces),
            flags=bytes(flags),
            origin=spec.origin,
        )


class Intake:
    """Where listeners put records and the group commit takes them. Thread-safe."""

    def __init__(self, counters: Counters, max_waiting: int = MAX_WAITING) -> None:
        self._counters = counters
        self._max_waiting = max_waiting
        self._lock = threading.Lock()
        self._sources: dict[_Key, _Source] = {}
        self._waiting = 0
        self._taken = 0
        self._told: list[Durable] = []
        self._telling: list[Durable] = []
        self._blocks: list[RawBlock] = []
        self._taken_sizes: dict[_Key, int] = {}
        self.is_stopped = False
        """The queue takes nothing for the moment: streams do not read."""
        self.is_held = False
        """The queue is above its high watermark: what is left of it is for datagrams, which cannot wait."""
        self.is_awaited = threading.Event()
        """Somebody waits for `durable`: the next group commit should not be long in coming."""

    @property
    def is_crowded(self) -> bool:
        """Whether the memory is half full, or the queue takes nothing."""
        return self.is_stopped or self._waiting + self._taken > self._max_waiting // 2

    @property
    def is_half_full(self) -> bool:
        """Whether who can wait should wait."""
        return self.is_held or self.is_crowded

    def add(
        self,
        spec: ListenerSpec,
        peer: str,
        at_ns: int,
        records: Sequence[bytes],
        flags: dict[int, int] | None = None,
        durable: Durable | None = None,
    ) -> None:
        """Records of one source, received at one time; `flags` by index. Dropped and counted when there is no room.

        From half of the bound on, a source of datagrams has room up to its share only (three quarters of the bound
        through the number of sources that wait): a flood fills its own share and takes nothing from a trickle. Streams
        are held back instead.

        `durable` is called once, from another thread: True when the queue has them for good, False when they are lost.
        """
        if not records:
            if durable is not None:
                durable(True)
            return
        packed = records if isinstance(records, Packed) else None
        size = len(packed.data) if packed else sum(map(len, records))
        size += _RECORD_OVERHEAD * len(records)
        with self._lock:
            if not self._has_room(spec, peer, size):
                self._counters.dropped(spec.site, spec.name, peer, at_ns, QUEUE_FULL, len(records))
                if durable is not None:
                    durable(False)
                return
            self._waiting += size
            source = self._sources.get((id(spec), peer))
            if source is None:
                source = self._sources[id(spec), peer] = _Source(spec, peer)
            source.size += size
            for i, bits in (flags or {}).items():
                source.flags[len(source.sizes) + i] = bits
            if packed:
                source.pieces.append(packed.data)
                source.sizes.extend(packed.sizes)
            else:
                source.pieces.extend(records)
                source.sizes.extend(map(len, records))
            source.runs.append((len(records), at_ns))
            if durable is not None:
                self._told.append(durable)
                if not self.is_awaited.is_set():
                    self.is_awaited.set()
            self._counters.arrived(spec.site, spec.name, peer, at_ns, len(records))

    def put(self, spec: ListenerSpec, block: RawBlock, durable: Durable) -> bool:
        """A block, origin and all, of a source that can be read again. False, and nothing is counted, when there is no
        room for it now. `durable` gets False when the process ends before the queue took it."""
        size = len(block.data) + _RECORD_OVERHEAD * block.n
        with self._lock:
            if self.is_stopped or not self._has_room(spec, block.peer, size):
                return False
            self._waiting += size
            self._blocks.append(block)
            self._told.append(durable)
            for at_ns, n in zip(*np.unique(block.receipt_ns, return_counts=True), strict=True):
                self._counters.arrived(block.site, block.listener, block.peer, int(at_ns), int(n))
            return True

    def _has_room(self, spec: ListenerSpec, peer: str, size: int) -> bool:
        used = self._waiting + self._taken + size
        if used <= self._max_waiting // 2:
            return True
        if used > self._max_waiting:
            return False
        if spec.is_stream:
            return True
        source = self._sources.get((id(spec), peer))
        own = size + (source.size if source else 0) + self._taken_sizes.get((id(spec), peer), 0)
        # A quarter stays free for sources that are not heard yet.
        known = self._sources.keys() | self._taken_sizes.keys() | {(id(spec), peer)}
        return own <= self._max_waiting * 3 // 4 // len(known)

    def take(self) -> list[RawBlock]:
        """All that waits, one block a source; it counts as waiting until `settle`."""
        with self._lock:
            sources, self._sources = self._sources, {}
            blocks, self._blocks = self._blocks, []
            self._telling += self._told
            self._told = []
            self.is_awaited.clear()
            for key, source in sources.items():
                self._taken_sizes[key] = self._taken_sizes.get(key, 0) + source.size
            self._taken += self._waiting
            self._waiting = 0
        return [source.block() for source in sources.values()] + blocks

    def settle(self, durable: bool = True) -> None:
        """What was taken is durable, or (False) counted as dropped; who waits for that is told."""
        with self._lock:
            self._taken = 0
            self._taken_sizes = {}
            telling, self._telling = self._telling, []
        for tell in telling:
            tell(durable)
