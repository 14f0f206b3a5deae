"""What changed between two texts of a rule, in words."""

from __future__ import annotations

import pytest

from soc.content import loads
from soc.detections.difference import Change, difference

OLD = """
title: Tool
level: high
logsource: {product: windows, category: process_creation}
detection:
  tools: {Image|endswith: [\\a.exe, \\b.exe], User: SYSTEM}
  known: {ParentImage: x}
  condition: tools and not known
"""


def changes(*edits: tuple[str, str]) -> list[Change]:
    text = OLD
    for before, after in edits:
        assert before in text
        text = text.replace(before, after)
    [[old], [new]] = loads(OLD, "old.yml"), loads(text, "new.yml")
    return difference(old, new)


@pytest.mark.parametrize(
    ("edit", "change"),
    [
        (("level: high", "level: low"), Change("changed", "level", "high", "low")),
        (
            ("category: process_creation", "service: sysmon"),
            Change("removed", "logsource: category", "process_creation"),
        ),
        (("\\b.exe", "\\c.exe"), Change("removed", "tools: Image|endswith", "\\b.exe")),
        ((", User: SYSTEM", ""), Change("removed", "tools: User", "SYSTEM")),
        (("  known: {ParentImage: x}\n", ""), Change("removed", "known", "ParentImage: x")),
        (("tools and not known", "tools"), Change("changed", "condition", "tools and not known", "tools")),
    ],
)
def test_each_change_is_named_by_its_place(edit: tuple[str, str], change: Change) -> None:
    """Header, log source, a value, a field, a selection, the condition."""
    assert changes(edit)[0] == change


def test_what_means_the_same_is_no_change() -> None:
    """A value and a list of it, a mapping and a list of one; descriptions and tests are not what is detected."""
    assert changes(("User: SYSTEM", "User: [SYSTEM]"), ("title: Tool", "description: x\ntitle: Tool")) == []
    assert changes(("known: {ParentImage: x}", "known: [{ParentImage: x}]")) == []
