"""A condition as one generated expression over columns: `(k1[c[k0][i]] and not k3[c[k2][i]])`.

`c[k0][i]` is the value of a field in row `i`; `k1` remembers of which values the part that reads only this field holds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from soc.detections.sigma.evaluate import Row, compiled, glob_matches, text_check, value_check
from soc.detections.sigma.rule import ONE, All, AnyOf, Glob, Node, Not, Test
from soc.detections.sigma.values import fold, text_of
from soc.detections.sigma.witness import hints

Values = Mapping[str, Sequence[Any]]
Predicate = Callable[[Values, int, Row], bool]
KEPT = 256
"""Values that a part of a condition remembers; then it begins anew."""
LONGEST = 2_048
"""Longer texts are not remembered."""
_DEPTH = 60
"""Deeper conditions are evaluated without a generated expression: Python's parser has a bound of its own."""
_TOGETHER = ("equals", "prefix", "suffix", "contains")
_Holds = Callable[[Sequence[Any], Sequence[str]], bool]
"""Of the values of a field as they are, and folded."""


def predicate(node: Node) -> Predicate:
    """Whether the condition holds at place `i` of columns of values by name, which are those of a row."""
    if _depth(node) > _DEPTH:
        whole = compiled(node)
        return lambda _columns, _i, row: whole(row)
    names: dict[str, Any] = {"__builtins__": {}}
    text = _expression(node, names)
    # Only names made here are in the text; what a rule says is in the constants.
    made: Predicate = eval(f"lambda c, i, row: {text}", names)  # noqa: S307
    return made


class Verdicts(dict[Any, bool]):
    """Value of one field → whether a condition that reads only this field holds, worked out when it is met."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self._holds = _of_values(node)

    def __missing__(self, value: Any) -> bool:
        texts: Sequence[str]
        if type(value) is str:  # nearly always
            values, texts, size = (value,), (_folded(value),), len(value)
        else:
            values = value if isinstance(value, tuple) else () if value is None else (value,)
            texts = [fold(text_of(each)) for each in values]
            size = sum(map(len, texts))
        verdict = self._holds(values, texts)
        if size <= LONGEST:
            if len(self) >= KEPT:
                self.clear()
            self[value] = verdict
        return verdict


@functools.lru_cache(maxsize=64)
def _folded(text: str) -> str:
    """Several rules ask about the same long text, one after the other."""
    return fold(text)


def _expression(node: Node, names: dict[str, Any]) -> str:
    field = only_field(node)
    if field is not None:
        return f"{_constant(Verdicts(node), names)}[c[{_constant(field, names)}][i]]"
    match node:
        case Test():
            return f"{_constant(compiled(node), names)}(row)"
        case Not():
            return f"(not {_expression(node.part, names)})"
    word, kind = (" and ", All) if isinstance(node, All) else (" or ", AnyOf)
    terms = [_expression(part, names) for part in _by_field(node.parts, kind)]
    return f"({word.join(terms)})" if terms else str(isinstance(node, All))


def _by_field(parts: Sequence[Node], kind: type[All] | type[AnyOf]) -> list[Node]:
    """Parts that read the same single field as one, these first; what is asked of the whole row last."""
    alone: dict[str, list[Node]] = {}
    others: list[Node] = []
    for part in parts:
        field = only_field(part)
        if field is None:
            others.append(part)
        else:
            alone.setdefault(field, []).append(part)
    others.sort(key=lambda part: isinstance(part, Test))
    return [*(some[0] if len(some) == 1 else kind(tuple(some)) for some in alone.values()), *others]


def only_field(node: Node) -> str | None:
    """The one field whose value decides a condition; None when it reads several, all or none."""
    match node:
        case Test():
            return None if node.op == "fieldref" else node.field
        case Not():
            return only_field(node.part)
    fields = {only_field(part) for part in node.parts}
    return fields.pop() if len(fields) == 1 else None


def _of_values(node: Node) -> _Holds:
    """A condition that reads one field, on the values of that field."""
    match node:
        case Test():
            return _test(node)
        case Not():
            part = _of_values(node.part)
            return lambda values, texts: not part(values, texts)
        case All():
            return _all(tuple(map(_of_values, node.parts)))
    return _any((*_alternatives(node.parts), *(_of_values(part) for part in node.parts if not _is_simple(part))))


def _all(parts: Sequence[_Holds]) -> _Holds:
    if len(parts) == 1:
        return parts[0]

    def all_hold(values: Sequence[Any], texts: Sequence[str]) -> bool:
        for part in parts:  # noqa: SIM110 - a generator costs more than what it would ask
            if not part(values, texts):
                return False
        return True

    return all_hold


def _any(parts: Sequence[_Holds]) -> _Holds:
    if len(parts) == 1:
        return parts[0]

    def any_holds(values: Sequence[Any], texts: Sequence[str]) -> bool:
        for part in parts:  # noqa: SIM110 - as above
            if part(values, texts):
                return True
        return False

    return any_holds


def _is_simple(node: Node) -> bool:
    return isinstance(node, Test) and node.op in _TOGETHER and not node.cased


def _alternatives(parts: Sequence[Node]) -> Iterator[_Holds]:
    """Literals of one kind are compared in one call where Python has one."""
    by_op: dict[str, list[str]] = {}
    for part in parts:
        if isinstance(part, Test) and _is_simple(part):
            by_op.setdefault(part.op, []).append(part.value)
    if equal := frozenset(by_op.get("equals", ())):
        yield lambda values, texts: not equal.isdisjoint(texts)
    if begins := tuple(by_op.get("prefix", ())):
        yield _any_text(lambda text: text.startswith(begins))
    if ends := tuple(by_op.get("suffix", ())):
        yield _any_text(lambda text: text.endswith(ends))
    if inner := tuple(by_op.get("contains", ())):
        yield _any_text(lambda text: any(map(text.__contains__, inner)))


def _any_text(check: Callable[[str], bool]) -> _Holds:
    return lambda values, texts: any(map(check, texts))


def _test(test: Test) -> _Holds:
    match test.op:
        case "null":
            return lambda values, texts: not values
        case "exists":
            return lambda values, texts: bool(values) is test.value
        case "re":
            return _regex(test)
    if _is_simple(test):
        return next(_alternatives((test,)))
    if test.op in ("any", "glob") and not test.cased:
        return _any_text(text_check(test) if test.op == "any" else _glob(test.value))
    raw = value_check(test)
    return lambda values, texts: any(map(raw, values))


def _glob(glob: Glob) -> Callable[[str], bool]:
    """`glob_matches`, where it can be piece by piece: of what stands between stars the first place is the best one."""
    pieces = [part for part in glob if isinstance(part, str)]
    if len(glob) == len(pieces) or ONE in glob or any(map(_are_texts, pairwise(glob))):
        return lambda text: all(map(text.__contains__, pieces)) and glob_matches(glob, text)
    head = pieces.pop(0) if isinstance(glob[0], str) else ""
    tail = pieces.pop() if isinstance(glob[-1], str) else ""

    def holds(text: str) -> bool:
        if not (text.startswith(head) and text.endswith(tail)):
            return False
        at, stop = len(head), len(text) - len(tail)
        for piece in pieces:
            at = text.find(piece, at, stop)
            if at < 0:
                return False
            at += len(piece)
        return at <= stop

    return holds


def _are_texts(pair: tuple[str | int, str | int]) -> bool:
    return isinstance(pair[0], str) and isinstance(pair[1], str)


def _regex(test: Test) -> _Holds:
    """Of ASCII texts only those are searched in which one of the pattern's hints stands."""
    check, needed = value_check(test), hints(test.value)
    if not needed:
        return lambda values, texts: any(map(check, values))
    may_hold = next(_alternatives([Test("", None, "contains", text, "") for text in needed]))

    def holds(values: Sequence[Any], texts: Sequence[str]) -> bool:
        return (may_hold(values, texts) or not all(map(_is_ascii, values))) and any(map(check, values))

    return holds


def _is_ascii(value: Any) -> bool:
    """Of what is not, letters may be folded to ASCII: K (Kelvin) to k."""
    return type(value) is str and value.isascii()


def _constant(value: Any, names: dict[str, Any]) -> str:
    name = f"k{len(names)}"
    names[name] = value
    return name


def _depth(node: Node) -> int:
    match node:
        case Test():
            return 1
        case Not():
            return 1 + _depth(node.part)
        case All() | AnyOf():
            return 1 + max(map(_depth, node.parts), default=0)
