"""What the ticket desk needs of others, as small protocols; `pipeline` hands the real ones in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Stored(Protocol):
    """A document with the version to name when it is changed."""

    @property
    def document(self) -> dict[str, Any]: ...
    @property
    def version(self) -> int: ...


class Tx(Protocol):
    """The part of a case transaction that tickets use."""

    def get(self, kind: str, id: str) -> Stored | None: ...
    def put(
        self,
        kind: str,
        id: str,
        document: Mapping[str, Any],
        expected_version: int | None,
        *,
        unit: str | None = None,
        keys: Mapping[str, str] | None = None,
    ) -> int: ...
    def find(
        self, kind: str, *, keys: Mapping[str, str] | None = None, limit: int = 100
    ) -> Sequence[tuple[str, Stored]]: ...
    def ledger(
        self,
        act: str,
        object: str,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
        reason: str = "",
    ) -> object: ...
    def change(self, kind: str, id: str, what: str) -> int: ...
    def cursor(self, name: str) -> dict[str, Any] | None: ...
    def set_cursor(self, name: str, document: Mapping[str, Any]) -> None: ...


class Person(Protocol):
    """Who acts."""

    @property
    def name(self) -> str: ...
