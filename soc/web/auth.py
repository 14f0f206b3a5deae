"""Who is calling: the kernel's word for a Unix socket, a token elsewhere; and what a route lets them do."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from soc.access import PERMISSIONS, Person, permissions_of
from soc.errors import Conflict, NotFound, PermissionRefused
from soc.model.scope import Scope
from soc.store.cases import Stored, Tx
from soc.web.errors import NotSignedIn

if TYPE_CHECKING:
    from soc.pipeline import Services

ANYBODY = ""
"""The permission of a route that every known person may call."""
ACT_AS = "x-soc-as"


@dataclass(frozen=True)
class Peer:
    """The other end of a connection: its uid as the kernel knows it, None over TCP. No header can set it."""

    uid: int | None = None


@dataclass(frozen=True)
class Caller:
    """The person who acts, `via` for the ledger, and the person who really called when they act as another one."""

    person: Person
    via: str = "api"
    real: str | None = None
    wall: bool = True

    def to_document(self, *, simulated: bool) -> dict[str, Any]:
        """What `GET /v1/me` answers; `acting_for` names the real caller behind `name`."""
        person = self.person
        return {
            "name": person.name, "role": person.role, "units": sorted(person.units),
            "permissions": list(permissions_of(person.role)), "via": self.via, "acting_for": self.real,
            "simulated": simulated, "wall": self.wall,
        }  # fmt: skip


def identify(services: Services, peer: Peer, headers: Mapping[str, str]) -> Caller:
    """The caller of a request. Raises NotSignedIn, PermissionRefused."""
    token = headers.get("authorization")
    person = _by_token(services, token) if token is not None else _by_uid(services, peer)
    # Whoever runs as the service's own user could read its files as well: no wall stands between the two.
    wall = token is not None or peer.uid != os.geteuid()
    name = headers.get(ACT_AS)
    if name is None:
        return Caller(person, wall=wall)
    return Caller(_acted(services, person, name), f"api as {person.name}", person.name, wall)


def _by_token(services: Services, header: str) -> Person:
    scheme, _, secret = header.partition(" ")
    person = services.access.person_by_token(secret.strip()) if scheme.lower() == "bearer" else None
    if person is None:
        raise NotSignedIn("the token is unknown, expired or revoked", hint="an administrator issues a new one")
    return person


def _by_uid(services: Services, peer: Peer) -> Person:
    if peer.uid is None:
        raise NotSignedIn("nobody is signed in", hint="send Authorization: Bearer TOKEN, or use the Unix socket")
    person = services.access.person_by_uid(peer.uid)
    if person is None:
        hint = f"an administrator adds you: soc person add NAME --role ROLE --uid {peer.uid}"
        raise PermissionRefused(f"uid {peer.uid} belongs to nobody the service knows", hint=hint)
    return person


def _acted(services: Services, real: Person, name: str) -> Person:
    if not services.settings.simulated:
        raise PermissionRefused("acting as another person is for simulated sites only")
    if real.role != "admin" or real.disabled:
        raise PermissionRefused(f"'{real.name}' ({real.role}) may not act as another person: needs role admin")
    person = services.access.person(name)
    if person is None or person.disabled:
        raise PermissionRefused(f"there is no person '{name}' to act as")
    return person


@dataclass(frozen=True)
class Asking:
    """One call: who asks, what they may see, and transactions in their name."""

    services: Services
    caller: Caller
    scope: Scope

    @property
    def person(self) -> Person:
        """Who acts."""
        return self.caller.person

    @property
    def now_us(self) -> int:
        """The service's clock, µs UTC."""
        return self.services.clock.now_ns() // 1000

    @contextmanager
    def read(self) -> Iterator[Tx]:
        """A snapshot of the case database."""
        with self.services.cases.read(self.person.name, self.caller.via) as tx:
            yield tx

    @contextmanager
    def change(self) -> Iterator[Tx]:
        """A transaction that may write, in the caller's name."""
        with self.services.cases.begin(self.person.name, self.caller.via) as tx:
            yield tx

    def one(self, tx: Tx, kind: str, id: str) -> Stored:
        """A document that the caller may see. Raises NotFound: what is elsewhere does not exist for them."""
        stored = tx.get(kind, id)
        if stored is None or not self.scope.allows(stored.unit):
            raise NotFound(f"no {kind} '{id}'")
        return stored

    def find(
        self, tx: Tx, kind: str, *, limit: int, before: str | None = None, **keys: Any
    ) -> list[tuple[str, Stored]]:
        """Documents that the caller may see, newest first; keys without a value are left out."""
        named = {name: value for name, value in keys.items() if value}
        return tx.find(kind, keys=named, units=self.scope.units, limit=limit, before=before)

    def same_version(self, kind: str, id: str, stored: Stored, version: int | None) -> None:
        """Raises Conflict when the caller saw another version than the stored one."""
        if version is not None and version != stored.version:
            raise Conflict(
                f"{kind} '{id}' was changed by somebody else: version {stored.version}, not {version}",
                hint="read it again and repeat the change",
            )

    def whole(self) -> None:
        """Raises PermissionRefused when the caller sees some units only: this cannot be cut down to them."""
        if self.scope.units is not None:
            raise PermissionRefused(f"'{self.person.name}' sees their own units only; this is about all")


class Allowed:
    """The dependency that opens a route: the caller of a request, if they hold this permission."""

    def __init__(self, permission: str) -> None:
        if permission != ANYBODY and permission not in PERMISSIONS:
            raise ValueError(f"unknown permission '{permission}'")
        self.permission = permission

    def __call__(self, request: Request) -> Asking:
        """Raises PermissionRefused."""
        services: Services = request.app.state.services
        caller: Caller = request.state.caller
        if self.permission != ANYBODY:
            services.access.require(caller.person, self.permission)
        why = f"api: {request.method} {request.url.path}"
        return Asking(services, caller, services.access.scope_of(caller.person, why))
