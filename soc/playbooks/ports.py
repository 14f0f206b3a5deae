"""What the playbook engine needs of others, as small protocols; `pipeline` hands the real ones in."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from soc.model.run import ActionPlan, Active, Capability


class Stored(Protocol):
    """A document with the version to name when it is changed."""

    @property
    def document(self) -> dict[str, Any]: ...
    @property
    def version(self) -> int: ...


class Tx(Protocol):
    """The part of a case transaction that runs use."""

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
        self,
        kind: str,
        *,
        keys: Mapping[str, str | Collection[str]] | None = None,
        limit: int = 100,
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
    """Opens transactions."""

    def begin(self, actor: str, via: str = "engine") -> AbstractContextManager[Any]: ...


class Person(Protocol):
    """Who acts."""

    @property
    def name(self) -> str: ...


class Actuator(Protocol):
    """What carries an action out. Every method may raise of the SocError family; `plan` and `check` change nothing
    that a plan was not approved for."""

    def check(self) -> Capability:
        """Whether it can work here and now."""
        ...

    def plan(self, params: Mapping[str, Any]) -> ActionPlan:
        """Pure: what would be done."""
        ...

    def apply(self, plan: ActionPlan, key: str) -> None:
        """Do it; `key` is the same for every attempt at one run."""
        ...

    def verify(self, plan: ActionPlan) -> str:
        """Re-read the world: verified, absent or unknown."""
        ...

    def revert(self, plan: ActionPlan) -> None:
        """Undo it; no error when it is gone already."""
        ...

    def list(self) -> Sequence[Active]:
        """What is in effect now."""
        ...
