"""Patterns: shipped ones run in `re` after a lint that refuses ambiguity, a site's run in RE2 (design, section 5)."""

from __future__ import annotations

import functools
import re
import re._constants as sre  # type: ignore[import-not-found]
import re._parser as sre_parser  # type: ignore[import-not-found]
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import re2

MATCH_LIMIT = 32_768
"""A longer message is kept whole but not matched, so that one datagram cannot hold up the others."""
MAX_DOTS = 4
"""So many open `.*` may follow each other in one pattern: the work grows with this power of the length."""
_ALL = frozenset(range(256))
_REPEATS = (sre.MAX_REPEAT, sre.MIN_REPEAT)


@dataclass(frozen=True)
class Pattern:
    """A pattern, compiled when a message asks. `groups` maps a name to its place in what `fullmatch` returns."""

    text: str
    groups: Mapping[str, int]
    is_shipped: bool

    @functools.cached_property
    def fullmatch(self) -> Callable[[str], Any]:
        """Of a whole message."""
        matches: Callable[[str], Any] = (re if self.is_shipped else re2).compile(self.text).fullmatch
        return matches


def compile_pattern(text: str, *, is_shipped: bool) -> tuple[Pattern | None, list[str]]:
    """The pattern, or why it is refused. It must match the whole message; `^` and `$` may stand but change nothing."""
    if not is_shipped:
        try:
            site = re2.compile(text)
        except re2.error as error:
            return None, [f"no RE2 pattern: {error}"]
        return Pattern(text, _places(site.groupindex), is_shipped), []
    try:
        tree = sre_parser.parse(text)
    except re.error as error:
        return None, [f"no pattern: {error}"]
    problems = _lint(tree)
    return (None, problems) if problems else (Pattern(text, _places(tree.state.groupdict), is_shipped), [])


def _places(groups: Mapping[str, int]) -> dict[str, int]:
    return {name: number - 1 for name, number in groups.items()}


def lint(text: str) -> list[str]:
    """What makes a pattern slow on text that an attacker writes: repeats inside repeats, and repeats side by side
    that accept the same characters (see OWASP, Regular expression Denial of Service)."""
    return _lint(sre_parser.parse(text))


def _lint(tree: Any) -> list[str]:
    problems: list[str] = []
    if any(_nested(tree, False)):
        problems.append("a repeat inside a repeat: the same text can be read in many ways")
    problems.extend(_adjacent(list(_flat(tree))))
    if sum(1 for _ in _dots(tree)) > MAX_DOTS:
        problems.append(f"more than {MAX_DOTS} open '.*': say what the text in between consists of")
    return problems


def first_characters(text: str) -> frozenset[str] | None:
    """The Latin-1 characters that what this pattern matches can begin with; None when nothing is known of them."""
    try:
        tree = sre_parser.parse(text)
    except (re.error, OverflowError):  # a site's pattern, in RE2's own words
        return None
    if tree.state.flags & re.IGNORECASE:
        return None
    first, may_be_empty = _first(tree)
    return None if may_be_empty else frozenset(map(chr, first))


def _first(tree: Any) -> tuple[frozenset[int], bool]:
    """The characters that may come first, and whether nothing may come at all."""
    found: frozenset[int] = frozenset()
    for op, value in tree:
        if op in (sre.AT, sre.ASSERT, sre.ASSERT_NOT):
            continue
        if op is sre.SUBPATTERN:
            here, is_optional = _first(value[3])
            here = _ALL if value[1] & re.IGNORECASE else here
        elif op is sre.BRANCH:
            each = [_first(branch) for branch in value[1]]
            here, is_optional = frozenset().union(*(first for first, _ in each)), any(empty for _, empty in each)
        elif op in _REPEATS:
            here, is_optional = _first(value[2])
            is_optional = is_optional or value[0] == 0
        else:
            here, is_optional = _characters([(op, value)]), False
        found |= here
        if not is_optional:
            return found, False
    return found, True


def _is_open(item: tuple[Any, Any]) -> bool:
    return item[0] in _REPEATS and item[1][1] is sre.MAXREPEAT


def _children(item: tuple[Any, Any]) -> list[Any]:
    op, value = item
    if op in _REPEATS or op is sre.POSSESSIVE_REPEAT:
        return [value[2]]
    if op is sre.SUBPATTERN:
        return [value[3]]
    if op is sre.BRANCH:
        return list(value[1])
    if op in (sre.ASSERT, sre.ASSERT_NOT):
        return [value[1]]
    return []


def _nested(tree: Any, inside: bool) -> Iterator[bool]:
    for item in tree:
        is_open = _is_open(item)
        if is_open and inside:
            yield True
        for child in _children(item):
            yield from _nested(child, inside or is_open)


def _dots(tree: Any) -> Iterator[bool]:
    for item in tree:
        if _is_open(item) and item[1][2][0][0] is sre.ANY:
            yield True
        for child in _children(item):
            yield from _dots(child)


def _flat(tree: Any) -> Iterator[tuple[Any, Any]]:
    for item in tree:
        if item[0] is sre.SUBPATTERN:
            yield from _flat(item[1][3])
        else:
            yield item


def _adjacent(items: list[tuple[Any, Any]]) -> Iterator[str]:
    before: frozenset[int] = frozenset()
    for item in items:
        if _is_open(item):
            here = _characters(item[1][2])
            if before & here:
                yield "two repeats side by side accept the same characters: put something fixed between them"
            before = (before | here) if item[1][0] == 0 else here
        elif item[0] in _REPEATS and item[1][0] == 0:
            continue  # may be absent, so it separates nothing
        elif item[0] not in (sre.AT, sre.ASSERT, sre.ASSERT_NOT):
            before = frozenset()


def _characters(tree: Any) -> frozenset[int]:
    """The Latin-1 characters that one step of a repeat may eat."""
    found: set[int] = set()
    for op, value in tree:
        if op is sre.LITERAL:
            found.add(value)
        elif op is sre.NOT_LITERAL:
            found |= _ALL - {value}
        elif op is sre.ANY:
            found |= _ALL - {10}
        elif op is sre.IN:
            found |= _class(value)
        elif op is sre.SUBPATTERN:
            found |= _characters(value[3])
        else:
            found |= _ALL
    return frozenset(found)


_CATEGORIES = {
    sre.CATEGORY_DIGIT: r"\d", sre.CATEGORY_NOT_DIGIT: r"\D", sre.CATEGORY_SPACE: r"\s",
    sre.CATEGORY_NOT_SPACE: r"\S", sre.CATEGORY_WORD: r"\w", sre.CATEGORY_NOT_WORD: r"\W",
}  # fmt: skip


@functools.cache
def _category(name: Any) -> frozenset[int]:
    return frozenset(c for c in _ALL if re.match(_CATEGORIES[name], chr(c)))


def _class(items: Any) -> frozenset[int]:
    found: set[int] = set()
    negated = False
    for op, value in items:
        if op is sre.NEGATE:
            negated = True
        elif op is sre.LITERAL:
            found.add(value)
        elif op is sre.RANGE:
            found |= set(range(value[0], value[1] + 1)) & _ALL
        elif op is sre.CATEGORY:
            found |= _category(value)
    return _ALL - found if negated else frozenset(found)
