"""The lint of shipped patterns, and RE2 for a site's."""

from __future__ import annotations

import pytest

from soc.parsers.compile import compile_pattern, lint


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
