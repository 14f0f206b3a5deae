"""Promises over the detections that ship."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from soc.content import shipped
from soc.detections import DetectionSet, check

SIGMAHQ = os.environ.get("SOC_SIGMAHQ")


@pytest.fixture(scope="module")
def content() -> DetectionSet:
    return DetectionSet.load([shipped("detections")])


def test_every_definition_holds_its_own_tests() -> None:
    """Each has a hit and a miss, and they come out as said."""
    results = check([shipped("detections")])
    assert results
    assert [result for result in results if not result.ok] == []


def test_every_definition_has_a_vietnamese_title(content: DetectionSet) -> None:
    """What an analyst sees is in Vietnamese, in NFC, and has a level and an ATT&CK tag."""
    definitions = (*content.rules, *content.correlations, *content.models)
    assert len(definitions) >= 15
    for definition in definitions:
        assert definition.title_vi, definition.path
        assert unicodedata.is_normalized("NFC", definition.title_vi)
        assert any(tag.startswith("attack.") for tag in definition.tags)


def test_a_failing_test_is_told_with_its_line(tmp_path: Path) -> None:
    """`soc check` points at the test."""
    text = """title: t
name: t
logsource: {product: linux, service: sshd}
detection: {s: {event.outcome: failure}, condition: s}
tests:
  - {event: {event.dataset: linux.sshd, event.outcome: failure}, hit: true}
  - {event: {event.dataset: linux.sshd, event.outcome: failure}, hit: false}
"""
    (tmp_path / "t.yml").write_text(text)
    failed = [(result.line, result.message) for result in check([tmp_path]) if not result.ok]
    assert failed == [(7, "expected a miss")]
