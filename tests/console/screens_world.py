"""A service in memory for the console's tests: the real desks and the real engine behind the client's interface."""

from __future__ import annotations

import datetime as dt
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from soc.access import permissions_of
from soc.alerts import AlertDesk
from soc.connectors.drivers.nftables import NftActuator
from soc.errors import NotFound, PermissionRefused, TryAgain
from soc.model.alert import Alert
from soc.model.clock import VIETNAM, FixedClock
from soc.model.finding import Finding, Matched
from soc.model.run import ActionPlan, Capability
from soc.model.system import InformationSystem, LevelDecision
from soc.model.ticket import Ticket
from soc.playbooks.definition import PlaybookSet
from soc.playbooks.engine import Engine
from soc.registry import to_document
from soc.tickets.clocks import load_clocks
from soc.tickets.desk import TicketDesk
from tests.fakes import FakeCases, FakeSystems

NOW = dt.datetime(2026, 11, 25, 14, 3, 5, tzinfo=VIETNAM)
NOW_US = int(NOW.timestamp()) * 1_000_000
MINUTE_US = 60 * 1_000_000
PLAYBOOKS = Path(__file__).parents[2] / "playbooks"
HOSTILE = "[red]x[/red]\x1b]0;pwn\x07"

PORTAL = InformationSystem(
    id="sys-dvc", name="Cổng dịch vụ công trực tuyến", code="DVC", organization_id="so-nv",
    organization_name="Sở Nội vụ tỉnh Quảng Ngãi", site="hq",
    levels=(LevelDecision(3, dt.date(2025, 1, 1), "12/QĐ-UBND"),), registered=dt.date(2025, 1, 1),
    networks=("10.20.1.0/24",), contact="Nguyễn Thị Lan, 0255 000 000", simulated=True,
)  # fmt: skip
MAIL = InformationSystem(
    id="sys-mail", name="Thư điện tử công vụ", code="MAIL", organization_id="so-khcn",
    organization_name="Sở Khoa học và Công nghệ", site="hq",
    levels=(LevelDecision(2, dt.date(2025, 1, 1)),), registered=dt.date(2025, 1, 1), simulated=True,
)  # fmt: skip


@dataclass(frozen=True)
class FakeAnswer:
    """What the client hands back."""

    data: Any
    truncated: bool = False
    cursor: str | None = None


@dataclass(frozen=True)
class Person:
    """Somebody with a role."""

    name: str
    role: str

    @property
    def permissions(self) -> tuple[str, ...]:
        """What the role may do."""
        return permissions_of(self.role)


class PretendNft(NftActuator):
    """The real plans; the set of blocked addresses is in memory."""

    def __init__(self, clock: FixedClock) -> None:
        super().__init__(None, clock)
        self.blocked: set[str] = set()
        self.available = Capability(True)

    def check(self) -> Capability:
        return self.available

    def apply(self, plan: ActionPlan, key: str) -> None:
        self.blocked.add(plan.target)

    def verify(self, plan: ActionPlan) -> str:
        return "verified" if plan.target in self.blocked else "absent"

    def revert(self, plan: ActionPlan) -> None:
        self.blocked.discard(plan.target)


def require(person: Person, permission: str) -> None:
    """Refuses who lacks the permission."""
    if permission not in person.permissions:
        raise PermissionRefused(f"{person.name} may not {permission}")


class FakeService:
    """The routes that the screens use. `down` makes every call fail as a stopped service does."""

    def __init__(self, person: Person | None = None) -> None:
        self.clock = FixedClock(NOW)
        self.cases = FakeCases()
        self.nft = PretendNft(self.clock)
        self.alerts = AlertDesk(self.cases, self.clock, FakeSystems((PORTAL, MAIL)))
        self.tickets = TicketDesk(self.clock, load_clocks([PLAYBOOKS]), on_created=self._escalated)
        self.playbooks = PlaybookSet.load([PLAYBOOKS])
        self.engine = Engine(self.cases, {"nftables": self.nft}, self.clock, require=require)
        self.person = person or Person("lan", "tier1")
        self.down = False
        self.gaps = 0
        self.wall = True
        self.events: dict[str, list[dict[str, Any]]] = {}
        self.sources: list[dict[str, Any]] = []
        self.points: list[dict[str, Any]] = []
        self._lock = threading.RLock()

    def _escalated(self, tx: Any, alert: Alert, ticket: Ticket, person: Any) -> None:
        self.alerts.escalate(tx, alert.id, person, ticket.id)

    # What happens in the province

    def raise_alert(self, number: int, *, minutes_ago: float = 0, events: int = 1, **changes: Any) -> Alert:
        """One more alert from a finding; the clock stands at NOW afterwards."""
        at_us = NOW_US - int(minutes_ago * MINUTE_US)
        with self._lock:
            self.clock.set((at_us + 2_400_000) * 1000)
            (alert,) = self.alerts.take([a_finding(number, at_us, events, **changes)])
            self.clock.set(NOW_US * 1000)
            self.events[alert.id] = [_event(at_us - n * 4_000_000, n) for n in range(events)]
        return alert

    def classify(self, number: str, *, serious: bool) -> None:
        """A person judges a ticket's severity, which starts the legal clocks."""
        with self._lock, self.cases.begin("hoa") as tx:
            ticket, _ = self.tickets.get(tx, number)
            self.tickets.classify(tx, ticket.id, Person("hoa", "manager"), serious=serious, reason="cổng dịch vụ công")

    # The client's interface

    def get(self, path: str, /, **params: Any) -> FakeAnswer:
        """A GET route."""
        with self._lock:
            self._speak()
            return self._read(path, params)

    def post(self, path: str, /, body: Mapping[str, Any] | None = None) -> FakeAnswer:
        """A POST route."""
        with self._lock:
            self._speak()
            return FakeAnswer(self._change(path, dict(body or {})))

    def changes(self, after: int | None = None, *, stop: threading.Event | None = None) -> Iterator[dict[str, Any]]:
        """Notices; waits while the service is down, as the real client does."""
        seq = len(self.cases.state.changes) if after is None else after
        while stop is None or not stop.is_set():
            known = [] if self.down else self.cases.state.changes
            for kind, id, what in known[seq:]:
                seq += 1
                yield {"seq": seq, "kind": kind, "id": id, "what": what, "at_us": NOW_US}
            time.sleep(0.01)

    def _speak(self) -> None:
        if self.down:
            raise TryAgain("the service is not running here", hint="soc up starts it, or give --url")

    def _read(self, path: str, params: Mapping[str, Any]) -> FakeAnswer:
        with self.cases.begin(self.person.name) as tx:
            if path == "/v1/health":
                return FakeAnswer({"ok": True})
            if path == "/v1/me":
                return FakeAnswer(self._me())
            if path == "/v1/sources":
                return FakeAnswer({"since_us": 0, "sources": self.sources, "totals": None})
            if path == "/v1/sources/points":
                return FakeAnswer(self.points)
            if path in ("/v1/alerts", "/v1/tickets"):
                keys = {"status": params["status"]} if "status" in params else {}
                found = tx.find(path[4:-1], keys=keys, limit=params["limit"])
                return FakeAnswer([{**s.document, "version": s.version} for _, s in found])
            if match := re.fullmatch(r"/v1/alerts/([^/]+)/events", path):
                return FakeAnswer(self.events[match[1]])
            if match := re.fullmatch(r"/v1/alerts/([^/]+)", path):
                return FakeAnswer(self._alert(tx, match[1]))
            if match := re.fullmatch(r"/v1/tickets/([^/]+)", path):
                return FakeAnswer(self._ticket(tx, match[1]))
        raise NotFound(f"no route {path}")

    def _me(self) -> dict[str, Any]:
        person = self.person
        return {
            "coverage_gaps": self.gaps,
            "name": person.name, "role": person.role, "units": [], "permissions": list(person.permissions),
            "via": "api", "acting_for": None, "simulated": True, "wall": self.wall,
        }  # fmt: skip

    def _alert(self, tx: Any, id: str) -> dict[str, Any]:
        alert, version = self.alerts.get(tx, id)
        system = {PORTAL.id: PORTAL, MAIL.id: MAIL}.get(alert.system_id or "")
        playbook = self.playbooks.match(alert)
        return {
            **alert.to_document(), "version": version, "system": to_document(system) if system else None,
            "suggested_playbook": asdict(playbook) if playbook else None,
        }  # fmt: skip

    def _ticket(self, tx: Any, id: str) -> dict[str, Any]:
        ticket, version = self.tickets.get(tx, id)
        runs = [{**s.document, "version": s.version} for _, s in tx.find("run", keys={"ticket": ticket.id})]
        return {**ticket.to_document(), "version": version, "runs": runs}

    def _change(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        routes: list[tuple[str, str, Callable[..., dict[str, Any]]]] = [
            (r"/v1/alerts/([^/]+)/(acknowledge|close|note)", "", self._decide),
            (r"/v1/alerts/([^/]+)/ticket", "ticket.create", self._escalate),
            (r"/v1/tickets/([^/]+)/tasks/([^/]+)/done", "ticket.note", self._done),
            (r"/v1/tickets/([^/]+)/note", "ticket.note", self._note),
            (r"/v1/runs", "", self._plan),
            (r"/v1/runs/([^/]+)/(approve|run|revert|done)", "", self._run),
        ]
        for pattern, permission, route in routes:
            if match := re.fullmatch(pattern, path):
                if permission:
                    require(self.person, permission)
                return route(body, *match.groups())
        raise NotFound(f"no route {path}")

    def _decide(self, body: Mapping[str, Any], id: str, verb: str) -> dict[str, Any]:
        require(self.person, f"alert.{verb}")
        with self.cases.begin(self.person.name) as tx:
            getattr(self.alerts, verb)(tx, id, self.person, *body.values())
            alert, version = self.alerts.get(tx, id)
            return {**alert.to_document(), "version": version}

    def _escalate(self, body: Mapping[str, Any], id: str) -> dict[str, Any]:
        with self.cases.begin(self.person.name) as tx:
            alert, _ = self.alerts.get(tx, id)
            ticket = self.tickets.create_from_alert(tx, alert, self.person, self.playbooks.match(alert))
            return self._ticket(tx, ticket.id)

    def _done(self, body: Mapping[str, Any], id: str, task: str) -> dict[str, Any]:
        with self.cases.begin(self.person.name) as tx:
            self.tickets.step_done(tx, id, task, self.person, body["result"])
            return self._ticket(tx, id)

    def _note(self, body: Mapping[str, Any], id: str) -> dict[str, Any]:
        with self.cases.begin(self.person.name) as tx:
            self.tickets.note(tx, id, self.person, body["text"])
            return self._ticket(tx, id)

    def _plan(self, body: Mapping[str, Any]) -> dict[str, Any]:
        with self.cases.begin(self.person.name) as tx:
            ticket, _ = self.tickets.get(tx, body["ticket"])
        return self.engine.plan(ticket, body["step"], body["params"], self.person).to_document()

    def _run(self, body: Mapping[str, Any], id: str, verb: str) -> dict[str, Any]:
        person = self.person
        acts: dict[str, Callable[[], Any]] = {
            "approve": lambda: self.engine.approve(id, body["plan_hash"], person),
            "run": lambda: self.engine.run(id, person),
            "revert": lambda: self.engine.revert(id, person),
            "done": lambda: self.engine.done_by_hand(id, person, body["note"]),
        }
        return acts[verb]().to_document()


def a_finding(number: int, at_us: int, events: int, **changes: Any) -> Finding:
    """An SSH brute force against the portal; every number is another entity."""
    address = f"203.0.113.{number}"
    finding = Finding(
        id=f"finding-{number}", rule_id="248f0d90-e4c3-55b0-bf46-2d6158f13c2f", rule_version="1",
        title="SSH password guessing", title_vi="Dò mật khẩu SSH", level="high", kind="correlation",
        dataset="linux.sshd", event_ids=tuple(f"{number:016x}{n:016x}" for n in range(events)),
        first_us=at_us - events * 4_000_000, last_us=at_us, site="hq", system_id=PORTAL.id,
        organization_id=PORTAL.organization_id, entity=f"source.ip={address}", count=events,
        matched=(Matched("ssh_failed_password", "event.outcome", "failure", "failure"),),
        group={"source.ip": address}, tags=("attack.credential-access", "attack.t1110.001"),
        explain={
            "why": "correlation.event_count", "observed": events, "expected": 10,
            "params": {"count": events, "at_least": 10, "seconds": 300},
        },
        playbook="ssh-brute-force", simulated=True,
    )  # fmt: skip
    return replace(finding, **changes)


def _event(at_us: int, number: int) -> dict[str, Any]:
    line = f"Failed password for invalid user admin from 203.0.113.9 port {50000 + number} ssh2"
    at = dt.datetime.fromtimestamp(at_us / 1_000_000, dt.UTC).isoformat().replace("+00:00", "Z")
    return {
        "@timestamp": at, "event.id": f"{number:032x}", "event.dataset": "linux.sshd", "event.outcome": "failure",
        "event.original": line, "host.name": "dvc-web-01", "source.ip": "203.0.113.9", "source.port": 50000 + number,
        "user.name": "admin",
    }  # fmt: skip


def a_day(service: FakeService) -> None:
    """Alerts of several levels, systems and kinds."""
    none: dict[str, Any] = {"matched": (), "explain": {}, "kind": "sigma"}
    mail = {"system_id": MAIL.id, "organization_id": MAIL.organization_id}
    service.raise_alert(7, minutes_ago=190, level="low", title="Firewall refused a connection",
                        title_vi="Tường lửa từ chối kết nối", **none)  # fmt: skip
    service.raise_alert(44, minutes_ago=95, level="medium", title="Port scan", title_vi="Quét cổng", events=40,
                        playbook="port-scan", system_id=None, organization_id=None)  # fmt: skip
    service.raise_alert(
        3, minutes_ago=62, level="high", kind="anomaly", title="Log source went silent",
        title_vi="Nguồn nhật ký ngừng gửi", entity="soc.source=127.10.0.7", event_ids=(), count=0, matched=(),
        group={"soc.source": "127.10.0.7"}, playbook="source-silent", tags=("attack.t1562",), **mail,
        explain={
            "why": "anomaly.source_silent", "observed": 372, "expected": 10.0,
            "params": {"source": "127.10.0.7", "seconds": 372, "cadence": 10.0, "limit": 300},
        },
    )  # fmt: skip
    service.raise_alert(
        50, minutes_ago=41, level="medium", kind="anomaly", title="Login from an address new for this person",
        title_vi="Đăng nhập từ địa chỉ chưa từng thấy", entity="user.name=minh",
        matched=(Matched("first_seen", "source.ip", "203.0.113.50", "never seen before"),),
        explain={
            "why": "anomaly.first_seen", "observed": "203.0.113.50", "expected": ["10.1.2.3"],
            "params": {"entity": "user.name=minh", "field": "source.ip", "value": "203.0.113.50", "known": 1},
        },
    )  # fmt: skip
    service.raise_alert(
        80, minutes_ago=18, level="high", kind="sigma", title="Web injection attempt",
        title_vi="Thử chèn mã vào ứng dụng web", playbook="web-attack", explain={}, tags=("attack.t1190",),
        matched=(Matched("selection", "url.original", "/tra-cuu?ma=1'%20OR%20'1'='1", "*' OR '*"),),
    )  # fmt: skip
    service.raise_alert(9, minutes_ago=3, events=12)
    service.raise_alert(
        10, minutes_ago=1, level="critical", title="SSH login after many failures", events=11,
        title_vi="Đăng nhập SSH thành công sau nhiều lần thất bại",
    )  # fmt: skip
