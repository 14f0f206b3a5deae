"""`Jobs`: the folders in which lookbacks wait, run and leave what they found; shared by the API and the worker."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from soc.errors import NotFound
from soc.model.clock import DAY_US, Clock
from soc.model.lookback import CANCELLED, OPEN, WAITING, Lookback
from soc.store import files

KEPT_US = 30 * DAY_US
"""What has ended is kept for so long."""
_VERSION = 1
_JOB, _STATE, _PLAN, _HITS = "job.json", "state.json", "plan.json", "hits.ndjson"
_CANCEL, _VERDICTS = "cancel", "verdicts.json"
_WAY_OUT = "move its folder away and ask again"


class Jobs:
    """One folder per lookback, named by its id.

    The API writes `job.json`, `verdicts.json` and `cancel`; the worker writes `state.json` and `hits.ndjson`, of which
    only the `hits_bytes` of the state count.
    """

    def __init__(self, root: Path, clock: Clock) -> None:
        self._root, self._clock = root, clock

    def create(self, job: Lookback, verdicts: Mapping[str, str]) -> None:
        """Hand a lookback in; `verdicts` are what people said of alerts, by the id (hex) of their events."""
        folder = self._root / job.id
        files.replace(folder / _VERDICTS, orjson.dumps(dict(verdicts)))
        files.replace(folder / _JOB, orjson.dumps({"version": _VERSION, **job.to_document()}))

    def ids(self) -> list[str]:
        """The ids of all, oldest first."""
        return sorted(path.parent.name for path in self._root.glob(f"*/{_JOB}"))

    def get(self, id: str) -> Lookback:
        """Raises NotFound."""
        document = None
        if id in self.ids():  # an id names a folder, and comes from strangers
            document = files.read_versioned(self._root / id / _JOB, _VERSION, "the lookback", _WAY_OUT)
        if document is None:
            raise NotFound(f"no lookback '{id}'")
        del document["version"]
        return Lookback.from_document(document)

    def state(self, id: str) -> dict[str, Any]:
        """How far it is, `{"state": "waiting"}` before it begins."""
        found = files.read_versioned(self._root / id / _STATE, _VERSION, "the lookback's state", _WAY_OUT)
        return found or {"version": _VERSION, "state": CANCELLED if self.is_cancelled(id) else WAITING}

    def save(self, id: str, state: Mapping[str, Any]) -> None:
        """Durable on return."""
        files.replace(self._root / id / _STATE, orjson.dumps({"version": _VERSION, **state}))

    def folder(self, id: str) -> Path:
        """Where it lies; `get` has found it before."""
        return self._root / id

    def plan(self, id: str) -> list[tuple[int, int, int]] | None:
        """What it reads one after another, see `slices`; None before that is known."""
        found = files.read_versioned(self._root / id / _PLAN, _VERSION, "the plan", _WAY_OUT)
        return None if found is None else [(a, b, n) for a, b, n in found["slices"]]

    def save_plan(self, id: str, slices: Sequence[tuple[int, int, int]]) -> None:
        """Keep it: counted again later it could be another one."""
        files.replace(self._root / id / _PLAN, orjson.dumps({"version": _VERSION, "slices": slices}))

    def verdicts(self, id: str) -> dict[str, str]:
        """What people had said when it was asked for."""
        found: dict[str, str] = orjson.loads((self._root / id / _VERDICTS).read_bytes())
        return found

    def is_open(self, id: str) -> bool:
        """Whether it is not at its end."""
        return self.state(id)["state"] in OPEN

    def cancel(self, id: str) -> None:
        """Ask it to end with what it has."""
        files.replace(self._root / id / _CANCEL, b"")

    def is_cancelled(self, id: str) -> bool:
        """Whether somebody asked it to end."""
        return (self._root / id / _CANCEL).exists()

    def add_hits(self, id: str, hits: list[dict[str, Any]], at: int) -> int:
        """Write hits behind the first `at` bytes, durably; how many bytes there are now."""
        if not hits:
            return at
        data = b"".join(orjson.dumps(hit) + b"\n" for hit in hits)
        path = self._root / id / _HITS
        try:
            with path.open("r+b" if path.exists() else "w+b") as file:
                file.truncate(at)  # what a killed worker wrote is written again
                file.seek(at)
                file.write(data)
                file.flush()
                files.sync_file(path)
        except OSError as error:
            raise files.store_error(error, f"writing {path}") from error
        return at + len(data)

    def hits(self, id: str, skip: int, most: int) -> list[dict[str, Any]]:
        """So many hits behind the first `skip`, in the order of time."""
        left = self.state(id).get("hits_bytes", 0)
        found: list[dict[str, Any]] = []
        with suppress(FileNotFoundError), (self._root / id / _HITS).open("rb") as file:
            for n, line in enumerate(file):
                left -= len(line)
                if left < 0 or len(found) == most:
                    break
                if n >= skip:
                    found.append(orjson.loads(line))
        return found

    def prune(self) -> int:
        """Let go what ended long ago; how many."""
        before_us, gone = self._clock.now_ns() // 1000 - KEPT_US, 0
        for id in self.ids():
            state = self.state(id)
            if state["state"] not in OPEN and state.get("at_us", self.get(id).created_us) < before_us:
                (self._root / id / _JOB).unlink()  # a folder without it is no job, whatever is left of it
                shutil.rmtree(self._root / id, ignore_errors=True)
                gone += 1
        return gone
