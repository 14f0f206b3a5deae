"""Findings to alerts: the last consumer of the queue. One finding that cannot be taken never holds up the others."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from soc.alerts.desk import AlertDesk
from soc.errors import SocError
from soc.model.clock import Clock
from soc.model.finding import Finding
from soc.model.position import Partition, Position
from soc.pipeline import places
from soc.store.cases import Cases
from soc.store.queue import LogReader, trim

FRAMES_AT_ONCE = 200
ACTOR = "engine"
UNFIT = "unfit_finding"
"""The kind of document that keeps a finding no alert could be made of, with the reason."""
KEPT = {"state": "kept"}
RETRIED = 10_000
_CURSOR = "findings"
_log = logging.getLogger("soc.findings")


class Findings:
    """Takes findings from the queue; alerts, messages and the cursor commit together."""

    def __init__(self, cases: Cases, alerts: AlertDesk, clock: Clock, queue: Path) -> None:
        self._cases, self._alerts, self._clock, self._queue = cases, alerts, clock, queue
        self._reader = LogReader(queue, places.FINDINGS)

    def step(self) -> int:
        """Take the next ones in; how many frames. Raises TryAgain when the case store takes nothing."""
        with self._cases.read(ACTOR) as tx:
            cursors = _cursors(tx.cursor(_CURSOR))
        blocks = self._reader.read(cursors, None, FRAMES_AT_ONCE)
        if not blocks:
            return 0
        cursors |= {block.partition: Position(block.node, block.log, block.seq) for block in blocks}
        documents = [document for block in blocks for document in map(_document, block.records())]
        try:
            self._take(documents, cursors)
        except SocError:
            raise
        except Exception as error:
            _log.error("a finding cannot be taken, each is tried alone: %s: %s", type(error).__name__, error)
            for document in documents:
                self._take_alone(document)
            self._take([], cursors)
        trim(self._queue, places.FINDINGS, cursors)
        return len(blocks)

    def retry(self) -> int:
        """Try what was kept aside once more, as at each start: a newer version may understand it. How many are left."""
        with self._cases.read(ACTOR) as tx:
            kept = tx.find(UNFIT, keys=KEPT, limit=RETRIED)
        left = 0
        for id, stored in kept:
            try:
                with self._cases.begin(ACTOR) as tx:
                    self._alerts.ingest(tx, [Finding.from_document(stored.document["finding"])])
                    tx.put(UNFIT, id, stored.document, stored.version, keys={"state": "taken"})
            except SocError:
                raise
            except Exception:
                left += 1
        return left

    def close(self) -> None:
        """Let the log go."""
        self._reader.close()

    def _take(self, documents: Iterable[Any], cursors: places.Cursors) -> None:
        found = [Finding.from_document(document) for document in documents]
        with self._cases.begin(ACTOR) as tx:
            self._alerts.ingest(tx, found)
            tx.set_cursor(_CURSOR, {str(partition): str(position) for partition, position in cursors.items()})

    def _take_alone(self, document: Any) -> None:
        try:
            with self._cases.begin(ACTOR) as tx:
                self._alerts.ingest(tx, [Finding.from_document(document)])
        except SocError:
            raise
        except Exception as error:
            why = f"{type(error).__name__}: {error}"[:500]
            kept = {"finding": document, "why": why, "at_us": self._clock.now_ns() // 1000}
            # The same finding read again after a crash is the same document.
            id = hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]
            with self._cases.begin(ACTOR) as tx:
                if tx.get(UNFIT, id) is None:
                    tx.put(UNFIT, id, kept, None, keys=KEPT)
            _log.error("a finding is kept aside: %s", why)


def _document(record: bytes) -> Any:
    try:
        return orjson.loads(record)
    except orjson.JSONDecodeError:
        return {"no_json": record.decode(errors="backslashreplace")}


def _cursors(document: Mapping[str, str] | None) -> places.Cursors:
    return {Partition.parse(key): Position.parse(text) for key, text in (document or {}).items()}
