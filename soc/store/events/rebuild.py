"""`manifest.db` made anew from the sealed files when it is lost or cannot be read: what they say of themselves."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from soc.errors import Conflict, StoreError
from soc.store import files
from soc.store.events import segment
from soc.store.events.hot import HotFile, list_hot
from soc.store.events.manifest import NAME, Manifest
from soc.store.events.marks import Marks, advance, marks_of
from soc.store.events.nouns import Segment

_PLACE = re.compile(r"seg/day=(?P<day>\d{4}-\d\d-\d\d)/level=(?P<level>\d)/(?P<id>[0-9a-f]{28})\.parquet")
Progress = Callable[[int, int], None]
"""Files read, and files in all."""


@dataclass(frozen=True)
class FoundFile:
    """A file below `seg/` and what becomes of it: `sealed` (read from now on), `merged` (its events are in `into`),
    `unfinished` (its events are in a hot file still), or `refused` and why (it stays where it is, and is not read)."""

    path: str
    state: str
    rows: int = 0
    bytes: int = 0
    into: str = ""
    why: str = ""


@dataclass(frozen=True)
class RebuildPlan:
    """What there is; `hot` are the hot files whose events all lie in sealed ones."""

    files: tuple[FoundFile, ...]
    hot: tuple[str, ...]


class Rebuilding:
    """The store in `root`, to which nobody else may write meanwhile; use as a context.

    Raises TryAgain when a process of soc is at it, Conflict when `manifest.db` is there and can be read.
    """

    def __init__(self, root: Path) -> None:
        self._root, self._stack = root, ExitStack()
        self._ranges: dict[str, tuple[bytes, bytes]] = {}

    def __enter__(self) -> Rebuilding:
        with self._stack:
            self._stack.enter_context(files.locked(self._root / "compact.lock", "compaction"))
            for lock in sorted((self._root / "hot").glob("*.lock")):
                self._stack.enter_context(files.locked(lock, f"writer '{lock.stem}'"))
            self._refuse_readable()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _refuse_readable(self) -> None:
        if not (self._root / NAME).exists():
            return
        try:
            Manifest(self._root / NAME).close()
        except StoreError:
            return
        raise Conflict(f"{self._root / NAME} is there and can be read", hint="to make it anew, move it away first")

    # what there is ------------------------------------------------------------------------------------------------

    def plan(self) -> RebuildPlan:
        """Look at footers, and at the ids of events where files may hold the same ones; nothing is changed."""
        found = [self._look(path) for path in sorted((self._root / "seg").rglob("*.parquet"))]
        found = self._without_merged(found)
        sealed_hot, found = self._beside_hot(found)
        return RebuildPlan(tuple(found), tuple(sealed_hot))

    def _look(self, path: Path) -> FoundFile:
        place = path.relative_to(self._root).as_posix()
        match = _PLACE.fullmatch(place)
        if match is None:
            return FoundFile(place, "refused", why="this is no place of a sealed file")
        try:
            footer = segment.footer(self._root, place)
            self._ranges[place] = segment.id_range(self._root, place)
        except StoreError as error:
            return FoundFile(place, "refused", why=str(error))
        size = path.stat().st_size
        days = {_day(footer.min_receipt_us), _day(footer.max_receipt_us)}
        if footer.levels != {int(match["level"])} or days != {match["day"]}:
            return FoundFile(place, "refused", footer.rows, size, why="its events are of another day or level")
        return FoundFile(place, "sealed", footer.rows, size)

    def _without_merged(self, found: Sequence[FoundFile]) -> list[FoundFile]:
        """A file whose events all lie in a larger one was merged into it."""
        groups: dict[Path, list[FoundFile]] = {}
        for file in found:
            if file.state == "sealed":
                groups.setdefault(Path(file.path).parent, []).append(file)
        return [self._merged(file, groups.get(Path(file.path).parent, ())) for file in found]

    def _merged(self, file: FoundFile, group: Sequence[FoundFile]) -> FoundFile:
        if file.state != "sealed":
            return file
        for other in group:
            larger = (other.rows, other.path) > (file.rows, file.path)
            if larger and self._covers([other.path], *self._ranges[file.path], lambda: self._ids(file.path)):
                return dataclasses.replace(file, state="merged", into=Path(other.path).stem)
        return file

    def _beside_hot(self, found: list[FoundFile]) -> tuple[list[str], list[FoundFile]]:
        """Sealing was cut off between a hot file and its sealed ones: the one or the others hold the events."""
        sealed = [file.path for file in found if file.state != "refused"]
        whole, rest = [], []
        for name in list_hot(self._root / "hot"):
            file = HotFile(self._root / "hot" / name)
            file.refresh()
            ids = [column for piece in file.pieces for column in piece.read(("event.id",)).column(0).chunks]
            if not ids:
                continue
            one = pa.concat_arrays(ids)
            if self._covers(sealed, *_range(one), lambda one=one: one):  # type: ignore[misc]
                whole.append(name)
            else:
                rest.append(one)
        left = pa.concat_arrays(rest) if rest else None
        return whole, [
            dataclasses.replace(file, state="unfinished") if self._lies_in(file, left) else file for file in found
        ]

    def _lies_in(self, file: FoundFile, hot: Any | None) -> bool:
        if hot is None or file.state != "sealed":
            return False
        (low, high), (least, most) = _range(hot), self._ranges[file.path]
        return bool(low <= least and most <= high and _all_in(self._ids(file.path), hot))

    def _covers(self, places: Sequence[str], low: bytes, high: bytes, ids: Callable[[], Any]) -> bool:
        """Whether each of the ids (which lie from `low` to `high`) is in one of these files; few are read for it."""
        near = [p for p in places if self._ranges[p][0] <= high and self._ranges[p][1] >= low]
        if not near or min(self._ranges[p][0] for p in near) > low or max(self._ranges[p][1] for p in near) < high:
            return False
        return _all_in(ids(), pa.concat_arrays([self._ids(p) for p in near]))

    def _ids(self, place: str) -> Any:
        return segment.ids(self._root, place)

    # what becomes of it -------------------------------------------------------------------------------------------

    def apply(
        self, plan: RebuildPlan, tombstones: Sequence[Mapping[str, Any]], now_us: int, progress: Progress
    ) -> None:
        """Read every event of every file, and put a new `manifest.db` in its place; a damaged one stays beside it.

        `tombstones` are those of the certificates. Raises StoreError, and then nothing was changed.
        """
        fresh = self._root / f"{NAME}.new"
        _remove(fresh)
        kept = [file for file in plan.files if file.state in ("sealed", "merged")]
        marks: Marks = {}
        held, merged = [], []
        for n, file in enumerate(kept):
            progress(n, len(kept))
            entry = self._entry(file, marks)
            held.append(entry) if file.state == "sealed" else merged.append((entry, file.into))
        unfinished = [(Path(f.path).stem, *_place(f.path), f.path) for f in plan.files if f.state == "unfinished"]
        made = Manifest(fresh)
        try:
            made.restore(held, merged, unfinished, tombstones, plan.hot, marks, now_us)
        finally:
            made.close()
        self._swap(fresh, now_us)
        progress(len(kept), len(kept))

    def _entry(self, file: FoundFile, marks: Marks) -> Segment:
        stats = segment.Stats()
        for table in segment.tables(self._root, file.path):
            stats.add(table)
            advance(marks, marks_of(table))
        return stats.entry(self._root, self._root / file.path, Path(file.path).stem, _place(file.path))

    def _swap(self, fresh: Path, now_us: int) -> None:
        path = self._root / NAME
        try:
            for suffix in ("", "-wal", "-shm"):
                old = path.with_name(NAME + suffix)
                if old.exists():
                    old.rename(old.with_name(f"{NAME}.damaged-{now_us}{suffix}"))
            fresh.rename(path)
            files.sync_folder(self._root)
        except OSError as error:
            raise files.store_error(error, f"replacing {path}") from error


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _day(at_us: int) -> str:
    return str(pc.strftime(pa.scalar(at_us, pa.timestamp("us", "UTC")), "%Y-%m-%d").as_py())


def _place(path: str) -> tuple[str, str]:
    match = _PLACE.fullmatch(path)
    assert match is not None
    return match["day"], match["level"]


def _all_in(ids: Any, others: Any) -> bool:
    return bool(pc.all(pc.is_in(ids, value_set=others)).as_py())


def _range(ids: Any) -> tuple[bytes, bytes]:
    found = pc.min_max(ids)
    return found["min"].as_py(), found["max"].as_py()
