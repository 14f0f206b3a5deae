"""`Ticket`: what people do about an alert, its tasks, and the legal deadlines that run while they do it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from soc.model.alert import Note, Observable
from soc.model.run import ActionSpec

STATES = (
    "new", "triage", "assigned", "contained", "eradicated", "recovered", "closed", "reopened", "merged", "duplicate",
)  # fmt: skip
RESOLUTIONS = ("resolved", "false_positive", "benign", "not_an_incident", "test")


@dataclass(frozen=True)
class Task:
    """One step of the playbook as the ticket carries it; `due_us` is µs UTC, None without a deadline."""

    id: str
    tier: int
    kind: str
    title: str
    title_vi: str = ""
    guidance: str = ""
    guidance_vi: str = ""
    due_us: int | None = None
    action: ActionSpec | None = None
    done_us: int | None = None
    done_by: str = ""
    result: str = ""


@dataclass(frozen=True)
class Deadline:
    """A legal deadline (regulation.md, section 6): `due_us` is µs UTC; `met_us` when a person recorded it as met."""

    id: str
    due_us: int
    title: str
    title_vi: str
    recipient: str
    citation: str
    evidence: str
    met_us: int | None = None
    met_by: str = ""


@dataclass(frozen=True)
class Merged:
    """Another ticket that was merged into this one, kept whole so that it can be taken out again."""

    ticket_id: str
    number: str
    title: str
    description: str
    observables: tuple[Observable, ...]
    alert_ids: tuple[str, ...]


@dataclass(frozen=True)
class Move:
    """One change of state, for the key figures that are recomputed from it."""

    at_us: int
    person: str
    before: str
    after: str
    reason: str


@dataclass(frozen=True)
class Ticket:
    """`number` is for people (`KT-2026-000123`), `id` is a UUIDv7. `detected_us` (T0) is when the alert was made."""

    id: str
    number: str
    title: str
    title_vi: str
    description: str
    level: str
    state: str
    created_us: int
    detected_us: int
    created_by: str
    alert_ids: tuple[str, ...]
    entity: str
    observables: tuple[Observable, ...]
    site: str = ""
    system_id: str | None = None
    system_name: str = ""
    system_level: int | None = None
    organization_id: str | None = None
    organization_name: str = ""
    tags: tuple[str, ...] = ()
    risk: int = 0
    playbook: str = ""
    tasks: tuple[Task, ...] = ()
    assignee: str = ""
    tier: int = 1
    serious: bool | None = None
    flags: tuple[str, ...] = ()
    classified_by: str = ""
    classified_reason: str = ""
    deadlines: tuple[Deadline, ...] = ()
    merged: tuple[Merged, ...] = ()
    merged_into: str | None = None
    state_before_merge: str = ""
    resolution: str = ""
    moves: tuple[Move, ...] = ()
    notes: tuple[Note, ...] = ()
    simulated: bool = False

    def to_document(self) -> dict[str, Any]:
        """A JSON-able dict."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of `to_document`."""
        data = dict(document)
        data["observables"] = _observables(data["observables"])
        data["tasks"] = tuple(_task(t) for t in data["tasks"])
        data["deadlines"] = tuple(Deadline(**d) for d in data["deadlines"])
        data["merged"] = tuple(_merged(m) for m in data["merged"])
        data["moves"] = tuple(Move(**m) for m in data["moves"])
        data["notes"] = tuple(Note(**n) for n in data["notes"])
        for name in ("alert_ids", "tags", "flags"):
            data[name] = tuple(data[name])
        return cls(**data)

    def keys(self) -> dict[str, str]:
        """What the case store finds it by."""
        keys = {"number": self.number, "state": self.state, "assignee": self.assignee, "system": self.system_id or ""}
        return {name: value for name, value in keys.items() if value}

    def task(self, id: str) -> Task | None:
        """The task of this id."""
        return next((task for task in self.tasks if task.id == id), None)


def _observables(items: Any) -> tuple[Observable, ...]:
    return tuple(Observable(**o) for o in items)


def _task(document: Mapping[str, Any]) -> Task:
    action = document.get("action")
    return Task(**{**document, "action": None if action is None else ActionSpec(**action)})


def _merged(document: Mapping[str, Any]) -> Merged:
    data = dict(document)
    return Merged(**{**data, "observables": _observables(data["observables"]), "alert_ids": tuple(data["alert_ids"])})
