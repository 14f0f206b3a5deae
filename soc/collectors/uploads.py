"""`Uploads`: files that people send in parts, read into the queue exactly once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import orjson

from soc.collectors.archives import Member
from soc.collectors.files import FORMATS, Captures, read_blocks
from soc.errors import Conflict, NotFound, SocError, UsageError
from soc.model.alert import uuid7
from soc.model.clock import Clock
from soc.model.record import RawBlock
from soc.store import files

PART_BYTES = 4 << 20
KEPT_S = 7 * 86_400
"""An upload that gets no part for so long is abandoned; its parts are deleted."""
MAX_BYTES = 64 << 30
LISTENER = "import"
ORIGIN_ID, ORIGIN_PRODUCT = "soc.import.id", "as_product"
MAX_REPORTED = 1000
"""Members of an archive that the report names; `members_total` counts all."""
_COPY = 1 << 20
_HOUR_NS = 3_600_000_000_000
_UNREAD = ("queued", "reading")
_LOCKS = 16
"""Uploads share so many locks: one that is being joined for long rarely holds up another."""


class QueueWriter(Protocol):
    """The raw log of this process."""

    def append(self, blocks: Sequence[RawBlock]) -> Sequence[int]: ...
    @property
    def last_seq(self) -> int: ...
    def frames_after(self, seq: int) -> Iterable[RawBlock]: ...


class Uploads:
    """One folder per upload: `state.json`, the parts, then the whole file until it was read.

    States: receiving → queued → reading → done, or failed with its reason, or abandoned when no part came for
    `KEPT_S`. A part sent twice is the same part; a crash while reading goes on behind the last record that the queue
    has. Thread-safe.
    """

    def __init__(
        self,
        folder: Path,
        writer: QueueWriter,
        clock: Clock,
        *,
        site: str,
        randomness: Callable[[int], bytes] = os.urandom,
        captures: Captures | None = None,
    ) -> None:
        self._folder, self._writer, self._clock = folder, writer, clock
        self._site, self._randomness, self._captures = site, randomness, captures
        self._locks = [threading.Lock() for _ in range(_LOCKS)]
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._unread = {state["id"] for state in self.states() if state["state"] in _UNREAD}

    def begin(
        self, name: str, size: int, by: str, *, format: str = "auto", product: str | None = None, sha256: str = "",
        is_resumed: bool = False,
    ) -> dict[str, Any]:  # fmt: skip
        """A new upload of `size` bytes; `have` are the parts that are here already.

        With its content's `sha256` an upload of the same person that was interrupted, or is not read yet, goes on;
        with `is_resumed` one that was read is found again too. Raises UsageError for a size or a format not taken.
        """
        if not 0 <= size <= MAX_BYTES:
            raise UsageError(f"a file of {size} bytes is not taken; at most {MAX_BYTES}", hint="split the file")
        if format not in FORMATS:
            raise UsageError(f"format '{format}' is unknown; one of {', '.join(FORMATS)}")
        asked = {"size": size, "format": format, "product": product, "by": by, "sha256": sha256}
        if sha256 and (begun := self._begun(asked, is_resumed)) is not None:
            return {**begun, "have": self._have(begun)}
        id = uuid7(self._clock.now_ns(), self._randomness(10))
        state = {
            "id": id, "name": Path(name).name[:255], **asked,
            "site": self._site, "state": "receiving", "part_bytes": PART_BYTES, "parts": -(-size // PART_BYTES),
            "records": 0, "hours": {}, "seq": -1, "error": "", "created_us": self._clock.now_ns() // 1000,
        }  # fmt: skip
        (self._folder / id).mkdir(mode=0o700)
        self._save(state)
        return {**state, "have": []}

    def _begun(self, asked: Mapping[str, Any], is_resumed: bool) -> dict[str, Any] | None:
        going = ("receiving", *_UNREAD, *(("done",) if is_resumed else ()))
        fits = (
            state
            for state in reversed(self.states())
            if state["state"] in going and all(state.get(key) == value for key, value in asked.items())
        )
        return next(fits, None)

    def _have(self, state: Mapping[str, Any]) -> list[int]:
        if state["state"] != "receiving":
            return list(range(state["parts"]))
        return [n for n in range(state["parts"]) if self._part(state["id"], n).is_file()]

    def prune(self) -> int:
        """Let go what was begun and not gone on with for `KEPT_S`; how many. The state stays, and says so."""
        before = self._clock.now_ns() - KEPT_S * 1_000_000_000
        count = 0
        for state in self.states():
            with self._lock(state["id"]):
                folder = self._folder / state["id"]
                if self.state(state["id"])["state"] != "receiving" or folder.stat().st_mtime_ns > before:
                    continue
                self._save({**state, "state": "abandoned", "error": f"no part came for {KEPT_S // 86_400} days"})
                for part in folder.glob("part-*"):
                    part.unlink(missing_ok=True)
                count += 1
        return count

    def put(self, id: str, n: int, data: bytes) -> None:
        """Keep part `n` (from 0). Raises Conflict when the upload takes none, UsageError for a wrong length."""
        with self._lock(id):
            state = self.state(id)
            if state["state"] != "receiving":
                raise Conflict(f"upload '{id}' is {state['state']} and takes no more parts")
            if not 0 <= n < state["parts"]:
                raise UsageError(f"part {n} is outside 0 to {state['parts'] - 1}")
            due = min(PART_BYTES, state["size"] - n * PART_BYTES)
            if len(data) != due:
                raise UsageError(f"part {n} has {len(data)} bytes where {due} are due")
            files.replace(self._part(id, n), data)

    def _lock(self, id: str) -> threading.Lock:
        """Parts and commit of one upload come one after another, however often a client sends them at once."""
        return self._locks[hash(id) % _LOCKS]

    def commit(self, id: str) -> dict[str, Any]:
        """All parts are here: join them. Asked again, it changes nothing. Raises Conflict naming missing parts."""
        with self._lock(id):
            state = self.state(id)
            if state["state"] != "receiving":
                return state
            missing = [n for n in range(state["parts"]) if not self._part(id, n).is_file()]
            if missing:
                raise Conflict(f"upload '{id}' lacks part {missing[0]}", hint="send the missing parts, then commit")
            try:
                self._join(state)
            except OSError as error:
                raise files.store_error(error, f"joining upload '{id}'") from error
            if state.get("sha256") and files.sha256_of(self._file(id)) != state["sha256"]:
                self._file(id).unlink()
                raise Conflict(f"upload '{id}' is not what was announced", hint="the file changed: send it again")
            state |= {"state": "queued", "seq": self._writer.last_seq}
            self._save(state)
            self._unread.add(id)
            for n in range(state["parts"]):
                self._part(id, n).unlink(missing_ok=True)
        return state

    def _join(self, state: dict[str, Any]) -> None:
        whole = self._folder / state["id"] / "file.new"
        with whole.open("wb") as target:
            for n in range(state["parts"]):
                with self._part(state["id"], n).open("rb") as part:
                    while piece := part.read(_COPY):
                        target.write(piece)
            target.flush()
            os.fsync(target.fileno())
        whole.replace(self._folder / state["id"] / "file")

    def state(self, id: str) -> dict[str, Any]:
        """What is known of an upload. Raises NotFound."""
        if not id.replace("-", "").isalnum():
            raise NotFound(f"no import '{id}'")
        try:
            found: dict[str, Any] = orjson.loads((self._folder / id / "state.json").read_bytes())
        except FileNotFoundError:
            raise NotFound(f"no import '{id}'") from None
        return found

    def states(self) -> list[dict[str, Any]]:
        """All uploads, oldest first."""
        return [self.state(id) for id in sorted(path.parent.name for path in self._folder.glob("*/state.json"))]

    def waiting(self) -> list[str]:
        """Ids of uploads that are to be read, oldest first."""
        return sorted(self._unread)

    def read(self, id: str, stop: threading.Event) -> dict[str, Any]:
        """Read an upload into the queue, going on where an earlier process stopped; returns its state.

        A file that cannot be read to its end is `failed` with the reason; what was read before it stays.
        Raises DiskFull when the queue takes nothing at the moment; call again later.
        """
        state = self._resumed(self.state(id))
        members: list[Member] = []
        try:
            for block in self._blocks(state, members):
                if stop.is_set():
                    return state
                state["seq"] = max(self._writer.append([block]))
                _count(state, block)
                self._save(state)
            state["state"] = "done"
        except SocError as error:
            if error.exit_code not in (SocError.exit_code, UsageError.exit_code):
                raise
            state |= {"state": "failed", "error": str(error)}
        except OSError as error:
            state |= {"state": "failed", "error": str(error)}
        except Exception as error:  # whatever a file does to its reader, the imports behind it go on
            state |= {"state": "failed", "error": f"{type(error).__name__}: {error}"}
        state["error"] = state["error"].replace(str(self._file(id)), state["name"])
        shown = [{**member.to_document(), "name": state["name"] + member.name[len(str(self._file(id))) :]}
                 for member in members[:MAX_REPORTED]]  # fmt: skip
        state |= {"members": shown, "members_total": len(members)}
        self._save(state)
        self._unread.discard(id)
        self._file(id).unlink(missing_ok=True)
        return state

    def _resumed(self, state: dict[str, Any]) -> dict[str, Any]:
        """Count what the queue took after the state was saved last."""
        if state["state"] == "reading":
            for block in self._writer.frames_after(state["seq"]):
                state["seq"] = block.seq
                if block.origin.get(ORIGIN_ID) == state["id"]:
                    _count(state, block)
        state["state"] = "reading"
        self._save(state)
        return state

    def _blocks(self, state: dict[str, Any], members: list[Member]) -> Iterator[RawBlock]:
        done, seen = state["records"], 0
        origin = {ORIGIN_ID: state["id"], **({ORIGIN_PRODUCT: state["product"]} if state["product"] else {})}
        path = self._file(state["id"])
        for block in read_blocks(
            path, clock=self._clock, format=state["format"], site=state["site"], listener=LISTENER, origin=origin,
            captures=self._captures, members=members,
        ):  # fmt: skip
            seen += block.n
            if seen <= done:
                continue
            kept = _tail(block, max(done - (seen - block.n), 0))
            inner = kept.origin["log.file.path"][len(str(path)) :]  # `!` and the member's name in an archive
            yield replace(kept, peer=state["id"], origin={**kept.origin, "log.file.path": state["name"] + inner})

    def _file(self, id: str) -> Path:
        return self._folder / id / "file"

    def _part(self, id: str, n: int) -> Path:
        return self._folder / id / f"part-{n:06d}"

    def _save(self, state: dict[str, Any]) -> None:
        files.replace(self._folder / state["id"] / "state.json", orjson.dumps(state))


def _count(state: dict[str, Any], block: RawBlock) -> None:
    """The block's records, also by the hour of their receipt (µs UTC, as text): the accounts ask for spans."""
    state["records"] += block.n
    for hour, n in zip(*np.unique(block.receipt_ns // _HOUR_NS, return_counts=True), strict=True):
        key = str(int(hour) * _HOUR_NS // 1000)
        hours = state.setdefault("hours", {})
        hours[key] = hours.get(key, 0) + int(n)


def _tail(block: RawBlock, skip: int) -> RawBlock:
    """The block without its first records."""
    if not skip:
        return block
    start = int(block.end[skip - 1])
    first = int(block.origin.get("first_record", "1")) + skip
    return replace(
        block,
        receipt_ns=block.receipt_ns[skip:],
        end=(block.end[skip:].astype(np.int64) - start).astype(np.uint32),
        data=block.data[start:],
        flags=block.flags[skip:] if block.flags else b"",
        origin={**block.origin, "first_record": str(first)},
    )
