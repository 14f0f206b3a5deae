"""`Alert`: what a person looks at; the findings of one rule about one entity in one hour, with the system concerned."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from soc.model.finding import Matched

STATUSES = ("new", "acknowledged", "escalated", "closed")
VERDICTS = ("true_positive", "benign_true_positive", "false_positive_logic", "false_positive_data", "duplicate", "test")
"""What a closed alert turned out to be; the two kinds of false positive tune rules and parsers respectively."""
EVENT_IDS_KEPT = 1000
"""An alert names this many events; `events_total` goes on counting."""
BUCKET_US = 3600 * 1_000_000
"""The hour of event time that one alert gathers."""


def uuid7(now_ns: int, randomness: bytes) -> str:
    """A time-ordered UUID of version 7 (RFC 9562, section 5.7) from the clock and 10 random bytes."""
    value = (now_ns // 1_000_000) << 80 | int.from_bytes(randomness[:10], "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


@dataclass(frozen=True, order=True)
class Observable:
    """A field with its value that a person may block, search or send on (`source.ip`, `203.0.113.9`)."""

    field: str
    value: str


@dataclass(frozen=True)
class Note:
    """What a person wrote, and when (µs UTC)."""

    at_us: int
    person: str
    text: str


@dataclass(frozen=True)
class Alert:
    """`id` is a UUIDv7. All `*_us` are µs UTC; `first_us` and `last_us` are of the *events*, `created_us` of the alert.

    `lag_us` is how long after its completing event the alert was there. `risk` is 1–100: weight of the level times
    the system's level. `count` counts findings, `events_total` events; `event_ids` (hex) stops at `EVENT_IDS_KEPT`.
    `group` are the group-by values of a correlation or model, as its findings have them. `found_late`: one of them was
    found by looking back.
    """

    id: str
    dedup_key: str
    rule_id: str
    rule_version: str
    title: str
    title_vi: str
    level: str
    kind: str
    dataset: str
    why: tuple[Matched, ...]
    explain: Mapping[str, Any]
    entity: str
    observables: tuple[Observable, ...]
    event_ids: tuple[str, ...]
    events_total: int
    count: int
    first_us: int
    last_us: int
    created_us: int
    updated_us: int
    lag_us: int
    risk: int
    site: str = ""
    status: str = "new"
    owner: str = ""
    system_id: str | None = None
    system_name: str = ""
    system_level: int | None = None
    organization_id: str | None = None
    organization_name: str = ""
    tags: tuple[str, ...] = ()
    playbook: str = ""
    simulated: bool = False
    import_id: str | None = None
    ticket_id: str | None = None
    previous_id: str | None = None
    verdict: str = ""
    reason: str = ""
    acknowledged_us: int | None = None
    closed_us: int | None = None
    notes: tuple[Note, ...] = ()
    group: Mapping[str, str] = field(default_factory=dict)
    found_late: bool = False

    def to_document(self) -> dict[str, Any]:
        """A JSON-able dict."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of `to_document`."""
        data = dict(document)
        data["why"] = tuple(Matched(**m) for m in data["why"])
        data["observables"] = tuple(Observable(**o) for o in data["observables"])
        data["notes"] = tuple(Note(**n) for n in data["notes"])
        data["event_ids"] = tuple(data["event_ids"])
        data["tags"] = tuple(data["tags"])
        return cls(**data)

    def keys(self) -> dict[str, str]:
        """What the case store finds it by."""
        keys = {"dedup": self.dedup_key, "status": self.status, "level": self.level, "rule": self.rule_id}
        keys |= {"entity": self.entity, "site": self.site, "system": self.system_id or "", "owner": self.owner}
        keys |= {"import": self.import_id or ""}
        return {name: value for name, value in keys.items() if value}
