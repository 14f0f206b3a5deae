"""The lint of shipped patterns, and RE2 for a site's."""

from __future__ import annotations

import pytest

from soc.parsers import ParserSet
from soc.parsers.compile import compile_pattern, first_characters, lint


@pytest.mark.parametrize("text", [r"(a+)+b", r"(?:\S+ )*x", r"\S+\w+", r".*.*", r"\w+\s*\w+x", r".*a.*b.*c.*d.*e"])
def test_an_ambiguous_pattern_is_refused(text: str) -> None:
    """What can read the same text in many ways takes too long on text that an attacker writes."""
    pattern, problems = compile_pattern(text, is_shipped=True)
    assert pattern is None
    assert problems


@pytest.mark.parametrize("text", [r"(?P<a>\S+) (?P<b>\d+)(?: c)?", r"from (?P<x>.*) port \d+", r"[^:]+:\d+"])
def test_a_plain_pattern_passes(text: str) -> None:
    """Repeats with something fixed between them are fine."""
    assert lint(text) == []


def test_a_site_pattern_runs_in_re2() -> None:
    """RE2 takes what the lint refuses, in linear time, and refuses back-references."""
    pattern, problems = compile_pattern(r"(?P<a>(a+)+)b", is_shipped=False)
    assert pattern is not None
    assert not problems
    assert pattern.fullmatch("a" * 5000) is None
    assert compile_pattern(r"(a)\1", is_shipped=False)[1]


@pytest.mark.parametrize(("pattern", "first"), [
    ("abc", "a"), ("(?:a|b)?c", "abc"), ("[a-c]x", "abc"), (r"\d*x", "0123456789x"), ("(?=zz)q", "q"),
    ("x{0,3}(?P<n>y)", "xy"), ("(?:^a|b{2,})c", "ab"), ("(?i:a)b", "".join(map(chr, range(256)))),
])  # fmt: skip
def test_what_a_pattern_can_begin_with(pattern: str, first: str) -> None:
    """So that a message is tried only by those that can fit."""
    assert first_characters(pattern) == frozenset(first)


@pytest.mark.parametrize("pattern", ["", "a*", "(?i)a", "(?:a|)", r"\pL", "(", "x{0,2}"])
def test_what_may_begin_with_anything(pattern: str) -> None:
    """Nothing at all, another case, or words that only RE2 knows."""
    assert first_characters(pattern) is None


def test_no_first_character_is_forgotten(parsers: ParserSet) -> None:
    """Every sample that a shipped recognition takes begins with one of its characters."""
    texts = [case.text for d in parsers.definitions.values() for case in d.cases if case.kind in ("line", "record")]
    for definition in parsers.definitions.values():
        pattern = definition.recognise.text
        first = first_characters(pattern.text) if pattern is not None else None
        for text in texts if first is not None and pattern is not None else ():
            assert pattern.fullmatch(text) is None or text[0] in first
