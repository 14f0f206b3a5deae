"""`RawBlock`: records as they were received, not yet understood; one frame of the `raw` log."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from soc.model.position import Partition, partition_of

T = TypeVar("T")
OVERSIZE = 1
"""Bit in `RawBlock.flags`: the record was longer than the listener's limit and was cut."""
UNVERIFIED = 2
"""Bit in `RawBlock.flags`: the record says who sent it, and that could not be verified (SNMPv3)."""
POLLED = "poll.source"
"""In `RawBlock.origin`: the source was asked for these, so that they may be as old as the asking is late."""
INCOMPLETE = 4
"""Bit in `RawBlock.flags`: the connection ended, or was cut by us, inside this record; or it is a file's last line,
whose end we waited for no longer, or the rest of that line."""
HOLE = 8
"""Bit in `RawBlock.flags`: NULs before the record were left out, a hole in the file that it came from."""
ZONE = "zone"
"""Key of `RawBlock.origin`: the IANA time zone of stamps that name none."""
SYSTEM = "soc.system.id"
"""Key of `RawBlock.origin`: the system of events that no address gives to one."""


@dataclass(frozen=True)
class RawBlock:
    """Records of one source (site, listener, peer), in order of receipt.

    `receipt_ns[i]` is the wall clock in ns since the epoch; record i is `data[end[i-1]:end[i]]` with `end[-1]` = 0.
    `format` says what the records are: `syslog` (one message each), `netflow`, `sflow`, `snmp` (one datagram each),
    `snmp-v3` (see `soc.model.snmp_record`), `snmp-poll` (what an agent said, a document of ours),
    `packet` (what a sensor made of packets, one JSON object each), `lines`,
    `json`, `journal` (one entry each, see `soc.model.journal_export`), `windows-json` (one event each, in evtx_dump's
    JSON shape). `origin` is what the listener knows beside: `zone` and `soc.system.id` (see `ZONE`, `SYSTEM`),
    `log.file.path`, `soc.import.id`, `event.dataset` (of documents that name none), `poll.*` (where a polled source
    stands behind the block), `first_record` (1-based number of the block's first record in its file).
    `node`, `log`, `seq` are filled by the log that stored it. `flags[i]` is a bit set (`OVERSIZE`), empty = all 0.
    `frames` are those of which a block was `joined`, perhaps of several sources; empty = it is one.
    """

    site: str
    listener: str
    peer: str
    format: str
    receipt_ns: np.ndarray[Any, np.dtype[np.int64]]
    end: np.ndarray[Any, np.dtype[np.uint32]]
    data: bytes
    origin: Mapping[str, str] = field(default_factory=dict)
    flags: bytes = b""
    node: str = ""
    log: str = "raw"
    seq: int = 0
    frames: tuple[RawBlock, ...] = ()

    @property
    def n(self) -> int:
        """How many records."""
        return len(self.end)

    @property
    def source(self) -> str:
        """`site/listener/peer`, the value of `soc.source`."""
        return f"{self.site}/{self.listener}/{self.peer}"

    @property
    def partition(self) -> Partition:
        """The partition whose cursor moves over this block."""
        return Partition(self.node, self.log, partition_of(self.site, self.listener, self.peer))

    def records(self) -> Iterator[bytes]:
        """The records, in order."""
        start = 0
        for stop in self.end.tolist():
            yield self.data[start:stop]
            start = stop

    def is_oversize(self, i: int) -> bool:
        """Whether record i was cut at the listener's limit."""
        return bool(self.flags and self.flags[i] & OVERSIZE)

    @functools.cached_property
    def is_mixed(self) -> bool:
        """Whether its records are of several sources; then it has no site, listener and peer of its own."""
        return len({frame.source for frame in self.frames}) > 1

    def of_each(self, said: Callable[[RawBlock], T]) -> list[T]:
        """Of each record what is said of its frame."""
        return [value for frame in self.frames or (self,) for value in [said(frame)] * frame.n]

    def ordinals(self) -> list[int]:
        """Of each record its place in its frame."""
        return [ordinal for frame in self.frames or (self,) for ordinal in range(frame.n)]

    @classmethod
    def joined(cls, blocks: Sequence[RawBlock]) -> RawBlock:
        """Frames of one node and log, alike in format and origin, as one block at the place of the last."""
        if len(blocks) == 1:
            return blocks[0]
        last = blocks[-1]
        is_mixed = any(block.source != last.source for block in blocks)
        starts = np.cumsum([0, *(len(block.data) for block in blocks[:-1])], dtype=np.uint32)
        ends = [block.end + start for block, start in zip(blocks, starts, strict=True)]
        flagged = any(block.flags for block in blocks)
        return replace(
            last if not is_mixed else replace(last, site="", listener="", peer=""),
            receipt_ns=np.concatenate([block.receipt_ns for block in blocks]),
            end=np.concatenate(ends).astype(np.uint32),
            data=b"".join(block.data for block in blocks),
            flags=b"".join(block.flags or bytes(block.n) for block in blocks) if flagged else b"",
            frames=tuple(blocks),
        )

    @classmethod
    def of(
        cls,
        records: Sequence[bytes],
        *,
        receipt_ns: int | Sequence[int],
        site: str = "default",
        listener: str = "test",
        peer: str = "127.0.0.1",
        format: str = "syslog",
        origin: Mapping[str, str] | None = None,
        flags: bytes = b"",
        node: str = "test",
        seq: int = 0,
    ) -> RawBlock:
        """A block out of byte strings; one receipt time for all, or one for each."""
        times = [receipt_ns] * len(records) if isinstance(receipt_ns, int) else list(receipt_ns)
        end = np.cumsum([len(r) for r in records], dtype=np.uint32)
        return cls(
            site, listener, peer, format, np.asarray(times, np.int64), end, b"".join(records),
            dict(origin or {}), flags, node, "raw", seq,
        )  # fmt: skip
