"""`Services`: what `soc serve` holds, opened and joined: every room over one home."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from soc import content
from soc.access import Access
from soc.alerts.desk import AlertDesk
from soc.collectors.uploads import Uploads
from soc.config import Settings
from soc.connectors.drivers.nftables import DemoWorld, NftActuator
from soc.connectors.national.driver import OutboxDriver
from soc.detections.saved import SavedFilters
from soc.model.alert import Alert
from soc.model.cases import Person
from soc.model.clock import Clock
from soc.model.fields import FieldDictionary
from soc.model.lookback import Lookback
from soc.model.ticket import Ticket
from soc.parsers import ParserSet
from soc.pipeline import certificates, places
from soc.pipeline.accounting import HOUR_US
from soc.pipeline.catch_up import CatchUp
from soc.pipeline.coverage.ledger import coverage
from soc.pipeline.exception_approval import ExceptionApproval
from soc.pipeline.files import CAPTURES
from soc.pipeline.findings import KEPT, UNFIT, Findings
from soc.pipeline.lookback.automatic import Automatic
from soc.pipeline.lookback.jobs import Jobs
from soc.pipeline.pruning import Pruning
from soc.pipeline.rule_exceptions import RuleExceptions
from soc.pipeline.rule_measures import Measures
from soc.pipeline.rules import Rules
from soc.pipeline.services.background import repeat
from soc.pipeline.services.books import IMPORT, Books
from soc.pipeline.services.cases import ENGINE, Systems, case_extent, new_id
from soc.pipeline.services.imports import Imports
from soc.pipeline.services.outgoing import Outgoing
from soc.pipeline.services.proof import SIGN_S, Proof
from soc.pipeline.services.retention import Retention
from soc.pipeline.services.units import Units
from soc.pipeline.states import read_states
from soc.playbooks.definition import PlaybookSet
from soc.playbooks.engine import Engine
from soc.playbooks.guard import Guard
from soc.registry import Registry
from soc.retention import keys, ladder, manifest
from soc.retention.apply import Deletion
from soc.retention.hold import Holds
from soc.retention.plan import Policy
from soc.store.cases import Cases
from soc.store.events import EventStore
from soc.store.queue import Lag, LogReader
from soc.tickets.clocks import load_clocks
from soc.tickets.desk import TicketDesk

NO_GATEWAY = "no gateway is connected here"
SETTLED_US = 60 * 1_000_000
"""What was received so long ago should have been looked at."""


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
    imports: Imports
    units: Units
    books: Books
    retention: Retention
    proof: Proof
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
        systems = Systems(lambda: made.registry)
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
            with cases.begin(ENGINE) as tx:
                tx.ledger("lookback.create", f"lookback:{job.id}", None, job.told(), job.reason)
            lookbacks.create(job, {})

        actuator = NftActuator(world.gateway if world else None, clock, why_not=why_not)
        guard = Guard(own_networks=systems.networks, simulated_loopback=settings.simulated)
        destinations = [outgoing.destination(each) for each in settings.national]
        writer = places.open_log(settings, places.RAW, IMPORT, clock, max_bytes=settings.queue_max_bytes)
        uploads = Uploads(settings.path("imports"), writer, clock, site=settings.site_id, captures=CAPTURES)
        units = Units(settings, clock, store)
        holds = Holds(cases, clock, lambda: new_id(clock), lambda case: case_extent(cases, case))
        policy = Policy(ladder.load(content.roots("retention", roots), settings.retention_profile))
        retention = Retention(clock, store, policy, holds, lambda: made.registry)
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
            holds=holds,
            deletion=Deletion(
                cases,
                store,
                clock,
                key=keys.load_or_create(settings.path("keys", "proof.key")),
                certificates=settings.path("proof", manifest.CERTIFICATES),
                fresh=lambda: retention.plan(ENGINE),
            ),
            policy=policy,
            uploads=uploads,
            imports=Imports(uploads, store, cases),
            units=units,
            books=Books(settings, clock, store, uploads, units, lambda: made.registry),
            retention=retention,
            proof=Proof(settings, clock, store, cases),
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
            pruning=Pruning(cases, clock, lambda inventory: retention.decided(inventory, ENGINE)),
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

    def look_at_coverage(self) -> None:
        """Count the rule × windows of the last hour that rules at work did not see; `soc coverage show` names them.

        What can be made up for is handed to `soc lookback`.
        """
        until_us = self.clock.now_ns() // 1000 - SETTLED_US
        found, _ = coverage(self.settings, self.store, until_us - HOUR_US, until_us)
        self.coverage_gaps = found.report()["gaps"]
        self.backfills.step(found)

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
        with self.cases.read(ENGINE) as tx:
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
            ("sign manifest", SIGN_S, self.proof.sign),
            ("imports", 0.5, lambda: [self.uploads.read(id, stop) for id in self.uploads.waiting()]),
        ]
        if self.national is not None:
            loops += [("outbox", 0.5, self.national.step), ("heartbeat", 30.0, self._heartbeat)]
        threads = [threading.Thread(target=repeat, args=(stop, *loop), name=f"soc-{loop[0]}") for loop in loops]
        for thread in threads:
            thread.start()
        return threads

    def _heartbeat(self) -> None:
        assert self.national is not None
        sender = self.outgoing.sender(self.settings.national[0])
        self.national.heartbeat(lambda: new_id(self.clock), sender, {"systems": len(self.registry.systems())})
