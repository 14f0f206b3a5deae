"""The tree a search text becomes; every store and the live tail evaluate the same tree.

Text is compared case-insensitively for `text` fields and words, exactly for all others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True)
class MatchAll:
    """Every event."""


@dataclass(frozen=True)
class Equals:
    """The field has this value (any element of a `many` field); the value is in the field's own form."""

    field: str
    value: Any


@dataclass(frozen=True)
class Wildcard:
    """The field's text matches; `*` is any run, `?` one character, a backslash escapes."""

    field: str
    pattern: str


@dataclass(frozen=True)
class InNetwork:
    """The field's address lies in this network (canonical CIDR text)."""

    field: str
    network: str


@dataclass(frozen=True)
class Between:
    """`low <= value <= high`, either bound may be None or strict."""

    field: str
    low: Any = None
    high: Any = None
    low_strict: bool = False
    high_strict: bool = False


@dataclass(frozen=True)
class Exists:
    """The field has a value."""

    field: str


@dataclass(frozen=True)
class Word:
    """The words of `text` stand next to each other in `event.original` or `message`, whatever their case."""

    text: str


@dataclass(frozen=True)
class Not:
    """Not `item`; a missing value makes `item` false, so `Not` true."""

    item: Query


@dataclass(frozen=True)
class And:
    """All of them."""

    items: tuple[Query, ...]


@dataclass(frozen=True)
class Or:
    """Any of them."""

    items: tuple[Query, ...]


Query: TypeAlias = MatchAll | Equals | Wildcard | InNetwork | Between | Exists | Word | Not | And | Or
