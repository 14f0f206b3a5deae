"""What an analyst asks of a flow, whatever elements its exporter chose: addresses, ports, counts, times, event names.

Derived values have names that begin with `@`; definitions map them beside the elements' own names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from soc.parsers.decoders.flow_community import community_ids, community_rows
from soc.parsers.decoders.flow_options import factors
from soc.parsers.decoders.flow_state import Context
from soc.parsers.decoders.flow_text import coded, constant, is_small, is_whole, masked, plain
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
"""Element 230, RFC 8158 section 4.3."""
_NAT_TYPES = {
    **dict.fromkeys((1, 4, 6, 8, 10, 14, 16), ("connection", "start")),
    **dict.fromkeys((2, 5, 7, 9, 11, 15, 17), ("connection", "end")),
    **dict.fromkeys((3, 12, 13, 18), ("info",)),
}
_NAT_REASONS = {
    "natQuotaExceededEvent": {
        1: "maximum session entries", 2: "maximum BIB entries", 3: "maximum entries per user",
        4: "maximum active hosts or subscribers", 5: "maximum fragments pending reassembly",
    },
    "natThresholdEvent": {
        1: "address pool high threshold", 2: "address pool low threshold",
        3: "address and port mapping high threshold", 4: "address and port mapping per user high threshold",
        5: "global address mapping high threshold",
    },
}  # fmt: skip
"""RFC 8158 sections 4.4 and 4.5."""
_FORWARDING = ("unknown", "forwarded", "dropped", "consumed")
_STACK = ("mplsTopLabelStackSection", *(f"mplsLabelStackSection{i}" for i in range(2, 11)))
_NONE = "0.0.0.0"  # noqa: S104 (no address to bind to)


@dataclass(frozen=True)
class Derived:
    """`values` by `@name`; which flows were estimated, which name a sampler that nobody described (None: none)."""

    values: Mapping[str, Values]
    sampled: Array | None
    unknown: Array | None


@dataclass(frozen=True)
class Clock:
    """Of each flow the export time (µs UTC), the exporter's uptime then (ms, None where no header has it), and by how
    much its header says that packets were sampled (None: it says nothing)."""

    at_us: Array
    uptime_ms: Array | None = None
    rate: Array | None = None


def derive(values: Mapping[str, Values], octets: Mapping[str, Array], context: Context, clock: Clock) -> Derived:
    """Of n flows; `octets` are those of their addresses, as far as each has them in the same place."""
    n = len(clock.at_us)
    result: dict[str, Values] = {}
    _addresses(result, values)
    _ports(result, values, octets)
    _counts(result, values)
    factor, unknown = factors(context, values, n)
    if clock.rate is not None and factor is None and (clock.rate > 1).any():
        factor = np.maximum(clock.rate, 1).astype(np.float64)
    sampled = None if factor is None else factor != 1
    if factor is not None:
        result["@sampling_interval"] = np.rint(factor).astype(np.int64)
        for name in ("@source_bytes", "@source_packets", "@destination_bytes", "@destination_packets"):
            if name in result:
                result[name] = _times(result[name], factor)
    for what in ("bytes", "packets"):
        _total(result, what)
    _moments(result, values, context, clock.at_us, clock.uptime_ms)
    _names(result, values, context)
    _events(result, values)
    _extras(result, values)
    return Derived(result, sampled, unknown)


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


def _addresses(result: dict[str, Values], values: Mapping[str, Values]) -> None:
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


def _ports(result: dict[str, Values], values: Mapping[str, Values], octets: Mapping[str, Array]) -> None:
    source = first(values, ("sourceTransportPort", "udpSourcePort", "tcpSourcePort"))
    target = first(values, ("destinationTransportPort", "udpDestinationPort", "tcpDestinationPort"))
    protocol = first(values, ("protocolIdentifier", "nextHeaderIPv6"))
    if isinstance(source, np.ndarray) and isinstance(target, np.ndarray) and is_small(protocol):
        _plain_ports(result, values, octets, source, target, np.asarray(protocol))
        return
    _odd_ports(result, values, source, target, protocol)


def _plain_ports(
    result: dict[str, Values],
    values: Mapping[str, Values],
    octets: Mapping[str, Array],
    source: Array,
    target: Array,
    protocol: Array,
) -> None:
    """What nearly all templates have: both ports and a protocol, in fields of their own."""
    result["@protocol"] = coded(protocol, str)
    result["@source_port"], result["@destination_port"] = source, target
    first_port, second_port = source, target
    kind, code = _icmp(values, protocol, target)
    if kind is not None and code is not None:
        is_icmp = (protocol == _ICMP[0]) | (protocol == _ICMP[1])
        kinds, codes = (np.array([v or 0 for v in plain(side)], np.int64) for side in (kind, code))
        result["@icmp_type"], result["@icmp_code"] = masked(kinds, is_icmp), masked(codes, is_icmp)
        result["@source_port"], result["@destination_port"] = masked(source, ~is_icmp), masked(target, ~is_icmp)
        first_port, second_port = np.where(is_icmp, kinds, source), np.where(is_icmp, codes, target)
    ends = _both_octets(result, values, octets)
    if ends is not None and (not len(protocol) or int(protocol.max()) < 256):
        ports = (first_port & 0xFFFF).astype(np.uint16), (second_port & 0xFFFF).astype(np.uint16)
        result["@community_id"] = community_rows(*ends, protocol.astype(np.uint8), ports)
    elif "@source_ip" in result and "@destination_ip" in result:
        addresses = plain(result["@source_ip"]), plain(result["@destination_ip"])
        result["@community_id"] = community_ids(*addresses, protocol, (first_port, second_port))


def _both_octets(
    result: Mapping[str, Values], values: Mapping[str, Values], octets: Mapping[str, Array]
) -> tuple[Array, Array] | None:
    """The octets of both ends, when each flow has those of one family and no other field speaks of addresses."""
    for family in ("v4", "v6"):
        names = f"sourceIP{family}Address", f"destinationIP{family}Address"
        ends = [octets.get(name) for name in names]
        is_theirs = all(result.get(f"@{side}_ip") is values.get(name) for side, name in
                        zip(("source", "destination"), names, strict=True))  # fmt: skip
        if ends[0] is not None and ends[1] is not None and is_theirs:
            return ends[0], ends[1]
    return None


def _odd_ports(
    result: dict[str, Values],
    values: Mapping[str, Values],
    source: Values | None,
    target: Values | None,
    protocol: Values | None,
) -> None:
    n = next((len(v) for v in (source, target, protocol, result.get("@source_ip")) if v is not None), 0)
    nothing: list[Any] = [None] * n
    kind, code = _icmp(values, protocol, target)
    if kind is not None and code is not None and protocol is not None:
        is_icmp = [p in _ICMP for p in plain(protocol)]
        result["@icmp_type"] = [v if yes else None for v, yes in zip(plain(kind), is_icmp, strict=True)]
        result["@icmp_code"] = [v if yes else None for v, yes in zip(plain(code), is_icmp, strict=True)]
        hash_ports = tuple(
            [b if yes else a for a, b, yes in zip(plain(side) if side is not None else nothing, plain(icmp), is_icmp,
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
        result["@protocol"] = [None if p is None else str(p) for p in numbers]
        if "@source_ip" in result and "@destination_ip" in result:
            ends = plain(result["@source_ip"]), plain(result["@destination_ip"])
            result["@community_id"] = community_ids(*ends, protocol, (hash_ports[0], hash_ports[1]))


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
    if isinstance(forward, np.ndarray) and isinstance(back, np.ndarray):
        result[f"@{what}"] = np.where(back > I64_MAX - forward, I64_MAX, forward + back)
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
            result[f"@{way}_name"] = _meant(found, names.get)
    applications, ids = context.applications, values.get("applicationId")
    if applications and ids is not None:
        result["@application"] = [None if v is None else applications.get(v) for v in plain(ids)]


def _meant(numbers: Values, meaning: Callable[[int], Any]) -> Values:
    """The text of each number, None for those without one."""
    if is_small(numbers):
        return coded(np.asarray(numbers), meaning)
    return [None if v is None else meaning(v) for v in plain(numbers)]


def _events(result: dict[str, Values], values: Mapping[str, Values]) -> None:
    fire = first(values, ("firewallEvent", "fwEvent"))
    if fire is not None:
        known = [_FIREWALL.get(v, (None, None)) for v in plain(fire)]
        result["@action"] = [action for action, _ in known]
        result["@types"] = [kinds for _, kinds in known]
        return
    nat = values.get("natEvent")
    if nat is not None:
        result["@action"] = _meant(nat, _NAT.get)
        result["@types"] = [_NAT_TYPES.get(number) for number in plain(nat)]
        reasons = [_meant(values[name], words.get) for name, words in _NAT_REASONS.items() if name in values]
        if reasons:
            result["@reason"] = [next(filter(None, told), None) for told in zip(*map(plain, reasons), strict=True)]


def _extras(result: dict[str, Values], values: Mapping[str, Values]) -> None:
    flags = values.get("tcpControlBits")
    if flags is not None:
        result["@tcp_flags"] = _meant(flags, lambda v: tcp_letters(v & 0x1FF) or None)
    vlan = first(values, ("vlanId", "dot1qVlanId"))
    if vlan is not None:
        result["@vlan"] = _meant(vlan, lambda v: str(v) if v else None)
    status = values.get("forwardingStatus")
    if status is not None:
        result["@forwarding"] = _meant(status, lambda v: _FORWARDING[v >> 6 & 3])
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
