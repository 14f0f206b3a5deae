"""The permission table keeps its promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from soc.access import PERMISSIONS, ROLES, holds, matrix, permissions_of

# The permissions that the other rooms were promised.
PROMISED = (
    "alert.read",
    "alert.acknowledge",
    "ticket.create",
    "playbook.plan",
    "playbook.approve",
    "playbook.run",
    "playbook.revert",
    "retention.read",
    "retention.plan",
    "retention.approve",
    "retention.apply",
    "retention.hold",
    "event.search",
    "national.read",
    "ledger.verify",
    "access.manage",
    "source.read",
    "import.create",
    "system.manage",
)


@pytest.mark.parametrize("permission", PROMISED)
def test_a_promised_permission_is_held_by_somebody(permission: str) -> None:
    """A permission nobody holds would be a door without a key."""
    assert any(holds(role, permission) for role in ROLES if role != "engine")


def test_an_auditor_only_reads_and_verifies() -> None:
    """Whoever checks changes nothing."""
    assert {p.split(".")[1] for p in permissions_of("auditor")} == {"read", "search", "verify"}
    assert holds("auditor", "retention.read")


def test_a_unit_officer_reports_and_never_acts() -> None:
    """Own alerts, tickets and events; steps are reported done."""
    held = set(permissions_of("tier2-unit"))
    assert {"alert.read", "ticket.read", "event.search", "ticket.report"} <= held
    assert not any(p.startswith(("retention.", "national.", "access.", "ledger.")) for p in held)
    assert not held & {"playbook.plan", "playbook.run", "playbook.approve", "alert.close"}


@pytest.mark.parametrize("role", [r for r in ROLES if r != "manager"])
def test_only_a_manager_approves(role: str) -> None:
    """The engine least of all."""
    assert not [p for p in permissions_of(role) if p.endswith(".approve")]


@pytest.mark.parametrize("noun", ["playbook", "retention"])
def test_no_person_both_approves_and_carries_out(noun: str) -> None:
    """Approval and execution lie in different hands."""
    verb = {"playbook": "run", "retention": "apply"}[noun]
    assert not [r for r in ROLES if holds(r, f"{noun}.approve") and holds(r, f"{noun}.{verb}")]


def test_only_an_admin_manages_people_and_systems() -> None:
    """And an admin reads, but does not decide."""
    assert [r for r in ROLES if holds(r, "access.manage") or holds(r, "system.manage")] == ["admin"]


def test_the_matrix_shows_every_cell() -> None:
    """Permissions by roles, nothing left out."""
    table = matrix()
    assert tuple(table) == PERMISSIONS
    assert all(tuple(row) == ROLES for row in table.values())


def test_the_page_shows_the_table_of_the_code() -> None:
    """docs/access.md is what the program does."""
    page = (Path(__file__).parents[2] / "docs" / "access.md").read_text("utf-8")
    people = [role for role in ROLES if role != "engine"]
    for permission, row in matrix().items():
        cells = " | ".join("✓" if row[role] else "" for role in people)
        assert f"| `{permission}` | {cells} |" in page
