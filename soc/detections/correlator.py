"""`Correlator`: correlations and anomaly models over the documents of the `matched` log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from soc.detections.anomaly.first_seen import FirstSeen
from soc.detections.anomaly.model import AnomalyModel, Definition
from soc.detections.anomaly.source_silent import SourceSilent
from soc.detections.correlation.correlator import WHOLE, Correlations
from soc.detections.correlation.shard import Shard
from soc.detections.garbage import uncollected
from soc.detections.load import DetectionSet
from soc.errors import StoreError
from soc.model.finding import Finding

LEFT_OUT = (
    "late", "ungrouped", "valueless", "not_a_number", "dropped_events", "unchecked_windows", "evicted_groups",
    "changed_definitions", "incomplete", "evicted_entities", "evicted_values", "unwatched_sources",
)  # fmt: skip
"""What was not counted, or is not remembered any more, by reason: see docs/detections.md."""
FORMAT = "soc.correlate/2"
_READ = (FORMAT, "soc.correlate/1")


def model_of(definition: Definition) -> AnomalyModel:
    """The model that a definition names."""
    return FirstSeen(definition) if definition.model == "first_seen" else SourceSilent(definition)


class Correlator:
    """State keyed by group, in event time; the same documents always give the same findings and the same snapshot.

    Of several `shard`s each takes its groups; models are whole, with the first one.
    """

    def __init__(self, detections: DetectionSet, shard: Shard = WHOLE) -> None:
        self.detections = detections
        self.correlations = Correlations(detections.correlations, detections.exceptions, shard)
        self._definitions = detections.models if shard.index == 0 else ()
        self.models = {definition.id: model_of(definition) for definition in self._definitions}
        self.versions = {definition.id: definition.version for definition in self._definitions}
        self.counters: Counter[str] = Counter()
        self._dropped: set[str] = set()  # of the state that was restored: models that are gone or were changed

    def feed(self, documents: Sequence[Mapping[str, Any]], now_us: int) -> list[Finding]:
        """Findings of windows that are over, then in the order of the documents that complete them, then of models.

        `now_us` is µs UTC by the clock of receipt: the same documents with the same times give the same findings.
        """
        self.counters["documents"] += len(documents)
        with uncollected():
            events = [document for document in documents if document["kind"] == "event"]
            findings = self.correlations.feed(events, now_us)
            for model in self.models.values():
                findings.extend(found for document in documents for found in model.feed(document, now_us))
        return findings

    def tick(self, now_us: int) -> list[Finding]:
        """What time alone shows (windows that are over, silence); also forgets groups that nothing touched for long."""
        findings = self.correlations.tick(now_us)
        return findings + [finding for model in self.models.values() for finding in model.tick(now_us)]

    def finish(self) -> list[Finding]:
        """Call behind the last of a file or of a span that is searched: every window is over then."""
        return self.correlations.finish()

    def wake(self, at_us: int) -> None:
        """Call after a start: silence is measured from this moment (µs UTC) or later."""
        for model in self.models.values():
            model.wake(at_us)

    def left_out(self) -> dict[str, int]:
        """What was not counted, by reason of `LEFT_OUT`; only those that there were."""
        total = self.counters + self.correlations.counters
        for model in self.models.values():
            total += model.counters
        return {name: total[name] for name in LEFT_OUT if total[name]}

    def sources(self, most: int) -> list[dict[str, Any]]:
        """Cadence, silence and clock of the sources heard last, at most so many; see `SourceSilent.known`."""
        watching = (model for model in self.models.values() if isinstance(model, SourceSilent))
        return next((model.known(most) for model in watching), [])

    def snapshot(self) -> bytes:
        """The whole state as JSON, byte for byte the same for the same state."""
        return orjson.dumps(self.state(), option=orjson.OPT_SORT_KEYS)

    def state(self) -> dict[str, Any]:
        """The whole state as plain data that the next `feed` may change: encode it before."""
        return {
            "format": FORMAT,
            "correlations": self.correlations.snapshot(),
            "models": {key: [self.versions[key], model.snapshot()] for key, model in self.models.items()},
            "counters": dict(self.counters),
        }

    def changes(self) -> dict[str, Any]:
        """What changed since the last call, or since `state`, as plain data: for `apply`, in the same order."""
        return {
            "correlations": self.correlations.changes(),
            "models": {key: model.changes() for key, model in self.models.items()},
            "counters": dict(self.counters),
        }

    def apply(self, changes: Mapping[str, Any]) -> None:
        """Put changes over the state that was restored before; those of definitions that are gone or changed go too."""
        self.correlations.apply(changes["correlations"])
        for key, inner in changes["models"].items():
            if key not in self._dropped:
                self.models[key].apply(inner)
        self._count(changes["counters"])

    def restore(self, data: bytes) -> None:
        """The inverse of `snapshot`; state of definitions that are gone or changed is dropped and counted.

        Raises StoreError when the bytes are no snapshot of this format.
        """
        try:
            state = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise StoreError(f"the snapshot of soc correlate is no JSON: {error}") from error
        self.restore_state(state)

    def restore_state(self, state: Any) -> None:
        """The inverse of `state`, as `restore`."""
        if not isinstance(state, dict) or state.get("format") not in _READ:
            raise StoreError(f"the snapshot of soc correlate is not of format {FORMAT}")
        self.correlations.restore(state["correlations"], is_older=state["format"] != FORMAT)
        self.models = {definition.id: model_of(definition) for definition in self._definitions}
        self._dropped.clear()
        for key, (version, inner) in state["models"].items():
            if self.versions.get(key) == version:
                self.models[key].restore(inner)
            else:
                self._dropped.add(key)
        self._count(state["counters"])

    def _count(self, counters: Mapping[str, int]) -> None:
        self.counters = Counter(counters)
        if self._dropped:
            self.counters["changed_definitions"] += len(self._dropped)
