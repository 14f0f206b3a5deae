"""How many records a second each source may send: a token bucket for each."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass

from soc.collectors.counters import Counters
from soc.collectors.listeners import AllowList, ListenerSpec

MAX_BUCKETS = 16_384
"""Sources of a listener whose buckets are remembered; beyond it the one that was longest unused is forgotten, which
fills it. Forged senders cost the others that much, and no memory."""
RATE = "rate"
NOT_ALLOWED = "not_allowed"
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class Limit:
    """So many records a second, and so many at once after a pause. A rate of 0 is no limit."""

    rate: int
    burst: int


@dataclass(slots=True)
class _Bucket:
    limit: Limit
    tokens: float
    at_ns: int

    def fill(self, now_ns: int) -> None:
        gained = (now_ns - self.at_ns) * self.limit.rate / _SECOND_NS
        self.tokens = min(self.tokens + max(gained, 0.0), float(self.limit.burst))
        self.at_ns = now_ns


class Rates:
    """The buckets of a listener's sources. Not for several threads at once; times are of a monotonic clock (ns)."""

    def __init__(self, spec: ListenerSpec) -> None:
        self._default = limit_of(spec.rate, spec.burst)
        named = [(ipaddress.ip_network(text, strict=False), limit_of(*given)) for text, *given in spec.rates]
        self._named = sorted(named, key=lambda item: -item[0].prefixlen)
        self._buckets: OrderedDict[str, _Bucket | None] = OrderedDict()
        self.is_limited = bool(self._default.rate or any(limit.rate for _, limit in named))
        """Whether anybody has a limit."""

    def take(self, peer: str, n: int, now_ns: int) -> int:
        """How many of `n` records may come in; the rest is beyond the limit."""
        bucket = self._bucket(peer, now_ns)
        if bucket is None:
            return n
        granted = min(n, int(bucket.tokens))
        bucket.tokens -= granted
        return granted

    def spend(self, peer: str, n: int, now_ns: int) -> float:
        """Count records that are in already; for how many seconds the peer must wait now."""
        bucket = self._bucket(peer, now_ns)
        if bucket is None:
            return 0.0
        bucket.tokens -= n
        return max(-bucket.tokens / bucket.limit.rate, 0.0)

    def _bucket(self, peer: str, now_ns: int) -> _Bucket | None:
        if not self.is_limited:
            return None
        if peer in self._buckets:
            bucket = self._buckets[peer]
        else:
            limit = self._limit(peer)
            bucket = _Bucket(limit, float(limit.burst), now_ns) if limit.rate else None
            self._buckets[peer] = bucket
            if len(self._buckets) > MAX_BUCKETS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(peer)
        if bucket is not None:
            bucket.fill(now_ns)
        return bucket

    def _limit(self, peer: str) -> Limit:
        """That of the narrowest network, else the listener's."""
        try:
            address = ipaddress.ip_address(peer.partition("%")[0])
        except ValueError:
            return self._default
        return next((limit for network, limit in self._named if address in network), self._default)


def limit_of(rate: int, burst: int = 0) -> Limit:
    """Without a burst, what ten seconds bring."""
    return Limit(rate, burst or rate * 10)


class Gate:
    """Whose datagrams come in, and how many of them; what stays outside is counted as `not_allowed` or `rate`."""

    def __init__(self, spec: ListenerSpec, counters: Counters) -> None:
        self._spec, self._counters = spec, counters
        self._allowed, self._rates = AllowList(spec), Rates(spec)

    def admit(self, peer: str, n: int, now_ns: int, monotonic_ns: int) -> int:
        """How many of the `n` datagrams that a peer sent may come in, the first ones."""
        spec = self._spec
        if not self._allowed.permits(peer):
            self._counters.dropped(spec.site, spec.name, peer, now_ns, NOT_ALLOWED, n)
            return 0
        if not self._rates.is_limited:
            return n
        granted = self._rates.take(peer, n, monotonic_ns)
        if granted < n:
            self._counters.dropped(spec.site, spec.name, peer, now_ns, RATE, n - granted)
        return granted
