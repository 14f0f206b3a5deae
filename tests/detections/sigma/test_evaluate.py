"""The evaluator beyond the specification: lists of values, explanations, hostile text."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from soc.detections.sigma.evaluate import compiled, glob_matches, row_of
from soc.detections.sigma.explanation import explanation
from soc.detections.sigma.rule import ONE, STAR, Refused, Rule
from soc.model.finding import Matched
from tests.detections.support import CHANNEL, holds, read


def test_any_element_of_a_list_is_enough() -> None:
    """A multi-valued field holds when one of its values does."""
    rule = read("  s: {event.type: denied}\n  condition: s", "{category: firewall}")
    assert isinstance(rule, Rule)
    check = compiled(rule.variants[0].node)
    assert check(row_of({"event.type": ["connection", "denied"]}))
    assert not check(row_of({"event.type": ["connection", "allowed"]}))


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
    assert explanation(rule.variants[0].node)(row) == [Matched("s", "winlog.event_data.F", "whoami", "*WHO*")]


@given(st.lists(st.sampled_from(["a", "b", STAR, ONE]), max_size=6), st.text("ab", max_size=8))
def test_globs_agree_with_a_regular_expression(parts: list[str | int], text: str) -> None:
    """A glob is the obvious regular expression, in time that does not explode."""
    pattern = "".join(".*" if p == STAR else "." if p == ONE else str(p) for p in parts)
    assert glob_matches(tuple(parts), text) is (re.fullmatch(pattern, text, re.DOTALL) is not None)


def test_a_lone_surrogate_stops_no_regular_expression() -> None:
    """Text without a UTF-8 form is compared all the same."""
    assert holds("{F|re: whoami}", F="\ud800 whoami")
