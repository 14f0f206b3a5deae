"""What the tables of alerts, tickets and runs have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from soc.console.i18n import number, pick, t
from soc.console.render import Column
from soc.console.render import moment as shown_moment


def title(row: Mapping[str, Any]) -> str:
    """The title in the reader's language."""
    return pick(str(row.get("title") or ""), str(row.get("title_vi") or ""))


def system(row: Mapping[str, Any]) -> str:
    """The system concerned, by name."""
    return str(row.get("system_name") or row.get("system_id") or "")


def making_up(backfill: Mapping[str, Any]) -> str:
    """What the service does about gaps in the coverage, unasked."""
    if not backfill.get("is_on"):
        return t("cmd.backfill.off")
    if not backfill.get("job"):
        return t("cmd.backfill.none")
    state = t(f"cmd.lookback.{backfill['state']}")
    words = {name: number(backfill[name]) for name in ("at", "slices", "hits")}
    told = t("cmd.backfill.job", job=backfill["job"], state=state, **words)
    rests_until = backfill.get("rests_until_us")
    return f"{told}; {t('cmd.backfill.rests', until=shown_moment(rests_until))}" if rests_until else told


NOTES = (
    Column("cmd.col.time", "at_us", shown_moment),
    Column("cmd.col.person", "person"),
    Column("cmd.col.text", "text", fold=True),
)
