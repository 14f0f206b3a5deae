"""`Services`: what `soc serve` holds: alerts, tickets, playbooks, the outbox, imports and retention over one home."""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from soc import content
from soc.access import Access
from soc.alerts.desk import AlertDesk
from soc.collectors.counters import KEPT_HOURS
from soc.collectors.enrol import Authority
from soc.collectors.packet_asks import HERE, Asks
from soc.collectors.uploads import LISTENER, Uploads
from soc.config import National, Settings
from soc.connectors.drivers.nftables import DemoWorld, NftActuator
from soc.connectors.national import mapping
from soc.connectors.national.driver import Destination, OutboxDriver
from soc.connectors.national.message import Privacy, Sender, alert_message
from soc.detections.saved import SavedFilters
from soc.errors import PermissionRefused, SocError
from soc.model.alert import Alert, uuid7
from soc.model.cases import Person
from soc.model.clock import DAY_US, Clock
from soc.model.fields import FieldDictionary
from soc.model.finding import LEVELS
from soc.model.lookback import Lookback
from soc.model.position import Position
from soc.model.query import And, Between, Equals
from soc.model.record import RawBlock
from soc.model.scope import Scope
from soc.model.system import InformationSystem
from soc.model.ticket import Ticket
from soc.parsers import ParserSet
from soc.pipeline import aside, certificates, places, sources, waiting
from soc.pipeline.accounting import FRAMES_AT_ONCE, HOUR_US, MAX_PENDING_FRAMES, Account, Accounts
from soc.pipeline.catch_up import CatchUp
from soc.pipeline.coverage.ledger import coverage
from soc.pipeline.exception_approval import ExceptionApproval
from soc.pipeline.files import CAPTURES
from soc.pipeline.findings import KEPT, UNFIT, Findings
from soc.pipeline.flow_packets import FlowPackets, gather, look, request, retrieve
from soc.pipeline.lookback.automatic import Automatic
from soc.pipeline.lookback.jobs import Jobs
from soc.pipeline.pruning import Pruning
from soc.pipeline.rule_exceptions import RuleExceptions
from soc.pipeline.rule_measures import Measures
from soc.pipeline.rules import Rules
from soc.pipeline.states import read_state, read_states, state_file
from soc.playbooks.definition import PlaybookSet
from soc.playbooks.engine import Engine
from soc.playbooks.guard import Guard
from soc.registry import Registry
from soc.retention import check, keys, ladder, manifest, verify
from soc.retention.apply import Deletion
from soc.retention.hold import Extent, Holds
from soc.retention.plan import Plan, Policy, make_plan
from soc.retention.plan import Segment as Inventory
from soc.store.cases import Cases
from soc.store.events import EventStore
from soc.store.events.nouns import Aggregate
from soc.store.queue import Lag, LogReader
from soc.tickets.clocks import load_clocks
from soc.tickets.desk import TicketDesk

MOST_PAUSE_S = 10.0
SHOWN_BYTES = 200
"""Of the first record of a frame that is kept aside, for people to see what it is."""
"""What fails again and again is tried at least this often."""
NO_GATEWAY = "no gateway is connected here"
IMPORT = "import"
"""The nodes of the collector's log and of our own for uploads."""
_ENGINE = "engine"
SETTLED_US = 60 * 1_000_000
"""What was received so long ago should have been looked at."""
_log = logging.getLogger("soc.serve")


@dataclass
class Services:
    """One process holds them; the case database has one writer. `registry` changes when `reload_registry` is called."""

    settings: Settings
    clock: Clock
    fields: FieldDictionary
    cases: Cases
    access: Access
    registry: Registry
    store: EventStore
    alerts: AlertDesk
    findings: Findings
    tickets: TicketDesk
    playbooks: PlaybookSet
    engine: Engine
    national: OutboxDriver | None
    holds: Holds
    deletion: Deletion
    policy: Policy
    uploads: Uploads
    outgoing: Outgoing
    lookbacks: Jobs
    rules: Rules
    exceptions: RuleExceptions
    approval: ExceptionApproval
    filters: SavedFilters
    measures: Measures
    certificates: certificates.Watch
    catch_up: CatchUp
    backfills: Automatic
    pruning: Pruning
    world: DemoWorld | None = None
    coverage_gaps: int = 0
    _closers: list[Callable[[], None]] = field(default_factory=list)

    @classmethod
    def open(
        cls, settings: Settings, clock: Clock, *, world: DemoWorld | None = None, why_not: str = NO_GATEWAY
    ) -> Services:
        """Open every store below `settings.home` and finish what was begun before a crash.

        `world`: the namespaces of a simulated site, in which the firewall actuator acts; without it `why_not` stands
        in every plan, which then is a task for a person.
        Raises what the stores raise: NewerStore, TryAgain, StoreError, ContentError.
        """
        parsers = places.load_parsers(settings)
        cases = Cases(settings.path("cases", "cases.db"), clock, head_path=settings.path("proof", "ledger.head"))
        made = cls._joined(settings, clock, parsers, cases, world, why_not)
        made.deletion.resume()
        made.engine.recover()
        made.findings.retry()
        return made

    @classmethod
    def _joined(
        cls,
        settings: Settings,
        clock: Clock,
        parsers: ParserSet,
        cases: Cases,
        world: DemoWorld | None,
        why_not: str,
    ) -> Services:
        roots = settings.content_roots
        registry = places.load_registry(settings)
        access = Access(cases, clock)
        store = EventStore(places.events(settings), clock, parsers.fields, memory_mib=settings.search_mib)
        rules = Rules(settings, clock, cases, parsers)
        exceptions = RuleExceptions(rules, store)
        systems = _Systems(lambda: made.registry)
        outgoing = Outgoing(settings, clock, systems.get)
        alerts = AlertDesk(cases, clock, systems, on_alert=outgoing.alert, policy=rules.policy)

        def escalated(tx: Any, alert: Alert, ticket: Ticket, person: Person) -> None:
            alerts.escalate(tx, alert.id, person, ticket.id)

        tickets = TicketDesk(
            clock,
            load_clocks(content.roots("playbooks", roots)),
            profile=settings.retention_profile,
            on_created=escalated,
        )
        lookbacks = Jobs(places.lookbacks(settings), clock)

        def handed_in(job: Lookback) -> None:
            with cases.begin(_ENGINE) as tx:
                tx.ledger("lookback.create", f"lookback:{job.id}", None, job.told(), job.reason)
            lookbacks.create(job, {})

        actuator = NftActuator(world.gateway if world else None, clock, why_not=why_not)
        guard = Guard(own_networks=systems.networks, simulated_loopback=settings.simulated)
        destinations = [outgoing.destination(each) for each in settings.national]
        writer = places.open_log(settings, places.RAW, IMPORT, clock, max_bytes=settings.queue_max_bytes)
        policy = Policy(ladder.load(content.roots("retention", roots), settings.retention_profile))
        made = cls(
            settings=settings,
            clock=clock,
            fields=parsers.fields,
            cases=cases,
            access=access,
            registry=registry,
            store=store,
            alerts=alerts,
            findings=Findings(cases, alerts, clock, places.queue(settings)),
            tickets=tickets,
            playbooks=PlaybookSet.load(content.roots("playbooks", roots)),
            engine=Engine(cases, {"nftables": actuator}, clock, require=access.require, guard=guard),
            national=OutboxDriver(cases, destinations, clock) if destinations else None,
            holds=Holds(cases, clock, lambda: new_id(clock), lambda case: case_extent(cases, case)),
            deletion=Deletion(
                cases,
                store,
                clock,
                key=keys.load_or_create(settings.path("keys", "proof.key")),
                certificates=settings.path("proof", manifest.CERTIFICATES),
                fresh=lambda: made.plan(_ENGINE),
            ),
            policy=policy,
            uploads=Uploads(settings.path("imports"), writer, clock, site=settings.site_id, captures=CAPTURES),
            outgoing=outgoing,
            lookbacks=lookbacks,
            rules=rules,
            exceptions=exceptions,
            approval=ExceptionApproval(exceptions, clock),
            filters=places.saved_filters(settings, parsers.fields),
            measures=Measures(rules, store),
            certificates=certificates.Watch(settings, clock, alerts.take),
            catch_up=CatchUp(clock),
            backfills=Automatic(settings, clock, store, lookbacks, lambda: new_id(clock), handed_in),
            pruning=Pruning(cases, clock, lambda inventory: made.decided(inventory, _ENGINE)),
            world=world,
        )
        made._closers = [made.findings.close, store.close, writer.close, cases.close]
        return made

    def close(self) -> None:
        """Let every store go."""
        for closer in self._closers:
            closer()

    def reload_registry(self) -> None:
        """Read the registry's files again."""
        self.registry = places.load_registry(self.settings)

    def new_id(self) -> str:
        """A UUIDv7 of now."""
        return new_id(self.clock)

    # accounting

    def accounts(self, since_us: int) -> Accounts:
        """Every source's account from the full hour before `since_us` (µs UTC) until now; at most a week."""
        now_us = self.clock.now_ns() // 1000
        # What the collector has forgotten would look like events that nobody sent.
        accounts = Accounts(max(since_us, now_us - (KEPT_HOURS - 1) * HOUR_US), now_us)
        counted = self._counted(accounts)
        cursors = accounts.stored(self.store, Scope.everything(_ENGINE, "accounting"))
        self._in_between(accounts, counted, cursors)
        return accounts

    def _counted(self, accounts: Accounts) -> dict[str, int]:
        """Enter what collector, hub and uploads counted; up to which frame, by node or upload."""
        own = places.own_counters(self.settings)
        counted = dict.fromkeys((node for node, _ in own), -1)
        hub = sorted(places.relay_counters(self.settings).glob("*.json"))
        for node, path in (*own, *((path.stem, path) for path in hub)):
            with suppress(FileNotFoundError):
                document = orjson.loads(path.read_bytes())
                accounts.collected(document["counts"])
                counted[node] = document["seq"]
        for state in self.uploads.states():
            counted[state["id"]] = state["seq"]
            if state["state"] in ("queued", "reading"):  # it may go on between this look and the next
                counted[IMPORT] = min(state["seq"], counted.get(IMPORT, state["seq"]))
            hours = state.get("hours", {state["created_us"]: state["records"]})
            records = sum(n for hour_us, n in hours.items() if int(hour_us) >= accounts.since_us)
            if records:
                accounts.queued((state["site"], LISTENER, state["id"]), records)
        return counted

    def _in_between(self, accounts: Accounts, counted: Mapping[str, int], cursors: places.Cursors) -> None:
        """Frames that the counters or the store do not know yet, all from one look at the log.

        Read after both, so that it reaches further than either: the equations then hold at every moment.
        """
        after = {}
        for partition, position in places.passed(cursors, places.RAW).items():
            least = min(position.seq, counted.get(partition.node, position.seq))
            after[partition] = Position(partition.node, places.RAW, least)
        for n, block in enumerate(self._frames(places.RAW, after), 1):
            accounts.is_whole = n < MAX_PENDING_FRAMES
            if block.seq > counted.get(block.peer if block.listener == LISTENER else block.node, block.seq):
                accounts.late(block)
            if block.partition not in cursors or block.seq > cursors[block.partition].seq:
                accounts.pending(block)
        for block in self._buried(cursors):
            accounts.dead(block)
        for number, groups in waiting.kept(self.settings).items():
            for group in groups.at(cursors, number).open.values():
                accounts.pending(group.block())

    def _buried(self, cursors: places.Cursors) -> Iterator[RawBlock]:
        """Frames kept aside whose records are not stored, each once."""
        standing = aside.Standing(cursors)
        return (block for block in self._frames(places.DEAD, {}) if standing.stands(block))

    def kept_aside(self, most: int) -> dict[str, Any]:
        """Frames that could not become events, the newest first: whose they are, how many records, why. A worker tries
        them once more at each start. `{frames, total}`; total counts all of them."""
        cursors = self.store.cursors()
        newest: deque[RawBlock] = deque(maxlen=most)
        total = 0
        for block in self._buried(cursors):
            newest.append(block)
            total += 1
        frames = [
            {
                "site": block.site, "listener": block.listener, "peer": block.peer, "format": block.format,
                "received_us": int(block.receipt_ns[0]) // 1000, "records": block.n, "bytes": len(block.data),
                "why": block.origin.get(aside.WHY, ""), "position": f"{block.node}:{block.log}:{block.seq}",
                "begins": next(block.records())[:SHOWN_BYTES].decode("utf-8", "backslashreplace"),
            }
            for block in reversed(newest)
        ]  # fmt: skip
        return {"frames": frames, "total": total}

    def _frames(self, log: str, cursors: places.Cursors) -> Iterator[RawBlock]:
        """Frames past these cursors, few of them in memory at a time."""
        reader = LogReader(places.queue(self.settings), log)
        ahead = dict(cursors)
        left = MAX_PENDING_FRAMES
        try:
            while left > 0 and (some := reader.read(ahead, None, min(FRAMES_AT_ONCE, left))):
                left -= len(some)
                ahead |= {block.partition: Position(block.node, block.log, block.seq) for block in some}
                yield from some
        finally:
            reader.close()

    def look_at_coverage(self) -> None:
        """Count the rule × windows of the last hour that rules at work did not see; `soc coverage show` names them.

        What can be made up for is handed to `soc lookback`.
        """
        until_us = self.clock.now_ns() // 1000 - SETTLED_US
        found, _ = coverage(self.settings, self.store, until_us - HOUR_US, until_us)
        self.coverage_gaps = found.report()["gaps"]
        self.backfills.step(found)

    def sources(self, since_us: int) -> dict[str, Any]:
        """`{sources: [...], totals: {...}}`, see `Accounts` and `sources.describe`."""
        accounts = self.accounts(since_us)
        rows = accounts.rows()
        self._add_polls(rows, accounts.now_us)
        sources.describe(rows, self.settings, self.registry, accounts.now_us)
        return {"since_us": accounts.since_us, "sources": rows, "totals": accounts.totals()}

    def _add_polls(self, rows: list[dict[str, Any]], now_us: int) -> None:
        """How each polled source is doing, also of one that never gave a record."""
        state = read_state(state_file(self.settings, places.POLL)) or {}
        of = {(row["listener"], row["peer"]): row for row in rows}
        for health in state.get(places.POLLS, ()):
            row = of.get((health["name"], health["peer"]))
            if row is None:
                row = Account().to_document((self.settings.site_id, health["name"], health["peer"]), now_us)
                rows.append(row)
            row["poll"] = health

    def points(self, since_us: int) -> list[dict[str, Any]]:
        """Monitoring points and what they saw, see `sources.points`."""
        rows = self.accounts(since_us).rows()
        return sources.points(rows, self.settings, sources.Heard.read(self.settings), self.relays())

    def flow_packets(
        self, scope: Scope, flow: str, since_us: int | None, until_us: int | None, actor: str, reason: str
    ) -> FlowPackets | str:
        """The captured packets of a flow; where distant units saw it they are asked, and it is the identifier of that.

        Raises NotFound, TryAgain when too much is asked of a unit already.
        """
        seen = look(self.store, scope, flow, since_us, until_us)
        if set(seen) == {HERE}:
            return retrieve(self.settings, self.store, scope, flow, since_us, until_us)
        asks, id = self.packet_asks(), secrets.token_hex(16)
        for unit, points in seen.items():
            asks.ask(unit, id, {**request(flow, points), "actor": actor, "reason": reason})
        if HERE in seen:
            own = gather(self.settings, flow, seen[HERE])
            data = own.data if own.packets else b""
            asks.take(HERE, id, 0, data, len(data), {"packets": own.packets, "is_cut": own.is_cut})
        return id

    def packet_asks(self) -> Asks:
        """What was asked of the rings of units."""
        return Asks(places.packet_asks(self.settings), self.clock)

    def _waiting(self) -> tuple[Lag, int]:
        """What lies in the queue past the store, and how many damaged frames were met."""
        raw = LogReader(places.queue(self.settings), places.RAW)
        try:
            lag = raw.lag(places.passed(self.store.cursors(), places.RAW))
            self.catch_up.look(lag["records"])
            return lag, raw.damaged
        finally:
            raw.close()

    def status(self) -> dict[str, Any]:
        """Processes, how far each consumer is behind, the store, the outbox."""
        lag, damaged = self._waiting()
        segments = self.store.segments()
        with self.cases.read(_ENGINE) as tx:
            outbox, refused = tx.outbox_counts(), tx.count("national_refusal")
            unfit = tx.count(UNFIT, KEPT)
        return {
            "simulated": self.settings.simulated,
            "processes": read_states(self.settings),
            "queue": {**lag, "damaged": damaged},
            "catch_up_s": self.catch_up.seconds(lag["records"]),
            "store": {
                "segments": len(segments),
                "rows_sealed": sum(s.rows for s in segments),
                "bytes": sum(s.bytes for s in segments),
            },
            "outbox": outbox,
            "withheld": refused,
            "unfit_findings": unfit,
            "pruned": self.pruning.totals(),
            "coverage_gaps": self.coverage_gaps,
            "certificates": [row for row in self.certificates.rows() if row["state"] != certificates.GOOD],
            "backfill": self.backfills.told(),
            "actuators": {"nftables": self._actuator()},
        }

    def _actuator(self) -> dict[str, Any]:
        capability = self.engine.capability("nftables")
        return {"available": capability.available, "why": capability.why}

    # retention

    def plan(self, planner: str) -> Plan:
        """What may be deleted at this moment, and why the rest may not."""
        return self.decided(self.store.segments(), planner)

    def decided(self, inventory: Iterable[Inventory], planner: str) -> Plan:
        """What of an inventory may be deleted at this moment, by policy, levels and holds."""
        systems = {system.id: system for system in self.registry.systems()}
        return make_plan(
            inventory,
            systems,
            self.holds.list(),
            self.policy,
            now_us=self.clock.now_ns() // 1000,
            planner=planner,
        )

    def retention_check(self) -> list[check.Standing]:
        """The standing of every system; rows that are not sealed yet count as held."""
        return check.check(
            self.registry.systems(),
            self.store.segments(),
            self.policy,
            self.clock.now_ns() // 1000,
            held_now=self._held_now(),
            tombstones=self.store.tombstones(),
        )

    def _held_now(self) -> dict[str, set[str]]:
        """Receipt days (UTC) of the last week per system, over hot and sealed rows."""
        now_us = self.clock.now_ns() // 1000
        found: dict[str, set[str]] = {}
        for row in self.store.aggregate(
            Scope.everything(_ENGINE, "retention check"),
            Between("event.created", low=now_us - 7 * DAY_US),
            Aggregate(group_by=("soc.system.id",), interval_us=DAY_US, interval_of="event.created"),
        ):
            if row["soc.system.id"] and row["bucket"]:
                found.setdefault(row["soc.system.id"], set()).add(row["bucket"][:10])
        return found

    def retention_verify(self) -> dict[str, Any]:
        """Sign the list of what is held, and hold files, certificates and ledger against it."""
        root, proof = places.events(self.settings), self.settings.path("proof")
        key = keys.load_or_create(self.settings.path("keys", "proof.key"))
        certificates = proof / manifest.CERTIFICATES
        data = manifest.build(
            self.store.segments(),
            self.store.tombstones(),
            certificates,
            root=root,
            key=key,
            now_us=self.clock.now_ns() // 1000,
        )
        manifest.write(data, root)
        verdict = verify.verify(root, keys.public_hex(key), certificates=certificates)
        ledger = self.cases.verify_ledger()
        return {
            "ok": verdict.ok and ledger.ok,
            "faults": [{"kind": f.kind, "what": f.what, "message": f.message} for f in verdict.faults],
            "segments": verdict.segments,
            "tombstones": verdict.tombstones,
            "certificates": verdict.certificates,
            "ledger": {"ok": ledger.ok, "entries": ledger.entries, "faults": [str(f) for f in ledger.faults]},
        }

    # distant units

    def relays(self) -> list[dict[str, Any]]:
        """Every unit that was invited: when it joined, when it was last heard (µs UTC), what it said of itself."""
        found = []
        for name, entry in self.relay_authority().units().items():
            told: dict[str, Any] = {}
            with suppress(OSError, ValueError):
                told = orjson.loads((places.relay_health(self.settings) / f"{name}.health.json").read_bytes())
            found.append({"name": name, **entry, "heard_us": told.get("heard_us"), "health": told.get("health")})
        return found

    def relay_authority(self) -> Authority:
        """Who may join and who has."""
        return places.relay_authority(self.settings, self.clock)

    # imports

    def import_state(self, id: str, scope: Scope) -> dict[str, Any]:
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

    # background

    def background(self, stop: threading.Event) -> list[threading.Thread]:
        """Start the threads that keep the room alive until `stop`: findings, outbox, runs, imports."""
        loops: list[tuple[str, float, Callable[[], object]]] = [
            ("findings", 0.25, self.findings.step),
            ("runs", 5.0, lambda: self.engine.expire(self.clock.now_ns() // 1000)),
            ("prune imports", 3600.0, self.uploads.prune),
            ("prune lookbacks", 3600.0, self.lookbacks.prune),
            ("prune findings", 30.0, self.pruning.step),
            ("coverage", 60.0, self.look_at_coverage),
            ("rule versions", 600.0, self.rules.note_versions),
            ("certificates", 3600.0, self.certificates.step),
            ("catch up", 15.0, self._waiting),
            ("imports", 0.5, lambda: [self.uploads.read(id, stop) for id in self.uploads.waiting()]),
        ]
        if self.national is not None:
            loops += [("outbox", 0.5, self.national.step), ("heartbeat", 30.0, self._heartbeat)]
        threads = [threading.Thread(target=_repeat, args=(stop, *loop), name=f"soc-{loop[0]}") for loop in loops]
        for thread in threads:
            thread.start()
        return threads

    def _heartbeat(self) -> None:
        assert self.national is not None
        sender = self.outgoing.sender(self.settings.national[0])
        self.national.heartbeat(lambda: new_id(self.clock), sender, {"systems": len(self.registry.systems())})


class _Systems:
    """The registry of now, for rooms that keep hold of one."""

    def __init__(self, registry: Callable[[], Registry]) -> None:
        self._registry = registry

    def get(self, id: str) -> InformationSystem | None:
        """The system of that id, or None."""
        return self._registry().get(id)

    def networks(self) -> list[str]:
        """Networks, hosts and links of all systems: never blocked."""
        return [text for s in self._registry().systems() for text in (*s.networks, *s.hosts, *s.links)]


class Outgoing:
    """Alerts that must be told to the national centre, as messages in the outbox of the same transaction."""

    def __init__(self, settings: Settings, clock: Clock, system: Callable[[str], InformationSystem | None]) -> None:
        self._settings, self._clock, self._system = settings, clock, system
        self._privacy = Privacy(key=_secret(settings.path("keys", "privacy.key")) if settings.national else b"")

    def destination(self, entry: National) -> Destination:
        """The driver's view of a `[national.<name>]` section. Raises ConfigError for an unknown mapping."""
        mappings = mapping.load(content.roots("connectors", self._settings.content_roots))
        home = self._settings.home
        return Destination(
            entry.name,
            entry.url,
            mapping.named(mappings, entry.mapping),
            home / entry.ca,
            home / entry.certificate,
            home / entry.key,
        )

    def sender(self, entry: National) -> Sender:
        """Who speaks to it: what the section says, else the site."""
        return Sender(
            entry.sender_code or self._settings.site_id,
            entry.sender_name or self._settings.site_name or self._settings.site_id,
        )

    def alert(self, tx: Any, alert: Alert) -> None:
        """For each destination whose threshold the alert reaches, one message; what may not leave is shown instead."""
        if alert.kind == certificates.KIND:  # about ourselves, and no event of a system
            return
        for entry in self._settings.national:
            if LEVELS.index(alert.level) < LEVELS.index(entry.minimum_level):
                continue
            try:
                tx.outbox(self._message(alert, entry))
            except PermissionRefused as refusal:
                self._withheld(tx, alert, entry.name, str(refusal))

    def _message(self, alert: Alert, entry: National) -> Any:
        return alert_message(
            alert.to_document(),
            id=new_id(self._clock),
            destination=entry.name,
            created_us=self._clock.now_ns() // 1000,
            sender=self.sender(entry),
            privacy=self._privacy,
            system=self._system(alert.system_id) if alert.system_id else None,
        )

    def _withheld(self, tx: Any, alert: Alert, destination: str, why: str) -> None:
        document = {"alert": alert.id, "destination": destination, "why": why}
        if tx.get("national_refusal", f"{destination}:{alert.id}") is None:
            tx.put("national_refusal", f"{destination}:{alert.id}", document, None, unit=alert.organization_id)
            tx.ledger("national.withhold", f"alert:{alert.id}", None, document, why)


def case_extent(cases: Cases, case: str) -> Extent | None:
    """The systems and the time range of a ticket (by number or id) or an alert; None when there is no such case."""
    with cases.read(_ENGINE) as tx:
        stored = tx.get("ticket", case) or next((found for _, found in tx.find("ticket", keys={"number": case})), None)
        ids = stored.document["alert_ids"] if stored else [case]
        alerts = [found.document for id in ids if (found := tx.get("alert", id))]
    if not alerts:
        return None
    systems = frozenset(alert["system_id"] for alert in alerts if alert["system_id"])
    return Extent(systems, min(a["first_us"] for a in alerts), max(a["last_us"] for a in alerts))


def new_id(clock: Clock) -> str:
    """A UUIDv7 of now."""
    return uuid7(clock.now_ns(), os.urandom(10))


def _secret(path: Path) -> bytes:
    """32 random bytes in a file only the service user reads; made at first use."""
    with suppress(FileNotFoundError):
        return path.read_bytes()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(FileExistsError):
        keys.write_durable(path, os.urandom(32), mode=0o600, exclusive=True)
    return path.read_bytes()


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


def _repeat(stop: threading.Event, name: str, pause_s: float, work: Callable[[], object]) -> None:
    """Run until stopped; a failure is said once and tried again, later each time, never the end of the thread."""
    said, failures = "", 0
    while not stop.is_set():
        busy: object = 0
        try:
            busy, said, failures = work(), "", 0
        except Exception as error:
            failures += 1
            if (text := f"{type(error).__name__}: {error}") != said:
                said = text
                _log.error("%s: %s", name, error, exc_info=None if isinstance(error, SocError) else error)
        if not (name == "findings" and busy):
            stop.wait(min(pause_s * 2 ** min(failures, 10), max(pause_s, MOST_PAUSE_S)))
