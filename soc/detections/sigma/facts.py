"""What holds of the values of one field: one pass of an Aho-Corasick automaton answers all tests of all rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import ahocorasick

from soc.detections.sigma.evaluate import text_check
from soc.detections.sigma.rule import Test
from soc.detections.sigma.values import fold, text_of
from soc.detections.sigma.witness import HINT, literal

CACHED = 20_000
"""Distinct values of a field that are remembered; then the memory is emptied and begins anew."""
LONGEST = 8_192
"""Longer values are not remembered, so that the memory stays bounded."""
TOGETHER = 4
"""From so many new values on they are looked through as one text: most hold nothing and cost only their letters."""
MISSING, PRESENT = 0, 1
"""The numbers of two facts that every field has: nothing is there, something is."""
BEGIN, END = "\x02", "\x03"
BETWEEN = END + BEGIN
Facts = frozenset[int]
Entry = tuple[Facts, tuple[int, ...]]
"""The numbers of the tests that hold of a value, and of the rules that one of them is a witness of."""
NOTHING: Entry = (frozenset((MISSING,)), ())
PLAIN: Entry = (frozenset((PRESENT,)), ())
"""A value of which nothing is known but that it is there: always this one object."""
_Check = Callable[[str], bool]


class Field:
    """The tests on one field by number, and what is known of the values met so far."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[str, Any, bool], int] = {("any", None, False): PRESENT}
        self._tests: list[Test | None] = [None, None]
        self._rules: dict[int, list[int]] = {}
        self._known: _Known | None = None

    def number(self, test: Test) -> int:
        """The test's number; equal tests of different rules share one."""
        key = (test.op, test.value, test.cased) if test.op != "any" else ("any", None, False)
        found = self.numbers.get(key)
        if found is None:
            found = self.numbers[key] = len(self._tests)
            self._tests.append(test)
            self._known = None
        return found

    def witness(self, test: Test, rule: int) -> None:
        """Let the rule be looked at when the test holds."""
        self._rules.setdefault(self.number(test), []).append(rule)
        self._known = None

    @property
    def has_witnesses(self) -> bool:
        """Whether any rule is found through this field."""
        return bool(self._rules)

    def entries(self, values: Sequence[Any]) -> list[Entry]:
        """One entry for each value: None, a text, another scalar, or a tuple of them."""
        known = self._known
        if known is None:
            known = self._known = _Known(self._tests, self._rules)
        try:
            fresh = {value for value in values if value not in known}
            if len(fresh) >= TOGETHER:
                known.learn([value for value in fresh if isinstance(value, str)])
            return list(map(known.__getitem__, values))
        except TypeError:  # an object: compared as JSON text
            return [known[value if isinstance(value, tuple) else text_of(value)] for value in values]


class _Known(dict[Any, Entry]):
    """Value → entry, worked out when a value is met for the first time."""

    def __init__(self, tests: Sequence[Test | None], rules: dict[int, list[int]]) -> None:
        super().__init__({None: NOTHING, (): NOTHING})
        self._rules = rules
        self._tests = [(number, test) for number, test in enumerate(tests) if test is not None]
        self._exact: dict[str, list[int]] = {}
        self._sure: list[list[int]] = []
        self._unsure: list[list[tuple[int, _Check, bool]]] = []
        self._hints = [number for number, test in self._tests if test.op == HINT]
        # Asked of every value: the literal is empty (`contains ''`, globs of marks), or has one of our marks in it.
        self._asked: list[tuple[int, _Check, bool]] = []
        self._automaton = self._built()

    def _built(self) -> Any:
        places: dict[str, int] = {}
        for number, test in self._tests:
            wanted = literal(test)
            if test.op == "equals" and not test.cased:
                self._exact.setdefault(wanted, []).append(number)
                continue
            word = _word(test, wanted)
            if not word or BEGIN in wanted or END in wanted:
                self._asked.append((number, check_of(test), test.cased))
                continue
            place = places.get(word)
            if place is None:
                place = places[word] = len(self._sure)
                self._sure.append([])
                self._unsure.append([])
            if test.cased or test.op == "glob":
                self._unsure[place].append((number, check_of(test), test.cased))
            else:
                self._sure[place].append(number)
        if not places:
            return None
        automaton = ahocorasick.Automaton()
        for word, place in places.items():
            automaton.add_word(word, place)
        automaton.make_automaton()
        return automaton

    def learn(self, values: Sequence[str]) -> None:
        """Work out the entries of new texts in one pass; those it leaves out are worked out one by one."""
        if self._asked or self._automaton is None:
            return
        plain = [value for value in values if len(value) <= LONGEST and BEGIN not in value and END not in value]
        if len(self) + len(plain) > CACHED:
            self._empty()
            plain = plain[: CACHED // 2]
        joined = fold(BETWEEN.join(plain))
        if not joined or (self._hints and not joined.isascii()):
            return
        folded = joined.split(BETWEEN)
        found: dict[int, set[int]] = {}
        at, behind = 0, len(folded[0]) + 1  # where the mark behind value number `at` stands
        for end, place in self._automaton.iter(f"{BEGIN}{joined}{END}"):
            while end > behind:
                at += 1
                behind += len(folded[at]) + 2
            if at in found:
                found[at].add(place)
            else:
                found[at] = {place}
        self.update(dict.fromkeys(plain, self._entry({PRESENT})))
        exact = self._exact
        hits = set(found).union(i for i, text in enumerate(folded) if text in exact) if exact else found
        for i in hits:
            numbers = {PRESENT, *exact.get(folded[i], ())}
            self._of_places(found.get(i, ()), plain[i], folded[i], numbers)
            self[plain[i]] = self._entry(numbers)

    def __missing__(self, value: Any) -> Entry:
        numbers = {PRESENT}
        for raw in value if isinstance(value, tuple) else (value,):
            self._note(text_of(raw), numbers)
        entry = self._entry(numbers)
        if not isinstance(value, tuple | str) or len(value) <= LONGEST:
            if len(self) >= CACHED:
                self._empty()
            self[value] = entry
        return entry

    def _empty(self) -> None:
        self.clear()
        self[None] = self[()] = NOTHING

    def _entry(self, numbers: set[int]) -> Entry:
        rules: list[int] = []
        for number in numbers:
            rules += self._rules.get(number, ())
        return (frozenset(numbers), tuple(set(rules))) if rules or len(numbers) > 1 else PLAIN

    def _note(self, raw: str, numbers: set[int]) -> None:
        text = fold(raw)
        if BEGIN in text or END in text:
            # The marks of the automaton stand in the value itself: every test is asked by itself.
            numbers.update(n for n, test in self._tests if check_of(test)(raw if test.cased else text))
            return
        numbers.update(self._exact.get(text, ()))
        if self._automaton is not None:
            self._of_places({place for _, place in self._automaton.iter(f"{BEGIN}{text}{END}")}, raw, text, numbers)
        numbers.update(n for n, check, cased in self._asked if check(raw if cased else text))
        if self._hints and not text.isascii():
            numbers.update(self._hints)  # letters may fold in more ways than a hint says (RE2 knows ſ as s)

    def _of_places(self, places: Iterable[int], raw: str, text: str, numbers: set[int]) -> None:
        """Add the tests that the words found in a value decide."""
        for place in places:
            numbers.update(self._sure[place])
            if self._unsure[place]:
                numbers.update(n for n, check, cased in self._unsure[place] if check(raw if cased else text))


def _word(test: Test, wanted: str) -> str:
    """What the automaton looks for; empty when the test says nothing about any letter."""
    match test.op:
        case "equals":
            return f"{BEGIN}{wanted}{END}"
        case "prefix":
            return f"{BEGIN}{wanted}"
        case "suffix":
            return f"{wanted}{END}"
    return wanted


def check_of(test: Test) -> _Check:
    """The test on one text, folded unless it is cased."""
    if test.op == HINT:
        wanted = test.value
        return lambda text: wanted in text
    return text_check(test)


def union(columns: Iterable[Sequence[Entry]], rows: int) -> list[Entry]:
    """For each of so many rows, what holds of any of its values."""
    result = [NOTHING] * rows
    for entries in columns:
        for i, entry in enumerate(entries):
            if entry is NOTHING:
                continue
            before = result[i]
            if before is NOTHING or before is PLAIN:
                result[i] = entry
            elif entry is not PLAIN:
                result[i] = (before[0] | entry[0], (*before[1], *entry[1]))
    return result
