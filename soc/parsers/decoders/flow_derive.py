"""What an analyst asks of a flow, whatever elements its exporter chose: addresses, ports, counts, times, event names.

Derived values have names that begin with `@`; definitions map them beside the elements' own names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from soc.parsers.decoders.flow_community import community_ids
from soc.parsers.decoders.flow_options import factors
from soc.parsers.decoders.flow_state import Context
from soc.parsers.decoders.flow_values import I64_MAX, Array, Values

_ICMP = (1, 58)
_LETTERS = "FSRPAUECN"
_WRAP = (1 << 32) - 1
_FORWARD = {
    "bytes": ("octetDeltaCount", "octetTotalCount", "initiatorOctets", "layer2OctetDeltaCount", "postOctetDeltaCount"),
    "packets": ("packetDeltaCount", "packetTotalCount", "initiatorPackets", "postPacketDeltaCount"),
}
_BACK = {
    "bytes": ("reverseOctetDeltaCount", "reverseOctetTotalCount", "responderOctets"),
    "packets": ("reversePacketDeltaCount", "reversePacketTotalCount", "responderPackets"),
}
_FIREWALL = {
    1: ("firewall_flow_created", ("connection", "start")), 2: ("firewall_flow_deleted", ("connection", "end")),
    3: ("firewall_flow_denied", ("connection", "denied")), 4: ("firewall_flow_alert", ("connection", "info")),
    5: ("firewall_flow_updated", ("connection", "info")),
}  # fmt: skip
"""Element 233 (and 40005), Cisco ASA NetFlow Implementation Guide."""
_NAT = {
    1: "nat_created", 2: "nat_deleted", 3: "nat_addresses_exhausted", 4: "nat44_session_created",
    5: "nat44_session_deleted", 6: "nat64_session_created", 7: "nat64_session_deleted", 8: "nat44_bib_created",
    9: "nat44_bib_deleted", 10: "nat64_bib_created", 11: "nat64_bib_deleted", 12: "nat_ports_exhausted",
    13: "nat_quota_exceeded", 14: "nat_address_bound", 15: "nat_address_released", 16: "nat_port_block_allocated",
    17: "nat_port_block_released", 18: "nat_threshold_reached",
}  # fmt: skip
"""Element 230, RFC 8158 section 5.4."""
_FORWARDING = ("unknown", "forwarded", "dropped", "consumed")
_STACK = ("mplsTopLabelStackSection", *(f"mplsLabelStackSection{i}" for i in range(2, 11)))
_NONE = "0.0.0.0"  # noqa: S104 (no address to bind to)
_NUMBERS = tuple(str(i) for i in range(256))


@dataclass(frozen=True)
class Derived:
    """`values` by `@name`; `sampled` flows were estimated, `unknown` ones name a sampler that nobody described."""

    values: Mapping[str, Values]
    sampled: Sequence[int]
    unknown: Sequence[int]


def derive(values: Mapping[str, Values], context: Context, at_us: Array, uptime_ms: Array | None) -> Derived:
    """Of n flows; `at_us` is the export time and `uptime_ms` the exporter's clock then (only v9 has it)."""
    n = len(at_us)
    result: dict[str, Values] = {}
    _addresses(result, values)
    _ports(result, values)
    _counts(result, values)
    factor, unknown = factors(context, values, n)
    sampled: list[int] = [] if factor is None else np.flatnonzero(factor != 1).tolist()
    if factor is not None:
        result["@sampling_interval"] = np.rint(factor).astype(np.int64)
        for name in ("@source_bytes", "@source_packets", "@destination_bytes", "@destination_packets"):
            if name in result:
                result[name] = _times(result[name], factor)
    for what in ("bytes", "packets"):
        _total(result, what)
    _moments(result, values, context, at_us, uptime_ms)
    _names(result, values, context)
    _events(result, values)
    _extras(result, values)
    return Derived(result, sampled, unknown)


def plain(values: Values) -> list[Any]:
    """As a list."""
    return values if isinstance(values, list) else values.tolist()


def first(values: Mapping[str, Values], names: Sequence[str]) -> Values | None:
    """The column of the first of these names that is there; later ones fill what it lacks."""
    result: Values | None = None
    for name in names:
        found = values.get(name)
        if found is None:
            continue
        if result is None:
            result = found
        elif isinstance(result, list):
            result = [b if a is None else a for a, b in zip(result, plain(found), strict=True)]
    return result


def _addresses(result: dict[str, Values], values: Mapping[str, Values]) -> None:
    for side, name in (("source", "sourceIP"), ("destination", "destinationIP")):
        four = first(values, (f"{name}v4Address", f"{name}v4Prefix"))
        six = first(values, (f"{name}v6Address", f"{name}v6Prefix"))
        if four is not None and six is not None:
            # Some templates have room for both; the family that a flow does not have is all zeros.
            pairs = zip(four, six, strict=True)
            result[f"@{side}_ip"] = [b if b not in (None, "::") and a in (None, _NONE) else a for a, b in pairs]
        elif four is not None or six is not None:
            result[f"@{side}_ip"] = plain(four if four is not None else six)  # type: ignore[arg-type]
    source = result.get("@source_ip")
    if source is not None:
        kinds: dict[Any, str | None] = {None: None}
        result["@type"] = [
            kinds[a] if a in kinds else kinds.setdefault(a, "ipv6" if ":" in a else "ipv4") for a in source
        ]


def _ports(result: dict[str, Values], values: Mapping[str, Values]) -> None:
    source = first(values, ("sourceTransportPort", "udpSourcePort", "tcpSourcePort"))
    target = first(values, ("destinationTransportPort", "udpDestinationPort", "tcpDestinationPort"))
    protocol = first(values, ("protocolIdentifier", "nextHeaderIPv6"))
    n = next((len(v) for v in (source, target, protocol, result.get("@source_ip")) if v is not None), 0)
    nothing: list[Any] = [None] * n
    kind, code = _icmp(values, protocol, target)
    if kind is not None and code is not None and protocol is not None:
        is_icmp = [p in _ICMP for p in plain(protocol)]
        result["@icmp_type"] = [v if yes else None for v, yes in zip(kind, is_icmp, strict=True)]
        result["@icmp_code"] = [v if yes else None for v, yes in zip(code, is_icmp, strict=True)]
        hash_ports = tuple(
            [b if yes else a for a, b, yes in zip(plain(side) if side is not None else nothing, icmp, is_icmp,
                                                  strict=True)]
            for side, icmp in ((source, kind), (target, code))
        )  # fmt: skip
        source, target = (
            None if side is None else [None if yes else a for a, yes in zip(plain(side), is_icmp, strict=True)]
            for side in (source, target)
        )
    else:
        hash_ports = tuple(nothing if side is None else plain(side) for side in (source, target))
    if source is not None:
        result["@source_port"] = source
    if target is not None:
        result["@destination_port"] = target
    if protocol is not None:
        numbers = plain(protocol)
        result["@protocol"] = [None if p is None else _NUMBERS[p] if p < 256 else str(p) for p in numbers]
        if "@source_ip" in result and "@destination_ip" in result:
            ends = plain(result["@source_ip"]), plain(result["@destination_ip"])
            result["@community_id"] = community_ids(*ends, protocol, (hash_ports[0], hash_ports[1]))


def _icmp(
    values: Mapping[str, Values], protocol: Values | None, target: Values | None
) -> tuple[list[Any] | None, list[Any] | None]:
    """Type and code: of their own elements, of the joint one, or (Cisco) type * 256 + code as destination port."""
    if protocol is None or not _any_icmp(protocol):
        return None, None
    kind = first(values, ("icmpTypeIPv4", "icmpTypeIPv6"))
    code = first(values, ("icmpCodeIPv4", "icmpCodeIPv6"))
    if kind is not None and code is not None:
        return plain(kind), plain(code)
    four, six = values.get("icmpTypeCodeIPv4"), values.get("icmpTypeCodeIPv6")
    if four is not None and six is not None:
        joint: list[Any] = [a or b for a, b in zip(plain(four), plain(six), strict=True)]
    else:
        found = four if four is not None else six if six is not None else target
        if found is None:
            return None, None
        joint = plain(found)
    return [None if v is None else v >> 8 & 255 for v in joint], [None if v is None else v & 255 for v in joint]


def _any_icmp(protocol: Values) -> bool:
    if isinstance(protocol, list):
        return any(p in _ICMP for p in protocol)
    return bool(((protocol == _ICMP[0]) | (protocol == _ICMP[1])).any())


def _counts(result: dict[str, Values], values: Mapping[str, Values]) -> None:
    for side, table in (("source", _FORWARD), ("destination", _BACK)):
        for what, names in table.items():
            found = first(values, names)
            if found is not None:
                result[f"@{side}_{what}"] = _long(found)


def _long(values: Values) -> Values:
    """As int64; a count that is larger stands at the largest."""
    if isinstance(values, list):
        return [None if v is None else min(v, I64_MAX) for v in values]
    return np.minimum(values, I64_MAX).astype(np.int64) if values.dtype == np.uint64 else values


def _times(values: Values, factor: Array) -> Values:
    if isinstance(values, list):
        return [None if v is None else min(round(v * f), I64_MAX) for v, f in zip(values, factor.tolist(), strict=True)]
    whole = np.rint(factor).astype(np.int64)
    if (whole == factor).all() and (not len(values) or int(values.max()) <= I64_MAX // max(1, int(whole.max()))):
        return np.asarray(values * whole)
    return np.asarray(np.minimum(np.rint(values * factor), float(I64_MAX - 1023)), np.int64)


def _total(result: dict[str, Values], what: str) -> None:
    forward, back = result.get(f"@source_{what}"), result.get(f"@destination_{what}")
    if forward is None or back is None:
        found = forward if forward is not None else back
        if found is not None:
            result[f"@{what}"] = found
        return
    result[f"@{what}"] = [
        None if a is None and b is None else min((a or 0) + (b or 0), I64_MAX)
        for a, b in zip(plain(forward), plain(back), strict=True)
    ]


def _moments(
    result: dict[str, Values], values: Mapping[str, Values], context: Context, at_us: Array, uptime_ms: Array | None
) -> None:
    start = _moment("Start", values, context, at_us, uptime_ms)
    end = _moment("End", values, context, at_us, uptime_ms)
    length = _duration(values)
    if start is not None and end is None and length is not None:
        end = _with(start, length, lambda a, b: a + b // 1000)
    elif end is not None and start is None and length is not None:
        start = _with(end, length, lambda a, b: a - b // 1000)
    if start is not None and end is not None:
        length = _with(end, start, lambda a, b: (a - b) * 1000)
    for name, found in (("@start", start), ("@end", end), ("@duration", length)):
        if found is not None:
            result[name] = found


def _with(one: Values, other: Values, join: Callable[[Any, Any], Any]) -> Values:
    if isinstance(one, list) or isinstance(other, list):
        pairs = zip(plain(one), plain(other), strict=True)
        joined = [None if a is None or b is None else join(a, b) for a, b in pairs]
        return [v if v is not None and -I64_MAX <= v <= I64_MAX else None for v in joined]
    return np.asarray(join(one, other))


def _duration(values: Mapping[str, Values]) -> Values | None:
    """In ns."""
    milli, micro = values.get("flowDurationMilliseconds"), values.get("flowDurationMicroseconds")
    found, scale = (milli, 1_000_000) if milli is not None else (micro, 1000)
    if found is None:
        return None
    if isinstance(found, list):
        return [None if v is None else v * scale for v in found]
    return np.asarray(found * scale)


def _moment(
    which: str, values: Mapping[str, Values], context: Context, at_us: Array, uptime_ms: Array | None
) -> Values | None:
    names = tuple(f"flow{which}{unit}" for unit in ("Milliseconds", "Microseconds", "Nanoseconds", "Seconds"))
    found = first(values, names)
    if found is not None:
        return found
    ticks = values.get(f"flow{which}SysUpTime")
    if ticks is not None:
        boot = values.get("systemInitTimeMilliseconds")
        if uptime_ms is None and isinstance(boot, np.ndarray):
            uptime_ms = (at_us - boot) // 1000
        elif uptime_ms is None and context.boot_us is not None:
            uptime_ms = (at_us - context.boot_us) // 1000
        if uptime_ms is not None and isinstance(ticks, np.ndarray):
            return wall(at_us, uptime_ms, ticks)
    delta = values.get(f"flow{which}DeltaMicroseconds")
    if isinstance(delta, np.ndarray):
        return at_us - delta
    if f"flow{'End' if which == 'Start' else 'Start'}SysUpTime" in values:
        return None
    return first(values, tuple(f"observationTime{unit}" for unit in ("Milliseconds", "Microseconds", "Nanoseconds",
                                                                     "Seconds")))  # fmt: skip


def wall(at_us: Array, uptime_ms: Array, ticks: Array) -> Array:
    """µs UTC of a 32-bit count of ms since boot. The difference is taken modulo 2**32: a wrapped clock does no harm."""
    ago = (uptime_ms - ticks) & _WRAP
    ago = np.where(ago >= 1 << 31, ago - (1 << 32), ago)
    return np.asarray(at_us - ago * 1000)


def _names(result: dict[str, Values], values: Mapping[str, Values], context: Context) -> None:
    names = context.interfaces
    for way in ("ingress", "egress"):
        found = values.get(f"{way}Interface")
        if names and found is not None:
            result[f"@{way}_name"] = [names.get(index) for index in plain(found)]
    applications, ids = context.applications, values.get("applicationId")
    if applications and ids is not None:
        result["@application"] = [None if v is None else applications.get(v) for v in plain(ids)]


def _events(result: dict[str, Values], values: Mapping[str, Values]) -> None:
    fire = first(values, ("firewallEvent", "fwEvent"))
    if fire is not None:
        known = [_FIREWALL.get(v, (None, None)) for v in plain(fire)]
        result["@action"] = [action for action, _ in known]
        result["@types"] = [kinds for _, kinds in known]
        return
    nat = values.get("natEvent")
    if nat is not None:
        result["@action"] = [_NAT.get(v) for v in plain(nat)]


def _extras(result: dict[str, Values], values: Mapping[str, Values]) -> None:
    flags = values.get("tcpControlBits")
    if flags is not None:
        result["@tcp_flags"] = [None if v is None else tcp_letters(v & 0x1FF) or None for v in plain(flags)]
    vlan = first(values, ("vlanId", "dot1qVlanId"))
    if vlan is not None:
        result["@vlan"] = [str(v) if v else None for v in plain(vlan)]
    status = values.get("forwardingStatus")
    if status is not None:
        result["@forwarding"] = [None if v is None else _FORWARDING[v >> 6 & 3] for v in plain(status)]
    stack = [plain(values[name]) for name in _STACK if name in values]
    if stack:
        result["@mpls_labels"] = [_labels(row) for row in zip(*stack, strict=True)]


_TCP: dict[int, str] = {}


def tcp_letters(bits: int) -> str:
    """`SA` for SYN and ACK: the bits in the order of RFC 9293, lowest first."""
    if bits not in _TCP:
        _TCP[bits] = "".join(letter for i, letter in enumerate(_LETTERS) if bits >> i & 1)
    return _TCP[bits]


def _labels(row: Sequence[str | None]) -> tuple[int, ...] | None:
    """Labels down to the bottom of the stack: 20 bits of label, 3 of class, 1 that says bottom (RFC 3032)."""
    labels: list[int] = []
    for entry in row:
        if not entry or len(entry) < 6:
            break
        number = int(entry[:6], 16)
        if number == 0:
            break
        labels.append(number >> 4)
        if number & 1:
            break
    return tuple(labels) or None
