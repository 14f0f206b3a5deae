"""Between whom a flow was: addresses, ports or ICMP's type and code, protocol, community id."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from soc.parsers.decoders.flow_community import community_ids, community_rows
from soc.parsers.decoders.flow_text import coded, constant, is_small, is_whole, masked, plain
from soc.parsers.decoders.flow_values import Array, Values

_ICMP = (1, 58)
_NONE = "0.0.0.0"  # noqa: S104 (no address to bind to)


def first(values: Mapping[str, Values], names: Sequence[str]) -> Values | None:
    """The column of the first of these names that is there; later ones fill what it lacks."""
    result: Values | None = None
    for name in names:
        found = values.get(name)
        if found is None:
            continue
        if result is None:
            result = found
        elif not is_whole(result):
            result = [b if a is None else a for a, b in zip(plain(result), plain(found), strict=True)]
    return result


def addresses(values: Mapping[str, Values]) -> dict[str, Values]:
    """`@source_ip`, `@destination_ip` and, by the source's family, `@type`, as far as the elements say them."""
    result: dict[str, Values] = {}
    for side, name in (("source", "sourceIP"), ("destination", "destinationIP")):
        four = first(values, (f"{name}v4Address", f"{name}v4Prefix"))
        six = first(values, (f"{name}v6Address", f"{name}v6Prefix"))
        if four is not None and six is not None:
            # Some templates have room for both; the family that a flow does not have is all zeros.
            pairs = zip(plain(four), plain(six), strict=True)
            result[f"@{side}_ip"] = [b if b not in (None, "::") and a in (None, _NONE) else a for a, b in pairs]
        elif four is not None or six is not None:
            found: Values = four if four is not None else six
            result[f"@{side}_ip"] = found
            if side == "source" and is_whole(found):
                result["@type"] = constant("ipv4" if four is not None else "ipv6", len(found))
    source = result.get("@source_ip")
    if source is not None and "@type" not in result:
        result["@type"] = [None if a is None else "ipv6" if ":" in a else "ipv4" for a in plain(source)]
    return result


@dataclass(frozen=True)
class Ports:
    """`values` by `@name`; beside them the protocol and what a community id has for ports, where there is a protocol:
    as arrays, when nothing is missing, or as lists."""

    values: Mapping[str, Values]
    protocol: Values | None = None
    hashed: tuple[Values, Values] | None = None


def ports(values: Mapping[str, Values], n: int) -> Ports:
    """`@protocol`, `@source_port`, `@destination_port`, `@icmp_type` and `@icmp_code` of n flows."""
    source = first(values, ("sourceTransportPort", "udpSourcePort", "tcpSourcePort"))
    target = first(values, ("destinationTransportPort", "udpDestinationPort", "tcpDestinationPort"))
    protocol = first(values, ("protocolIdentifier", "nextHeaderIPv6"))
    if isinstance(source, np.ndarray) and isinstance(target, np.ndarray) and is_small(protocol):
        return _plain_ports(values, source, target, np.asarray(protocol))
    return _odd_ports(values, source, target, protocol, n)


def _plain_ports(values: Mapping[str, Values], source: Array, target: Array, protocol: Array) -> Ports:
    """What nearly all templates have: both ports and a protocol, in fields of their own."""
    result: dict[str, Values] = {
        "@protocol": coded(protocol, str), "@source_port": source, "@destination_port": target,
    }  # fmt: skip
    kind, code = _icmp(values, protocol, target)
    if kind is None or code is None:
        return Ports(result, protocol, (source, target))
    is_icmp = (protocol == _ICMP[0]) | (protocol == _ICMP[1])
    kinds, codes = (np.array([v or 0 for v in plain(side)], np.int64) for side in (kind, code))
    result["@icmp_type"], result["@icmp_code"] = masked(kinds, is_icmp), masked(codes, is_icmp)
    result["@source_port"], result["@destination_port"] = masked(source, ~is_icmp), masked(target, ~is_icmp)
    return Ports(result, protocol, (np.where(is_icmp, kinds, source), np.where(is_icmp, codes, target)))


def _odd_ports(
    values: Mapping[str, Values], source: Values | None, target: Values | None, protocol: Values | None, n: int
) -> Ports:
    result: dict[str, Values] = {}
    nothing: list[Any] = [None] * n
    kind, code = _icmp(values, protocol, target)
    if kind is not None and code is not None and protocol is not None:
        is_icmp = [p in _ICMP for p in plain(protocol)]
        result["@icmp_type"] = [v if yes else None for v, yes in zip(plain(kind), is_icmp, strict=True)]
        result["@icmp_code"] = [v if yes else None for v, yes in zip(plain(code), is_icmp, strict=True)]
        hashed = tuple(
            [b if yes else a for a, b, yes in zip(plain(side) if side is not None else nothing, plain(icmp), is_icmp,
                                                  strict=True)]
            for side, icmp in ((source, kind), (target, code))
        )  # fmt: skip
        source, target = (
            None if side is None else [None if yes else a for a, yes in zip(plain(side), is_icmp, strict=True)]
            for side in (source, target)
        )
    else:
        hashed = tuple(nothing if side is None else plain(side) for side in (source, target))
    if source is not None:
        result["@source_port"] = source
    if target is not None:
        result["@destination_port"] = target
    if protocol is not None:
        result["@protocol"] = [None if p is None else str(p) for p in plain(protocol)]
    return Ports(result, protocol, (hashed[0], hashed[1]))


def _icmp(
    values: Mapping[str, Values], protocol: Values | None, target: Values | None
) -> tuple[Values | None, Values | None]:
    """Type and code: of their own elements, of the joint one, or (Cisco) type * 256 + code as destination port."""
    if protocol is None or not _any_icmp(protocol):
        return None, None
    kind = first(values, ("icmpTypeIPv4", "icmpTypeIPv6"))
    code = first(values, ("icmpCodeIPv4", "icmpCodeIPv6"))
    if kind is not None and code is not None:
        return kind, code
    four, six = values.get("icmpTypeCodeIPv4"), values.get("icmpTypeCodeIPv6")
    joint: Values | None
    if four is not None and six is not None:
        joint = [a or b for a, b in zip(plain(four), plain(six), strict=True)]
    else:
        joint = four if four is not None else six if six is not None else target
    if joint is None:
        return None, None
    if isinstance(joint, np.ndarray):
        return joint >> 8 & 255, joint & 255
    numbers = plain(joint)
    return [None if v is None else v >> 8 & 255 for v in numbers], [None if v is None else v & 255 for v in numbers]


def _any_icmp(protocol: Values) -> bool:
    if isinstance(protocol, list):
        return any(p in _ICMP for p in protocol)
    return bool(((protocol == _ICMP[0]) | (protocol == _ICMP[1])).any())


Octets = Callable[[str], Array | None]
"""Gives the octets of an element that is an address, a row a flow, where each flow has them in the same place."""


def community(values: Mapping[str, Values], ends: Mapping[str, Values], ports: Ports, octets: Octets) -> Values | None:
    """`@community_id`; `ends` is what `addresses` found."""
    if ports.protocol is None or ports.hashed is None:
        return None
    both, (one, other), protocol = _both_octets(values, octets), ports.hashed, ports.protocol
    if both is not None and all(isinstance(column, np.ndarray) for column in (one, other, protocol)):
        numbers, *sides = (np.asarray(column) for column in (protocol, one, other))
        if not len(numbers) or int(numbers.max()) < 256:
            first_ports, second_ports = ((side & 0xFFFF).astype(np.uint16) for side in sides)
            return community_rows(*both, numbers.astype(np.uint8), (first_ports, second_ports))
    if "@source_ip" in ends and "@destination_ip" in ends:
        texts = plain(ends["@source_ip"]), plain(ends["@destination_ip"])
        return community_ids(*texts, protocol, (one, other))
    return None


def _both_octets(values: Mapping[str, Values], octets: Octets) -> tuple[Array, Array] | None:
    """The octets of both ends, when each flow has those of one family and no other field speaks of addresses."""
    for family, other in (("v4", "v6"), ("v6", "v4")):
        ends = octets(f"sourceIP{family}Address"), octets(f"destinationIP{family}Address")
        more = (f"{side}IP{other}{what}" for side in ("source", "destination") for what in ("Address", "Prefix"))
        if ends[0] is not None and ends[1] is not None and not any(name in values for name in more):
            return ends[0], ends[1]
    return None
