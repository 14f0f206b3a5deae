"""What the dialects of the HTTP listener share: a call, a reply, and records that wait for the queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Call:
    """One request, its body whole and expanded. Header names are in lower case; `who` is the name of its token."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    who: str = ""
    max_bytes: int = 65536

    @property
    def media(self) -> str:
        """The media type of the body, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True)
class Reply:
    """What is answered."""

    status: int
    body: bytes = b""
    media: str = JSON
    headers: Headers = ()

    @classmethod
    def json(cls, status: int, document: Any, headers: Headers = ()) -> Reply:
        """A JSON document."""
        return cls(status, orjson.dumps(document), JSON, headers)


@dataclass(frozen=True)
class Taken:
    """Records for the queue; `reply` is asked for when it has them for good. `form` is their `RawBlock.format`.

    `refused` records stand in the request but are none: the reply says so.
    """

    records: list[bytes]
    form: str
    reply: Callable[[], Reply]
    refused: int = 0


class Dialect(Protocol):
    """One family of requests."""

    def answer(self, call: Call) -> Reply | Taken:
        """Raises BadBody for a body that cannot be read."""
        ...

    def fault(self, status: int, text: str, number: int = 0) -> Reply:
        """A refusal in the family's own words: 400, 401, 403, 408, 413, 415, 429, 503; `number` is the record's."""
        ...
