"""`Replay`: correlations over events that all lie there already, in order of their own time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any

from soc.detections.correlator import Correlator
from soc.model.finding import Finding

MAX_WAITING = 100_000
"""Documents that wait to be put in order; beyond, the older half goes first."""
_PIECE = 1_000
Document = Mapping[str, Any]


class Replay:
    """Files come one after the other and datasets apart, so what belongs together in time comes far apart: nothing is
    late here. Anomaly models take part; silence needs a clock and does not."""

    def __init__(self, correlator: Correlator) -> None:
        self._correlator = correlator
        self._waiting: list[Document] = []

    def take(self, documents: Iterable[Document]) -> list[Finding]:
        """What the `Detector` projects of a batch; findings only when too many wait."""
        self._waiting.extend(document for document in documents if document["kind"] == "event")
        if len(self._waiting) <= MAX_WAITING:
            return []
        self._waiting.sort(key=itemgetter("at_us"))
        due, self._waiting = self._waiting[: MAX_WAITING // 2], self._waiting[MAX_WAITING // 2 :]
        return self._feed(due)

    def finish(self) -> list[Finding]:
        """Behind the last: everything that was still to be found."""
        waiting, self._waiting = sorted(self._waiting, key=itemgetter("at_us")), []
        return self._feed(waiting) + self._correlator.finish()

    def _feed(self, documents: list[Document]) -> list[Finding]:
        found: list[Finding] = []
        for i in range(0, len(documents), _PIECE):
            piece = documents[i : i + _PIECE]
            found += self._correlator.feed(piece, piece[0]["at_us"])
        return found
