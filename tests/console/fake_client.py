"""A service made of canned answers, in the shapes that the API gives; it remembers what it was asked."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from soc.client import Answer
from soc.errors import NotFound, SocError
from soc.model.alert import Alert, Note, Observable
from soc.model.finding import Matched
from soc.model.run import ActionPlan, ActionSpec, Progress, Run
from soc.model.ticket import Deadline, Move, Task, Ticket

ESCAPE = "\x1b]0;taken over\x07\x1b[2J\x9b31m\u202e"
"""What an attacker writes into a log to steer the terminal of whoever reads it."""
NOW_US = 1_795_629_600_000_000
"""2026-11-26 01:00:00 in Vietnam (µs UTC)."""
DAY_US = 86_400_000_000
ALERT_ID, ALERT_2 = "019ac000-0000-7000-8000-00003f9a2c1b", "019ac000-0000-7000-8000-00003f9a2c1c"
TICKET_ID, RUN_ID = "019ac000-0000-7000-8000-0000aaaa0001", "019ac000-0000-7000-8000-00009c1e22f0"
HOLD_ID = "019ac000-0000-7000-8000-00007d21c90e"
PLAN_HASH = "5f0c6b1d9a3e" + "0" * 52

ALERT = Alert(
    id=ALERT_ID, dedup_key="k", rule_id="ssh-brute-force", rule_version="1", title=f"SSH brute force {ESCAPE}",
    title_vi=f"Dò mật khẩu SSH {ESCAPE}", level="high", kind="correlation", dataset="linux.sshd",
    why=(Matched("selection", "user.name", f"root{ESCAPE}", "root*"),), explain={}, entity="source.ip=203.0.113.9",
    observables=(Observable("source.ip", "203.0.113.9"),), event_ids=("0" * 32,), events_total=1234, count=1,
    first_us=NOW_US, last_us=NOW_US, created_us=NOW_US, updated_us=NOW_US, lag_us=1, risk=70, system_id="portal",
    system_name="Cổng dịch vụ công", system_level=3, organization_id="H40.15", organization_name="Sở Y tế",
    notes=(Note(NOW_US, "lan", f"đã gọi đơn vị {ESCAPE}"),),
).to_document()  # fmt: skip
RUN = Run(
    id=RUN_ID, ticket_id=TICKET_ID, ticket_number="KT-2026-000123", step_id="block", actuator="nftables",
    verb="block_address", state="planned", requested_by="lan", created_us=NOW_US, key="k", plan_hash=PLAN_HASH,
    plan=ActionPlan(
        (("nft", "add", "element", "inet", "soc", "blocked", "{ 203.0.113.9 timeout 24h }"),), "203.0.113.9", 0,
        (("nft", "delete", "element", "inet", "soc", "blocked", "{ 203.0.113.9 }"),), f"block 203.0.113.9 {ESCAPE}",
    ),
    history=(Progress(NOW_US, "lan", "planned", ESCAPE),),
).to_document()  # fmt: skip
TICKET = {
    **Ticket(
        id=TICKET_ID, number="KT-2026-000123", title=f"SSH brute force {ESCAPE}", title_vi=f"Dò mật khẩu SSH {ESCAPE}",
        description="", level="high", state="assigned", created_us=NOW_US, detected_us=NOW_US, created_by="lan",
        alert_ids=(ALERT_ID,), entity="source.ip=203.0.113.9", observables=(), system_name="Cổng dịch vụ công",
        system_level=3, assignee="minh", playbook="ssh-brute-force",
        tasks=(
            Task("verify", 1, "manual", "Verify", "Xác minh", "Ask the unit.", "Hỏi đơn vị.", NOW_US + DAY_US),
            Task("block", 3, "action", "Block", "Chặn", action=ActionSpec("nftables", "block_address")),
        ),
        deadlines=(Deadline("NW2", NOW_US + DAY_US, "First notice", "Thông báo ban đầu", "Bộ Công an", "Đ31", "F"),),
        moves=(Move(NOW_US, "lan", "new", "triage", ESCAPE),),
    ).to_document(),
    "version": 3, "runs": [RUN],
}  # fmt: skip
EVENT = {
    "@timestamp": "2026-11-25T18:00:00.000000Z", "event.id": "0" * 32, "event.dataset": "linux.sshd",
    "event.original": f"Failed password for {ESCAPE} from 203.0.113.9", "host.name": "web01",
    "source.ip": "203.0.113.9", "user.name": f"root{ESCAPE}",
}  # fmt: skip
PLAYBOOK = {
    "id": "ssh-brute-force", "title": "SSH brute force", "title_vi": "Dò mật khẩu SSH", "description": "What to do.",
    "description_vi": "Việc cần làm.", "tags": ["attack.t1110"], "version": "1",
    "steps": [{"id": "block", "tier": 3, "kind": "action", "title": "Block", "title_vi": "Chặn", "guidance": "",
               "deadline_minutes": 15, "action": {"actuator": "nftables", "verb": "block_address"}}],
}  # fmt: skip
SOURCE = {
    "site": "kontum", "listener": "syslog-udp", "peer": f"127.5.10.6{ESCAPE}", "system_id": "portal",
    "system_name": "Cổng dịch vụ công", "datasets": ["linux.sshd"], "last_seen_us": NOW_US, "rate_per_s": 12.5,
    "received": 1000, "queued": 990, "dropped": {"full": 10}, "stored": 980, "dead": 0, "pending": 10, "unparsed": 1,
    "balanced": True, "peers": 1, "bytes": 4096, "flagged": 2, "lag_us": 2_000_000, "unparsed_share": 0.001,
    "first_seen_us": NOW_US, "known": True, "drift_us": -10_800_000_000,
    "guess": {"product": f"linux.sshd{ESCAPE}", "share": 0.98},
    "silence": {"last_us": NOW_US, "cadence_us": 20_000_000, "limit_us": 300_000_000, "silent": False},
}  # fmt: skip
BURIED = {
    "site": "hue", "listener": "syslog", "peer": "10.1.0.9", "format": "syslog", "received_us": NOW_US, "records": 3,
    "bytes": 300, "why": "RuntimeError: a bug", "position": "work0:dead:7", "begins": "<38>Nov 20",
}  # fmt: skip
POINT = {
    "kind": "listener", "unit": "", "site": "kontum", "listener": f"syslog-udp{ESCAPE}", "protocol": "syslog-udp",
    "address": "0.0.0.0:514", "since_us": NOW_US, "last_seen_us": NOW_US, "sources": 12, "received": 1000,
    "bytes": 4096, "dropped": {"kernel": 3}, "datasets": ["linux.sshd"], "systems": ["portal"],
}  # fmt: skip
ADOPTED = {
    "address": "127.5.10.6", "system": "portal", "name": f"Cổng{ESCAPE}", "organization": "Sở TTTT", "site": "kontum",
    "level": 3, "before": [], "after": ["127.5.10.6"], "applied": False,
}  # fmt: skip
STANDING = {
    "system_id": "portal", "name": f"Cổng dịch vụ công{ESCAPE}", "level": 3, "required_months": 3,
    "required_by": "CV 2973", "evidence": "S", "registered": "2026-01-01", "oldest_day": "2026-08-01",
    "expected_days": 92, "covered_days": 91, "verdict": "breach", "label": "retention.verdict.breach",
    "gaps": [{"first": "2026-09-01", "last": "2026-09-01", "days": 1, "cause": "missing"}], "advice_months": 12,
}  # fmt: skip
PLAN = {
    "schema": "soc.retention.plan/v1", "planner": "hoa", "now_us": NOW_US, "ladder_id": "retention.2026",
    "hash": PLAN_HASH,
    "items": [
        {"segment_id": "a", "day": "2026-01-01", "level": 1, "systems": ["portal"], "rows": 10, "bytes": 2048,
         "sha256": "0", "action": "delete", "due_us": 1,
         "reasons": [{"id": "retention.delete.due", "params": {"due": "2026-03-02"}}]},
        {"segment_id": "b", "day": "2026-11-01", "level": 3, "systems": ["portal"], "rows": 10, "bytes": 2048,
         "sha256": "0", "action": "keep", "due_us": 1,
         "reasons": [{"id": "retention.keep.owed",
                      "params": {"system": "portal", "level": "3", "due": "2027-02-02"}}]},
    ],
}  # fmt: skip
HOLD = {
    "id": HOLD_ID, "systems": ["portal"], "first_us": NOW_US, "last_us": None, "case": "", "by": "minh",
    "reason": f"công văn 15 {ESCAPE}", "created_us": NOW_US, "released_us": None, "released_by": "",
}  # fmt: skip
CERTIFICATE = {
    "plan_hash": PLAN_HASH, "ladder_id": "retention.2026", "planner": "hoa", "approver": "minh", "approved_us": NOW_US,
    "issued_us": NOW_US, "tombstones": [{"segment_id": "a", "rows": 10, "bytes": 2048}],
    "spared": [{"segment_id": "b", "reason": "retention.spared.gone"}],
}  # fmt: skip
VERDICT = {
    "ok": False, "segments": 3, "tombstones": 1, "certificates": 1,
    "faults": [{"kind": "altered", "what": "seg/a.parquet", "message": f"its bytes {ESCAPE}"}],
    "ledger": {"ok": True, "entries": 12, "faults": []},
}  # fmt: skip
SYSTEM = {
    "kind": "system", "id": "portal", "name": f"Cổng dịch vụ công{ESCAPE}", "code": "H40.15.01",
    "organization_id": "H40.15", "organization_name": "Sở Y tế", "site": "kontum", "registered": "2026-01-01",
    "networks": ["10.1.0.0/24"], "levels": [{"level": 3, "since": "2026-01-01", "decision": "15/QĐ"}],
}  # fmt: skip
MESSAGE = {
    "id": ALERT_2, "destination": "reference", "system_id": "portal", "sequence": 4, "kind": "alert",
    "state": "pending",
    "tries": 2, "next_try_us": 0, "document": {"created_us": NOW_US}, "receipt": None, "error": ESCAPE,
}  # fmt: skip
DESTINATION = {
    "name": "reference", "url": "https://127.0.0.1:8643", "simulated": True, "up": False, "queued": 3, "sent": 0,
    "acked": 40, "refused": 0, "dead": 0, "last_contact_us": NOW_US, "last_error": ESCAPE,
}  # fmt: skip
ENTRY = {
    "chain": "main", "seq": 7, "at_us": NOW_US, "actor": "lan", "via": "api", "act": "alert.acknowledge",
    "object": f"alert:{ALERT_ID}", "before": None, "after": None, "reason": ESCAPE, "prev": "0", "hash": "0",
}  # fmt: skip
PERSON = {"name": "lan", "role": "tier1", "units": [], "uid": 1001, "disabled": False}
ME = {
    "name": "lan", "role": "tier1", "units": [], "permissions": ["alert.read"], "via": "api", "acting_for": "root",
    "simulated": True, "wall": False,
}  # fmt: skip
BACKFILL = {
    "is_on": True, "job": "019ac000-0000-7000-8000-000077aa0b1d", "state": "running", "at": 3, "slices": 9, "hits": 2,
    "rests_until_us": None,
}  # fmt: skip
STATUS = {
    "simulated": True, "queue": {"records": 5}, "store": {"segments": 3, "rows_sealed": 12345, "bytes": 1 << 20},
    "processes": [{"name": "work0", "state": "running", "pid": 4711, "at_us": NOW_US, "counts": {"events": 5}}],
    "outbox": {"reference": {"pending": 3, "acked": 40}}, "withheld": 1, "backfill": BACKFILL,
    "actuators": {"nftables": {"available": False, "why": f"no gateway {ESCAPE}"}},
}  # fmt: skip
IMPORTED = {
    "id": "imp-1", "name": "auth.log", "state": "done", "size": 4096, "records": 3, "stored": 3, "pending": 0,
    "unparsed": 1, "datasets": {"linux.sshd": 2, "unparsed": 1}, "first_at": "2026-11-25T03:00:00Z",
    "last_at": "2026-11-25T03:00:01Z", "error": "",
    "findings": [{"rule": "r1", "title": f"SSH {ESCAPE}", "title_vi": f"SSH {ESCAPE}", "level": "high", "count": 2}],
}  # fmt: skip

JOB_ID, CANCELLED_ID = "019ac000-0000-7000-8000-000077aa0b1b", "019ac000-0000-7000-8000-000077aa0b1c"
SIDE = {"hits": 8, "alerts": 2, "judged": 4, "precision": 0.75}
JOB = {
    "id": JOB_ID, "asker": "lan", "since_us": NOW_US - 30 * DAY_US, "until_us": NOW_US, "created_us": NOW_US,
    "rules": ["failed-login"], "texts": [f"mine.yml {ESCAPE}"], "where": f"user.name:root {ESCAPE}", "against": True,
    "reason": ESCAPE, "state": "done", "events": 12345, "events_total": 12345, "bytes": 1 << 20, "cpu_s": 1.5,
    "hits": 38412, "span_s": 30 * 86400.0, "eta_s": None, "failures": {"new": {f"bad {ESCAPE}": 2}},
    "left_out": {"new": {"evicted_groups": 7}, "old": {}},
    "rules_found": [{
        "rule": "failed-login", "title": f"Failed {ESCAPE}", "title_vi": f"Thất bại {ESCAPE}", "level": "low",
        "new": SIDE, "old": SIDE, "diff": {"new": 2, "old": 1, "both": 6}, "excepted": {"new": 3},
        "days": [{"day": "2026-11-20", "new": 2, "both": 6, "alerts.new": 2}],
        "entities": [{"entity": f"source.ip=203.0.113.9 {ESCAPE}", "hits": 8}],
    }],
}  # fmt: skip
HIT = {"last_us": NOW_US, "level": "low", "title": f"Failed {ESCAPE}", "title_vi": f"Thất bại {ESCAPE}",
       "entity": f"source.ip=203.0.113.9 {ESCAPE}", "event_ids": ["0" * 32]}  # fmt: skip

COVERAGE = {
    "since_us": NOW_US - DAY_US, "until_us": NOW_US, "window_us": 300_000_000, "windows": 288, "rules": 20,
    "begins_us": NOW_US - DAY_US, "gaps": 2, "not_loaded": 0, "backfill": BACKFILL,
    "totals": {"evaluated": 5758, "late": 0, "skipped": 0, "failed": 2, "backfilled": 0},
    "ranges": [{
        "since_us": NOW_US - 600_000_000, "until_us": NOW_US, "status": "failed", "why": "rule_broke", "events": 12,
        "rules": [{"rule": "r-1", "title": f"Failed {ESCAPE}", "title_vi": f"Thất bại {ESCAPE}"}], "rules_total": 2,
    }],
}  # fmt: skip

Canned = Any | Callable[[Mapping[str, Any]], Any]


def _answers() -> dict[tuple[str, str], Canned]:
    alert, ticket, run = f"/v1/alerts/{ALERT_ID}", "/v1/tickets/KT-2026-000123", f"/v1/runs/{RUN_ID}"
    plan = f"/v1/retention/plans/{PLAN_HASH}"
    summary = {"hash": PLAN_HASH, "planner": "hoa", "now_us": NOW_US, "ladder_id": "l", "delete": 1, "keep": 1,
               "rows": 10, "bytes": 2048, "state": "planned", "approver": ""}  # fmt: skip
    changed = dict.fromkeys(("acknowledge", "close", "note"), ALERT)
    return {
        ("GET", "/v1/alerts"): [ALERT, {**ALERT, "id": ALERT_2}], ("GET", f"{alert}/events"): [EVENT],
        ("GET", alert): {
            **ALERT, "system": SYSTEM, "suggested_playbook": PLAYBOOK, "events_shown": 1,
            "rest_query": f'source.ip:"203.0.113.9" {ESCAPE}',
        },
        **{("POST", f"{alert}/{verb}"): found for verb, found in changed.items()}, ("POST", f"{alert}/ticket"): TICKET,
        ("GET", "/v1/coverage"): COVERAGE, ("POST", "/v1/coverage/backfill"): JOB,
        ("GET", "/v1/lookbacks"): [{**JOB, "state": "running"}, {**JOB, "id": CANCELLED_ID}],
        ("POST", "/v1/lookbacks"): JOB, ("GET", f"/v1/lookbacks/{JOB_ID}"): JOB,
        ("GET", f"/v1/lookbacks/{JOB_ID}/hits"): [HIT], ("POST", f"/v1/lookbacks/{JOB_ID}/cancel"): JOB,
        ("GET", f"/v1/lookbacks/{CANCELLED_ID}"): {**JOB, "state": "cancelled", "events": 5},
        ("GET", "/v1/events"): [EVENT], ("GET", "/v1/events/top"): [{"value": ESCAPE, "count": 1234}],
        ("GET", "/v1/sources"): {
            "since_us": 0, "sources": [SOURCE],
            "totals": {**SOURCE, "sources": 1, "balanced": True},
        },
        ("GET", "/v1/sources/points"): [POINT],
        ("GET", "/v1/sources/dead"): [BURIED],
        **{
            ("POST", f"/v1/sources/{act}"): lambda body: {**ADOPTED, "applied": body.get("apply", False)}
            for act in ("adopt", "release")
        },
        ("GET", "/v1/tickets"): [TICKET], ("GET", ticket): TICKET, ("POST", f"{ticket}/move"): TICKET,
        ("POST", f"{ticket}/note"): TICKET, ("POST", f"{ticket}/tasks/verify/done"): TICKET,
        ("POST", f"{ticket}/classify"): TICKET,
        ("GET", "/v1/playbooks"): [PLAYBOOK], ("GET", "/v1/playbooks/ssh-brute-force"): PLAYBOOK,
        ("GET", "/v1/runs"): [RUN], ("GET", run): RUN, ("POST", "/v1/runs"): RUN,
        ("POST", f"{run}/approve"): {**RUN, "state": "approved", "approved_by": "minh"},
        ("POST", f"{run}/run"): {**RUN, "state": "verified", "plan": {**RUN["plan"], "expires_us": NOW_US + DAY_US}},
        ("POST", f"{run}/revert"): {**RUN, "state": "reverted"}, ("POST", f"{run}/done"): {**RUN, "state": "manual"},
        ("GET", "/v1/national"): [DESTINATION], ("GET", "/v1/national/messages"): [MESSAGE],
        ("GET", "/v1/retention"): {"standings": [STANDING], "compliant": False},
        ("GET", "/v1/retention/verify"): VERDICT, ("GET", "/v1/retention/certificates"): [CERTIFICATE],
        ("GET", "/v1/retention/plans"): [summary], ("GET", plan): PLAN, ("POST", "/v1/retention/plans"): PLAN,
        ("POST", f"{plan}/apply"): CERTIFICATE, ("GET", "/v1/retention/holds"): [HOLD],
        ("POST", "/v1/retention/holds"): HOLD, ("POST", f"/v1/retention/holds/{HOLD_ID}/release"): HOLD,
        ("GET", "/v1/ledger"): [ENTRY],
        ("GET", "/v1/ledger/verify"): {"ok": False, "entries": 12, "faults": [f"entry 7 {ESCAPE}"]},
        ("GET", "/v1/systems"): [SYSTEM], ("GET", "/v1/systems/portal"): SYSTEM, ("PUT", "/v1/systems/portal"): SYSTEM,
        ("GET", "/v1/people"): [PERSON], ("POST", "/v1/people"): PERSON,
        ("POST", "/v1/people/lan/tokens"): {"secret": "t.s", "person": "lan", "days": 90},
        ("GET", "/v1/status"): STATUS, ("GET", "/v1/me"): ME, ("GET", "/v1/imports/imp-1"): IMPORTED,
    }  # fmt: skip


class FakeClient:
    """`soc.client.Client` without a service. `answers` may be changed; an exception there is raised."""

    def __init__(self) -> None:
        self.answers = _answers()
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        self.options: dict[str, Any] = {}
        self.waits: dict[str, float | None] = {}
        self.streamed: list[list[dict[str, Any] | SocError]] = []
        self.truncated = False
        self.cursor: str | None = None
        self.warnings: list[str] = []
        self.total: int | None = None
        self.is_closed = False

    def connect(self, settings: Any, **options: Any) -> FakeClient:
        """Stands for `Client.connect`."""
        self.options = {"settings": settings, **options}
        return self

    def _answer(self, verb: str, path: str, asked: Mapping[str, Any]) -> Answer:
        self.calls.append((verb, path, dict(asked)))
        found = self.answers.get((verb, path))
        if found is None:
            raise NotFound(f"no such thing as {path}")
        if isinstance(found, Exception):
            raise found
        data = found(asked) if callable(found) else found
        return Answer("soc.fake/v1", copy.deepcopy(data), self.truncated, self.warnings, self.cursor, self.total)

    def get(self, path: str, *, wait_s: float | None = None, **params: Any) -> Answer:
        self.waits[path] = wait_s
        return self._answer("GET", path, {k: v for k, v in params.items() if v is not None})

    def post(self, path: str, body: Mapping[str, Any] | None = None, *, wait_s: float | None = None) -> Answer:
        self.waits[path] = wait_s
        return self._answer("POST", path, body or {})

    def put(self, path: str, body: Mapping[str, Any]) -> Answer:
        return self._answer("PUT", path, body)

    def fetch(self, path: str, body: Mapping[str, Any] | None = None) -> tuple[bytes, Mapping[str, str]] | Answer:
        """The prepared octets and headers, or a prepared document."""
        answer = self._answer("FETCH", path, body or {})
        return answer if isinstance(answer.data, dict) else answer.data

    def stream(self, path: str, **params: Any) -> Iterator[dict[str, Any]]:
        """One of the prepared streams after the other; an error among the objects breaks it."""
        self.calls.append(("STREAM", path, {k: v for k, v in params.items() if v is not None}))
        for item in self.streamed.pop(0):
            if isinstance(item, SocError):
                raise item
            yield item

    def upload(
        self, path: Path, *, format: str, product: str | None, resume: bool, progress: Callable[[int, int], None]
    ) -> str:
        self.calls.append(("UPLOAD", str(path), {"format": format, "product": product, "resume": resume}))
        found = self.answers.get(("UPLOAD", path.name))
        if isinstance(found, Exception):
            raise found
        progress(path.stat().st_size, path.stat().st_size)
        return "imp-1"

    def close(self) -> None:
        self.is_closed = True

    def asked(self, verb: str, path: str) -> dict[str, Any]:
        """The body or parameters of the last such call."""
        return next(asked for v, p, asked in reversed(self.calls) if (v, p) == (verb, path))
