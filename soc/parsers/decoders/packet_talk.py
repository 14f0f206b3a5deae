"""What is spoken in a flow: datagrams by their port, connections by their first octets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from soc.parsers.decoders import packet_dhcp, packet_dhcp6, packet_dns, packet_http, packet_tls
from soc.parsers.decoders.packet_flows import Flow, Side, Teller
from soc.parsers.decoders.packet_streams import At

Datagram = Callable[[Teller, Side, bytes, int, At], None]
"""Takes the payload of a UDP datagram and its length on the wire."""


class Spoken(Protocol):
    """A protocol over a connection; `data` and `gap` say whether the direction is worth hearing further."""

    def data(self, reply: bool, data: bytes, at: At) -> bool: ...
    def gap(self, reply: bool, octets: int) -> bool: ...
    def finish(self) -> None: ...


def dns(teller: Teller, side: Side, data: bytes, length: int, at: At) -> None:
    """One DNS message in a datagram."""
    tell_dns(teller, side.flow, side.is_reply, data, at, is_cut=len(data) < length)


def tell_dns(teller: Teller, flow: Flow, is_reply: bool, data: bytes, at: At, *, is_cut: bool = False) -> None:
    """A message as a record; what cannot be read of it is flagged, and kept."""
    values, why = packet_dns.decode(data)
    marks = values.pop("marks", [])
    if is_cut:
        marks.append("truncated")
    if why and not (is_cut and values):
        marks.append("malformed")
        values |= {"why": why, "data_hex": data[: packet_dns.MAX_KEPT].hex()}
    if marks:
        values["marks"] = marks
    values["application"] = next((packet_dns.PORTS[port] for port in flow.ports if port in packet_dns.PORTS), "dns")
    teller.tell("dns", flow, at, values, is_reply)


DATAGRAMS: Mapping[int, Datagram] = {
    **dict.fromkeys(packet_dns.PORTS, dns),
    **dict.fromkeys(packet_dhcp.PORTS, packet_dhcp.tell),
    **dict.fromkeys(packet_dhcp6.PORTS, packet_dhcp6.tell),
}
"""By port."""


class DnsStream:
    """DNS over TCP: each message behind its length in two octets (RFC 7766 section 8)."""

    def __init__(self, teller: Teller, flow: Flow) -> None:
        self._teller, self._flow = teller, flow
        self._held = (bytearray(), bytearray())

    def data(self, reply: bool, data: bytes, at: At) -> bool:
        held = self._held[reply]
        held += data
        while len(held) >= 2 and len(held) >= (size := 2 + (held[0] << 8 | held[1])):
            tell_dns(self._teller, self._flow, reply, bytes(held[2:size]), at)
            del held[:size]
        return True

    def gap(self, reply: bool, octets: int) -> bool:
        return False  # where the next message begins is not known any more

    def finish(self) -> None:
        for reply in (False, True):
            if len(self._held[reply]) > 2:
                rest = bytes(self._held[reply][2:])
                tell_dns(self._teller, self._flow, reply, rest, self._flow.first, is_cut=True)


_BEGINNINGS: tuple[tuple[Callable[[bytes], bool | None], Callable[[Teller, Flow], Spoken]], ...] = (
    (packet_tls.begins, packet_tls.TlsTalk),
    (packet_http.begins, packet_http.HttpTalk),
)


class Talk:
    """A connection whose protocol is told from its first octets; it listens to its streams only as long as needed."""

    def __init__(self, teller: Teller, flow: Flow) -> None:
        self._teller, self._flow = teller, flow
        self._heads = [b"", b""]
        self._spoken: Spoken | None = DnsStream(teller, flow) if 53 in flow.ports else None

    def data(self, reply: bool, data: bytes, at: At) -> None:
        """Octets in order."""
        if self._heads[reply]:
            data = self._heads[reply] + data
            self._heads[reply] = b""
        spoken = self._spoken
        if spoken is None:
            found = [(begins(data), make) for begins, make in _BEGINNINGS]
            make = next((make for is_so, make in found if is_so), None)
            if make is None:
                if any(is_so is None for is_so, _ in found):
                    self._heads[reply] = data
                else:
                    self._end()
                return
            spoken = self._spoken = make(self._teller, self._flow)
        if not spoken.data(reply, data, at):
            self._teller.quiet(self._flow.sides[reply])

    def gap(self, reply: bool, octets: int) -> None:
        """Octets that nobody has."""
        self._flow.marks["gap"] = None
        if self._spoken is None or not self._spoken.gap(reply, octets):
            self._teller.quiet(self._flow.sides[reply])

    def finish(self) -> None:
        """The connection is over."""
        if self._spoken is not None:
            self._spoken.finish()

    def _end(self) -> None:
        for side in self._flow.sides:
            self._teller.quiet(side)
