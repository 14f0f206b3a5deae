"""Rules about one outcome each, correlations over them, and projected events, for the tests of this room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from soc.detections import DetectionSet
from tests.detections.support import write

SECOND = 1_000_000
BASE = """
title: {name}
name: {name}
logsource: {{product: linux, service: sshd}}
detection:
  s: {{event.outcome: {outcome}}}
  condition: s
"""
RULES = f"{BASE.format(name='failed', outcome='failure')}---{BASE.format(name='login', outcome='success')}---"


def loaded(folder: Path, text: str) -> DetectionSet:
    detections = DetectionSet.load([write(folder, RULES + text)])
    assert not detections.refused, detections.refused
    return detections


def event(n: int, at: float, ip: str = "a", rule: str = "failed", **more: Any) -> dict[str, Any]:
    return {
        "kind": "event", "rules": [rule], "position": f"n:raw:{n}:0:0", "event_id": f"{n:032x}", "site": "s",
        "at_us": int(at * SECOND), "receipt_us": 0, "fields": {"source.ip": ip, **more},
    }  # fmt: skip
