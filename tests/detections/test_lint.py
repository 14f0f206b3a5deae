"""The linter names rules that load and can never hit (features C2), and what is wrong with others, by place."""

from __future__ import annotations

from pathlib import Path

import pytest

from soc.detections import DetectionSet
from soc.detections.lint import Remark, lint
from soc.model.fields import FIELDS
from tests.detections.support import write


def _remarks(tmp_path: Path, detection: str, source: str = "{product: linux, service: sshd}") -> list[Remark]:
    text = f"title: t\nname: t\nlogsource: {source}\ndetection:\n{detection}\n"
    return lint(DetectionSet.load([write(tmp_path, text)], fields=FIELDS), FIELDS)


def _kinds(remarks: list[Remark]) -> list[tuple[str, int]]:
    return [(each.kind, each.line) for each in remarks]


@pytest.mark.parametrize(
    ("selection", "why"),
    [
        ("source.port: ssh", "no number"), ("source.ip: localhost", "no address"),
        ("source.ip|startswith: 'host'", "no address"), ("source.port|contains: 'x'", "no number"),
    ],
)  # fmt: skip
def test_a_value_of_another_type_never_matches(tmp_path: Path, selection: str, why: str) -> None:
    """A number, an address are no words; the place is the selection."""
    [remark] = _remarks(tmp_path, f"  s: {{{selection}}}\n  condition: s")
    assert (remark.kind, remark.line, remark.is_blocking) == ("never_holds", 5, True)
    assert why in remark.text


@pytest.mark.parametrize(
    "selection",
    ["source.port: 22", "source.port: '22'", "source.ip: 10.0.0.1", "source.ip|startswith: '10.'",
     "source.port|contains: '2'", "user.name: 22", "source.port|gt: 1024", "source.ip: 'fe80::1'"],
)  # fmt: skip
def test_a_value_that_may_be_there_is_fine(tmp_path: Path, selection: str) -> None:
    """Text is compared as text, whatever the type."""
    assert _remarks(tmp_path, f"  s: {{{selection}}}\n  condition: s") == []


def test_one_alternative_of_another_type_is_told_and_blocks_nothing(tmp_path: Path) -> None:
    """The others still hit."""
    remarks = _remarks(tmp_path, "  s: {source.port: [22, ssh]}\n  condition: s")
    assert [(r.kind, r.is_blocking) for r in remarks] == [("type", False)]


@pytest.mark.parametrize(
    "condition", ["s and not s", "s and t", "(s and o) and not s", "s and (t and o)", "(s and t) or (o and not o)"]
)
def test_a_contradiction_never_holds(tmp_path: Path, condition: str) -> None:
    """One value cannot be two."""
    both = "  s: {event.outcome: failure}\n  t: {event.outcome: success}\n  o: {user.name: lan}\n"
    kinds = [r.kind for r in _remarks(tmp_path, f"{both}  condition: {condition}") if r.kind != "unread_selection"]
    assert kinds == ["never_holds"]


@pytest.mark.parametrize("condition", ["s or t", "s and not t", "s and o", "not s and o", "1 of them"])
def test_what_may_hold_is_no_contradiction(tmp_path: Path, condition: str) -> None:
    """Alternatives and denials of other things."""
    both = "  s: {event.outcome: failure}\n  t: {event.outcome: success}\n  o: {user.name: lan}\n"
    assert "never_holds" not in [r.kind for r in _remarks(tmp_path, f"{both}  condition: {condition}")]


def test_lists_may_be_two_things(tmp_path: Path) -> None:
    """A field with several values, and data of Windows events that may be a list."""
    both = "  s: {Image: a}\n  t: {Image: b}\n  condition: s and t"
    assert _remarks(tmp_path, both, "{product: windows, category: process_creation}") == []


def test_a_selection_that_nothing_reads_is_named(tmp_path: Path) -> None:
    """By line; patterns, `them` and the names after `of` read theirs, and `them` no `_hidden` one."""
    text = "  sel_a: {user.name: a}\n  sel_b: {user.name: b}\n  _hidden: {user.name: c}\n  other: {user.name: d}\n"
    assert _kinds(_remarks(tmp_path, f"{text}  condition: 1 of sel_*")) == [
        ("unread_selection", 7), ("unread_selection", 8),
    ]  # fmt: skip
    assert _kinds(_remarks(tmp_path, f"{text}  condition: 1 of them")) == [("unread_selection", 7)]
    assert _remarks(tmp_path, f"{text}  condition: [all of sel_*, _hidden, other]") == []


def test_a_misspelt_field_is_asked_about(tmp_path: Path) -> None:
    """Any name may be in a Windows event, so it is a question; with the line of the field and what is meant."""
    text = "  s:\n    CommandLin|contains: x\n    image: y\n    Imphash|endswith: z\n  condition: s"
    remarks = _remarks(tmp_path, text, "{product: windows, category: process_creation}")
    assert _kinds(remarks) == [("misspelt", 6), ("misspelt", 7)]
    assert "'CommandLine'" in remarks[0].text
    assert "'Image'" in remarks[1].text


def test_a_rule_without_a_witness_is_dear(tmp_path: Path) -> None:
    """Whatever is only denied is asked of every event."""
    [remark] = _remarks(tmp_path, "  s: {user.name: lan}\n  condition: not s")
    assert (remark.kind, remark.is_blocking) == ("dear", False)


def test_a_refused_rule_has_the_line_of_its_field_and_what_is_meant(tmp_path: Path) -> None:
    """The nearest name that parsers write for the log source."""
    [remark] = _remarks(tmp_path, "  s:\n    user.nam|contains: x\n  condition: s")
    assert (remark.kind, remark.line) == ("refused", 6)
    assert "did you mean 'user.name'?" in remark.text
