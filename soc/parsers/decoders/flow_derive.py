"""What an analyst asks of a flow, whatever elements its exporter chose: addresses, ports, counts, times, event names.

Derived values have names that begin with `@`; definitions map them beside the elements' own names.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from soc.model.lazy import LazyMapping
from soc.parsers.decoders.flow_ends import Octets, Ports, addresses, community, first, ports
from soc.parsers.decoders.flow_options import factors
from soc.parsers.decoders.flow_state import Context
from soc.parsers.decoders.flow_text import coded, is_small, plain
from soc.parsers.decoders.flow_values import I64_MAX, Array, Values

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


@dataclass(frozen=True)
class Clock:
    """Of each flow the export time (µs UTC), the exporter's uptime then (ms, None where no header has it), and by how
    much its header says that packets were sampled (None: it says nothing)."""

    at_us: Array
    uptime_ms: Array | None = None
    rate: Array | None = None


class Derived(LazyMapping[Values]):
    """Of n flows what `elements` say, by `@name`; each is worked out when it is asked for.

    `octets` gives those of their addresses, `clock` says when they were told of.
    """

    def __init__(
        self, elements: Mapping[str, Values], octets: Octets, context: Context, n: int, clock: Callable[[], Clock]
    ) -> None:
        super().__init__()
        self._elements, self._octets, self._context, self._n, self._clock = elements, octets, context, n, clock
        self._found: dict[str, Mapping[str, Values]] = {}

    def names(self) -> Iterable[str]:
        return _STEP_OF

    def make(self, name: str) -> Values | None:
        step = _STEP_OF.get(name)
        if step is None:
            return None
        if step not in self._found:
            self._found[step] = getattr(self, step)()
        return self._found[step].get(name)

    @functools.cached_property
    def _factors(self) -> tuple[Array | None, Array | None]:
        factor, unknown = factors(self._context, self._elements, self._n)
        rate = self._clock().rate
        if rate is not None and factor is None and (rate > 1).any():
            factor = np.maximum(rate, 1).astype(np.float64)
        return factor, unknown

    @property
    def sampled(self) -> Array | None:
        """Which flows were estimated; None: none."""
        factor, _ = self._factors
        return None if factor is None else factor != 1

    @property
    def unknown(self) -> Array | None:
        """Which name a sampler that nobody described; None: none."""
        return self._factors[1]

    @functools.cached_property
    def _ports(self) -> Ports:
        return ports(self._elements, self._n)

    def _of_addresses(self) -> Mapping[str, Values]:
        return addresses(self._elements)

    def _of_ports(self) -> Mapping[str, Values]:
        return self._ports.values

    def _of_community(self) -> Mapping[str, Values]:
        ends = {name: found for name in ("@source_ip", "@destination_ip") if (found := self.get(name)) is not None}
        found = community(self._elements, ends, self._ports, self._octets)
        return {} if found is None else {"@community_id": found}

    def _of_counts(self) -> Mapping[str, Values]:
        result: dict[str, Values] = {}
        _counts(result, self._elements)
        factor, _ = self._factors
        if factor is not None:
            result = {name: _times(counted, factor) for name, counted in result.items()}
            result["@sampling_interval"] = np.rint(factor).astype(np.int64)
        for what in ("bytes", "packets"):
            _total(result, what)
        return result

    def _of_moments(self) -> Mapping[str, Values]:
        result: dict[str, Values] = {}
        clock = self._clock()
        _moments(result, self._elements, self._context, clock.at_us, clock.uptime_ms)
        return result

    def _of_names(self) -> Mapping[str, Values]:
        result: dict[str, Values] = {}
        _names(result, self._elements, self._context)
        return result

    def _of_events(self) -> Mapping[str, Values]:
        result: dict[str, Values] = {}
        _events(result, self._elements)
        return result

    def _of_extras(self) -> Mapping[str, Values]:
        result: dict[str, Values] = {}
        _extras(result, self._elements)
        return result


_STEP_OF = {
    f"@{name}": step
    for step, names in (
        ("_of_addresses", ("source_ip", "destination_ip", "type")),
        ("_of_ports", ("protocol", "source_port", "destination_port", "icmp_type", "icmp_code")),
        ("_of_community", ("community_id",)),
        ("_of_counts", (
            "source_bytes", "source_packets", "destination_bytes", "destination_packets", "sampling_interval", "bytes",
            "packets",
        )),
        ("_of_moments", ("start", "end", "duration")),
        ("_of_names", ("ingress_name", "egress_name", "application")),
        ("_of_events", ("action", "types", "reason")),
        ("_of_extras", ("tcp_flags", "vlan", "forwarding", "mpls_labels")),
    )
    for name in names
}  # fmt: skip


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
