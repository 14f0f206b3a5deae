"""The case contract (design, section 5) that several rooms speak: a stored document, a transaction, a person."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol


class Stored(Protocol):
    """A document with the version to name when it is changed."""

    @property
    def document(self) -> dict[str, Any]: ...
    @property
    def version(self) -> int: ...


class CaseTx(Protocol):
    """What a room may do inside one case transaction; all of it commits together or not at all."""

    def get(self, kind: str, id: str) -> Stored | None: ...
    def several(self, kind: str, ids: Collection[str]) -> Mapping[str, Stored]: ...
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
        self,
        kind: str,
        *,
        keys: Mapping[str, str | Collection[str]] | None = None,
        limit: int = 100,
        order: str = "desc",
        before: str | None = None,
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


class CasesPort(Protocol):
    """Opens transactions that write."""

    def begin(self, actor: str, via: str = "engine") -> AbstractContextManager[Any]: ...


class ReadablePort(CasesPort, Protocol):
    """Opens snapshots that only read as well."""

    def read(self, actor: str, via: str = "engine") -> AbstractContextManager[Any]: ...


class Person(Protocol):
    """Who acts."""

    @property
    def name(self) -> str: ...
