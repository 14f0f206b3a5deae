"""The state of correlators put together, and shared out among another number of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from soc.detections.correlation.correlator import Correlations
from soc.detections.correlation.late import Late
from soc.detections.correlation.shard import Shard
from soc.detections.load import DetectionSet

State = Mapping[str, Any]
"""As `Correlator.state` gives it."""
_TOUCHED = 3
"""Where a group's data say when it was touched last."""


def shared_out(states: Sequence[State], detections: DetectionSet, of: int) -> list[dict[str, Any]]:
    """The states of so many shards, made of those of the shards that there were, by index.

    All must have read the same. Counters and models go to the first. Groups keep the order in which they were touched.
    """
    windows = _whole(states, detections)
    first, made = states[0], []
    for index in range(of):
        stages = Correlations(detections.correlations, (), Shard(index, of)).stages
        kept = {
            id: [version, mine, len(mine)]
            for id, (version, groups) in windows.items()
            if id in stages
            for mine in ([[key, data] for key, data in groups.items() if stages[id].keeps(key)],)
        }
        nothing: dict[str, Any] = {"counters": {}, "fired": {}, "late": {}}
        told = _told(states) if index == 0 else nothing
        rest = {name: first[name] if index == 0 else {} for name in ("models", "counters")}
        made.append({"format": first["format"], "correlations": {"windows": kept, **told}, **rest})
    return made


def _whole(states: Sequence[State], detections: DetectionSet) -> dict[str, tuple[str, dict[tuple[str, ...], Any]]]:
    """Version and groups of each correlation; of a group that several keep what its owner has."""
    found: dict[str, tuple[str, dict[tuple[str, ...], Any]]] = {}
    for index, state in enumerate(states):
        stages = Correlations(detections.correlations, (), Shard(index, len(states))).stages
        for id, (version, groups, *_) in state["correlations"]["windows"].items():
            known = found.setdefault(id, (version, {}))[1]
            for key, data in ((tuple(key), data) for key, data in groups):
                if key not in known or (id in stages and stages[id].owns(key)):
                    known[key] = data
    return {
        id: (version, dict(sorted(groups.items(), key=lambda item: item[1][_TOUCHED])))
        for id, (version, groups) in found.items()
    }


def _told(states: Sequence[State]) -> dict[str, Any]:
    """What all of them counted and noted."""
    late = Late()
    counters: Counter[str] = Counter()
    fired: Counter[str] = Counter()
    for each in (state["correlations"] for state in states):
        counters.update(each["counters"])
        fired.update(each["fired"])
        noted = Late()
        noted.restore(each["late"])
        late.absorb(noted)
    return {"counters": dict(counters), "fired": dict(fired), "late": late.to_json()}
