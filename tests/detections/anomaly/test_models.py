"""Anomaly models: silence by learned cadence, first-seen values, gated learning, saved state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from soc.detections import Correlator, DetectionSet
from tests.detections.support import write

SECOND = 1_000_000
SILENT = """
title: silent
name: silent
anomaly: {entity: [soc.source], metric: silence, model: source_silent, policy: {factor: 5, floor: 60s, gaps: 5}}
"""
FIRST = """
title: first
name: first
logsource: {product: linux, service: sshd}
detection: {s: {event.action: ssh_login}, condition: s}
anomaly: {entity: [user.name], metric: source.ip, model: first_seen, policy: {learning: 1h, forget: 1d}}
"""


def correlator(folder: Path, text: str) -> Correlator:
    detections = DetectionSet.load([write(folder, text)])
    assert not detections.refused
    return Correlator(detections)


def spoke(at: int, **more: Any) -> dict[str, Any]:
    return {"kind": "sources", "source": "10.0.0.1", "site": "s", "n": 1, "receipt_us": at * SECOND, "at_us": 0, **more}


def login(at: int, ip: str, user: str = "lan") -> dict[str, Any]:
    return {
        "kind": "event", "rules": ["first"], "position": f"n:raw:{at}:0:0", "event_id": f"{at:032x}", "site": "s",
        "at_us": at * SECOND, "fields": {"user.name": user, "source.ip": ip},
    }  # fmt: skip


def test_silence_beyond_the_learned_cadence_is_told_once(tmp_path: Path) -> None:
    """A source that spoke every 20 s is silent after 100 s; the finding says observed and expected."""
    model = correlator(tmp_path, SILENT)
    model.feed([spoke(20 * n) for n in range(10)], 0)
    assert model.tick((180 + 99) * SECOND) == []
    [finding] = model.tick((180 + 101) * SECOND)
    assert (finding.explain["observed"], finding.explain["expected"]) == (101, 20.0)
    assert model.tick((180 + 500) * SECOND) == []


def test_it_is_told_again_after_the_source_came_back(tmp_path: Path) -> None:
    """The outage itself does not teach that outages are normal."""
    model = correlator(tmp_path, SILENT)
    model.feed([spoke(20 * n) for n in range(10)], 0)
    first = model.tick(1_000 * SECOND)
    model.feed([spoke(5_000), spoke(5_020)], 0)
    second = model.tick(5_200 * SECOND)
    assert [len(first), len(second)] == [1, 1]
    assert first[0].id != second[0].id


@pytest.mark.parametrize(("events", "more"), [(5, {}), (20, {"import_id": "i"})])
def test_what_is_not_known_well_is_not_judged(tmp_path: Path, events: int, more: dict[str, str]) -> None:
    """Too few gaps, or an imported file, make no silence."""
    model = correlator(tmp_path, SILENT)
    model.feed([spoke(20 * n, **more) for n in range(events)], 0)
    assert model.tick(10_000 * SECOND) == []


def test_a_new_value_after_the_learning_period_is_told(tmp_path: Path) -> None:
    """Learning is per entity; what was seen then is known."""
    model = correlator(tmp_path, FIRST)
    documents = [login(0, "a"), login(60, "b"), login(4_000, "a"), login(4_001, "c"), login(4_002, "c"),
                 login(4_003, "c", "minh")]  # fmt: skip
    [finding] = model.feed(documents, 0)
    assert (finding.explain["observed"], finding.entity) == ("c", "user.name=lan")


def test_a_value_long_unseen_is_new_again(tmp_path: Path) -> None:
    """After `forget` a value is no longer known."""
    model = correlator(tmp_path, FIRST)
    found = model.feed([login(0, "a"), login(90_000, "a")], 0)
    assert len(found) == 1


@pytest.mark.parametrize("text", [SILENT, FIRST])
def test_a_restart_changes_nothing(tmp_path: Path, text: str) -> None:
    """Snapshot and restore equal an uninterrupted run."""
    whole, first = correlator(tmp_path, text), correlator(tmp_path, text)
    documents = [spoke(20 * n) for n in range(9)] + [login(n * 1_000, "ab"[n % 2]) for n in range(9)]
    whole.feed(documents, 0)
    first.feed(documents[:5], 0)
    second = correlator(tmp_path, text)
    second.restore(first.snapshot())
    second.feed(documents[5:], 0)
    assert second.snapshot() == whole.snapshot()
    assert second.tick(10**12) == whole.tick(10**12)


def test_a_faulty_model_is_refused_with_every_fault(tmp_path: Path) -> None:
    """Unknown words, spans and factors are told with their lines."""
    bad = SILENT.replace("factor: 5", "factor: 1").replace("60s", "soon").replace("gaps", "gapz")
    detections = DetectionSet.load([write(tmp_path, bad)])
    assert len(detections.refused) == 3


def test_our_own_absence_is_not_the_sources_silence(tmp_path: Path) -> None:
    """After a stop of an hour nobody is accused at once; who stays silent from then on is."""
    model = correlator(tmp_path, SILENT)
    model.feed([spoke(20 * n) for n in range(10)], 0)
    model.wake(4_000 * SECOND)
    early = model.tick(4_050 * SECOND)
    [finding] = model.tick(4_101 * SECOND)
    assert early == []
    assert finding.explain["observed"] == 4_101 - 180


def test_what_is_known_of_a_source(tmp_path: Path) -> None:
    """Cadence once it is learned, and its clock: the reading that waited least on its way."""
    model = correlator(tmp_path, SILENT)
    model.feed([spoke(0, drift_us=-3_500_000)], 0)
    [before] = model.sources(10)
    assert (before["cadence_us"], before["limit_us"], before["drift_us"]) == (None, None, -3_500_000)
    model.feed([spoke(20 * n, drift_us=-3_000_000 - n * 1000) for n in range(1, 10)] + [spoke(200)], 0)
    [known] = model.sources(10)
    assert known == {
        "site": "s", "source": "10.0.0.1", "last_us": 200 * SECOND, "cadence_us": 20 * SECOND,
        "limit_us": 100 * SECOND, "silent": False, "drift_us": -3_001_000,
    }  # fmt: skip
    model.tick(1_000 * SECOND)
    assert model.sources(10)[0]["silent"] is True
    model.feed([spoke(2_000, source="10.0.0.2")], 0)
    assert [s["source"] for s in model.sources(1)] == ["10.0.0.2"], "those heard last"


def test_a_snapshot_without_clocks_is_read(tmp_path: Path) -> None:
    """Of the version before: cadence is kept, clocks are learned anew."""
    model = correlator(tmp_path, SILENT)
    model.feed([spoke(20 * n, drift_us=5) for n in range(10)], 0)
    old = orjson.loads(model.snapshot())
    for _, inner in old["models"].values():
        inner["sources"] = [row[:5] for row in inner["sources"]]
    model.restore(orjson.dumps(old))
    assert [(s["cadence_us"], s["drift_us"]) for s in model.sources(9)] == [(20 * SECOND, None)]
