"""Sealing and merging: closed hot files become Parquet, many small files become one. Runs in any one process."""

from __future__ import annotations

import contextlib
import heapq
import os
import secrets
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from soc.errors import StoreError
from soc.model.clock import DAY_US
from soc.store import files
from soc.store.events import segment
from soc.store.events.hot import HotFile, Piece, list_hot, parse_name
from soc.store.events.manifest import Manifest
from soc.store.events.marks import Marks, advance
from soc.store.events.nouns import CompactReport, Segment

SEAL_ROWS = 200_000
"""Closed hot files are sealed together up to about so many rows."""
HELD_BYTES = 64 << 20
"""What the segments that are written at the same time hold in memory together."""
Place = tuple[str, str]
"""Receipt day and level."""
KEEP_HOT_NAMES_US = 3_600_000_000
"""How long the name of a sealed hot file is remembered, for readers that listed it before it was unlinked."""
KEEP_MERGED_US = 30 * DAY_US
"""How long it is remembered which file a merged one became, for whoever signs the manifests."""


class Compactor:
    """One run of `compact`, under the store's compaction lock."""

    def __init__(self, root: Path, manifest: Manifest, now_us: int) -> None:
        self._root, self._manifest, self._now_us = root, manifest, now_us
        self._hot = root / "hot"
        self.report: dict[str, int] = defaultdict(int)

    def run(self, *, max_files: int, grace_us: int, max_merge_rows: int) -> CompactReport:
        """Clean up, seal, merge."""
        self.clean(grace_us)
        self._seal_all()
        self._merge_all(max_files, max_merge_rows)
        self._manifest.forget_hot(self._now_us - KEEP_HOT_NAMES_US)
        self._manifest.forget_merged(self._now_us - KEEP_MERGED_US)
        return CompactReport(**self.report)

    def clean(self, grace_us: int) -> None:
        """Finish what an interrupted run began and remove files whose grace is over."""
        for unfinished in self._manifest.segments("writing"):
            unlink((self._root / unfinished.path).with_suffix(".tmp"))
            self._remove(unfinished)
        for old in self._manifest.retired(before_us=self._now_us - grace_us):
            self._remove(old)
        _, sealed = self._manifest.snapshot()
        for name in set(list_hot(self._hot)) & sealed:
            file = HotFile(self._hot / name)
            file.refresh(with_rows=False)
            self._retire_hot(file)

    def _remove(self, old: Segment) -> None:
        path = self._root / old.path
        if unlink(path):
            files.sync_folder(path.parent)
            self.report["files_removed"] += 1
        self._manifest.forget(old.id)

    def _remove_hot(self, name: str) -> None:
        if unlink(self._hot / name):
            self.report["files_removed"] += 1

    def _seal_all(self) -> None:
        with contextlib.ExitStack() as held:
            group: list[HotFile] = []
            for name in self._closed(held):
                file = HotFile(self._hot / name)
                file.refresh()
                group.append(file)
                if sum(f.rows for f in group) >= SEAL_ROWS:
                    self._seal(group)
                    group = []
            if group:
                self._seal(group)

    def _closed(self, held: contextlib.ExitStack) -> list[str]:
        """Hot files nobody writes any more: all but the last of each writer, and that too when its writer is gone."""
        numbers: dict[str, list[str]] = defaultdict(list)
        for name in list_hot(self._hot):
            parsed = parse_name(name)
            assert parsed is not None
            numbers[parsed[0]].append(name)
        closed = []
        for writer, names in numbers.items():
            lock = files.take_lock(self._hot / f"{writer}.lock")
            if lock is None:
                names = names[:-1]  # noqa: PLW2901
            else:
                held.callback(os.close, lock)
            closed += names
        return closed

    def _seal(self, group: Sequence[HotFile]) -> None:
        marks: Marks = {}
        counts: Counter[tuple[int, str]] = Counter()
        for file in group:
            advance(marks, file.marks)
            counts.update(file.counts)
        # By dataset, each in the order of receipt: that is how a segment is written.
        pieces = sorted((piece for file in group for piece in file.pieces), key=lambda piece: piece.dataset)
        segments = self._sealed(pieces) if pieces else []
        self._manifest.swap_hot([f.path.name for f in group], segments, marks, counts, self._now_us)
        self.report["sealed_files"] += len(group)
        self.report["sealed_rows"] += sum(f.rows for f in group)
        for file in group:
            self._retire_hot(file)

    def _retire_hot(self, file: HotFile) -> None:
        if file.damaged or _has_tail_damage(file):
            self.report["damaged"] += 1
            # What could not be read is kept beside, for a person to look at: never lose a line.
            folder = self._hot / "damaged"
            files.make_folder(folder)
            os.rename(file.path, folder / file.path.name)
        else:
            self._remove_hot(file.path.name)

    def _sealed(self, pieces: Sequence[Piece]) -> list[Segment]:
        """A segment for each (receipt day, level); the rows are read twice, so that they need not be in memory."""
        rows: Counter[Place] = Counter()
        schemas: dict[Place, list[Any]] = defaultdict(list)
        for piece in pieces:
            for place, table in segment.split(piece.read(segment.PLACED_BY)).items():
                rows[place] += table.num_rows
                schemas[place].append(piece.schema)
        with contextlib.ExitStack() as stack:
            writers = self._writers({place: (rows[place], segment.unified(schemas[place])) for place in rows}, stack)
            for piece in pieces:
                for place, table in segment.split(piece.read()).items():
                    writers[place].add(piece.dataset, table)
                while sum(writer.held for writer in writers.values()) > HELD_BYTES:
                    max(writers.values(), key=lambda writer: writer.held).flush()
            return [writer.close() for writer in writers.values()]

    def _writers(
        self, wanted: Mapping[Place, tuple[int, Any]], stack: contextlib.ExitStack
    ) -> dict[Place, segment.Writer]:
        """A writer for each (day, level), its file in the manifest before it exists."""
        ids = {place: _new_id(self._now_us) for place in sorted(wanted)}
        self._manifest.intend([(i, *place, segment.relative_path(i, *place)) for place, i in ids.items()])
        self.report["segments_written"] += len(ids)
        return {
            place: stack.enter_context(segment.Writer(self._root, i, place, wanted[place][1], wanted[place][0]))
            for place, i in ids.items()
        }

    def _merge_all(self, max_files: int, max_rows: int) -> None:
        groups: dict[tuple[str, str], list[Segment]] = defaultdict(list)
        for found in self._manifest.snapshot()[0]:
            groups[found.day, found.level].append(found)
        for group in groups.values():
            # A file that is half full is not written anew for each small one that comes.
            small = [found for found in group if found.rows <= max_rows // 2]
            if len(small) > max_files:
                self._merge(_smallest(small, max_rows))

    def _merge(self, group: Sequence[Segment]) -> None:
        if len(group) < 2:
            return
        for old in group:
            if files.sha256_of(self._root / old.path) != old.sha256:
                raise StoreError(f"{old.path}: differs from the manifest", hint="soc retention verify shows which")
        group = sorted(group, key=lambda old: (old.min_receipt_us, old.id))
        place = (group[0].day, group[0].level)
        schema = segment.unified([segment.schema(self._root, old) for old in group])
        streams = [_numbered(n, segment.pieces(self._root, old)) for n, old in enumerate(group)]
        with contextlib.ExitStack() as stack:
            [writer] = self._writers({place: (sum(old.rows for old in group), schema)}, stack).values()
            for dataset, _, table in heapq.merge(*streams, key=lambda piece: piece[:2]):
                writer.add(dataset, table)
            new = writer.close()
        self._manifest.swap_merged(group, new, self._now_us)
        self.report["segments_merged"] += len(group)


def _numbered(n: int, pieces: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, int, Any]]:
    return ((dataset, n, table) for dataset, table in pieces)


def _smallest(group: Sequence[Segment], max_rows: int) -> list[Segment]:
    chosen: list[Segment] = []
    rows = 0
    for candidate in sorted(group, key=lambda s: (s.rows, s.id)):
        rows += candidate.rows
        if chosen and rows > max_rows:
            break
        chosen.append(candidate)
    return chosen


def _has_tail_damage(file: HotFile) -> bool:
    return file.path.stat().st_size > file.end


def _new_id(now_us: int) -> str:
    return f"{now_us // 1000:012x}{secrets.token_hex(8)}"


def unlink(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise files.store_error(error, f"removing {path.name}") from error
    return True
