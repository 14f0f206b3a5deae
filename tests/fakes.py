"""Fakes of our own services, with the contract of the real ones."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from soc.errors import Conflict, PermissionRefused
from soc.model.finding import Finding, Matched
from soc.model.system import InformationSystem


@dataclass(frozen=True)
class FakeStored:
    """A document with its version."""

    document: dict[str, Any]
    version: int
    unit: str | None = None
    keys: Mapping[str, str] = field(default_factory=dict)


@dataclass
class FakeState:
    """Everything that commits together."""

    documents: dict[str, dict[str, FakeStored]] = field(default_factory=dict)
    ledger: list[dict[str, Any]] = field(default_factory=list)
    changes: list[tuple[str, str, str]] = field(default_factory=list)
    cursors: dict[str, dict[str, Any]] = field(default_factory=dict)


class FakeTx:
    """The document part of a case transaction."""

    def __init__(self, state: FakeState, actor: str) -> None:
        self._state = state
        self.actor = actor

    def get(self, kind: str, id: str) -> FakeStored | None:
        return copy.deepcopy(self._state.documents.get(kind, {}).get(id))

    def put(
        self,
        kind: str,
        id: str,
        document: Mapping[str, Any],
        expected_version: int | None,
        *,
        unit: str | None = None,
        keys: Mapping[str, str] | None = None,
    ) -> int:
        known = self._state.documents.setdefault(kind, {})
        old = known.get(id)
        if (old.version if old else None) != expected_version:
            raise Conflict(f"{kind} '{id}' is at version {old.version if old else None}, not {expected_version}")
        version = (expected_version or 0) + 1
        plain = json.loads(json.dumps(document))  # what cannot be stored as JSON must fail here too
        new_keys = dict(keys) if keys is not None else dict(old.keys) if old else {}
        known[id] = FakeStored(plain, version, unit if unit is not None or old is None else old.unit, new_keys)
        return version

    def find(
        self,
        kind: str,
        *,
        keys: Mapping[str, Any] | None = None,
        units: Any = None,
        limit: int = 100,
        order: str = "desc",
        before: str | None = None,
    ) -> list[tuple[str, FakeStored]]:
        found = [
            (id, copy.deepcopy(stored))
            for id, stored in self._state.documents.get(kind, {}).items()
            if all(_holds(stored.keys.get(name), wanted) for name, wanted in (keys or {}).items())
            and (units is None or stored.unit in units)
            and (before is None or (id < before if order == "desc" else id > before))
        ]
        return sorted(found, key=lambda item: item[0], reverse=order == "desc")[:limit]

    def ledger(
        self,
        act: str,
        object: str,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
        reason: str = "",
    ) -> None:
        self._state.ledger.append(
            {"actor": self.actor, "act": act, "object": object, "before": before, "after": after, "reason": reason}
        )

    def change(self, kind: str, id: str, what: str) -> int:
        self._state.changes.append((kind, id, what))
        return len(self._state.changes)

    def cursor(self, name: str) -> dict[str, Any] | None:
        return self._state.cursors.get(name)

    def set_cursor(self, name: str, document: Mapping[str, Any]) -> None:
        self._state.cursors[name] = dict(document)


def _holds(value: str | None, wanted: Any) -> bool:
    return value == wanted if isinstance(wanted, str) else value in wanted


class FakeCases:
    """Cases in memory, or in one JSON file that survives the process (`path`). `crash` is called around a commit."""

    def __init__(self, path: Path | None = None, crash: Callable[[str], None] = lambda _where: None) -> None:
        self.path = path
        self._crash = crash
        self.state = FakeState()
        self._open = False
        if path is not None and path.exists():
            for kind, known in json.loads(path.read_text()).items():
                self.state.documents[kind] = {id: FakeStored(**stored) for id, stored in known.items()}

    @contextmanager
    def begin(self, actor: str, via: str = "engine") -> Iterator[FakeTx]:
        assert not self._open, "a transaction inside a transaction waits for itself in the real store"
        state = copy.deepcopy(self.state)
        self._open = True
        try:
            yield FakeTx(state, actor)
        finally:
            self._open = False
        changed = len(state.changes) != len(self.state.changes)
        if changed:
            self._crash("before commit")
        self.state = state
        if self.path is not None and changed:
            plain = {
                kind: {id: vars(stored) for id, stored in known.items()} for kind, known in state.documents.items()
            }
            temporary = self.path.with_suffix(".tmp")
            temporary.write_text(json.dumps(plain))
            temporary.replace(self.path)
            self._crash("after commit")

    @property
    def acts(self) -> list[str]:
        """The ledger's acts in order."""
        return [entry["act"] for entry in self.state.ledger]


@dataclass(frozen=True)
class FakePerson:
    """Somebody with permissions."""

    name: str
    permissions: frozenset[str] = frozenset(
        {"playbook.plan", "playbook.approve", "playbook.run", "playbook.revert", "alert.acknowledge", "ticket.create"}
    )


def require(person: Any, permission: str) -> None:
    """Refuses who lacks the permission."""
    if permission not in person.permissions:
        raise PermissionRefused(f"{person.name} may not {permission}")


class FakeSystems:
    """A registry of a few systems."""

    def __init__(self, systems: Sequence[InformationSystem] = ()) -> None:
        self._systems = {system.id: system for system in systems}

    def get(self, id: str) -> InformationSystem | None:
        return self._systems.get(id)


HOUR_US = 3600 * 1_000_000
T0_US = 1_763_856_000_000_000
"""2025-11-23 00:00 UTC."""


def a_finding(id: str = "f1", **changes: Any) -> Finding:
    """An SSH brute force from 203.0.113.9 against system sys-1 of unit so-tttt."""
    finding = Finding(
        id=id, rule_id="rule-ssh", rule_version="1", title="SSH brute force", title_vi="Dò mật khẩu SSH",
        level="high", kind="correlation", dataset="linux.sshd", event_ids=(f"{id}-event",), first_us=T0_US,
        last_us=T0_US, site="hq", system_id="sys-1", organization_id="so-tttt", entity="source.ip=203.0.113.9",
        matched=(Matched("selection", "user.name", "root", "root"),), tags=("attack.t1110",),
        playbook="ssh-brute-force",
    )  # fmt: skip
    return replace(finding, **changes)
