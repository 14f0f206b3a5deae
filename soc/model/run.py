"""Playbooks and their runs: what is to be done, the plan of one action, and how far it got."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from soc.model.canonical import digest

STATES = (
    "planned", "approved", "applying", "applied", "verified", "reverting", "reverted",
    "failed", "unknown", "expired", "manual",
)  # fmt: skip
"""`reverting` is the persisted intent to undo; the rest are of design section 4."""
ACTIVE = ("applying", "applied", "verified", "reverting", "unknown")
"""States in which the world may carry the effect."""
DAY_S = 86_400


@dataclass(frozen=True)
class ActionSpec:
    """An action of a playbook: `params` names for each parameter the observable it is taken from; `ttl_s` seconds."""

    actuator: str
    verb: str
    params: Mapping[str, str] = field(default_factory=dict)
    ttl_s: int = DAY_S


@dataclass(frozen=True)
class Step:
    """One step. `tier` 1–3 is who does it; `kind` is manual or action; the guidance of tier 2 is in both languages."""

    id: str
    tier: int
    kind: str
    title: str
    title_vi: str
    guidance: str = ""
    guidance_vi: str = ""
    deadline_minutes: int | None = None
    action: ActionSpec | None = None


@dataclass(frozen=True)
class Playbook:
    """What to do about alerts that name it (`alert.playbook`) or carry one of its `tags`."""

    id: str
    title: str
    title_vi: str
    description: str
    description_vi: str
    tags: tuple[str, ...]
    steps: tuple[Step, ...]
    version: str = "1"


@dataclass(frozen=True)
class Capability:
    """Whether an actuator can work here, and why not."""

    available: bool
    why: str = ""


@dataclass(frozen=True)
class ActionPlan:
    """What would be done: commands as argument lists, the target, the way back, one sentence, TTL in seconds.

    `expires_us` (µs UTC) is known only once it is applied; 0 before.
    """

    commands: tuple[tuple[str, ...], ...]
    target: str
    expires_us: int
    revert: tuple[tuple[str, ...], ...]
    text: str
    ttl_s: int = DAY_S


@dataclass(frozen=True)
class Active:
    """One effect that an actuator finds in the world; `expires_us` is µs UTC, None for never."""

    target: str
    expires_us: int | None


@dataclass(frozen=True)
class Progress:
    """One change of a run's state."""

    at_us: int
    actor: str
    state: str
    note: str = ""


@dataclass(frozen=True)
class Run:
    """One action of one ticket on its way. `key` is the idempotency key of its side effect. Times are µs UTC."""

    id: str
    ticket_id: str
    ticket_number: str
    step_id: str
    actuator: str
    verb: str
    plan: ActionPlan
    state: str
    requested_by: str
    created_us: int
    key: str
    plan_hash: str = ""
    organization_id: str | None = None
    system_id: str | None = None
    simulated: bool = False
    approved_by: str = ""
    approved_us: int | None = None
    approval_expires_us: int | None = None
    applying_us: int | None = None
    applied_us: int | None = None
    verified_us: int | None = None
    ended_us: int | None = None
    error: str = ""
    done_by: str = ""
    history: tuple[Progress, ...] = ()

    def computed_hash(self) -> str:
        """SHA-256 of everything an approver agrees to; a changed plan has another."""
        plan = {name: value for name, value in asdict(self.plan).items() if name != "expires_us"}
        return digest(
            {
                "id": self.id, "ticket": self.ticket_id, "step": self.step_id, "actuator": self.actuator,
                "verb": self.verb, "plan": plan, "requested_by": self.requested_by,
            }
        )  # fmt: skip

    def to_document(self) -> dict[str, Any]:
        """A JSON-able dict."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of `to_document`."""
        data = dict(document)
        data["plan"] = _plan(data["plan"])
        data["history"] = tuple(Progress(**p) for p in data["history"])
        return cls(**data)

    def keys(self) -> dict[str, str]:
        """What the case store finds it by."""
        return {"state": self.state, "ticket": self.ticket_id, "target": self.plan.target}


def _plan(document: Mapping[str, Any]) -> ActionPlan:
    commands = tuple(tuple(c) for c in document["commands"])
    return ActionPlan(**{**document, "commands": commands, "revert": tuple(tuple(c) for c in document["revert"])})
