"""Small stand-ins for the event store and the cases store, and makers of segments and systems."""

from __future__ import annotations

import copy
import datetime as dt
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from soc.errors import Conflict
from soc.model.clock import VIETNAM
from soc.model.system import InformationSystem, LevelDecision


def us(*parts: int) -> int:
    """µs UTC of a local (Asia/Ho_Chi_Minh) date and time."""
    return int(dt.datetime(*parts, tzinfo=VIETNAM).timestamp()) * 1_000_000


@dataclass(frozen=True)
class FakeSegment:
    id: str
    day: str
    level: int
    systems: frozenset[str]
    min_event_us: int
    max_event_us: int
    max_receipt_us: int
    min_receipt_us: int = 0
    content_root: str = "cd" * 32
    rows: int = 10
    bytes: int = 100
    sha256: str = "ab" * 32
    path: str = ""


def segment(at_us: int, level: int = 3, systems: tuple[str, ...] = ("a",), name: str = "s1") -> FakeSegment:
    """A segment whose events all lie at one moment."""
    day = dt.datetime.fromtimestamp(at_us // 1_000_000, dt.UTC).date().isoformat()
    return FakeSegment(name, day, level, frozenset(systems), at_us, at_us, at_us)


def system(
    name: str = "a", *levels: tuple[str, int], registered: str = "2020-01-01", kind: str = ""
) -> InformationSystem:
    """A system with its levels as (date, level)."""
    decisions = tuple(LevelDecision(level, dt.date.fromisoformat(since)) for since, level in levels)
    return InformationSystem(
        id=name, name=f"Hệ thống {name}", code="H40.15", organization_id="u1", organization_name="Sở A", site="s",
        levels=decisions or (LevelDecision(3, dt.date(2020, 1, 1)),),
        registered=dt.date.fromisoformat(registered), kind=kind,
    )  # fmt: skip


@dataclass(frozen=True)
class FakeStored:
    document: dict
    version: int


class FakeTx:
    def __init__(self, documents: dict, entries: list) -> None:
        self.documents = documents
        self.entries = entries

    def get(self, kind, id):
        return self.documents.get((kind, id))

    def put(self, kind, id, document, expected_version):
        old = self.get(kind, id)
        if (old.version if old else None) != expected_version:
            raise Conflict("version")
        self.documents[kind, id] = FakeStored(copy.deepcopy(document), (expected_version or 0) + 1)
        return self.documents[kind, id].version

    def find(self, kind, *, keys=None, units=None, limit=100):
        return [(id, stored) for (k, id), stored in self.documents.items() if k == kind][:limit]

    def ledger(self, act, object, before, after, reason):
        self.entries.append((act, object, reason))


class FakeCases:
    """Commits on a clean end, keeps nothing otherwise."""

    def __init__(self) -> None:
        self.documents: dict = {}
        self.entries: list = []

    @contextmanager
    def begin(self, actor: str) -> Iterator[FakeTx]:
        tx = FakeTx(dict(self.documents), list(self.entries))
        yield tx
        self.documents, self.entries = tx.documents, tx.entries


@dataclass(frozen=True)
class FakeTombstone:
    segment_id: str
    day: str
    level: int
    systems: frozenset[str]
    rows: int
    bytes: int
    sha256: str
    dropped_us: int
    authorisation: str


class PowerCut(Exception):
    """The machine went off here."""


@dataclass
class FolderStore:
    """Segments as real files in a folder; `cut_after` drops it loses power."""

    folder: Path
    segments: list[FakeSegment] = field(default_factory=list)
    stones: list[FakeTombstone] = field(default_factory=list)
    cut_after: int | None = None

    def add(self, segment: FakeSegment) -> FakeSegment:
        data = f"events of {segment.id}".encode()
        path = self.folder / "seg" / f"{segment.id}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        values = {**segment.__dict__, "path": str(path), "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        self.segments.append(FakeSegment(**values))
        return self.segments[-1]

    def drop(self, segment_id: str, authorisation: str) -> FakeTombstone:
        if self.cut_after is not None and len(self.stones) >= self.cut_after:
            raise PowerCut
        gone = next(s for s in self.segments if s.id == segment_id)
        self.segments.remove(gone)
        Path(gone.path).unlink()
        stone = FakeTombstone(
            gone.id, gone.day, gone.level, gone.systems, gone.rows, gone.bytes, gone.sha256, 7, authorisation
        )
        self.stones.append(stone)
        return stone

    def tombstones(self) -> list[FakeTombstone]:
        return list(self.stones)
