"""Three texts into one, line by line: what one side changed since the common base, and what the other did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

Lines = Sequence[str]
_Change = tuple[int, int, Lines]
"""Lines [from, to) of the base become these."""


def merged(base: str, mine: str, theirs: str) -> str | None:
    """The base with the changes of both; None when they changed the same lines, or neighbouring ones, differently."""
    lines = base.splitlines(keepends=True)
    changes = sorted([*_changes(lines, mine), *_changes(lines, theirs)], key=lambda change: change[:2])
    result: list[str] = []
    at = 0
    before: _Change | None = None
    for change in changes:
        start, stop, new = change
        if before is not None and start <= before[1]:
            if change != before:
                return None
            continue  # both made it
        result.extend((*lines[at:start], *new))
        at, before = stop, change
    result.extend(lines[at:])
    return "".join(result)


def _changes(base: Lines, side: str) -> Iterator[_Change]:
    lines = side.splitlines(keepends=True)
    matcher = SequenceMatcher(None, base, lines, autojunk=False)
    for kind, start, stop, new_start, new_stop in matcher.get_opcodes():
        if kind != "equal":
            yield start, stop, lines[new_start:new_stop]
