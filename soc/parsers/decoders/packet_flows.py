"""Flows: who talked with whom, how much in each direction, and how it ended; a table with bounds."""

from __future__ import annotations

import functools
import heapq
import ipaddress
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from soc.parsers.decoders.flow_community import community_id
from soc.parsers.decoders.flow_derive import tcp_letters
from soc.parsers.decoders.flow_values import mac_text
from soc.parsers.decoders.packet_layers import ICMP, ICMP6, SCTP, TCP, UDP, Frame
from soc.parsers.decoders.packet_streams import At, Stream

MAX_FLOWS = 100_000
"""Flows that are open at a time, 1.4 KiB each; when there are more, the sixteenth that was silent for longest ends."""
SECOND = 1_000_000_000
IDLE_NS = {TCP: 300 * SECOND, UDP: 60 * SECOND, ICMP: 30 * SECOND, ICMP6: 30 * SECOND}
"""A flow that is silent for so long has ended."""
OTHER_IDLE_NS = 60 * SECOND
ACTIVE_NS = 1800 * SECOND
"""A flow that lasts is told after so long, and goes on from zero."""
LINGER_NS = 5 * SECOND
"""After FIN and RST come repetitions and last acknowledgements: they belong to the flow."""
SWEEP_NS = 5 * SECOND
FIN, SYN, RST, ACK = 1, 2, 4, 16
_WITH_PORTS = frozenset({TCP, UDP, SCTP})
FORCED = "forced_end"
"""The capture ended, the flow perhaps not (word of RFC 5102, flowEndReason)."""
Told = Callable[["Flow", str], None]


class Teller(Protocol):
    """Who takes what the decoders of protocols find."""

    def tell(self, kind: str, flow: Flow, at: At, values: dict[str, Any], is_reply: bool = False) -> None: ...
    def quiet(self, side: Side) -> None: ...


class Side:
    """One direction of a flow: `packets` and their `octets` from the IP header on, the TCP `bits` seen together."""

    __slots__ = ("bits", "flow", "is_reply", "octets", "packets", "stream")

    def __init__(self, flow: Flow, is_reply: bool) -> None:
        self.flow, self.is_reply = flow, is_reply
        self.packets = self.octets = self.bits = 0
        self.stream: Stream | None = None


class Flow:
    """A flow. `source` is who spoke first, or who was answered when the first packet was a SYN with ACK."""

    __slots__ = (
        "_community", "began", "ends", "first", "frame", "interface", "is_again", "key", "last", "marks", "other",
        "ports", "protocol", "said", "sides", "talk",
    )  # fmt: skip

    def __init__(
        self, ends: tuple[bytes, bytes], protocol: int, ports: tuple[int, int], frame: Frame, at: At, interface: str
    ) -> None:
        self.ends, self.protocol, self.ports, self.frame, self.interface = ends, protocol, ports, frame, interface
        self.key = self.other = b""
        self.began = self.last = at.ns
        self.first = at
        self.sides = (Side(self, False), Side(self, True))
        self.marks: dict[str, None] = {}
        self.is_again = False
        self.talk: Any = None
        self.said: set[str] = set()
        self._community: str | None = None

    @property
    def community(self) -> str | None:
        """Its community id; None for what is not IP."""
        if self._community is None and len(self.ends[0]) in (4, 16):
            self._community = community_id(*self.ends, self.protocol, *self.ports)
        return self._community

    def is_over(self) -> bool:
        """Whether TCP says so: a reset, or both sides are done."""
        first, second = self.sides[0].bits, self.sides[1].bits
        return bool((first | second) & RST or first & second & FIN)

    def how(self) -> str:
        """`rst` or `fin`, for a flow that is over."""
        return "rst" if (self.sides[0].bits | self.sides[1].bits) & RST else "fin"

    def place(self, is_reply: bool = False) -> dict[str, Any]:
        """What every event of this flow says of its ends; `is_reply` turns source and destination round."""
        frame, protocol = self.frame, self.protocol
        first, second = self.ends[::-1] if is_reply else self.ends
        sender, target = (frame.target, frame.sender) if is_reply else (frame.sender, frame.target)
        values: dict[str, Any] = {}
        if self.interface:
            values["interface"] = self.interface
        if first:
            values["community_id"] = self.community
            values["source_ip"], values["destination_ip"] = address(first), address(second)
            values["network_type"] = "ipv6" if len(first) == 16 else "ipv4"
            values["protocol"] = protocol
            if protocol in _WITH_PORTS:
                values["source_port"], values["destination_port"] = self.ports[::-1] if is_reply else self.ports
        else:
            values["ether"] = protocol
        if sender:
            values["source_mac"] = mac(sender)
        if target:
            values["destination_mac"] = mac(target)
        if frame.vlans:
            values["vlan"] = frame.vlans[-1]
            values["vlans"] = frame.vlans
        if frame.labels:
            values["labels"] = frame.labels
        return values

    def document(self, reason: str) -> dict[str, Any]:
        """The flow as it is told."""
        source, target = self.sides
        values = self.place() | {
            "start_us": self.began // 1000, "end_us": self.last // 1000, "end_reason": reason,
            "source_packets": source.packets, "source_bytes": source.octets,
            "destination_packets": target.packets, "destination_bytes": target.octets,
            "packets": source.packets + target.packets, "bytes": source.octets + target.octets,
            "duration_ns": self.last - self.began,
        }  # fmt: skip
        if self.protocol == TCP and "network_type" in values:
            values["source_flags"], values["destination_flags"] = tcp_letters(source.bits), tcp_letters(target.bits)
            values["flags"] = tcp_letters(source.bits | target.bits)
        elif self.protocol in (ICMP, ICMP6) and "network_type" in values:
            values["icmp_type"] = self.ports[0]
        if self.said:
            values["application"] = sorted(self.said)[0]
        if self.is_again:
            values["is_again"] = True
        return values


class Table:
    """The open flows. `told` gets each that ends, with the reason."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self.by_interface: dict[str, dict[bytes, Side]] = {}
        self.n = 0
        self._swept = 0
        self._since = 0
        self.counts: Counter[str] = Counter()

    def of(self, interface: str) -> dict[bytes, Side]:
        """Sides by key, of the flows of one interface."""
        return self.by_interface.setdefault(interface, {})

    def add(self, flow: Flow, key: bytes, other: bytes) -> Side:
        """A new flow under its two keys; the side that speaks."""
        if self.n >= MAX_FLOWS:
            self._make_room()
        sides = self.of(flow.interface)
        flow.key, flow.other = key, other
        sides[other] = flow.sides[1]
        sides[key] = flow.sides[0]
        self.n += 1
        return flow.sides[0]

    def end(self, flow: Flow, reason: str) -> None:
        """Let go of a flow and tell it."""
        sides = self.by_interface[flow.interface]
        sides.pop(flow.key, None)
        sides.pop(flow.other, None)
        self.n -= 1
        self._told(flow, reason)

    def flows(self) -> list[Flow]:
        """All that are open, in the order of their begin."""
        return [s.flow for sides in self.by_interface.values() for s in sides.values() if s is s.flow.sides[0]]

    def _make_room(self) -> None:
        self.counts["flows_full"] += 1
        for flow in heapq.nsmallest(MAX_FLOWS // 16, self.flows(), key=lambda flow: flow.last):
            self.end(flow, "lack_of_resources")

    def is_due(self, ns: int) -> bool:
        """Whether it is time to look for flows that ended; a clock that jumps must not make that cost much."""
        self._since += 1
        past = ns - self._swept
        return (past >= SWEEP_NS or past < -60 * SECOND) and self._since > self.n >> 4

    def sweep(self, ns: int) -> None:
        """End what is silent for too long, tell what lasts for long."""
        self._swept, self._since = ns, 0
        for flow in self.flows():
            silent = ns - flow.last
            if flow.protocol == TCP and silent > LINGER_NS and flow.is_over():
                self.end(flow, flow.how())
            elif silent > IDLE_NS.get(flow.protocol, OTHER_IDLE_NS):
                self.end(flow, "idle_timeout")
            elif flow.last - flow.began > ACTIVE_NS:
                self._told(flow, "active_timeout")
                flow.began, flow.is_again = flow.last, True
                for side in flow.sides:
                    side.packets = side.octets = 0

    def finish(self) -> None:
        """The capture ends here."""
        for flow in self.flows():
            self.end(flow, flow.how() if flow.protocol == TCP and flow.is_over() else FORCED)


mac = functools.lru_cache(maxsize=16384)(mac_text)
"""As ECS writes it."""


@functools.lru_cache(maxsize=65536)
def address(data: bytes) -> str:
    """RFC 5952 text of 4 or 16 octets."""
    return str(ipaddress.ip_address(data))
