"""The accounting of the design, section 5: received = queued + dropped, and queued = stored + dead + pending."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from soc.collectors.counters import EVERYBODY, OTHERS
from soc.model.position import Partition, Position
from soc.model.query import And, Between, Equals, Not, Or, Wildcard
from soc.model.record import RawBlock
from soc.model.scope import Scope
from soc.model.values import micros
from soc.parsers.groups import EARLY
from soc.store.events import EventStore
from soc.store.events.nouns import Aggregate

HOUR_US = 3_600_000_000
RATE_US = 60_000_000
MAX_PENDING_FRAMES = 20_000
"""Frames that are read to tell whose records wait; what lies behind them is counted under nobody's name."""
FRAMES_AT_ONCE = 64
"""So many of them are in memory at a time: a frame may have 4 MiB."""
HISTORY = "history"
"""The node of simulated history."""
FORGOTTEN = ("exporter_forgotten", "template_forgotten", "replay_full", EARLY)
"""Flags of what parsers had no room for."""
Cursors = dict[Partition, Position]
Key = tuple[str, str, str]
"""Site, listener, peer."""


@dataclass
class Account:
    """Records of one source since the start of an hour. `dropped` by reason; `unparsed` is part of `stored`.

    `bytes` and `flagged` are the collector's, of queued records; `products` says what parsers took records for;
    `oldest_us` is the receipt of the oldest record that waits. `peers` is more than one where the collector could not
    count each by name (`+others`).
    `refused` are connections that were turned away or given up; `forgotten` is what parsers had no room for,
    by the flag of its events: exporters and templates of flows, data that waited for a template, lines for their rest.
    `unbelieved` are records that were kept although their sender could not be verified, by reason.
    """

    received: int = 0
    queued: int = 0
    bytes: int = 0
    flagged: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    unbelieved: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    forgotten: Counter[str] = field(default_factory=Counter)
    stored: int = 0
    dead: int = 0
    pending: int = 0
    unparsed: int = 0
    first_seen_us: int = 0
    last_seen_us: int = 0
    oldest_us: int = 0
    recent: int = 0
    peers: int = 1
    datasets: set[str] = field(default_factory=set)
    products: Counter[str] = field(default_factory=Counter)
    system_id: str = ""
    system_name: str = ""

    @property
    def is_balanced(self) -> bool:
        """Whether both equations hold."""
        return (
            self.received == self.queued + self.dropped.total()
            and self.queued == self.stored + self.dead + self.pending
        )

    @property
    def guess(self) -> dict[str, Any] | None:
        """The product that most of its records were recognised as, and their part of what is stored."""
        if not self.products:
            return None
        product, n = max(self.products.items(), key=lambda item: (item[1], item[0]))
        return {"product": product, "share": round(n / self.stored, 4)}

    def add(self, other: Account) -> None:
        """Count another source's records in with ours."""
        for name in ("received", "queued", "bytes", "flagged", "stored", "dead", "pending", "unparsed", "recent"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.dropped.update(other.dropped)
        self.unbelieved.update(other.unbelieved)
        self.refused.update(other.refused)
        self.forgotten.update(other.forgotten)
        self.products.update(other.products)
        self.datasets |= other.datasets
        self.first_seen_us = _earlier(self.first_seen_us, other.first_seen_us)
        self.oldest_us = _earlier(self.oldest_us, other.oldest_us)
        self.last_seen_us = max(self.last_seen_us, other.last_seen_us)

    def to_document(self, key: Key, now_us: int, *, is_whole: bool = True) -> dict[str, Any]:
        """One row of `soc source list`; without the whole count nobody can say whether it balances."""
        site, listener, peer = key
        return {
            "site": site, "listener": listener, "peer": peer, "peers": self.peers,
            "system_id": self.system_id, "system_name": self.system_name, "datasets": sorted(self.datasets),
            "guess": self.guess, "first_seen_us": self.first_seen_us or None, "last_seen_us": self.last_seen_us or None,
            "rate_per_s": round(self.recent / (RATE_US / 1_000_000), 2),
            "received": self.received, "bytes": self.bytes, "queued": self.queued, "flagged": self.flagged,
            "dropped": dict(self.dropped), "unbelieved": dict(self.unbelieved),
            "refused": dict(self.refused), "forgotten": dict(self.forgotten),
            "stored": self.stored, "dead": self.dead, "pending": self.pending,
            "lag_us": max(now_us - self.oldest_us, 0) if self.oldest_us else 0,
            "unparsed": self.unparsed, "unparsed_share": round(self.unparsed / self.stored, 4) if self.stored else None,
            "balanced": self.is_balanced if is_whole else None,
        }  # fmt: skip


def _earlier(one: int, other: int) -> int:
    """The smaller of two times, of which 0 is none."""
    return min(one, other) if one and other else one or other


class Accounts:
    """Gathers one account per source. Give everything of one span, which begins at a full hour (µs UTC).

    Set `is_whole` to False when more waits than was counted: then `balanced` is None, for it is not known.
    """

    def __init__(self, since_us: int, now_us: int) -> None:
        self.since_us, self.now_us = since_us // HOUR_US * HOUR_US, now_us
        self.is_whole = True
        self._found: dict[Key, Account] = {}
        self._crowded: dict[tuple[str, str], set[int]] = {}
        self._named: dict[Key, set[int]] = {}

    def of(self, key: Key) -> Account:
        """The account of a source."""
        return self._found.setdefault(key, Account())

    def collected(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """The collector's counters, as `Counters` saves them."""
        for row in rows:
            if row["hour_us"] < self.since_us:
                continue
            key = (row["site"], row["listener"], row["peer"])
            account = self.of(key)
            account.received += row["received"]
            account.queued += row["queued"]
            account.bytes += row["bytes"]
            account.flagged += row["flagged"]
            account.dropped.update(row["dropped"])
            self._named.setdefault(key, set()).add(row["hour_us"])
            if row["peer"] == OTHERS:
                self._crowded.setdefault(key[:2], set()).add(row["hour_us"])
            account.unbelieved.update(row.get("unbelieved", {}))
            account.refused.update(row.get("refused_for", {}))

    def queued(self, key: Key, records: int) -> None:
        """Records that the queue took and no counter says yet. What has no wire before it is received by that."""
        account = self.of(key)
        account.received += records
        account.queued += records

    def stored(self, store: EventStore, scope: Scope) -> Cursors:
        """The records in the store: the first event of every record, by source, and for how many records it stands;
        and as of which cursors.

        History that was written straight into the store never was in the queue and is left out.
        """
        firsts = (Equals("soc.part", 0), Not(Wildcard("soc.position", f"{HISTORY}:*")))
        rows, cursors = store.aggregate_upto(
            scope,
            And((Between("event.created", low=self.since_us), *firsts)),
            Aggregate(
                group_by=(
                    "soc.source",
                    "event.dataset",
                    "soc.product",
                    "soc.system.id",
                    "soc.system.name",
                    "soc.joined",
                ),
                min=("event.created",),
                max=("event.created",),
            ),
        )
        for row in rows:
            account = self.of(key_of(row["soc.source"]))
            row["count"] *= row["soc.joined"] or 1
            account.stored += row["count"]
            account.unparsed += row["count"] if row["event.dataset"] == "unparsed" else 0
            account.datasets.add(row["event.dataset"])
            if row["soc.product"]:
                account.products[row["soc.product"]] += row["count"]
            account.first_seen_us = _earlier(account.first_seen_us, _us(row["min(event.created)"]))
            account.last_seen_us = max(account.last_seen_us, _us(row["max(event.created)"]))
            account.system_id = row["soc.system.id"] or account.system_id
            account.system_name = row["soc.system.name"] or account.system_name
        recent = And((Between("event.created", low=self.now_us - RATE_US), *firsts))
        for row in store.aggregate(scope, recent, Aggregate(group_by=("soc.source", "soc.joined"))):
            self.of(key_of(row["soc.source"])).recent += row["count"] * (row["soc.joined"] or 1)
        self._forgotten(store, scope)
        return cursors

    def _forgotten(self, store: EventStore, scope: Scope) -> None:
        """Each is told once: by an event, or by all that a datagram brought, of which the first is counted."""
        told = Or((
            And((Equals("soc.flags", FORGOTTEN[0]), Equals("soc.part", 0))),
            *(Equals("soc.flags", flag) for flag in FORGOTTEN[1:]),
        ))  # fmt: skip
        asked = And((Between("event.created", low=self.since_us), told))
        for row in store.aggregate(scope, asked, Aggregate(group_by=("soc.source", "soc.flags"))):
            if row["soc.flags"] in FORGOTTEN:
                self.of(key_of(row["soc.source"])).forgotten[row["soc.flags"]] += row["count"]

    def pending(self, block: RawBlock) -> None:
        """A frame behind the store's cursors."""
        account = self.of(_key(block))
        account.pending += self._within(block)
        account.oldest_us = _earlier(account.oldest_us, int(block.receipt_ns.min()) // 1000)

    def dead(self, block: RawBlock) -> None:
        """A frame that was kept aside."""
        self.of(_key(block)).dead += self._within(block)

    def late(self, block: RawBlock) -> None:
        """A frame that the queue took after the counters were saved."""
        self.queued(_key(block), self._within(block))

    def _within(self, block: RawBlock) -> int:
        return int((block.receipt_ns // 1000 >= self.since_us).sum())

    def rows(self) -> list[dict[str, Any]]:
        """One row per source, the busiest first."""
        ordered = sorted(self._folded().items(), key=lambda item: (-item[1].received, item[0]))
        return [account.to_document(key, self.now_us, is_whole=self.is_whole) for key, account in ordered]

    def totals(self) -> dict[str, Any]:
        """The sums, and whether every source balances."""
        accounts = list(self._folded().values())
        names = ("received", "bytes", "queued", "flagged", "stored", "dead", "pending", "unparsed")
        sums: dict[str, Any] = {name: sum(getattr(a, name) for a in accounts) for name in names}
        for name in ("dropped", "refused", "forgotten"):
            sums[name] = dict(sum((getattr(a, name) for a in accounts), Counter()))
        balanced = all(a.is_balanced for a in accounts) if self.is_whole else None
        return {**sums, "sources": sum(a.peers for a in accounts), "balanced": balanced}

    def _folded(self) -> dict[Key, Account]:
        """The accounts, those of peers beyond what the collector counts by name taken together as `+others`.

        In an hour with `+others` a peer without a row of its own was counted there, while the store knows it by name.
        So whoever is not named in each of these hours joins them; then their sum balances.
        """
        if not self._crowded:
            return self._found
        folded: dict[Key, Account] = {}
        for key, account in self._found.items():
            hours = self._crowded.get(key[:2])
            if hours is None or key[2] == EVERYBODY or (key[2] != OTHERS and hours <= self._named.get(key, set())):
                folded[key] = account
                continue
            others = folded.setdefault((*key[:2], OTHERS), Account(peers=0))
            others.add(account)
            others.peers += key[2] != OTHERS
        return folded


def _key(block: RawBlock) -> Key:
    return block.site, block.listener, block.peer


def key_of(source: str | None) -> Key:
    """`site/listener/peer` taken apart; a peer may hold slashes."""
    site, _, rest = (source or "").partition("/")
    listener, _, peer = rest.partition("/")
    return site, listener, peer


def _us(text: str | None) -> int:
    return micros(dt.datetime.fromisoformat(text)) if text else 0
