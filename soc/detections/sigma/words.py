"""Many words looked for in many texts at once: an Aho-Corasick automaton over bytes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from ahocorasick_rs import BytesAhoCorasick, Implementation

MARK = "\x02"
"""Stands before and behind every text, so that a word can ask for a beginning or an end."""
WINDOW = 1 << 20
"""So many bytes are looked through at once: what was found of them is held in memory."""
SMALL, WORTH = 8_192, 128
"""Words of so many bytes together become a table of all transitions (twice as fast, ten times as long to build, 300
bytes for each of theirs) once they were looked for in so many times their own length."""


class Words:
    """The words by number; each comes once and has at least one character."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = [_bytes(word) for word in words]
        self._longest = max(map(len, self._words), default=0)
        length = sum(map(len, self._words))
        self._until_table = length * WORTH if length <= SMALL else -1
        self._automaton = BytesAhoCorasick(self._words, implementation=Implementation.ContiguousNFA)

    def found(self, joined: str, texts: Sequence[str]) -> dict[int, set[int]]:
        """Number of a text → numbers of the words in it; `joined` is the texts with a mark around each."""
        data = _bytes(joined)
        found: dict[int, set[int]] = {}
        marks: list[int] = []  # where each mark stands
        for start, hits in self._hits(data):
            if hits and not marks:
                lengths: Iterable[int] = map(len, texts if len(data) == len(joined) else map(_bytes, texts))
                marks = list(accumulate(lengths, lambda at, length: at + length + 1, initial=0))
            for word, _, end in hits:
                found.setdefault(max(bisect_left(marks, start + end - 1) - 1, 0), set()).add(word)
        return found

    def in_one(self, text: str) -> set[int]:
        """Numbers of the words in one text."""
        return {word for _, hits in self._hits(_bytes(f"{MARK}{text}{MARK}")) for word, _, _ in hits}

    def _hits(self, data: bytes) -> Iterator[tuple[int, list[tuple[int, int, int]]]]:
        """Where each window starts, and (word, start, end) in it; what crosses into the next is in both."""
        if not self._words:
            return
        if self._until_table >= 0:
            self._until_table -= len(data)
            if self._until_table < 0:
                self._automaton = BytesAhoCorasick(self._words, implementation=Implementation.DFA)
        for start in range(0, len(data), WINDOW):
            window = data if len(data) <= WINDOW else data[start : start + WINDOW + self._longest]
            yield start, self._automaton.find_matches_as_indexes(window, overlapping=True)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
