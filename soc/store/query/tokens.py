"""A search text as tokens: words, quoted texts, parentheses, comparisons; each with its column."""

from __future__ import annotations

from dataclasses import dataclass

from soc.errors import QueryError

_BREAKS = set(' \t\r\n()":<>=')


@dataclass(frozen=True)
class Token:
    kind: str  # word | quoted | ( | ) | : | < | <= | > | >= | end
    text: str  # of a word, escapes are still in it; of a quoted text they are resolved
    column: int


def tokens(text: str) -> list[Token]:
    found, at = [], 0
    while at < len(text):
        character = text[at]
        if character.isspace():
            at += 1
        elif character == '"':
            token, at = _quoted(text, at)
            found.append(token)
        elif character in "():":
            found.append(Token(character, character, at + 1))
            at += 1
        elif character in "<>":
            sign = text[at : at + 2] if text[at + 1 : at + 2] == "=" else character
            found.append(Token(sign, sign, at + 1))
            at += len(sign)
        elif character == "=":
            raise QueryError("'=' is no comparison here; write field:value", column=at + 1)
        else:
            token, at = _bare(text, at)
            found.append(token)
    return [*found, Token("end", "", len(text) + 1)]


def _quoted(text: str, start: int) -> tuple[Token, int]:
    out: list[str] = []
    at = start + 1
    while at < len(text):
        if text[at] == "\\" and at + 1 < len(text):
            # Only quotes and backslashes are escaped in quotes, so that C:\Users needs no doubling.
            if text[at + 1] in '"\\':
                at += 1
        elif text[at] == '"':
            return Token("quoted", "".join(out), start + 1), at + 1
        out.append(text[at])
        at += 1
    raise QueryError("this quotation mark is never closed", column=start + 1)


def _bare(text: str, start: int) -> tuple[Token, int]:
    at = start
    while at < len(text) and text[at] not in _BREAKS:
        at += 2 if text[at] == "\\" else 1
    at = min(at, len(text))
    return Token("word", text[start:at], start + 1), at


def unescape(text: str) -> str:
    out: list[str] = []
    at = 0
    while at < len(text):
        if text[at] == "\\" and at + 1 < len(text):
            at += 1
        out.append(text[at])
        at += 1
    return "".join(out)


def is_wild(text: str) -> bool:
    escaped = False
    for character in text:
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character in "*?":
            return True
    return False
