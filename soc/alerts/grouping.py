"""Pure: findings to alerts: what belongs together, how much it weighs, what can be acted on."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from soc.model.alert import BUCKET_US, EVENT_IDS_KEPT, Alert, Observable
from soc.model.canonical import digest
from soc.model.finding import LEVELS, Finding
from soc.model.system import InformationSystem

LEVEL_WEIGHT = {"informational": 1, "low": 5, "medium": 10, "high": 15, "critical": 20}
UNREGISTERED_LEVEL = 3
"""Whose level nobody registered weighs like a provincial system: it is not known to be harmless."""
_OBSERVED = frozenset(
    {"source.ip", "destination.ip", "host.ip", "host.name", "user.name", "url.domain", "url.path", "file.hash.sha256"}
)


def dedup_key(finding: Finding) -> str:
    """Hex SHA-256 over unit, site, rule, entity and the hour of the completing event (design, Identity)."""
    bucket = finding.last_us // BUCKET_US
    return digest([finding.organization_id, finding.site, finding.rule_id, finding.entity, bucket])


def risk(level: str, system_level: int | None) -> int:
    """1–100: the weight of the finding's level times the level (1–5) of the system."""
    return LEVEL_WEIGHT.get(level, 1) * (system_level or UNREGISTERED_LEVEL)


def stronger(one: str, other: str) -> str:
    """The stronger of two Sigma levels."""
    return max(one, other, key=lambda level: LEVELS.index(level) if level in LEVELS else 0)


def observables(finding: Finding) -> tuple[Observable, ...]:
    """The entity, the group values, and matched values of fields that can be acted on; each once, in that order."""
    pairs: dict[Observable, None] = {}
    name, equals, value = finding.entity.partition("=")
    if equals and value:
        pairs[Observable(name, value)] = None
    for field, text in finding.group.items():
        pairs[Observable(field, str(text))] = None
    for matched in finding.matched:
        if matched.field in _OBSERVED and _plausible(matched.field, matched.value):
            pairs[Observable(matched.field, matched.value)] = None
    return tuple(pairs)


def _plausible(field: str, value: str) -> bool:
    if not field.endswith(".ip"):
        return bool(value)
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def opened(
    finding: Finding,
    *,
    id: str,
    now_us: int,
    system: InformationSystem | None,
    system_level: int | None,
    previous_id: str | None,
) -> Alert:
    """A new alert of a first finding."""
    return Alert(
        id=id, dedup_key=dedup_key(finding), rule_id=finding.rule_id, rule_version=finding.rule_version,
        title=finding.title, title_vi=finding.title_vi or finding.title, level=finding.level, kind=finding.kind,
        dataset=finding.dataset, why=finding.matched, explain=dict(finding.explain), entity=finding.entity,
        observables=observables(finding), event_ids=finding.event_ids[:EVENT_IDS_KEPT],
        events_total=max(finding.count, len(finding.event_ids)), count=1,
        first_us=finding.first_us, last_us=finding.last_us, created_us=now_us, updated_us=now_us,
        lag_us=now_us - finding.last_us, risk=risk(finding.level, system_level), site=finding.site,
        system_id=finding.system_id, system_name=system.name if system else "", system_level=system_level,
        organization_id=finding.organization_id, organization_name=system.organization_name if system else "",
        tags=finding.tags, playbook=finding.playbook, simulated=finding.simulated, import_id=finding.import_id,
        previous_id=previous_id, group=dict(finding.group), found_late=bool(finding.lookback),
    )  # fmt: skip


def joined(alert: Alert, finding: Finding, now_us: int) -> Alert:
    """The alert with one more finding."""
    known = set(alert.event_ids)
    fresh = tuple(id for id in finding.event_ids if id not in known)
    # A correlation that fires again names earlier events again; beyond the cap that can no longer be told.
    total = alert.events_total + (len(fresh) if finding.event_ids else finding.count)
    level = stronger(alert.level, finding.level)
    return replace(
        alert,
        level=level,
        risk=risk(level, alert.system_level),
        event_ids=(alert.event_ids + fresh)[:EVENT_IDS_KEPT],
        events_total=total,
        count=alert.count + 1,
        first_us=min(alert.first_us, finding.first_us),
        last_us=max(alert.last_us, finding.last_us),
        updated_us=now_us,
        why=tuple(dict.fromkeys(alert.why + finding.matched))[:50],
        observables=tuple(dict.fromkeys(alert.observables + observables(finding)))[:200],
        tags=tuple(dict.fromkeys(alert.tags + finding.tags)),
        found_late=alert.found_late or bool(finding.lookback),
    )
