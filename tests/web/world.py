"""Two owner units with everything they have, in real rooms: what the API's tests call."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx
import orjson

from soc.config import Settings
from soc.model.alert import Alert
from soc.model.batch import EventBatch
from soc.model.clock import FixedClock
from soc.model.finding import Finding, Matched
from soc.model.message import Message
from soc.model.position import Partition, Position, event_id_at, partition_of
from soc.pipeline import Services
from soc.store.events import EventStore
from soc.web import server
from soc.web.app import application
from soc.web.auth import Peer

NOW_US = 1_795_600_800_000_000  # 2026-11-25T10:00:00Z
A, B = "so-tttt", "so-yt"
SYSTEMS = {A: "cong-dich-vu-cong", B: "benh-an-dien-tu"}
NETWORKS = {A: "10.1.0.0/16", B: "10.2.0.0/16"}
SECRET = {A: "bi-mat-cua-tttt", B: "bi-mat-cua-yt"}
"""A word that stands in everything of a unit, so that a leak is found wherever it is."""
ROLES = {"an": "tier1", "binh": "tier3", "chi": "manager", "dung": "auditor", "giang": "admin", "hoa": "manager"}
BOUND = {f"{role}-b": role for role in ("tier1", "tier3", "manager", "auditor", "admin")}
"""People of the operator's roles who were given one unit only."""
UIDS = {name: 70_001 + n for n, name in enumerate([*ROLES, "officer-a", "officer-b", *BOUND])}
UIDS["giang"] = os.geteuid()  # the service's own user, as after a first start
UNKNOWN_UID = 79_999


def system(unit: str, **changes: Any) -> dict[str, Any]:
    """The definition of a unit's information system."""
    return {
        "kind": "system", "id": SYSTEMS[unit], "name": f"Hệ thống {SECRET[unit]}", "code": f"H40.{unit}",
        "organization_id": unit, "organization_name": f"Sở {SECRET[unit]}", "site": "hue",
        "levels": [{"level": 3, "since": "2024-01-01"}], "registered": "2024-01-01", "networks": [NETWORKS[unit]],
        **changes,
    }  # fmt: skip


@dataclass(frozen=True)
class Caller:
    """Calls the application in this process, as the kernel would have told it who calls."""

    app: Any
    peer: Peer
    headers: Mapping[str, str]

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return self.request("POST", path, json=body if body is not None else {}, **options)

    def put(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return self.request("PUT", path, json=body if body is not None else {}, **options)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return anyio.run(self._request, method, path, options)

    async def _request(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await self.app({**scope, "state": {"peer": self.peer}}, receive, send)

        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=self.headers) as client:
            return await client.request(method, path, **options)


@dataclass
class World:
    """The services of one home, its two units, and callers by name."""

    services: Services
    clock: FixedClock
    writer: EventStore
    ids: dict[str, dict[str, str]] = field(default_factory=dict)
    seq: int = 0
    app: Any = None

    def caller(self, name: str | None = None, *, uid: int | None = None, **headers: str) -> Caller:
        """A caller on the Unix socket: a person by name, or any uid; without either one over TCP."""
        if self.app is None:
            self.app = application(self.services)
        return Caller(self.app, Peer(UIDS[name] if name is not None else uid), headers)

    @contextmanager
    def served(self, path: Path, tcp: socket.socket | None = None, **more: Any) -> Iterator[threading.Event]:
        """The service on a Unix socket, in a thread, until the block ends."""
        stop = threading.Event()
        sock = server.open_unix_socket(path)
        thread = threading.Thread(
            target=server.serve, args=(self.services,), kwargs={"sock": sock, "tcp": tcp, "stop": stop, **more}
        )
        thread.start()
        try:
            yield stop
        finally:
            stop.set()
            thread.join(60)
            assert not thread.is_alive()

    def seal(self) -> None:
        """Bring the hot events into sealed files."""
        self.writer.roll()
        self.services.store.compact()

    def close(self) -> None:
        """Let every store go."""
        self.writer.close()
        self.services.close()

    def append(self, unit: str | None, n: int = 1, **more: Any) -> list[str]:
        """Events of a unit (None: of nobody registered), ingested now; their ids."""
        rows = [self._event(unit, i, more) for i in range(n)]
        self.seq += 1
        peer = partition_of("hue", "syslog", unit or "nobody")
        mark = {Partition("n1", "raw", peer): Position("n1", "raw", self.seq, n - 1)}
        self.writer.append([EventBatch.from_rows("linux.sshd", rows)], mark)
        return [row["event.id"].hex() for row in rows]

    def _event(self, unit: str | None, i: int, more: Mapping[str, Any]) -> dict[str, Any]:
        now_us = self.clock.now_ns() // 1000
        position = Position("n1", "raw", self.seq + 1, i)
        owned: dict[str, Any] = {}
        if unit is not None:
            owned = {"organization.id": unit, "soc.system.id": SYSTEMS[unit], "soc.system.level": 3}
        return {
            "@timestamp": now_us + i, "event.created": now_us + i, "event.ingested": now_us + i,
            "event.id": event_id_at((now_us + i) * 1000, position), "event.dataset": "linux.sshd", "soc.part": 0,
            "soc.position": str(position), "soc.source": f"hue/syslog/{unit or 'nobody'}", "soc.site": "hue",
            "event.original": f"Failed password {SECRET.get(unit or '', 'nobody')} {i}", "user.name": "root",
            "source.ip": "203.0.113.9", **owned, **more,
        }  # fmt: skip

    def alert(self, unit: str, id: str, event_ids: tuple[str, ...] = (), **changes: Any) -> Alert:
        """An alert of a unit."""
        (made,) = self.services.alerts.take([finding(unit, id, event_ids, self.clock.now_ns() // 1000, **changes)])
        return made


def finding(unit: str, id: str, event_ids: tuple[str, ...], at_us: int, **changes: Any) -> Finding:
    """A brute force against a unit's system."""
    words: dict[str, Any] = {
        "rule_id": "rule-ssh", "rule_version": "1", "title": f"SSH {SECRET[unit]}", "level": "high",
        "kind": "correlation", "dataset": "linux.sshd", "first_us": at_us, "last_us": at_us, "site": "hue",
        "system_id": SYSTEMS[unit], "organization_id": unit, "entity": f"source.ip=203.0.113.{9 + len(id)}",
        "matched": (Matched("s", "source.ip", "203.0.113.9", SECRET[unit]),), "tags": ("attack.t1110",),
    }  # fmt: skip
    return Finding(id=id, event_ids=event_ids or (f"{id:0<32}",), **{**words, **changes})


def settings(home: Path, **changes: Any) -> Settings:
    """The settings of a home without listeners."""
    return Settings(home=home, **{"site_id": "hue", "simulated": True, "socket": home / "api.sock", **changes})


def build(home: Path, **changes: Any) -> World:
    """A home with both units' systems, events, alerts, tickets, runs and messages, and people of every role."""
    folder = home / "registry"
    folder.mkdir(parents=True, mode=0o700)
    for unit in (A, B):
        (folder / f"{SYSTEMS[unit]}.yml").write_bytes(orjson.dumps(system(unit)))
    clock = FixedClock(NOW_US * 1000)
    services = Services.open(settings(home, **changes), clock)
    writer = EventStore(home / "events", clock, services.fields, writer="test")
    world = World(services, clock, writer)
    _people(services)
    for unit in (A, B):
        world.ids[unit] = _belongings(world, unit)
    return world


def _people(services: Services) -> None:
    for name, role in ROLES.items():
        services.access.add_person(name, role, uid=UIDS[name])
    services.access.add_person("officer-a", "tier2-unit", [A], UIDS["officer-a"])
    services.access.add_person("officer-b", "tier2-unit", [B], UIDS["officer-b"])
    for name, role in BOUND.items():
        services.access.add_person(name, role, [B], UIDS[name])


def _belongings(world: World, unit: str) -> dict[str, str]:
    """One of everything of a unit, by kind: its id."""
    services = world.services
    events = world.append(unit, 3)
    alert = world.alert(unit, f"f-{unit}", tuple(events))
    person = services.access.person("an")
    playbook = next(p for id, p in sorted(services.playbooks.playbooks.items()) if any(s.action for s in p.steps))
    with services.cases.begin("an") as tx:
        ticket = services.tickets.create_from_alert(tx, alert, person, playbook)
        tx.outbox(message(unit, alert.id))
    step = next(s.id for s in playbook.steps if s.action)
    address = f"203.0.113.{100 + len(world.ids)}"
    run = services.engine.plan(ticket, step, {"address": address}, services.access.person("an"))
    loose = world.alert(unit, f"loose-{unit}", tuple(events))
    return {
        "event": events[0], "alert": loose.id, "escalated": alert.id, "ticket": ticket.id, "number": ticket.number,
        "run": run.id, "plan_hash": run.plan_hash, "task": ticket.tasks[0].id, "step": step,
        "system": SYSTEMS[unit], "playbook": playbook.id,
    }  # fmt: skip


def message(unit: str, alert: str) -> Message:
    """A message about a unit's alert to a destination of the national centre."""
    return Message(
        id=f"m-{unit}", kind="alert", destination="ncsc", created_us=NOW_US, sender={"code": "hue", "name": "Huế"},
        organization_id=unit, system={"id": SYSTEMS[unit]}, payload={"alert": alert, "title": SECRET[unit]},
    )  # fmt: skip
