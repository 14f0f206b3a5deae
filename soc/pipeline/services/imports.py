"""What became of an upload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from soc.collectors.uploads import Uploads
from soc.model.finding import LEVELS
from soc.model.query import And, Equals
from soc.model.scope import Scope
from soc.store.cases import Cases
from soc.store.events import EventStore
from soc.store.events.nouns import Aggregate


@dataclass(frozen=True)
class Imports:
    """Uploads, and what of them is stored and was found."""

    uploads: Uploads
    store: EventStore
    cases: Cases

    def state(self, id: str, scope: Scope) -> dict[str, Any]:
        """An upload's progress and, from the store, what became of it. Raises NotFound."""
        state = self.uploads.state(id)
        mine = Equals("soc.import.id", id)
        first = self.store.aggregate(scope, And((mine, Equals("soc.part", 0))), Aggregate(group_by=("event.dataset",)))
        rows = self.store.aggregate(
            scope, mine, Aggregate(group_by=("event.dataset",), min=("@timestamp",), max=("@timestamp",))
        )
        stored = sum(row["count"] for row in first)
        with self.cases.read(scope.actor, "api") as tx:
            alerts = tx.find("alert", keys={"import": id}, units=scope.units, limit=1000)
        return {
            **state,
            "stored": stored,
            "pending": max(state["records"] - stored, 0),
            "unparsed": sum(row["count"] for row in rows if row["event.dataset"] == "unparsed"),
            "datasets": {row["event.dataset"]: row["count"] for row in rows},
            "first_at": min((row["min(@timestamp)"] for row in rows if row["min(@timestamp)"]), default=None),
            "last_at": max((row["max(@timestamp)"] for row in rows if row["max(@timestamp)"]), default=None),
            "findings": _top([stored.document for _, stored in alerts]),
        }


def _top(alerts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rules that raised most, with their counts."""
    found: dict[str, dict[str, Any]] = {}
    for alert in alerts:
        row = found.setdefault(
            alert["rule_id"],
            {
                "rule": alert["rule_id"],
                "title": alert["title"],
                "title_vi": alert["title_vi"],
                "level": alert["level"],
                "count": 0,
            },
        )
        row["count"] += alert["count"]
    return sorted(found.values(), key=lambda row: (-LEVELS.index(row["level"]), -row["count"]))
