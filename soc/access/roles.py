"""Who may do what: the permission table, as data."""

from __future__ import annotations

from soc.errors import nearest

ROLES = ("tier1", "tier2-unit", "tier3", "manager", "auditor", "admin", "engine")
"""Analyst, owner unit's officer, responder, head of the centre, auditor, administrator, and soc itself."""

_READ = ("alert.read", "ticket.read", "event.search", "playbook.read", "report.read", "source.read", "system.read",
         "rule.read")  # fmt: skip

_TABLE: dict[str, tuple[str, ...]] = {
    "tier1": (
        *_READ, "alert.acknowledge", "alert.close", "alert.note", "ticket.create", "ticket.move", "ticket.note",
        "ticket.report", "playbook.plan", "import.create", "national.read", "event.hunt", "coverage.read",
    ),
    "tier2-unit": (
        "alert.read", "ticket.read", "event.search", "event.hunt", "playbook.read", "report.read", "system.read",
        "rule.read", "ticket.note", "ticket.report",
    ),
    "tier3": (
        *_READ, "alert.acknowledge", "alert.close", "alert.note", "ticket.create", "ticket.move", "ticket.note",
        "ticket.report", "playbook.plan", "playbook.run", "playbook.revert", "import.create", "national.read",
        "national.send", "retention.read", "retention.hold", "packet.read", "event.hunt",
        "coverage.read", "coverage.backfill", "rule.manage",
    ),
    "manager": (
        *_READ, "alert.acknowledge", "alert.close", "alert.note", "ticket.create", "ticket.move", "ticket.note",
        "ticket.report", "playbook.plan", "playbook.approve", "playbook.revert", "national.read", "national.send",
        "national.approve", "retention.read", "retention.plan", "retention.approve", "retention.hold",
        "ledger.read", "ledger.verify", "access.read", "event.hunt", "coverage.read",
        "coverage.backfill", "rule.manage",
    ),
    "auditor": (
        *_READ, "national.read", "retention.read", "ledger.read", "ledger.verify", "access.read", "coverage.read",
    ),
    "admin": (
        *_READ, "import.create", "national.read", "retention.read", "retention.plan", "retention.apply",
        "ledger.read", "ledger.verify", "access.read", "access.manage", "system.manage", "source.manage",
        "event.hunt", "rule.manage", "coverage.read", "coverage.backfill",
    ),
    "engine": (
        *_READ, "alert.create", "ticket.create", "ticket.move", "playbook.plan", "playbook.run", "playbook.revert",
        "import.create", "national.read", "national.send", "retention.read", "retention.plan", "retention.apply",
        "ledger.read", "ledger.verify",
    ),
}  # fmt: skip

PERMISSIONS: tuple[str, ...] = tuple(sorted({permission for held in _TABLE.values() for permission in held}))
"""Every permission, `noun.verb`."""
_HELD: dict[str, frozenset[str]] = {role: frozenset(held) for role, held in _TABLE.items()}


def holds(role: str, permission: str) -> bool:
    """Whether a role has a permission. Raises ValueError for a permission that does not exist."""
    if permission not in PERMISSIONS:
        raise ValueError(f"unknown permission '{permission}'{nearest(permission, PERMISSIONS)}")
    return permission in _HELD.get(role, frozenset())


def permissions_of(role: str) -> tuple[str, ...]:
    """What a role may do, sorted; empty for an unknown role."""
    return tuple(sorted(_HELD.get(role, ())))


def roles_with(permission: str) -> tuple[str, ...]:
    """The roles of people that have a permission, in the order of `ROLES`."""
    return tuple(role for role in ROLES if role != "engine" and holds(role, permission))


def matrix() -> dict[str, dict[str, bool]]:
    """`{permission: {role: held}}`, permissions sorted, roles in the order of `ROLES`."""
    return {permission: {role: holds(role, permission) for role in ROLES} for permission in PERMISSIONS}
