"""What must stand in an event for a condition to hold: its witnesses, looked up across all rules at once."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Iterable, Sequence
from re import _constants as sre
from re import _parser
from typing import Any

from soc.detections.sigma.rule import All, AnyOf, Node, Not, Test
from soc.detections.sigma.values import fold

FACT_OPS = ("equals", "prefix", "suffix", "contains", "glob", "any")
"""Comparisons that the text of one value decides."""
HINT = "hint"
"""A text that stands in every value which a regular expression matches; never part of a rule itself."""
_SHORTEST_HINT = 2
_RARE = frozenset("`^~|<>{}!;&#@$")
"""These are a hint alone."""
_MOST_HINTS = 24
# Nearly every event of a route has the same few values of these, so they tell rules apart badly.
_COARSE = ("winlog.event_id", "winlog.channel", "winlog.provider_name", "http.request.method", "event.outcome")
# Nor do these: nearly every process lies there, was made by them, or says so.
_USUAL = frozenset({
    ".exe", "c:\\", "\\windows\\", "c:\\windows\\", "\\system32\\", "c:\\windows\\system32\\", "\\program files",
    "\\users\\", "c:\\users\\", "microsoft", "microsoft corporation", "true", "false", "system",
})  # fmt: skip
_LONGEST_WEIGHED = 12
Hints = tuple[str, ...]


def literal(test: Test) -> str:
    """A folded text that must stand in the value for the test to hold; empty when there is none."""
    if test.op in ("equals", "prefix", "suffix", "contains", HINT):
        text: str = test.value
    elif test.op == "glob":
        text = max((part for part in test.value if isinstance(part, str)), key=len, default="")
    else:
        return ""
    return fold(text) if test.cased else text


def witnesses(node: Node) -> list[Test] | None:
    """Tests of which at least one holds whenever the condition does; None when there is no such set."""
    match node:
        case Test():
            return _of_test(node)
        case Not():
            return None
        case All():
            found = [tests for tests in map(witnesses, node.parts) if tests is not None]
            return max(found, key=_weight, default=None)
        case AnyOf():
            each = [witnesses(part) for part in node.parts]
            return None if any(tests is None for tests in each) else [t for tests in each for t in tests or ()]


def _of_test(test: Test) -> list[Test] | None:
    if test.op in FACT_OPS:
        return [test]
    if test.op in ("null", "exists") or test.field is None:
        return None
    present = Test("", test.field, "any", None, "*")
    if test.op != "re":
        return [present]  # numbers, networks and other fields: the field is there at least
    return [Test("", test.field, HINT, text, text) for text in hints(test.value)] or [present]


def _weight(tests: Sequence[Test]) -> float:
    """How seldom they hold, roughly: the shortest literal decides."""
    return min(map(_rareness, tests)) - len(tests) / 100


def _rareness(test: Test) -> float:
    text = literal(test)
    return min(len(text), _LONGEST_WEIGHED) / (8 if test.field in _COARSE or text in _USUAL else 1)


@functools.lru_cache(maxsize=16384)
def hints(pattern: str) -> Hints:
    """Folded ASCII texts of which one stands in every ASCII text that the pattern matches; none when nothing is sure.

    Read with Python's own parser; what RE2 may read in another way gives none.
    """
    if "[:" in pattern or "\\Q" in pattern:
        return ()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parsed = _parser.parse(pattern)
    except (re.error, RecursionError, OverflowError):
        return ()
    found = _required(parsed)
    return tuple(sorted({fold(text) for text in found})) if found else ()


def _required(items: Iterable[tuple[Any, Any]]) -> list[str] | None:
    """The best set of a sequence: its longest run of letters, or what one of its groups requires."""
    best: list[str] | None = None
    run = ""
    for kind, value in [*items, (None, None)]:
        if kind is sre.LITERAL and value < 128:
            run += chr(value)
            continue
        best = _better(best, [run] if run else None)
        run = ""
        best = _better(best, _inside(kind, value))
    return best


def _inside(kind: Any, value: Any) -> list[str] | None:
    if kind is sre.SUBPATTERN:
        return _required(value[3])
    if kind in (sre.MAX_REPEAT, sre.MIN_REPEAT) and value[0] >= 1:
        return _required(value[2])
    if kind is sre.BRANCH:
        each = [_required(branch) for branch in value[1]]
        if any(texts is None for texts in each):
            return None
        texts = [text for part in each for text in part or ()]
        return texts if len(texts) <= _MOST_HINTS else None
    return None


def _better(one: list[str] | None, other: list[str] | None) -> list[str] | None:
    if other is None or any(len(text) < _SHORTEST_HINT and text not in _RARE for text in other):
        return one
    if one is None:
        return other
    return max(one, other, key=lambda texts: (min(map(len, texts)), -len(texts)))
