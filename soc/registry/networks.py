"""Which values belong to an address: longest prefix first, per site and address family, over integer keys."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from typing import Generic, TypeVar

V = TypeVar("V")
_MAPPED = 0xFFFF << 32
"""RFC 4291 section 2.5.5.2: an IPv4 address written as IPv6."""
Key = tuple[int, int]


def address_key(text: str) -> Key | None:
    """`(bits, number)` of an address, an IPv4-mapped one as IPv4 and a zone left out; None for anything else."""
    try:
        if ":" not in text:
            return 32, int.from_bytes(socket.inet_pton(socket.AF_INET, text))
        number = int.from_bytes(socket.inet_pton(socket.AF_INET6, text.partition("%")[0]))
    except (OSError, ValueError):  # ValueError: a NUL inside
        return None
    return (32, number ^ _MAPPED) if number >> 32 == 0xFFFF else (128, number)


class NetworkMap(Generic[V]):
    """Networks of one site with one value each family and prefix length hold a dict, so a lookup is ≤ 33 or 129 reads,
    and in practice as many as there are different prefix lengths."""

    def __init__(self) -> None:
        self._lengths: dict[int, dict[int, dict[int, V]]] = {32: {}, 128: {}}
        self._order: dict[int, list[tuple[int, dict[int, V]]]] = {32: [], 128: []}

    def set_default(self, network: str, value: V) -> V:
        """The value of that canonical network, set to `value` when it has none. Raises ValueError."""
        parsed = ipaddress.ip_network(network)
        bits = parsed.max_prefixlen
        shift = bits - parsed.prefixlen
        table = self._lengths[bits].setdefault(shift, {})
        self._order[bits] = sorted(self._lengths[bits].items())
        return table.setdefault(int(parsed.network_address) >> shift, value)

    def matches(self, key: Key) -> Iterator[V]:
        """The values of the networks around an address, the narrowest first."""
        bits, number = key
        for shift, table in self._order[bits]:
            value = table.get(number >> shift)
            if value is not None:
                yield value
