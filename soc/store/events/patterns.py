"""Wildcards and words as RE2 expressions, the same for SQL (DuckDB runs RE2) and for the live tail."""

from __future__ import annotations

import functools

import pyarrow as pa
import pyarrow.compute as pc
import re2

_WORD = r"[\pL\pM\pN_]"
_TOKENS = re2.compile(f"{_WORD}+")


def lower(text: str) -> str:
    """Lower case, one character for one (utf8proc), as DuckDB's `lower` does it."""
    return pc.utf8_lower(pa.scalar(text)).as_py()  # type: ignore[no-any-return]


def pieces_of(pattern: str) -> list[tuple[str, bool]]:
    """(text, is it a wildcard), escapes resolved."""
    pieces: list[tuple[str, bool]] = []
    escaped = False
    for character in pattern:
        if escaped:
            pieces.append((character, False))
            escaped = False
        elif character == "\\":
            escaped = True
        else:
            pieces.append((character, character in "*?"))
    if escaped:
        pieces.append(("\\", False))
    return pieces


@functools.lru_cache(maxsize=1024)
def fixed_text(pattern: str) -> tuple[str, str] | None:
    """`("starts_with", "abc")` for `abc*`, likewise `ends_with` and `contains`; None when it takes an expression."""
    pieces = pieces_of(pattern)
    front = bool(pieces) and pieces[0] == ("*", True)
    back = len(pieces) > 1 and pieces[-1] == ("*", True)
    inner = pieces[front : len(pieces) - back]
    if not (front or back) or any(wild for _, wild in inner):
        return None
    text = "".join(character for character, _ in inner)
    if front and back:
        return "contains", text
    return ("ends_with", text) if front else ("starts_with", text)


@functools.lru_cache(maxsize=1024)
def regex_of(pattern: str, *, fold: bool = False) -> str:
    """An expression that the whole text must match; `.` is meant to match line ends too (flag `s`)."""
    wild = {"*": ".*", "?": "."}
    return "".join(wild[c] if is_wild else re2.escape(lower(c) if fold else c) for c, is_wild in pieces_of(pattern))


def words_of(text: str) -> list[str]:
    """The words of a text in lower case: runs of letters, marks, digits and `_`."""
    return [str(word) for word in _TOKENS.findall(lower(text))]


@functools.lru_cache(maxsize=1024)
def word_regex(text: str) -> str:
    """An expression for lower-case text: these words, with nothing between them but what is no word."""
    inner = r"[^\pL\pM\pN_]+".join(words_of(text))
    return rf"(?:^|[^\pL\pM\pN_]){inner}(?:$|[^\pL\pM\pN_])"
