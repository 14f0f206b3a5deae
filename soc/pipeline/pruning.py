"""`Pruning`: what findings leave behind goes when the logs that it is about are due, and not before.

Alerts and tickets stay, and with them every record of a finding that became part of one, and every version of a rule
that one names. The rest would grow without end: findings that made no alert (`soc rule withheld`), the records of
those that were told, versions of rules that nobody can roll back to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from soc.alerts import told, withheld
from soc.model.clock import Clock, utc
from soc.pipeline.rules import KEPT_VERSIONS, VERSION
from soc.retention import hold
from soc.retention.plan import Plan
from soc.retention.plan import Segment as Inventory
from soc.store.cases import Cases

PRUNED = "pruned"
"""The kind of the one document that counts, by kind, what was pruned in all."""
TOTAL = "total"
PAGE = 1_000
"""Documents that are looked at in one step."""
_ACTOR = "engine"
_BELONGS = (("alert", "alert"), ("withheld", withheld.KIND), ("told_as", told.KIND))
"""What the record of a finding may belong to: the name that says which, and its kind."""
Decide = Callable[[Iterable[Inventory]], Plan]
"""What of an inventory is due, by the policy of the logs; holds win."""
Doomed = Mapping[str, int]
"""Documents of a kind that may go, each with the version that was judged."""


@dataclass(frozen=True)
class _Withheld:
    """Withheld findings as retention sees data: those of one system, received over some time."""

    id: str
    day: str
    level: int
    systems: frozenset[str]
    rows: int
    min_event_us: int
    max_event_us: int
    max_receipt_us: int
    bytes: int = 0
    sha256: str = ""

    @classmethod
    def of(cls, id: str, document: Mapping[str, Any]) -> _Withheld:
        day = utc(document["created_us"] * 1000).date().isoformat()
        systems = frozenset({document["system_id"]} if document["system_id"] else ())
        received_us = max(document["created_us"], document["updated_us"])
        return cls(
            id, day, document["system_level"] or 0, systems, document["count"],
            document["first_us"], document["last_us"], received_us,
        )  # fmt: skip


class Pruning:
    """One for a service; `step` looks at one page of each kind, in turns at all."""

    def __init__(self, cases: Cases, clock: Clock, decide: Decide) -> None:
        self._cases, self._clock, self._decide = cases, clock, decide
        self._after: dict[str, str | None] = {}

    def step(self) -> Counter[str]:
        """How many documents of each kind were pruned; that is in the ledger, with them or not at all."""
        with self._cases.read(_ACTOR) as tx:
            holds = tx.count(hold.KIND)
        found = {
            withheld.KIND: self._due(self._page(withheld.KIND)),
            told.KIND: self._without_owner(self._page(told.KIND)),
            VERSION: self._old_versions(self._page(VERSION)),
        }
        return self._prune({kind: doomed for kind, doomed in found.items() if doomed}, holds)

    def totals(self) -> dict[str, int]:
        """How many were pruned in all, by kind."""
        with self._cases.read(_ACTOR) as tx:
            stored = tx.get(PRUNED, TOTAL)
        return dict(stored.document) if stored else {}

    def _page(self, kind: str) -> Sequence[tuple[str, Any]]:
        with self._cases.read(_ACTOR) as tx:
            page: Sequence[tuple[str, Any]] = tx.find(kind, limit=PAGE, order="asc", before=self._after.get(kind))
        self._after[kind] = page[-1][0] if len(page) == PAGE else None
        return page

    def _due(self, page: Sequence[tuple[str, Any]]) -> Doomed:
        plan = self._decide(_Withheld.of(id, stored.document) for id, stored in page)
        due = {item.segment_id for item in plan.to_delete}
        return {id: stored.version for id, stored in page if id in due}

    def _without_owner(self, page: Sequence[tuple[str, Any]]) -> Doomed:
        """Records whose alert, withheld finding or like is gone: their events went before."""
        with self._cases.read(_ACTOR) as tx:
            return {
                id: stored.version
                for id, stored in page
                if (owners := list(_owners(stored.document))) and all(tx.get(*owner) is None for owner in owners)
            }

    def _old_versions(self, page: Sequence[tuple[str, Any]]) -> Doomed:
        """Beyond the newest of a rule, those that no alert and no withheld finding names."""
        doomed: dict[str, int] = {}
        with self._cases.read(_ACTOR) as tx:
            for rule in {stored.document["rule"] for _, stored in page}:
                n = tx.count(VERSION, {"rule": rule})
                if n <= KEPT_VERSIONS:
                    continue
                known = tx.find(VERSION, keys={"rule": rule}, limit=n)
                known.sort(key=lambda each: (-each[1].document["first_us"], each[0]))
                named = {name for kind in ("alert", withheld.KIND) for name in _versions_named(tx, kind, rule)}
                old = [(id, stored) for id, stored in known[KEPT_VERSIONS:] if stored.document["version"] not in named]
                doomed |= {id: stored.version for id, stored in old}
        return doomed

    def _prune(self, found: Mapping[str, Doomed], holds: int) -> Counter[str]:
        gone: Counter[str] = Counter()
        if not found:
            return gone
        with self._cases.begin(_ACTOR) as tx:
            if tx.count(hold.KIND) != holds:
                return gone  # somebody holds what was judged a moment ago: the next round knows of it
            for kind, doomed in found.items():
                gone[kind] = sum(tx.delete(kind, id, version) for id, version in doomed.items())
            if gone.total():
                stored = tx.get(PRUNED, TOTAL)
                total = Counter(stored.document if stored else {}) + gone
                tx.put(PRUNED, TOTAL, total, stored.version if stored else None)
                tx.ledger("retention.prune", f"{PRUNED}:{TOTAL}", None, dict(gone), "due")
        return gone


def _owners(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    return ((kind, document[name]) for name, kind in _BELONGS if document.get(name))


def _versions_named(tx: Any, kind: str, rule: str) -> Iterator[str]:
    before = None
    while page := tx.find(kind, keys={"rule": rule}, limit=PAGE, before=before):
        yield from (stored.document["rule_version"] for _, stored in page)
        before = page[-1][0]
