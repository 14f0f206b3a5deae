"""What a set of rules is, for those who keep it."""

from __future__ import annotations

from pathlib import Path

from soc.detections import DetectionSet
from soc.detections.status import status
from tests.detections.support import write

TEXT = """
title: one
name: one
level: high
tags: [attack.credential-access, attack.t1110.001, attack.stealth, attack.g0010]
logsource: {product: linux, service: sshd}
detection: {s: {event.outcome: failure}, condition: s}
tests:
  - {event: {event.outcome: failure}, hit: true, origin: synthetic}
---
title: two
name: two
level: low
logsource: {product: linux, service: sshd}
detection: {s: {event.outcome: success}, condition: s}
---
title: three
name: three
correlation: {type: event_count, rules: [one], group-by: [source.ip], timespan: 1m, condition: {gte: 2}}
---
title: four
name: four
logsource: {product: linux, service: sshd}
detection: {s: {no.such: x}, condition: s}
---
title: five
name: five
logsource: {product: linux, service: sshd}
detection: {s: {nor.this: x}, condition: s}
"""


def test_rules_are_counted_by_what_they_are(tmp_path: Path) -> None:
    """Kinds, levels, tactics that the matrix knows and one that it does not, tests, and reasons taken together."""
    found = status(DetectionSet.load([write(tmp_path, TEXT)]))
    assert (found["loaded"], found["refused"], found["untested"]) == (3, 2, 2)
    assert found["kinds"] == {"sigma": 2, "correlation": 1}
    assert found["levels"] == {"high": 1, "medium": 1, "low": 1}
    assert found["tactics"] == {"credential-access": 1, "stealth": 1}
    assert found["techniques"] == ["T1110.001"]
    assert found["reasons"] == [{"reason": "reads …, which no parser writes for this log source", "rules": 2}]
    assert [(each["id"], each["line"] > 1) for each in found["refusals"]] == [("five", True), ("four", True)]
