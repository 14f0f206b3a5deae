"""A message to another system: what the outbox holds and the national centre receives (regulation.md, section 9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

KINDS = ("alert", "malware", "incident_report", "statistics", "heartbeat")
SCHEMA_VERSION = "soc.message/v1"


@dataclass(frozen=True)
class Message:
    """`id` is a UUID and the idempotency key; `sequence` orders the messages of one `system_id` at one destination.

    `created_us` is µs UTC. `relation` is new, update, final or retract (then `previous_id` names the message meant).
    `payload` is the canonical body; the mapping of a destination shapes it for the wire. `approved_by` is required
    for incident reports. TLP defaults to AMBER (regulation.md, section 10).
    """

    id: str
    kind: str
    destination: str
    created_us: int
    sender: Mapping[str, str]
    organization_id: str | None
    system: Mapping[str, Any]
    payload: Mapping[str, Any]
    sequence: int = 0
    relation: str = "new"
    previous_id: str | None = None
    tlp: str = "AMBER"
    schema_version: str = SCHEMA_VERSION
    approved_by: str | None = None
    simulated: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)
