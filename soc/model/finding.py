"""`Finding`: what a rule, a correlation or a model says of one or several events."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

LEVELS = ("informational", "low", "medium", "high", "critical")
"""Sigma's levels, weakest first."""


@dataclass(frozen=True)
class Matched:
    """Why: in this selection, this field had this value, which this pattern describes."""

    selection: str
    field: str
    value: str
    pattern: str


def finding_id(rule_id: str, *parts: str) -> str:
    """Hex of 128 bits of hash(rule id, event id), or hash(rule id, group key, completing event id)."""
    return hashlib.blake2b("\0".join((rule_id, *parts)).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Finding:
    """One hit. Times are µs UTC of the *events*; `event_ids` are hex, the completing event last.

    `kind` is `sigma`, `correlation` or `anomaly`. `entity` is what the alert is about (`source.ip=203.0.113.9`).
    `group` are the group-by values of a correlation. `explain` of an anomaly carries observed, expected and why as
    a message id with parameters. `position` is the text of the completing event's `Position`.
    `exception` is the id of the exception that takes it: such a finding is kept and counted, and makes no alert.
    `status` is that of the rule (Sigma: `experimental`, `test`, `stable`, …). `lookback` is the id of the one
    that found it, for what was missed or came too late; "" of what was found as it came.
    """

    id: str
    rule_id: str
    rule_version: str
    title: str
    level: str
    kind: str
    dataset: str
    event_ids: tuple[str, ...]
    first_us: int
    last_us: int
    site: str = ""
    system_id: str | None = None
    organization_id: str | None = None
    entity: str = ""
    count: int = 1
    matched: tuple[Matched, ...] = ()
    group: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    explain: Mapping[str, Any] = field(default_factory=dict)
    title_vi: str = ""
    playbook: str = ""
    import_id: str | None = None
    simulated: bool = False
    position: str = ""
    exception: str = ""
    status: str = ""
    lookback: str = ""

    def to_document(self) -> dict[str, Any]:
        """A JSON-able dict."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of `to_document`."""
        data = dict(document)
        data["event_ids"] = tuple(data["event_ids"])
        data["tags"] = tuple(data.get("tags", ()))
        data["matched"] = tuple(Matched(**m) for m in data.get("matched", ()))
        return cls(**data)
