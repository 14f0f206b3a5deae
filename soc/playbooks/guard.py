"""Guardrails: which addresses may never be blocked, for how long a block may stand, and how many at once."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence

from soc.errors import Conflict, PermissionRefused, UsageError
from soc.model.run import DAY_S

MAX_TTL_S = 30 * DAY_S
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def no_networks() -> Iterable[str]:
    """No registered system."""
    return ()


class Guard:
    """Refuses even what was approved.

    `protected` are addresses and networks (gateways, name servers, the SOC itself); `own_networks` gives the CIDR
    texts of the registered systems at the time of asking. `simulated_loopback` lets 127.0.0.0/8 be blocked for runs
    of a simulated ticket, whose devices live there.
    """

    def __init__(
        self,
        protected: Iterable[str] = (),
        own_networks: Callable[[], Iterable[str]] = no_networks,
        *,
        simulated_loopback: bool = False,
        max_concurrent: int = 200,
    ) -> None:
        self._protected = [_network(text) for text in protected]
        self._own_networks = own_networks
        self._simulated_loopback = simulated_loopback
        self.max_concurrent = max_concurrent

    def check(self, target: str, ttl_s: int, *, simulated: bool, active: int) -> None:
        """Raises PermissionRefused for a protected target, UsageError for a bad target or TTL, Conflict at the cap."""
        address = single_address(target)
        if not 0 < ttl_s <= MAX_TTL_S:
            raise UsageError(f"a block stands for 1 s to {MAX_TTL_S} s (30 days), not {ttl_s}")
        why = self._why_protected(address, simulated)
        if why is not None:
            raise PermissionRefused(f"{address} is protected and never blocked: {why}")
        if active >= self.max_concurrent:
            raise Conflict(
                f"{active} blocks stand already, {self.max_concurrent} may at once",
                hint="revert one that is not needed",
            )

    def _why_protected(self, address: Address, simulated: bool) -> str | None:
        if address.is_loopback:
            return None if simulated and self._simulated_loopback else "the machine itself (loopback)"
        if address.is_unspecified or address.is_multicast or address.is_link_local or address.is_reserved:
            return "no address of a single host"
        if address == ipaddress.ip_address("255.255.255.255"):
            return "the broadcast address"
        return _inside(address, self._protected, "on the protected list") or _inside(
            address, [_network(text) for text in self._own_networks()], "in the network of a registered system"
        )


def single_address(text: str) -> Address:
    """The one address that a text means; `::ffff:a.b.c.d` is IPv4. Raises UsageError for a wider network."""
    try:
        network = _network(text)
    except ValueError as error:
        raise UsageError(f"'{text}' is no address") from error
    if network.prefixlen != network.max_prefixlen:
        raise UsageError(f"'{text}' is a network; only a single address (/32, /128) can be blocked")
    address = network.network_address
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


def _network(text: str) -> Network:
    return ipaddress.ip_network(text, strict=False)


def _inside(address: Address, networks: Sequence[Network], words: str) -> str | None:
    found = next((n for n in networks if n.version == address.version and address in n), None)
    return None if found is None else f"{words} ({found})"
