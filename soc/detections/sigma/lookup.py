"""Which rules a value may be a witness of: one pass of an automaton over many values answers for all rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from soc.detections.sigma.rule import Test
from soc.detections.sigma.values import fold, text_of
from soc.detections.sigma.witness import HINT, literal
from soc.detections.sigma.words import MARK, Words

Rules = tuple[int, ...]
"""Numbers of rules, each once."""


class Lookup:
    """Values of one field → the rules of which a witness may hold: never one too few, perhaps some too many."""

    def __init__(self, witnesses: Iterable[tuple[Test, int]]) -> None:
        self._exact: dict[str, list[int]] = {}
        words: dict[str, list[int]] = {}
        present: set[int] = set()
        hinted: set[int] = set()
        for test, rule in witnesses:
            wanted = literal(test)
            if test.op == "equals":
                self._exact.setdefault(wanted, []).append(rule)
            elif word := _word(test, wanted):
                words.setdefault(word, []).append(rule)
                if test.op == HINT:
                    hinted.add(rule)
            else:
                present.add(rule)
        self.usual: Rules = tuple(present)
        """The rules that look at any value."""
        # Letters may fold in more ways than a hint says (RE2 knows ſ as s), but not those of ASCII.
        self._hinted = hinted
        self._words = Words(list(words))
        self._rules = list(words.values())

    def __bool__(self) -> bool:
        return bool(self._exact or self._rules or self.usual)

    def of(self, value: Any) -> Rules:
        """The rules that one value may be a witness of: None, a scalar, an object, or a tuple of them."""
        values = value if isinstance(value, tuple) else () if value is None else (value,)
        found: set[int] = set(self.usual) if values else set()
        for text in map(text_of, values):
            folded = fold(text)
            found.update(*map(self._rules.__getitem__, self._words.in_one(folded)), self._exact.get(folded, ()))
            if not text.isascii():
                found.update(self._hinted)
        return tuple(found)

    def among(self, texts: Sequence[str]) -> dict[int, Rules]:
        """Place → rules, of those that are witnesses of more than the usual rules."""
        joined = MARK.join(("", *texts, ""))
        if not joined.isascii():
            return self._among_any(texts)
        lowered = joined.lower()
        folded: Sequence[str] = texts
        if self._exact:
            folded = lowered.split(MARK)[1:-1]
            if len(folded) != len(texts):  # a mark stands in a text
                folded = [text.lower() for text in texts]
        return self._found(folded, lowered)

    def _among_any(self, texts: Sequence[str]) -> dict[int, Rules]:
        """Those that are not ASCII are folded one by one, and only those."""
        places = [i for i, text in enumerate(texts) if text.isascii()]
        entries = {places[i]: rules for i, rules in self.among([texts[i] for i in places]).items()}
        places = [i for i, text in enumerate(texts) if not text.isascii()]
        folded = [fold(texts[i]) for i in places]
        found = self._found(folded, MARK.join(("", *folded, "")))
        for i, place in enumerate(places):
            if i in found or self._hinted:
                entries[place] = tuple({*found.get(i, self.usual), *self._hinted})
        return entries

    def _found(self, folded: Sequence[str], joined: str) -> dict[int, Rules]:
        found = {i: [self._rules[word] for word in words] for i, words in self._words.found(joined, folded).items()}
        exact = self._exact
        if exact:
            for i in [i for i, text in enumerate(folded) if text in exact]:
                found.setdefault(i, []).append(exact[folded[i]])
        return {i: tuple(set(self.usual).union(*rules)) for i, rules in found.items()}


def _word(test: Test, wanted: str) -> str:
    """What is looked for; empty when the test says nothing about any letter."""
    if MARK in wanted or not wanted:
        return ""
    match test.op:
        case "prefix":
            return f"{MARK}{wanted}"
        case "suffix":
            return f"{wanted}{MARK}"
    return wanted
