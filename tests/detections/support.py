"""Rules and events as short texts, for the tests of this room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from soc.content import loads
from soc.detections.sigma.evaluate import compiled, row_of
from soc.detections.sigma.read import read_rule
from soc.detections.sigma.rule import Refused, Rule
from soc.model.fields import FIELDS

CHANNEL = "Microsoft-Windows-Sysmon/Operational"


def read(detection: str, logsource: str = "{product: windows}") -> Rule | Refused:
    """A rule with this detection block (indented by two)."""
    [document] = loads(f"title: t\nname: t\nlogsource: {logsource}\ndetection:\n{detection}\n", "t.yml")
    return read_rule(document, FIELDS)


def holds(selection: str, condition: str = "s", **data: Any) -> bool:
    """Whether a selection in flow style holds for a Windows event with this event data."""
    rule = read(f"  s: {selection}\n  condition: {condition}")
    assert isinstance(rule, Rule), rule
    event = {"winlog.channel": CHANNEL, **{f"winlog.event_data.{name}": value for name, value in data.items()}}
    return compiled(rule.variants[0].node)(row_of(event))


def write(folder: Path, text: str, name: str = "rules.yml") -> Path:
    """A file of definitions."""
    path = folder / name
    path.write_text(text)
    return path
