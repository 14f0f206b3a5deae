"""Files are searched in order of their events' times, whatever order they are given in."""

from __future__ import annotations

from pathlib import Path

import pytest

from soc.detections import Correlator, replay
from soc.detections.detect import detect
from soc.detections.replay import Replay
from soc.model.batch import EventBatch
from tests.detections.correlation.support import SECOND, event, loaded
from tests.detections.support import write

FOLLOWED = """
title: ssh
name: ssh
logsource: {product: linux, service: sshd}
detection: {s: {event.outcome: failure}, condition: s}
---
title: blocked
name: blocked
logsource: {category: firewall}
detection: {s: {event.action: denied}, condition: s}
---
title: both
name: both
correlation: {type: temporal_ordered, rules: [blocked, ssh], group-by: [source.ip], timespan: 10s}
---
title: only
name: only
correlation: {type: temporal, group-by: [source.ip], timespan: 10s, condition: blocked and not ssh}
"""


def batch(dataset: str, path: str, times: list[int], **fields: str) -> EventBatch:
    """Events of one file, a second apart as `times` say."""
    rows = [
        {
            "@timestamp": at * SECOND, "event.created": 10**15, "event.id": f"{len(path):016x}{n:016x}",
            "soc.position": f"{path}:raw:{n}:0:0", "soc.site": "s", "log.file.path": path, "soc.record": n + 1,
            "source.ip": "203.0.113.9", **{name.replace("__", "."): value for name, value in fields.items()},
        }
        for n, at in enumerate(times)
    ]  # fmt: skip
    return EventBatch.from_rows(dataset, rows)


def test_log_sources_in_files_of_their_own_are_correlated(tmp_path: Path) -> None:
    """The second file begins long before the first one ends; a hit names the records of both."""
    ssh = batch("linux.sshd", "auth.log", [5, 1_000, 2_000], event__outcome="failure")
    wall = batch("cisco.asa", "asa.log", [1_500, 1_995], event__action="denied")
    hits = list(detect([write(tmp_path, FOLLOWED)], [ssh, wall]))
    assert [(hit["rule"], hit["file"], hit["record"], hit["records"]) for hit in hits] == [
        ("only", "asa.log", 1, [1]),
        ("both", "auth.log", 3, [2, 3]),
    ]


def test_a_long_file_is_read_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When too many wait the older half goes first; then only what is later than all of them is late."""
    count = "\ntitle: c\ncorrelation: {type: event_count, rules: [failed], timespan: 10s, condition: {eq: 2}}\n"
    monkeypatch.setattr(replay, "MAX_WAITING", 10)
    feeding = Replay(Correlator(loaded(tmp_path, count)))
    found = [
        finding
        for i in range(0, 100, 5)
        for finding in feeding.take([event(n, n * 8) for n in reversed(range(i, i + 5))])
    ]
    assert len(found) >= 40
    assert len(found + feeding.finish()) == 50
