"""What matching costs, part by part."""

from __future__ import annotations

from pathlib import Path

from soc.detections import DetectionSet, Detector
from soc.detections.profile import KEYWORDS, Profile
from soc.model.batch import EventBatch
from tests.detections.support import write

RULES = r"""
title: seen
name: seen
logsource: {product: windows}
detection: {s: {F|contains: ab}, t: {G: x}, condition: s and t}
---
title: keyword
name: keyword
logsource: {product: windows}
detection: {words: [needle], condition: words}
---
title: elsewhere
name: elsewhere
logsource: {product: windows, service: security}
detection: {s: {F|contains: zz}, condition: s}
"""
ROWS = [
    {"winlog.channel": "X", "winlog.event_data.F": "ab", "winlog.event_data.G": "x"},
    {"winlog.channel": "X", "winlog.event_data.F": "ab", "winlog.event_data.G": "y"},
    {"winlog.channel": "X", "winlog.event_data.F": "a needle"},
    {"winlog.channel": "Security", "winlog.event_data.F": "q"},
]


def profiled(tmp_path: Path) -> tuple[Profile, Detector, Detector, EventBatch]:
    """A profile, the detector it belongs to, one without, and what both matched."""
    detections = DetectionSet.load([write(tmp_path, RULES)])
    profile = Profile()
    return profile, Detector(detections, profile), Detector(detections), EventBatch.from_rows("windows.x", ROWS)


def test_a_profile_changes_no_hit_and_names_what_was_asked(tmp_path: Path) -> None:
    """By rule: how often it was asked and held; one that no event calls is not there. By field, and keywords."""
    profile, measured, plain, batch = profiled(tmp_path)
    found = [(hit.i, hit.rule.id) for hit in measured.hits(batch)]
    assert found == [(hit.i, hit.rule.id) for hit in plain.hits(batch)] == [(0, "seen"), (2, "keyword")]
    assert {name: (cost.asked, cost.held) for name, cost in profile.rules().items()} == {
        "seen": (2, 1),
        "keyword": (1, 1),
    }
    fields = profile.fields()
    assert (fields["winlog.event_data.F"].asked, fields["winlog.event_data.F"].held) == (4, 2)
    assert (fields[KEYWORDS].asked, fields[KEYWORDS].held) == (4, 1)
    assert [(r.name, r.rules, r.whole.asked, r.whole.held) for r in profile.routes] == [
        ("windows.x x", 2, 3, 2),
        ("windows.x security", 3, 1, 0),
    ]


def test_the_parts_add_up_to_the_whole(tmp_path: Path) -> None:
    """Nothing is counted twice, and what is in no part stays with its route."""
    profile, measured, _, batch = profiled(tmp_path)
    measured.match(batch)
    whole = {route.name: route.whole.ns for route in profile.routes}
    summed = dict.fromkeys(whole, 0)
    for stack, ns in profile.stacks():
        assert ns >= 0
        summed[stack[0]] += ns
    assert summed == whole
    assert all(whole.values())
