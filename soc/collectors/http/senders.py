"""`Sender`: who is at the other end of a connection, and what is said to a request before its body is read."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Protocol, cast

from soc.collectors.counters import Counters
from soc.collectors.http import elastic, hec
from soc.collectors.http.bodies import MAX_BODY
from soc.collectors.http.calls import Headers, Reply
from soc.collectors.http.doors import Door
from soc.collectors.http.requests import Request
from soc.collectors.listeners import ListenerSpec
from soc.collectors.rates import RATE
from soc.model.clock import Clock

RETRY_S = "5"
"""`Retry-After` under pressure."""
MALFORMED = "malformed"
BUSY = "busy"
NO_TOKEN, WRONG_TOKEN, TOKEN_ELSEWHERE = "token_missing", "token_wrong", "token_not_from_here"
QUEUE_IS_FULL = "the queue is full at the moment"
_TOO_FAST = "this address sends more records a second than it may"
_CHALLENGE: Headers = (("WWW-Authenticate", 'Bearer realm="soc", Basic realm="soc"'),)
NO_ANSWER = Reply(0)
"""The connection is closed instead."""


class Refusing(Protocol):
    """Where refusals are counted, and how full the queue is."""

    counters: Counters
    clock: Clock

    @property
    def is_full(self) -> bool: ...

    def refuse(self, spec: ListenerSpec, peer: str, reason: str, text: str) -> None: ...


@dataclass
class Sender:
    """The peer of one connection, as its listener knows it; `is_certified` by a certificate of the listener's CA."""

    receiver: Refusing
    door: Door
    spec: ListenerSpec
    peer: str = ""
    is_certified: bool = False

    def refuse(self, reason: str, text: str) -> None:
        """Count and note that something of it was not taken."""
        self.receiver.refuse(self.spec, self.peer, reason, text)

    def site(self, request: Request) -> str:
        """Whose its events are: the token's, else the listener's."""
        return (request.token.site if request.token else "") or self.spec.site

    def malformed(self, request: Request, at_ns: int, records: int = 1) -> None:
        """Count records that are none."""
        self.receiver.counters.dropped(self.site(request), self.spec.name, self.peer, at_ns, MALFORMED, records)

    def judge(self, request: Request) -> Reply | None:
        """What is wrong with the request before its body: nobody's body is read for nothing."""
        dialect = request.dialect
        if hec.is_health(request.path):
            return cast(hec.Hec, dialect).healthy(self.receiver.is_full)
        refusal = self._unknown(request)
        if refusal is not None:
            return refusal
        length = request.header("content-length")
        if length and int(length) > MAX_BODY:
            return dialect.fault(413, f"a body may have {MAX_BODY} bytes")
        if self.receiver.is_full and request.has_body:
            return self.put_off(request, 429, QUEUE_IS_FULL)
        now_ns = self.receiver.clock.monotonic_ns()
        if request.has_body and self.door.rates.spend(self.peer, 0, now_ns) > 0:
            return self.put_off(request, 429, _TOO_FAST, RATE)
        return None

    def _unknown(self, request: Request) -> Reply | None:
        door, dialect, header = self.door, request.dialect, request.header("authorization")
        if door.tokens is None:
            if self.is_certified or (not door.trusts_certificates and _is_here(self.peer)):
                return None
            self.refuse(NO_TOKEN, "the listener has no tokens: only this machine")
            return dialect.fault(403, "this listener has no tokens, so that only its own machine may send")
        if not header:
            self.refuse(NO_TOKEN, "no token")
            is_splunk = isinstance(dialect, hec.Hec)  # it has words of its own for this
            return _challenge(dialect.fault(401, "" if is_splunk else "this listener wants a token"))
        token = door.tokens.find(header)
        if token is None:
            self.refuse(WRONG_TOKEN, "a wrong token")
            # Splunk calls a wrong token forbidden (code 4), everybody else unauthorised.
            return _challenge(dialect.fault(403 if isinstance(dialect, hec.Hec) else 401, "Invalid token"))
        if not token.permits(self.peer):
            self.refuse(TOKEN_ELSEWHERE, f"token '{token.name}' is not for it")
            return dialect.fault(403, "this token is not good from your address")
        request.token = token
        return None

    def put_off(self, request: Request, status: int, text: str, reason: str = BUSY) -> Reply:
        """Under pressure: come again later."""
        self.refuse(reason, text)
        if elastic.drops_when_refused(request.path, request.header("user-agent")):
            return NO_ANSWER
        reply = request.dialect.fault(status, text)
        return Reply(reply.status, reply.body, reply.media, (*reply.headers, ("Retry-After", RETRY_S)))


def _challenge(reply: Reply) -> Reply:
    return Reply(reply.status, reply.body, reply.media, (*reply.headers, *_CHALLENGE))


def _is_here(peer: str) -> bool:
    try:
        return ipaddress.ip_address(peer.partition("%")[0]).is_loopback
    except ValueError:
        return False
