"""What the alert desk needs of others, as small protocols; `pipeline` hands the real ones in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from soc.model.system import InformationSystem


class Stored(Protocol):
    """A document with the version to name when it is changed."""

    @property
    def document(self) -> dict[str, Any]: ...
    @property
    def version(self) -> int: ...


class Tx(Protocol):
    """The part of a case transaction that alerts use."""

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


class CasesPort(Protocol):
    """Opens transactions."""

    def begin(self, actor: str, via: str = "engine") -> AbstractContextManager[Any]: ...


class Systems(Protocol):
    """Finds a registered information system by its id; None when nobody registered it."""

    def get(self, id: str) -> InformationSystem | None: ...


class Person(Protocol):
    """Who acts."""

    @property
    def name(self) -> str: ...
