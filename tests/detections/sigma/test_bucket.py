"""The quick matcher against the plain evaluator: random conditions over random events, pair by pair."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from soc.detections.sigma import lookup, memory, predicate, words
from soc.detections.sigma.bucket import Bucket, Condition
from soc.detections.sigma.evaluate import Columns, Row, compiled, glob_matches
from soc.detections.sigma.lookup import Lookup
from soc.detections.sigma.memory import Budget, Memory
from soc.detections.sigma.regex import searches
from soc.detections.sigma.rule import ONE, STAR, All, AnyOf, Node, Not
from soc.detections.sigma.rule import Test as Comparison
from soc.detections.sigma.values import fold
from soc.detections.sigma.witness import hints, witnesses
from soc.detections.sigma.words import MARK, Words
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


@pytest.mark.parametrize(
    ("place", "name", "broken"),
    [
        (lookup, "_word", lambda test, wanted: f"{MARK}{wanted}" if test.op == "suffix" else wanted),
        (Memory, "_learn", lambda self, new: self._known.update(new)),
        (predicate, "fold", lambda text: text),
    ],
)
def test_the_comparison_can_fail(monkeypatch: pytest.MonkeyPatch, place: Any, name: str, broken: Any) -> None:
    """A matcher that forgets where a value ends, what it met or what case is, is caught."""
    monkeypatch.setattr(place, name, broken)
    maker = Maker(1)
    assert disagreements([maker.node() for _ in range(100)], [maker.event() for _ in range(200)])


def memory_of(test: Node, budget: Budget) -> Memory:
    """A memory in which one test is the witness of rule 7."""
    assert isinstance(test, Comparison)
    return Memory(Lookup([(test, 7)]), budget)


def test_what_is_remembered_stays_bounded() -> None:
    """When the budget is spent the biggest memory is emptied; what it forgot is looked up again."""
    budget = Budget(8_000)
    memories = [memory_of(Comparison("s", F, "contains", "ab", "ab"), budget) for _ in range(2)]
    texts = ["x" * 4_000 + "ab", *(f"{n}" for n in range(500)), "x" * 4_000 + "ab", "ab"]
    for start in range(0, len(texts), 10):
        some = texts[start : start + 10]
        for each in memories:
            assert dict(each.bearing(some)) == {j: (7,) for j, text in enumerate(some) if "ab" in text}
        assert 0 <= budget.left <= 8_000


def test_values_that_never_come_again_are_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A field of distinct values is looked through anew for a while; the answers stay the same."""
    monkeypatch.setattr(memory, "TRIED", 100)
    budget = Budget(10_000)
    distinct = memory_of(Comparison("s", F, "suffix", "7", "7"), budget)
    for start in range(0, 600, 50):
        some = [f"{n}" if n % 9 else None for n in range(start, start + 50)]
        assert dict(distinct.bearing(some)) == {j: (7,) for j, text in enumerate(some) if text and text[-1] == "7"}
    assert budget.left == 10_000


def test_many_hits_are_looked_at_window_by_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a stranger repeats takes no more memory; a word across two windows is found."""
    monkeypatch.setattr(words, "WINDOW", 16)
    texts = ["a" * n + "needle" + "b" * (40 - n) for n in range(40)] + ["nothing", "đ" * 20 + "needle"]
    for some in (texts, texts[:-1]):
        found = Words(["needle", f"{MARK}needle"]).found(MARK.join(("", *some, "")), some)
        assert found == {i: {0, 1} if i == 0 else {0} for i, text in enumerate(some) if "needle" in text}


def test_a_small_set_of_words_becomes_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """After much text; what it finds stays the same."""
    monkeypatch.setattr(words, "WORTH", 4)
    few = Words(["ab", "b"])
    before = few._automaton
    assert [few.in_one("xab") for _ in range(20)] == [{0, 1}] * 20
    assert few._automaton is not before


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
        (r"\w+`(?:\w+|-|.)`\s", ("`",)),  # one character is a hint where it is a rare one
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


@given(st.lists(st.sampled_from(["a", "b", "ab", STAR, ONE]), max_size=6), st.text("ab", max_size=8))
@example([STAR, "ab", STAR, "ba", STAR], "aba")  # two pieces that would share a letter
@example(["ab", STAR, "ba"], "aba")
@settings(max_examples=500)
def test_globs_piece_by_piece_agree_with_the_walk(parts: list[str | int], text: str) -> None:
    """Whatever stands between their stars."""
    holds = predicate.predicate(Comparison("s", F, "glob", tuple(parts), ""))
    row = Row(Columns(EventBatch.from_rows("windows.x", [{F: text}])), 0)
    assert holds({F: [text]}, 0, row) is glob_matches(tuple(parts), text)


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


def test_what_nearly_every_event_has_is_no_witness() -> None:
    """`cs-method: GET` beside three-letter keywords: were it the witness, each request would be looked through."""
    keywords = AnyOf(tuple(Comparison("k", None, "contains", word, word) for word in ("={{", "=${", "=<%=")))
    method = Comparison("s", "http.request.method", "equals", "get", "GET")
    assert witnesses(All((method, keywords))) == list(keywords.parts)


def test_a_folder_in_which_everything_lies_is_no_witness() -> None:
    """`\\Windows\\` is longer than what tells something: each process would be looked at."""
    image = Comparison("s", F, "contains", "\\windows\\", "*\\Windows\\*")
    climbs = Comparison("s", G, "contains", "\\..\\", "*\\..\\*")
    assert witnesses(All((image, climbs))) == [climbs]
