"""Empties the outbox into its destinations: in order per system, retried with the same id, every outcome on record."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx
import orjson

from soc.connectors.national import pki
from soc.connectors.national.mapping import Mapped
from soc.connectors.national.message import Privacy, Sender, build, gate
from soc.errors import ConfigError, PermissionRefused
from soc.model.clock import VIETNAM, Clock
from soc.model.message import Message

FIRST_WAIT_S, LONGEST_WAIT_S = 2, 300
"""Waits double from the first to the longest; five minutes keep a repaired line idle no longer than that."""
DAYS_KEPT = 400
BATCH = 200
STATES = ("pending", "sent", "acked", "rejected")


class Item(Protocol):
    """One message on its way, as the outbox gives it."""

    @property
    def id(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def tries(self) -> int: ...
    def message(self) -> Message: ...


class Tx(Protocol):
    """What the driver needs of a transaction. `outbox_due` gives the first open message of each system, if due."""

    def outbox(self, message: Message, /) -> Any: ...
    def outbox_due(self, destination: str, now_us: int, limit: int, /) -> Sequence[Item]: ...
    def outbox_mark(
        self,
        id: str,
        state: str,
        /,
        *,
        receipt: Mapping[str, Any] | None = None,
        error: str | None = None,
        next_try_us: int | None = None,
    ) -> None: ...
    def outbox_counts(self) -> Mapping[str, Mapping[str, int]]: ...
    def cursor(self, name: str, /) -> dict[str, Any] | None: ...
    def set_cursor(self, name: str, document: Mapping[str, Any], /) -> None: ...


class Cases(Protocol):
    """What the driver needs of the cases store."""

    def begin(self, actor: str, /) -> AbstractContextManager[Any]: ...


@dataclass(frozen=True)
class Destination:
    """Where messages of this name go. A client certificate is required."""

    name: str
    url: str
    mapping: Mapped
    authority: Path
    certificate: Path | None = None
    key: Path | None = None
    timeout_s: float = 10.0
    heartbeat_s: int = 300


@dataclass(frozen=True)
class Outcome:
    """What an attempt brought: acked with its receipt, rejected for good, or pending (`is_down`: no one there)."""

    state: str
    receipt: Mapping[str, Any] | None = None
    error: str | None = None
    is_down: bool = False


Transport = Callable[[Destination, Message], Outcome]


class HttpsTransport:
    """POSTs a message over mutual TLS, the message's id as idempotency key; one kept connection per destination."""

    def __init__(self) -> None:
        self._clients: dict[str, httpx.Client] = {}

    def __call__(self, destination: Destination, message: Message) -> Outcome:
        try:
            body = destination.mapping.shape(message)
        except ValueError as error:
            return Outcome("rejected", error=f"mapping: {error}")
        try:
            client = self._client(destination)
        except ConfigError as error:  # the other destinations go on; `status` shows it
            return Outcome("pending", error=str(error), is_down=True)
        try:
            response = client.post(
                destination.mapping.path,
                content=orjson.dumps(body),
                headers={"content-type": "application/json", "idempotency-key": message.id},
            )
        except httpx.TransportError as error:  # refused, timed out, cut: whether it arrived is unknown, so ask again
            self._forget(destination)
            return Outcome("pending", error=f"{type(error).__name__}: {error}".rstrip(": "), is_down=True)
        return judge(response.status_code, response.content, message.id)

    def close(self) -> None:
        """Close every connection."""
        for name in list(self._clients):
            self._clients.pop(name).close()

    def _client(self, destination: Destination) -> httpx.Client:
        if destination.name not in self._clients:
            self._clients[destination.name] = httpx.Client(
                base_url=destination.url, verify=_context(destination), timeout=destination.timeout_s, trust_env=False
            )
        return self._clients[destination.name]

    def _forget(self, destination: Destination) -> None:
        self._clients.pop(destination.name).close()


def _context(destination: Destination) -> Any:
    if not destination.url.startswith("https://"):
        raise ConfigError(f"national.{destination.name}: url must begin with https://")
    if destination.certificate is None or destination.key is None:
        raise ConfigError(f"national.{destination.name}: a client certificate and its key are required")
    try:
        return pki.client_context(destination.authority, destination.certificate, destination.key)
    except OSError as error:  # ssl.SSLError is one too
        raise ConfigError(f"national.{destination.name}: certificate files: {error}") from error


def judge(status: int, content: bytes, message_id: str) -> Outcome:
    """What a reply means. Only a receipt that names the message is an acknowledgement.

    408, 425, 429 and 5xx are for later (RFC 9110 section 15, RFC 8470, RFC 6585); so are 3xx and other odd replies of a
    proxy in between, and 401/403, which a repaired certificate cures. Other 4xx reject this message for good.
    """
    receipt = _json_object(content)
    if status in (200, 201):
        if receipt.get("id") == message_id and receipt.get("receipt"):
            return Outcome("acked", receipt=receipt)
        return Outcome("pending", error=f"HTTP {status} without a receipt for this message")
    said = str(receipt.get("error", ""))[:200]
    error = f"HTTP {status} {said}".strip()
    is_final = 400 <= status < 500 and status not in (401, 403, 404, 408, 425, 429)
    return Outcome("rejected" if is_final else "pending", error=error)


def _json_object(content: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


class OutboxDriver:
    """Sends what is due. State lives in the outbox and in one cursor per destination, so a restart goes on."""

    def __init__(
        self,
        cases: Cases,
        destinations: Sequence[Destination],
        clock: Clock,
        transport: Transport | None = None,
        *,
        jitter: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._cases = cases
        self._destinations = tuple(destinations)
        self._clock = clock
        self._transport = transport or HttpsTransport()
        self._jitter = jitter

    def step(self, now_us: int | None = None, *, limit: int = BATCH) -> dict[str, dict[str, int]]:
        """Send up to `limit` messages to each destination; `{destination: {acked, rejected, retry}}`.

        `now_us` µs UTC, the clock's by default. An outcome is committed before the next message of its system is sent.
        """
        now = self._clock.now_ns() // 1000 if now_us is None else now_us
        return {destination.name: self._drain(destination, now, limit) for destination in self._destinations}

    def heartbeat(self, new_id: Callable[[], str], sender: Sender, facts: Mapping[str, Any]) -> list[str]:
        """Put a heartbeat into the outbox of each destination whose last one is old enough; the ids.

        While one still waits no second is made: an outage leaves one heartbeat, not thousands.
        """
        now = self._clock.now_ns() // 1000
        made: list[str] = []
        with self._cases.begin("engine") as tx:
            for destination in self._destinations:
                state = _state(tx, destination.name)
                beat = state["heartbeat"]
                if beat.get("waiting") or now - beat.get("made_us", 0) < destination.heartbeat_s * 1_000_000:
                    continue
                message = build("heartbeat", facts, id=new_id(), destination=destination.name, created_us=now,
                                sender=sender, privacy=Privacy(mode="remove"))  # fmt: skip
                tx.outbox(message)
                state["heartbeat"] = {"waiting": message.id, "made_us": now}
                tx.set_cursor(_cursor(destination.name), state)
                made.append(message.id)
        return made

    def status(self) -> dict[str, dict[str, Any]]:
        """Per destination: counts by state, last success and error, next try (µs UTC), and counts per local day."""
        with self._cases.begin("engine") as tx:
            counts = tx.outbox_counts()
            states = {destination.name: _state(tx, destination.name) for destination in self._destinations}
        return {name: _status(counts.get(name, {}), state) for name, state in states.items()}

    def _drain(self, destination: Destination, now: int, limit: int) -> dict[str, int]:
        done = {"acked": 0, "rejected": 0, "retry": 0}
        with self._cases.begin("engine") as tx:
            if (_state(tx, destination.name)["down_until_us"] or 0) > now:
                return done
        while sum(done.values()) < limit:
            with self._cases.begin("engine") as tx:
                due = list(tx.outbox_due(destination.name, now, limit - sum(done.values())))
            if not due:
                return done
            for item in due:
                outcome = self._attempt(destination, item.message())
                self._record(destination, item, outcome, now)
                done["retry" if outcome.state == "pending" else outcome.state] += 1
                if outcome.is_down:
                    return done
        return done

    def _attempt(self, destination: Destination, message: Message) -> Outcome:
        try:
            gate(message)  # again, for whatever was put into the outbox past `build`
        except PermissionRefused as error:
            return Outcome("rejected", error=str(error))
        return self._transport(destination, message)

    def _record(self, destination: Destination, item: Item, outcome: Outcome, now: int) -> None:
        with self._cases.begin("engine") as tx:
            state = _state(tx, destination.name)
            next_try = None
            if outcome.state == "pending":
                failures = state["failures"] + 1 if outcome.is_down else item.tries + 1
                next_try = now + int(wait_s(failures, self._jitter()) * 1_000_000)
            tx.outbox_mark(item.id, outcome.state, receipt=outcome.receipt, error=outcome.error, next_try_us=next_try)
            tx.set_cursor(_cursor(destination.name), _after(state, item, outcome, now, next_try))


def wait_s(failures: int, jitter: float = 0.0) -> float:
    """Seconds before the next try after so many failures in a row; `jitter` in 0–1 adds up to a fifth."""
    base: float = min(FIRST_WAIT_S * 2 ** min(max(failures - 1, 0), 20), LONGEST_WAIT_S)
    return base * (1 + jitter / 5)


def _after(state: dict[str, Any], item: Item, outcome: Outcome, now: int, next_try: int | None) -> dict[str, Any]:
    """The destination's record after one attempt."""
    day = state["days"].setdefault(_local_day(now), {"attempts": 0, "acked": 0, "rejected": 0, "heartbeats": 0})
    day["attempts"] += 1
    state["next_try_us"] = next_try
    state["failures"] = state["failures"] + 1 if outcome.is_down else 0
    state["down_until_us"] = next_try if outcome.is_down else None
    if outcome.state != "pending":
        day[outcome.state] += 1
        if state["heartbeat"].get("waiting") == item.id:
            del state["heartbeat"]["waiting"]
    if outcome.state == "acked":
        state["last_success_us"] = now
        day["heartbeats"] += item.kind == "heartbeat"
    else:
        state["last_error"], state["last_error_us"] = outcome.error, now
    state["days"] = dict(sorted(state["days"].items())[-DAYS_KEPT:])
    return state


def _cursor(destination: str) -> str:
    return f"national:{destination}"


def _state(tx: Any, destination: str) -> dict[str, Any]:
    empty: dict[str, Any] = {
        "days": {},
        "failures": 0,
        "down_until_us": None,
        "next_try_us": None,
        "last_success_us": None,
        "last_error": None,
        "last_error_us": None,
        "heartbeat": {},
    }
    return {**empty, **(tx.cursor(_cursor(destination)) or {})}


def _status(counts: Mapping[str, int], state: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("last_success_us", "last_error", "last_error_us", "next_try_us", "days")
    waiting = counts.get("pending", 0) + counts.get("sent", 0)
    done = {name: counts.get(name, 0) for name in ("acked", "rejected")}
    return {"pending": waiting, **done, **{key: state[key] for key in keys}}


def days_without_heartbeat(status: Mapping[str, Any], first: dt.date, last: dt.date) -> list[str]:
    """The local days from `first` to `last`, both included, on which no heartbeat was acknowledged."""
    days = [(first + dt.timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]
    return [day for day in days if not status["days"].get(day, {}).get("heartbeats")]


def _local_day(us: int) -> str:
    moment = dt.datetime.fromtimestamp(us // 1_000_000, dt.UTC)
    return moment.astimezone(VIETNAM).date().isoformat()
