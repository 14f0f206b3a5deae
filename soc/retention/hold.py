"""Legal holds: by system, time range or case; they beat every plan, and only a second person lifts one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from soc.errors import Conflict, NotFound, PermissionRefused, UsageError
from soc.model.clock import Clock

KIND = "hold"
UNREGISTERED = ""
"""The name under which a hold or a plan speaks of data of no registered system."""


class Stored(Protocol):
    """A document of the cases store with its version."""

    @property
    def document(self) -> dict[str, Any]: ...
    @property
    def version(self) -> int: ...


class Tx(Protocol):
    """What retention needs of a transaction of the cases store."""

    def get(self, kind: str, id: str, /) -> Stored | None: ...
    def put(self, kind: str, id: str, document: dict[str, Any], expected_version: int | None, /) -> int: ...
    def find(
        self, kind: str, /, *, keys: Mapping[str, str] | None, units: frozenset[str] | None, limit: int
    ) -> list[tuple[str, Any]]: ...
    def ledger(
        self, act: str, object: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, reason: str, /
    ) -> object: ...


class Cases(Protocol):
    """What retention needs of the cases store."""

    def begin(self, actor: str, /) -> AbstractContextManager[Any]: ...


@dataclass(frozen=True)
class Extent:
    """What a case is about: its systems and the time range of its events, µs UTC."""

    systems: frozenset[str]
    first_us: int
    last_us: int


@dataclass(frozen=True)
class Hold:
    """`systems` empty = every system; `first_us`/`last_us` None = open. Held until `released_us` is set."""

    id: str
    systems: frozenset[str]
    first_us: int | None
    last_us: int | None
    case: str
    reason: str
    by: str
    created_us: int
    released_us: int | None = None
    released_by: str = ""

    @property
    def is_active(self) -> bool:
        """Whether it still holds."""
        return self.released_us is None

    def covers(self, systems: frozenset[str], first_us: int, last_us: int) -> bool:
        """Whether data of these systems within this range (µs UTC, both ends included) is held."""
        if not self.is_active or (self.systems and not self.systems & (systems or {UNREGISTERED})):
            return False
        begins_after = self.first_us is not None and last_us < self.first_us
        ends_before = self.last_us is not None and first_us > self.last_us
        return not begins_after and not ends_before

    def to_document(self) -> dict[str, Any]:
        """A JSON-able dict."""
        return {**asdict(self), "systems": sorted(self.systems)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Hold:
        """The inverse of `to_document`."""
        return cls(**{**document, "systems": frozenset(document["systems"])})


class Holds:
    """The holds kept in the cases store. `new_id` gives ids; `extent` says what a case is about, None when unknown."""

    def __init__(
        self,
        cases: Cases,
        clock: Clock,
        new_id: Callable[[], str],
        extent: Callable[[str], Extent | None] | None = None,
    ) -> None:
        self._cases = cases
        self._clock = clock
        self._new_id = new_id
        self._extent = extent

    def add(
        self,
        person: str,
        reason: str,
        *,
        systems: frozenset[str] = frozenset(),
        first_us: int | None = None,
        last_us: int | None = None,
        case: str = "",
    ) -> Hold:
        """Hold what is named, from now on. Raises UsageError when nothing is named or no reason is given."""
        if not reason.strip():
            raise UsageError("a hold needs its reason", hint="name the written request it answers")
        if case and not systems and first_us is None and last_us is None:
            extent = self._extent(case) if self._extent else None
            if extent is None:
                raise UsageError(f"case '{case}' names no events yet", hint="name a system or a time range as well")
            systems, first_us, last_us = extent.systems, extent.first_us, extent.last_us
        if not systems and first_us is None and last_us is None:
            raise UsageError("a hold names a system, a time range or a case")
        if first_us is not None and last_us is not None and last_us < first_us:
            raise UsageError("the time range of a hold ends before it begins")
        hold = Hold(self._new_id(), systems, first_us, last_us, case, reason, person, self._clock.now_ns() // 1000)
        with self._cases.begin(person) as tx:
            tx.put(KIND, hold.id, hold.to_document(), None)
            tx.ledger("retention.hold", f"hold:{hold.id}", None, hold.to_document(), reason)
        return hold

    def list(self, *, released: bool = False) -> list[Hold]:
        """Every active hold, with the released ones when asked, oldest first."""
        with self._cases.begin("engine") as tx:
            found = [Hold.from_document(stored.document) for stored in all_of(tx, KIND)]
        kept = [hold for hold in found if released or hold.is_active]
        return sorted(kept, key=lambda hold: (hold.created_us, hold.id))

    def release(self, hold_id: str, person: str, reason: str) -> Hold:
        """Lift a hold. Raises PermissionRefused for the person who set it, NotFound, Conflict when already lifted."""
        with self._cases.begin(person) as tx:
            stored = tx.get(KIND, hold_id)
            if stored is None:
                raise NotFound(f"no hold '{hold_id}'")
            hold = Hold.from_document(stored.document)
            if not hold.is_active:
                raise Conflict(f"hold '{hold_id}' was released by {hold.released_by} already")
            if hold.by == person:
                raise PermissionRefused(f"{person} set this hold", hint="a second person releases it")
            lifted = replace(hold, released_us=self._clock.now_ns() // 1000, released_by=person)
            tx.put(KIND, hold_id, lifted.to_document(), stored.version)
            tx.ledger("retention.release", f"hold:{hold_id}", hold.to_document(), lifted.to_document(), reason)
        return lifted


def all_of(tx: Any, kind: str) -> list[Any]:
    """Every document of a kind. A limit that cuts would lift holds in silence, so it grows until nothing is cut."""
    limit = 10_000
    while True:
        found = tx.find(kind, keys=None, units=None, limit=limit)
        if len(found) < limit:
            return [stored for _id, stored in found]
        limit *= 4
