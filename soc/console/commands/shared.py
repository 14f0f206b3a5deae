"""What the tables of alerts, tickets and runs have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from soc.console.i18n import pick
from soc.console.render import Column
from soc.console.render import moment as shown_moment


def title(row: Mapping[str, Any]) -> str:
    """The title in the reader's language."""
    return pick(str(row.get("title") or ""), str(row.get("title_vi") or ""))


def system(row: Mapping[str, Any]) -> str:
    """The system concerned, by name."""
    return str(row.get("system_name") or row.get("system_id") or "")


NOTES = (
    Column("cmd.col.time", "at_us", shown_moment),
    Column("cmd.col.person", "person"),
    Column("cmd.col.text", "text", fold=True),
)
