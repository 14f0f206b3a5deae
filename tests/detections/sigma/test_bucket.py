"""The quick matcher against the plain evaluator: random conditions over random events, pair by pair."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from soc.detections.sigma import facts
from soc.detections.sigma.bucket import Bucket, Condition
from soc.detections.sigma.evaluate import Columns, Row, compiled
from soc.detections.sigma.regex import searches
from soc.detections.sigma.rule import ONE, STAR, All, AnyOf, Node, Not
from soc.detections.sigma.rule import Test as Comparison
from soc.detections.sigma.values import fold
from soc.detections.sigma.witness import hints
from soc.model.batch import EventBatch

F, G, N, MANY = "winlog.event_data.F", "winlog.event_data.G", "process.pid", "related.user"
ALPHABET = "abkAĐΣſ\u212a*\x02\x03 "
PATTERNS = ("a.b", "(?i)ka+b", "^(ab|ba)", "(a|bb)k$", "(?i)s", "a{2,}", "[ab]k", "ab?a", "(?:ab)+", "k|")


class Maker:
    """Random conditions and events, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def word(self, most: int = 4) -> str:
        return "".join(self.rng.choices(ALPHABET, k=self.rng.randrange(most)))

    def test(self) -> Node:
        op = self.rng.choice(("equals", "prefix", "suffix", "contains", "contains", "glob", "re", "null", "exists",
                              "fieldref", "gt", "gte", "lt", "lte", "cidr", "any", "hour", "week"))  # fmt: skip
        field = self.rng.choice((F, F, G, MANY, None if op in ("contains", "glob", "re") else G))
        cased = self.rng.random() < 0.2
        match op:
            case "re":
                return Comparison("s", field, op, self.rng.choice(PATTERNS), "", True)
            case "null" | "any":
                return Comparison("s", field, op, None, "")
            case "exists":
                return Comparison("s", field, op, self.rng.random() < 0.5, "")
            case "fieldref":
                return Comparison("s", field, op, self.rng.choice("=^$~") + G, "", cased)
            case "gt" | "gte" | "lt" | "lte":
                return Comparison("s", N, op, self.rng.randrange(3), "")
            case "cidr":
                return Comparison("s", G, op, self.rng.choice(("10.0.0.0/8", "fe80::/10")), "")
            case "hour" | "week":
                return Comparison("s", G, op, self.rng.choice((3, 47)), "")
            case "glob":
                parts = [self.rng.choice((STAR, ONE, self.text(cased))) for _ in range(self.rng.randrange(1, 5))]
                return Comparison("s", field, op, tuple(part for part in parts if part != ""), "", cased)
        return Comparison("s", field, op, self.text(cased), "", cased)

    def text(self, cased: bool) -> str:
        word = self.word()
        return word if cased else fold(word)

    def node(self, depth: int = 3) -> Node:
        kind = self.rng.randrange(5) if depth else 0
        if kind < 2:
            return self.test()
        if kind == 2:
            return Not(self.node(depth - 1))
        parts = tuple(self.node(depth - 1) for _ in range(self.rng.randrange(1, 4)))
        return All(parts) if kind == 3 else AnyOf(parts)

    def event(self) -> dict[str, Any]:
        row: dict[str, Any] = {}
        for name in (F, G):
            if self.rng.random() < 0.8:
                row[name] = self.word(7)
        if self.rng.random() < 0.2:
            row[G] = self.rng.choice(("10.1.2.3", "203.0.113.9", "fe80::1", "", "ab k", "2026-11-20T03:15"))
        if self.rng.random() < 0.3:
            row[MANY] = tuple(self.word(6) for _ in range(self.rng.randrange(3)))
        if self.rng.random() < 0.5:
            row[N] = self.rng.randrange(4)
        return row


def disagreements(nodes: list[Node], rows: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """(row, condition) on which the two do not say the same."""
    columns = Columns(EventBatch.from_rows("windows.x", rows))
    bucket = Bucket([Condition(node) for node in nodes])
    quick = list(bucket.hits(columns, range(len(rows))))
    again = list(bucket.hits(columns, range(len(rows))))  # from what it remembers now
    assert quick == again == sorted(set(quick))
    holds = [compiled(node) for node in nodes]
    plain = {(i, n) for i in range(len(rows)) for n, check in enumerate(holds) if check(Row(columns, i))}
    return sorted(plain ^ set(quick))


@pytest.mark.slow
def test_a_million_pairs_agree() -> None:
    """1,000 conditions of every kind, each over 1,000 events."""
    maker = Maker(20261125)
    for _ in range(10):
        nodes = [maker.node() for _ in range(100)]
        assert disagreements(nodes, [maker.event() for _ in range(1_000)]) == []


@given(seed=st.integers(0, 2**32))
@settings(max_examples=200)
def test_any_conditions_agree_on_any_events(seed: int) -> None:
    """Small sets, so that a failing one can be read."""
    maker = Maker(seed)
    assert disagreements([maker.node() for _ in range(3)], [maker.event() for _ in range(5)]) == []


def test_the_comparison_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A matcher that forgets the marks around a value is caught."""
    monkeypatch.setattr(facts, "_word", lambda test, wanted: wanted)
    maker = Maker(1)
    assert disagreements([maker.node() for _ in range(100)], [maker.event() for _ in range(200)])


def test_what_is_remembered_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory begins anew when it is full; long values never enter it."""
    monkeypatch.setattr(facts, "CACHED", 50)
    monkeypatch.setattr(facts, "LONGEST", 10)
    field = facts.Field()
    wanted = field.number(Comparison("s", F, "contains", "ab", "ab"))
    values = [f"{n}" for n in range(500)] + ["x" * 11 + "ab"]
    found = field.entries(values)
    assert wanted in found[-1][0]
    assert field._known is not None
    assert len(field._known) <= 52
    assert values[-1] not in field._known


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("(?i)foo.*barr", ("barr",)),
        ("(foo|quux)x", ("foo", "quux")),
        ("(foo|b?)", ()),
        (r"\d+\s", ()),
        ("(?:Ab)+", ("ab",)),
        ("[[:alpha:]]x+yz", ()),
        ("a?bc{2}", ()),
        ("đường dẫn", ("ng d",)),
    ],
)
def test_hints_of_a_regular_expression(pattern: str, expected: tuple[str, ...]) -> None:
    """One of them stands in every ASCII text that matches; none when nothing is sure."""
    assert hints(pattern) == expected


REGEX = st.from_regex(r"(\(\?i\))?([abK]|\(ab\|K[ab]*\)|[abK][?*+]|\[ab\]|\.|\(aab\)\+)*", fullmatch=True)


@given(pattern=REGEX, text=st.text("abkKAB", max_size=12))
@example(pattern="(?i)Ka", text="kA")
@settings(max_examples=500)
def test_a_hint_is_never_missing_from_a_match(pattern: str, text: str) -> None:
    """Otherwise a rule would be passed over in silence."""
    found = hints(pattern)
    if found and searches(pattern, text):
        assert any(hint in fold(text) for hint in found)


def test_a_condition_deeper_than_the_parser_allows_still_runs() -> None:
    """It is evaluated without a generated expression."""
    node: Node = Comparison("s", F, "contains", "a", "a")
    for _ in range(90):
        node = Not(All((node,)))
    assert disagreements([node], [{F: "a"}, {F: "b"}]) == []


def test_a_rules_text_never_becomes_code() -> None:
    """What a rule says stands in constants; quotes and parentheses in it mean nothing."""
    evil = "') or __import__('os').system('x') or ('"
    node = All((Comparison("s", F, "contains", evil, evil), Comparison("s", F, "contains", "a", "a")))
    assert disagreements([node], [{F: evil + "a"}, {F: "a"}]) == []
