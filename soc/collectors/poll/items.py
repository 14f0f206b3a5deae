"""The records of a JSON answer as the source wrote them: the text of each, not a number re-written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any

import orjson

from soc.collectors.poll.page import MAX_RECORDS
from soc.errors import TryAgain

_SPACE = re.compile(r"[ \t\r\n]*")
_scan_once = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
_BROKEN = (ValueError, IndexError, RecursionError)


def records(body: bytes, path: str) -> list[bytes]:
    """The texts of the elements of the list at `path` (`data.items`; empty: the answer itself).

    Without a path an answer may also be JSON lines. An object in the place of the list is one record, null and a
    missing last name are none. Raises TryAgain: what cannot be read now is asked for again.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TryAgain(f"the answer is no UTF-8 text (byte {error.start})") from error
    try:
        found = _elements(text, path.split(".") if path else [])
    except _BROKEN as error:
        raise TryAgain(f"the answer has no JSON list at '{path or '.'}'") from error
    if len(found) > MAX_RECORDS:
        raise TryAgain(f"the answer has more than {MAX_RECORDS} records", hint="ask for smaller pages")
    return found


def _elements(text: str, path: list[str]) -> list[bytes]:
    at = _skip(text, 0)
    if not path and at == len(text):
        return []
    for name in path:
        found = dict(_members(text, at)).get(name)
        if found is None:
            return []
        at = found
    if text[at] == "[":
        return [text[a:b].encode() for a, b in _list(text, at)]
    if path:
        _, end = _scan(text, at)
        return [] if text[at:end] == "null" else [text[at:end].encode()]
    return list(_lines(text))


def _lines(text: str) -> Iterator[bytes]:
    """One JSON value, or one a line."""
    at = _skip(text, 0)
    while at < len(text):
        _, end = _scan(text, at)
        yield text[at:end].encode()
        at = _skip(text, end)


def _scan(text: str, at: int) -> tuple[Any, int]:
    """The value that begins here, and where it ends. Raises ValueError."""
    try:
        value, end = _scan_once(text, at)
    except StopIteration as error:
        raise ValueError("no value") from error
    return value, end


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _members(text: str, at: int) -> Iterator[tuple[str, int]]:
    """Names of an object and where their values begin."""
    if text[at] != "{":
        raise ValueError("no object")
    at = _skip(text, at + 1)
    while text[at] != "}":
        if text[at] != '"':
            raise ValueError("no name")
        name, at = scanstring(text, at + 1, True)
        at = _skip(text, at)
        if text[at] != ":":
            raise ValueError("no value")
        at = _skip(text, at + 1)
        yield name, at
        _, at = _scan(text, at)
        at = _next(text, at, "}")


def _list(text: str, at: int) -> Iterator[tuple[int, int]]:
    """Where the elements of a list begin and end."""
    at = _skip(text, at + 1)
    while text[at] != "]":
        _, end = _scan(text, at)
        yield at, end
        at = _next(text, end, "]")


def _next(text: str, at: int, closing: str) -> int:
    at = _skip(text, at)
    if text[at] == ",":
        at = _skip(text, at + 1)
        if text[at] == closing:
            raise ValueError("a comma too many")
    elif text[at] != closing:
        raise ValueError("no comma")
    return at


def value(document: Any, path: str) -> Any:
    """What stands at a path of names (and whole numbers, in lists); None when nothing does."""
    for name in path.split(".") if path else ():
        if isinstance(document, dict):
            document = document.get(name)
        elif isinstance(document, list) and name.isdigit() and int(name) < len(document):
            document = document[int(name)]
        else:
            return None
    return document


def loads(data: bytes) -> Any:
    """The document, or None for what is none."""
    try:
        return orjson.loads(data)
    except ValueError:
        return None
