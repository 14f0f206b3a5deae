"""What is known of the values that were met: real events say the same again and again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from soc.detections.sigma.lookup import Lookup, Rules

CHARACTERS = 32 << 20
"""What all fields of a detector remember together, counted in characters of their values."""
OVERHEAD = 150
"""What remembering a value costs beside its characters."""
TRIED, NEW = 2_048, 0.8
"""When of so many values this share was new, remembering them is not worth it …"""
PAUSE = 16 * TRIED
"""… for so many values."""
Bearing = Iterable[tuple[int, Rules]]
"""Places of values, and the rules of which they may be a witness; a place may come more than once."""


class Budget:
    """Shared by memories: when it is spent, the one that holds most is emptied."""

    def __init__(self, characters: int = CHARACTERS) -> None:
        self.left = characters
        self._memories: list[Memory] = []

    def add(self, memory: Memory) -> None:
        """Let the memory take part."""
        self._memories.append(memory)

    def make_room(self, size: int) -> None:
        """Empty memories until so much is left, or nothing is remembered."""
        while self.left < size:
            biggest = max(self._memories, key=lambda memory: memory.size)
            if not biggest.size:
                return
            biggest.empty()


class Memory:
    """The values of one field that were met, and the rules of those that bear any."""

    def __init__(self, lookup: Lookup, budget: Budget) -> None:
        self._lookup = lookup
        self._budget = budget
        self._paused = self._met = self._new = 0
        self.size = 0
        self.empty()
        budget.add(self)

    def empty(self) -> None:
        """Forget everything."""
        self._budget.left += self.size
        self.size = 0
        self._known: set[Any] = {None, ()}
        self._bearing: dict[Any, Rules] = {}

    def bearing(self, values: Sequence[Any]) -> Bearing:
        """The values of a column, any of which may be None."""
        if self._paused:
            self._paused = max(self._paused - len(values), 0)
            return self._anew(values)
        found = self.among(set(values), len(values))
        return ((j, found[value]) for j, value in enumerate(values) if value in found) if found else ()

    def among(self, met: set[Any], n: int) -> Mapping[Any, Rules]:
        """Those that bear rules, perhaps beside other values; `n` is how often all of them were met."""
        new = met - self._known
        self._met += n
        self._new += len(new)
        if new:
            size = _size(new)
            if self._budget.left < size:
                self._budget.make_room(size)
                new = met - self._known  # it may have been this memory that was emptied
            self._learn(new)
        found = {} if met.isdisjoint(self._bearing) else self._bearing
        if self._met > TRIED:
            if self._new > self._met * NEW:
                self._paused = PAUSE
                self.empty()
            self._met = self._new = 0
        return found

    def _learn(self, new: set[Any]) -> None:
        size = _size(new)
        self.size += size
        self._budget.left -= size
        self._known |= new
        if self._lookup.usual:
            self._bearing.update(dict.fromkeys(new, self._lookup.usual))
        texts = [value for value in new if type(value) is str]
        self._bearing.update((texts[i], rules) for i, rules in self._lookup.among(texts).items())
        if len(texts) < len(new):
            others = [value for value in new if type(value) is not str]
            self._bearing.update((value, rules) for value in others if (rules := self._lookup.of(value)))

    def _anew(self, values: Sequence[Any]) -> Iterator[tuple[int, Rules]]:
        """Without remembering anything."""
        usual = self._lookup.usual
        places: Sequence[int] = range(len(values))
        texts = values
        if set(map(type, values)) != {str}:
            places = [j for j, value in enumerate(values) if type(value) is str]
            texts = [values[j] for j in places]
            for j, value in enumerate(values):
                if type(value) is not str and (rules := self._lookup.of(value)):
                    yield j, rules
        found = self._lookup.among(texts)
        if usual:
            yield from ((places[i], found.get(i, usual)) for i in range(len(texts)))
        else:
            yield from ((places[i], rules) for i, rules in found.items())


def _size(values: Collection[Any]) -> int:
    """What it costs to remember them; whatever is no text is short."""
    return OVERHEAD * len(values) + sum(map(len, [value for value in values if type(value) is str]))
