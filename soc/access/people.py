"""`Person` and `Token`: who may act, as the case database keeps them; secrets only as hashes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from soc.access.roles import ROLES
from soc.errors import UsageError, nearest

PERSON = "person"
TOKEN = "token"  # noqa: S105  a kind of document, no secret
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_RESERVED = ("engine", "system")
"""Names that stand in the ledger for soc itself."""


@dataclass(frozen=True)
class Person:
    """Somebody with a role. `units` are owner units (`organization.id`); `uid` is the login on this machine.

    `tier2-unit` sees its units and nothing else; for other roles no units means all of them.
    """

    name: str
    role: str
    units: frozenset[str] = frozenset()
    uid: int | None = None
    disabled: bool = False


ENGINE = Person("engine", "engine")
"""soc itself, when it acts on nobody's behalf."""


@dataclass(frozen=True)
class Account:
    """A person with what proves who they are. Times are µs UTC; `failures` counts guesses since the last success."""

    person: Person
    password_hash: str | None = None
    failures: int = 0
    locked_until_us: int = 0

    def with_person(self, **changes: Any) -> Self:
        """The same account with fields of its person changed."""
        return replace(self, person=replace(self.person, **changes))

    def to_document(self) -> dict[str, Any]:
        """Plain data for the case database."""
        own = {k: v for k, v in asdict(self).items() if k != "person"}
        return {**own, **asdict(self.person), "units": sorted(self.person.units)}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of `to_document`."""
        data = dict(document)
        person = Person(data["name"], data["role"], frozenset(data["units"]), data["uid"], bool(data["disabled"]))
        return cls(person, data["password_hash"], data["failures"], data["locked_until_us"])

    def keys(self) -> dict[str, str]:
        """What an account is found by."""
        keys = {"role": self.person.role}
        if self.person.uid is not None and not self.person.disabled:
            keys["uid"] = str(self.person.uid)
        return keys


@dataclass(frozen=True)
class Token:
    """What is known of a token: everything but its secret. Times are µs UTC."""

    id: str
    person: str
    created_us: int
    expires_us: int
    revoked_us: int | None = None


def checked(name: str, role: str, units: Iterable[str], uid: int | None) -> Person:
    """A person with a usable name, a known role and the units the role needs. Raises UsageError."""
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise UsageError(f"'{name}' is no name: small letters, digits, '.', '_', '-', at most 63, not 'engine'")
    if role not in ROLES or role == "engine":
        known = [r for r in ROLES if r != "engine"]
        raise UsageError(f"unknown role '{role}'; one of {', '.join(known)}{nearest(role, known)}")
    person = Person(name, role, frozenset(units), uid)
    if role == "tier2-unit" and not person.units:
        raise UsageError(f"'{name}' needs at least one unit: role tier2-unit sees its own units only")
    if uid is not None and uid < 0:
        raise UsageError(f"{uid} is no uid")
    return person
