"""The semantics of Sigma, each pinned with the sentence of the specification or its modifiers appendix."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.detections.sigma.evaluate import compiled, explain, glob_matches, row_of
from soc.detections.sigma.rule import ONE, STAR, Refused, Rule
from soc.model.finding import Matched
from tests.detections.support import CHANNEL, holds, read

TEXT = "Cmd.exe /c whoami"


@pytest.mark.parametrize(
    ("selection", "value", "expected"),
    [
        ("{F: cmd.EXE}", "CMD.exe", True),
        ("{F: cmd}", "cmd.exe", False),
        ("{F: 'c?d*'}", "cmd.exe", True),
        ("{F: 'c?d'}", "cd", False),
        (r"{F: 'a\*b'}", "a*b", True),
        (r"{F: 'a\*b'}", "axb", False),
        (r"{F: 'C:\Windows\\*'}", r"C:\Windows\x", True),
        ("{F: [a, b]}", "b", True),
        ("{F|contains: WHO}", TEXT, True),
        ("{F|contains: whom}", TEXT, False),
        ("{F|startswith: cmd}", TEXT, True),
        ("{F|startswith: exe}", TEXT, False),
        ("{F|endswith: WHOAMI}", TEXT, True),
        ("{F|endswith: cmd}", TEXT, False),
        ("{F|contains|all: [cmd, whoami]}", TEXT, True),
        ("{F|contains|all: [cmd, net]}", TEXT, False),
        ("{F|cased: Cmd}", "Cmd", True),
        ("{F|cased: Cmd}", "cmd", False),
        ("{F|contains|cased: Cmd}", "xcmd", False),
        ("{F|re: 'c.d'}", "xxcmd", True),
        ("{F|re: 'c.d'}", "CMD", False),
        ("{F|re|i: 'c.d'}", "CMD", True),
        ("{F|re: 'a.b'}", "a\nb", False),
        ("{F|re|s: 'a.b'}", "a\nb", True),
        ("{F|re: '^b'}", "a\nb", False),
        ("{F|re|m: '^b'}", "a\nb", True),
        ("{F|cidr: 10.0.0.0/8}", "10.200.1.1", True),
        ("{F|cidr: 10.0.0.0/8}", "11.0.0.1", False),
        ("{F|cidr: '2001:db8::/32'}", "2001:0db8::0001", True),
        ("{F|cidr: 10.0.0.0/8}", "no address", False),
        ("{F|lt: 5}", "4", True),
        ("{F|lt: 5}", "5", False),
        ("{F|lte: 5}", "5", True),
        ("{F|gt: 5}", "10", True),
        ("{F|gt: 5}", "abc", False),
        ("{F|gte: 5}", "5", True),
        ("{F|gte: 5}", "4.9", False),
        ("{F|exists: true}", "", True),
        ("{F|exists: false}", "x", False),
        ("{F|base64: whoami}", base64.b64encode(b"whoami").decode(), True),
        ("{F|wide|base64offset|contains: whoami}", base64.b64encode("x whoami".encode("utf-16le")).decode(), True),
        ("{F|utf16|base64: ab}", base64.b64encode(b"\xff\xfea\0b\0").decode(), True),
        ("{F|windash|contains: ' -enc'}", "p /enc", True),
        ("{F|windash|contains: ' -enc'}", "p \u2013enc", True),
        ("{F|windash|contains: ' -enc'}", "p +enc", False),
        ("{F|neq: a}", "b", True),
        ("{F|neq: a}", "A", False),
        ("{F: 4688}", "4688", True),
        ("{F: 4688}", "46880", False),
        ("{F: true}", "TRUE", True),
        ("{F: ''}", "", True),
        ("{F: ''}", "x", False),
        ("{F: null}", "", False),
        ("{F: '*'}", "", True),
        ("{F|contains: đà nẵng}", "ở ĐÀ NẴNG", True),
        ("{F|contains: ΑΣ}", "ΑΣΑ", True),
        ("{F|hour: 3}", "2026-11-20T03:15:00Z", True),
        ("{F|hour: 3}", "2026-11-20T04:15:00Z", False),
        ("{F|year: 2026}", "no time", False),
    ],
)
def test_a_comparison_means_what_the_specification_says(selection: str, value: str, expected: bool) -> None:
    """A value is compared as its modifiers say, without regard to case unless `cased` or `re`."""
    assert holds(selection, F=value) is expected


@pytest.mark.parametrize(
    ("selection", "expected"),
    [("{F: null}", True), ("{F|exists: false}", True), ("{F|neq: a}", True), ("{F: ''}", False), ("{F: '*'}", False)],
)
def test_a_missing_field_is_null_and_no_empty_text(selection: str, expected: bool) -> None:
    """`null` means that the field does not exist; `''` is a value."""
    assert holds(selection, G="x") is expected


@pytest.mark.parametrize(
    ("how", "other", "expected"),
    [("", "ABC", True), ("", "ab", False), ("|startswith", "AB", True), ("|endswith", "bc", True),
     ("|contains", "b", True), ("|contains", "x", False)],
)  # fmt: skip
def test_fieldref_compares_two_fields(how: str, other: str, expected: bool) -> None:
    """`fieldref`: the value is the name of another field of the event."""
    assert holds(f"{{F|fieldref{how}: G}}", F="abc", G=other) is expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [("1 of s*", True), ("all of s*", False), ("s1 and not s2", True), ("not s1 or s2", False), ("1 of them", True),
     ("all of them", False), ("(s1 or s2) and not (s1 and s2)", True)],
)  # fmt: skip
def test_conditions(condition: str, expected: bool) -> None:
    """`1 of`, `all of`, `and`, `or`, `not` and parentheses."""
    rule = read(f"  s1: {{F: a}}\n  s2: {{F: b}}\n  condition: {condition}")
    assert isinstance(rule, Rule)
    assert compiled(rule.variants[0].node)(row_of({"winlog.event_data.F": "a"})) is expected


def test_a_list_of_mappings_are_alternatives() -> None:
    """Lists of maps are linked by a logical or, the pairs of a map by and."""
    assert holds("[{F: a, G: b}, {F: c}]", F="c")
    assert not holds("[{F: a, G: b}, {F: c}]", F="a")


def test_keywords_are_looked_for_in_all_values() -> None:
    """A keyword holds when any value of the event contains it."""
    assert holds("[mimikatz, other]", F="x", G="run MimiKatz now")
    assert not holds("[mimikatz]", F="mimi", G="katz")
    assert holds("{'|all': [mimi, katz]}", F="mimi", G="katz")


def test_any_element_of_a_list_is_enough() -> None:
    """A multi-valued field holds when one of its values does."""
    rule = read("  s: {event.type: denied}\n  condition: s", "{category: firewall}")
    assert isinstance(rule, Rule)
    check = compiled(rule.variants[0].node)
    assert check(row_of({"event.type": ["connection", "denied"]}))
    assert not check(row_of({"event.type": ["connection", "allowed"]}))


@pytest.mark.parametrize(
    ("detection", "reason"),
    [
        ("  s: {F|expand: '%admins%'}\n  condition: s", "placeholder 'admins'"),
        ("  s: {F|re: '(?=a)'}\n  condition: s", "invalid perl operator"),
        ("  s: {F|nonsense: a}\n  condition: s", "nonsense"),
        ("  s: {F: a}\n  condition: t", "'t'"),
        ("  s: {F: a}\n  condition: 1 of t*", "t*"),
        ("  s: {F: a}\n  condition: s | count() > 5", "pipe"),
    ],
)
def test_what_cannot_run_is_refused_with_its_reason(detection: str, reason: str) -> None:
    """A rule that cannot run is refused by name and reason."""
    refused = read(detection)
    assert isinstance(refused, Refused)
    assert reason in refused.reason
    assert refused.line == 4


def test_a_field_nobody_writes_refuses_the_rule() -> None:
    """A rule is never silently deaf."""
    refused = read("  s: {cs-cookie: a}\n  condition: s", "{category: webserver}")
    assert isinstance(refused, Refused)
    assert "'cs-cookie'" in refused.reason


def test_a_hit_is_explained_by_its_comparisons() -> None:
    """Selection, field, value and pattern of what held, and nothing of what is negated."""
    rule = read("  s: {F|contains: WHO}\n  n: {F: x}\n  condition: s and not n")
    assert isinstance(rule, Rule)
    row = row_of({"winlog.channel": CHANNEL, "winlog.event_data.F": "whoami"})
    assert explain(rule.variants[0].node, row) == [Matched("s", "winlog.event_data.F", "whoami", "*WHO*")]


@given(st.lists(st.sampled_from(["a", "b", STAR, ONE]), max_size=6), st.text("ab", max_size=8))
def test_globs_agree_with_a_regular_expression(parts: list[str | int], text: str) -> None:
    """A glob is the obvious regular expression, in time that does not explode."""
    import re

    pattern = "".join(".*" if p == STAR else "." if p == ONE else str(p) for p in parts)
    assert glob_matches(tuple(parts), text) is (re.fullmatch(pattern, text, re.DOTALL) is not None)


def test_a_lone_surrogate_stops_no_regular_expression() -> None:
    """Text without a UTF-8 form is compared all the same."""
    assert holds("{F|re: whoami}", F="\ud800 whoami")
