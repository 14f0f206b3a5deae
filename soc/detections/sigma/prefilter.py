"""Finds, for an event, the few rules that could hold: literals that must stand in it, looked up by three letters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from soc.detections.sigma.evaluate import Row
from soc.detections.sigma.rule import All, AnyOf, Node, Not, Test
from soc.detections.sigma.values import fold

GRAM = 3
CACHED = 20_000
"""Distinct values whose candidates are remembered per field; then the memory is emptied and begins anew."""
LONGEST = 8_192
"""Longer values are not remembered, so that the memory stays bounded."""
# Nearly every rule of a route asks for the same id or channel, so these tell rules apart badly.
_COARSE = ("winlog.event_id", "winlog.channel", "winlog.provider_name")


def literal(test: Test) -> str:
    """A folded text that must stand in the value for the test to hold; empty when there is none."""
    if test.op in ("equals", "prefix", "suffix", "contains"):
        return fold(test.value)
    if test.op == "glob":
        return fold(max((part for part in test.value if isinstance(part, str)), key=len, default=""))
    return ""


def _weight(guard: Sequence[Test]) -> float:
    weights = [min(len(literal(t)), 12) / (8 if t.field in _COARSE else 1) for t in guard]
    return min(weights) - len(guard) / 100


def guard(node: Node) -> list[Test] | None:
    """Tests of which at least one holds whenever the condition does; None when no such set can be looked up."""
    match node:
        case Test():
            exact = node.op == "equals" and not node.cased
            usable = node.field is not None and (exact or len(literal(node)) >= GRAM)
            return [node] if usable else None
        case Not():
            return None
        case All():
            found = [g for g in map(guard, node.parts) if g is not None]
            return max(found, key=_weight, default=None)
        case AnyOf():
            each = [guard(part) for part in node.parts]
            return None if any(g is None for g in each) else [t for g in each if g is not None for t in g]


class _FieldIndex:
    """The guards on one field: exact values by value, others by the rarest three letters of their literal."""

    def __init__(self) -> None:
        self.exact: dict[str, list[int]] = {}
        self.grams: dict[str, list[tuple[Callable[[str], bool], int]]] = {}
        self._keys: frozenset[str] = frozenset()
        self._cache: dict[str, tuple[int, ...]] = {}

    def build(self, guards: Sequence[tuple[Test, int]]) -> None:
        """Place each guard with the number of its rule."""
        loose = [(t, n) for t, n in guards if not (t.op == "equals" and not t.cased)]
        common = Counter(g for t, _ in loose for g in _grams(literal(t)))
        for test, number in guards:
            if test.op == "equals" and not test.cased:
                self.exact.setdefault(test.value, []).append(number)
        for test, number in loose:
            rarest = min(sorted(_grams(literal(test))), key=lambda g: common[g])
            self.grams.setdefault(rarest, []).append((_verifier(test), number))
        self._keys = frozenset(self.grams)

    def candidates(self, text: str) -> tuple[int, ...]:
        """The numbers of the rules whose guard holds for this folded value."""
        known = self._cache.get(text)
        if known is not None:
            return known
        found = set(self.exact.get(text, ()))
        if self.grams:
            for gram in _grams(text) & self._keys:
                found.update(number for check, number in self.grams[gram] if check(text))
        answer = tuple(found)
        if len(text) <= LONGEST:
            if len(self._cache) >= CACHED:
                self._cache.clear()
            self._cache[text] = answer
        return answer


def _verifier(test: Test) -> Callable[[str], bool]:
    """Decides on a folded value; for cased tests and globs the literal will do, the rule is evaluated afterwards."""
    wanted = literal(test)
    if test.op == "prefix" and not test.cased:
        return lambda text: text.startswith(wanted)
    if test.op == "suffix" and not test.cased:
        return lambda text: text.endswith(wanted)
    return lambda text: wanted in text


def _grams(text: str) -> set[str]:
    return {text[i : i + GRAM] for i in range(len(text) - GRAM + 1)}


class Index:
    """The candidates among some conditions. `always` are those that no literal guards."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        by_field: dict[str, list[tuple[Test, int]]] = {}
        self.always: list[int] = []
        for number, node in enumerate(nodes):
            tests = guard(node)
            if tests is None:
                self.always.append(number)
                continue
            for test in tests:
                by_field.setdefault(str(test.field), []).append((test, number))
        self._fields: list[tuple[str, _FieldIndex]] = []
        for name, guards in by_field.items():
            index = _FieldIndex()
            index.build(guards)
            self._fields.append((name, index))

    def candidates(self, row: Row) -> list[int]:
        """The numbers of the conditions that could hold, ascending."""
        found: set[int] = set(self.always)
        for name, index in self._fields:
            for text in row.folded(name):
                found.update(index.candidates(text))
        return sorted(found)
