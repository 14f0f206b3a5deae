"""Which sealed files may go, and why the rest may not: policy × inventory × now → `Plan` (pure)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from soc.errors import Conflict
from soc.model.canonical import digest
from soc.model.system import InformationSystem
from soc.retention.hold import UNREGISTERED, Hold
from soc.retention.ladder import Facts, Ladder, Rule, latest_due_us, local_date

SCHEMA = "soc.retention.plan/v1"


class Segment(Protocol):
    """A sealed file, the unit of deletion. Times are µs UTC, `day` is the UTC day of receipt, level 0 = none."""

    @property
    def id(self) -> str: ...
    @property
    def day(self) -> str: ...
    @property
    def level(self) -> int | str: ...
    @property
    def systems(self) -> frozenset[str]: ...
    @property
    def rows(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def min_event_us(self) -> int: ...
    @property
    def max_event_us(self) -> int: ...
    @property
    def max_receipt_us(self) -> int: ...
    @property
    def sha256(self) -> str: ...


@dataclass(frozen=True)
class Policy:
    """The ladder of the profile, what the site adds to it, and what is known of the logs in a segment."""

    ladder: Ladder
    policy_months: int = 0
    online_service_provider: bool = False
    log_facts: Callable[[Segment], Facts] | None = None

    def rules(self, segment: Segment, system: InformationSystem | None, now_us: int) -> tuple[Rule, ...]:
        """The rules that bind this system's data in this segment."""
        level = None if system is None else level_owed(system, segment, now_us)
        facts = {**self.facts(system), **(self.log_facts(segment) if self.log_facts else {})}
        return self.ladder.rules(level, facts, self.policy_months)

    def facts(self, system: InformationSystem | None) -> dict[str, frozenset[str]]:
        """What is known of a system without looking at its logs."""
        provider = frozenset({"true" if self.online_service_provider else "false"})
        return {"tenant.online_service_provider": provider, "system.kind": frozenset({system.kind if system else ""})}


@dataclass(frozen=True)
class Reason:
    """A message id of retention/messages.yml with its parameters."""

    id: str
    params: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Item:
    """One segment: `action` is delete or keep; `due_us` is when its last duty ends, holds apart."""

    segment_id: str
    day: str
    level: int
    systems: tuple[str, ...]
    rows: int
    bytes: int
    sha256: str
    action: str
    due_us: int
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class Plan:
    """What may be deleted at `now_us`. `hash` binds approval to exactly these items."""

    planner: str
    now_us: int
    ladder_id: str
    items: tuple[Item, ...]
    hash: str = ""

    @property
    def to_delete(self) -> tuple[Item, ...]:
        """The items that may go."""
        return tuple(item for item in self.items if item.action == "delete")

    def computed_hash(self) -> str:
        """Hex SHA-256 over the canonical document without its hash."""
        body = self.to_document()
        del body["hash"]
        return digest(body)

    def to_document(self) -> dict[str, Any]:
        """A JSON-able dict."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Plan:
        """The inverse of `to_document`. Raises Conflict when the hash does not fit the items."""
        items = tuple(_item(item) for item in document["items"])
        plan = cls(document["planner"], document["now_us"], document["ladder_id"], items, document["hash"])
        if plan.computed_hash() != plan.hash:
            raise Conflict("the plan was altered after it was made", hint="plan again: soc retention plan")
        return plan


def level_owed(system: InformationSystem, segment: Segment, now_us: int) -> int:
    """The highest level in force at any time since the data were written; a downgrade never shortens what is owed."""
    written = min(dt.date.fromisoformat(segment.day), local_date(segment.max_receipt_us))
    today = local_date(now_us)
    since = [decision.level for decision in system.levels if written < decision.since <= today]
    # The level the file was stored under counts too: a registry file may have been edited without its history.
    return max([system.level_on(written), int(segment.level), *since])


def make_plan(
    segments: Iterable[Segment],
    systems: Mapping[str, InformationSystem],
    holds: Sequence[Hold],
    policy: Policy,
    *,
    now_us: int,
    planner: str,
) -> Plan:
    """Decide every segment. One is due only when every system in it is due; an active hold keeps it whole."""
    items = [_decide(segment, systems, holds, policy, now_us) for segment in segments]
    items.sort(key=lambda item: (item.day, item.level, item.segment_id))
    plan = Plan(planner, now_us, policy.ladder.id, tuple(items))
    return Plan(**{**plan.__dict__, "hash": plan.computed_hash()})


def _decide(
    segment: Segment, systems: Mapping[str, InformationSystem], holds: Sequence[Hold], policy: Policy, now_us: int
) -> Item:
    newest = newest_us(segment)
    dues = [_due(segment, name, systems.get(name), policy, now_us) for name in sorted(named_systems(segment))]
    keep = [reason for due, reason in dues if due > now_us]
    keep += [Reason("retention.keep.held", {"hold": hold.id}) for hold in holds if _holds(hold, segment, newest)]
    due = max(due for due, _reason in dues)
    reasons = keep or [Reason("retention.delete.due", {"due": local_date(due).isoformat()})]
    return Item(
        segment_id=segment.id,
        day=segment.day,
        level=int(segment.level),
        systems=tuple(sorted(segment.systems)),
        rows=segment.rows,
        bytes=segment.bytes,
        sha256=segment.sha256,
        action="keep" if keep else "delete",
        due_us=due,
        reasons=tuple(reasons),
    )


def newest_us(segment: Segment) -> int:
    """The moment its data are owed from: the newest event or the newest receipt, whichever is later (µs UTC)."""
    return max(segment.max_event_us, segment.max_receipt_us)


def named_systems(segment: Segment) -> frozenset[str]:
    """The systems in a segment; UNREGISTERED stands for rows of none (level 0, or no system named)."""
    unregistered = {UNREGISTERED} if int(segment.level) == 0 or not segment.systems else set()
    return segment.systems | unregistered


def _holds(hold: Hold, segment: Segment, newest: int) -> bool:
    return hold.covers(named_systems(segment), min(segment.min_event_us, segment.max_receipt_us), newest)


def _due(
    segment: Segment, name: str, system: InformationSystem | None, policy: Policy, now_us: int
) -> tuple[int, Reason]:
    due, rule = latest_due_us(newest_us(segment), policy.rules(segment, system, now_us))
    params = {"due": local_date(due).isoformat(), "rule": rule.id, "cite": rule.cite}
    if system is None:
        return due, Reason("retention.keep.unregistered", {**params, "system": name})
    level = str(level_owed(system, segment, now_us))
    return due, Reason("retention.keep.owed", {**params, "system": name, "level": level})


def _item(document: Mapping[str, Any]) -> Item:
    reasons = tuple(Reason(reason["id"], reason["params"]) for reason in document["reasons"])
    return Item(**{**document, "systems": tuple(document["systems"]), "reasons": reasons})
