"""The records inside sFlow samples, by enterprise and format (sflow.org: sFlow Version 5, section 5.3, and Host
Structures)."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from soc.parsers.decoders import flow_packet
from soc.parsers.decoders.flow_derive import tcp_letters
from soc.parsers.decoders.flow_values import ipv4_text, ipv6_text, mac_text

Read = dict[str, Any]
_MAX_TEXT = 4096
_PAIR = struct.Struct(">II")
_NUMBER = struct.Struct(">I")


class Short(ValueError):
    """The octets end before what they should hold."""


class Xdr:
    """Reads XDR (RFC 4506): everything in multiples of four octets, big-endian."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, n: int) -> bytes:
        """So many octets, and those that fill up to four."""
        piece = self.data[self.at : self.at + n]
        if len(piece) < n:
            raise Short(f"{n} octets expected, {len(piece)} left")
        self.at += n + -n % 4
        return piece

    def number(self) -> int:
        """An unsigned 32-bit integer."""
        try:
            (number,) = _NUMBER.unpack_from(self.data, self.at)
        except struct.error:
            raise Short(f"4 octets expected, {max(0, len(self.data) - self.at)} left") from None
        self.at += 4
        return int(number)

    def numbers(self, layout: struct.Struct) -> tuple[int, ...]:
        """Several at once."""
        try:
            found = layout.unpack_from(self.data, self.at)
        except struct.error:
            raise Short(f"{layout.size} octets expected, {max(0, len(self.data) - self.at)} left") from None
        self.at += layout.size
        return found

    def tagged(self) -> tuple[int, bytes]:
        """A format and opaque octets."""
        kind, size = self.numbers(_PAIR)
        return kind, self.take(size)

    def opaque(self) -> bytes:
        """Octets with their length before them."""
        return self.take(self.number())

    def text(self) -> str | None:
        """The same as text."""
        return self.opaque()[:_MAX_TEXT].rstrip(b"\0").decode("utf-8", "backslashreplace") or None

    def address(self) -> str | None:
        """A type (0 unknown, 1 IPv4, 2 IPv6) and the address."""
        kind = self.number()
        if kind == 1:
            return ipv4_text(self.number())
        if kind == 2:
            return ipv6_text(self.take(16))
        if kind:
            raise Short(f"an address of type {kind}")
        return None


_HEADER = struct.Struct(">IIII")


def _raw_header(xdr: Xdr) -> Read:
    protocol, length, stripped, size = xdr.numbers(_HEADER)
    header = xdr.take(size)
    return {
        "sflow.header_protocol": protocol, "sflow.frame_length": length, "sflow.stripped": stripped,
        "sflow.header_length": len(header), **flow_packet.read(protocol, header),
    }  # fmt: skip


def _ethernet_frame(xdr: Xdr) -> Read:
    length = xdr.number()
    source, target = mac_text(xdr.take(6)), mac_text(xdr.take(6))
    return {
        "sflow.frame_length": length, "@source_mac": source, "@destination_mac": target, "@ether_type": xdr.number(),
    }  # fmt: skip


def _sampled_ip(xdr: Xdr, text: Callable[[bytes], str], size: int) -> Read:
    length, protocol = xdr.number(), xdr.number()
    source, target = text(xdr.take(size)), text(xdr.take(size))
    first, second, bits, tos = (xdr.number() for _ in range(4))
    result: Read = {
        "sflow.ip_length": length, "@protocol": str(protocol), "@source_ip": source, "@destination_ip": target,
        "@type": "ipv4" if size == 4 else "ipv6", "@tos": tos,
    }  # fmt: skip
    if protocol in (6, 17, 132):
        result |= {"@source_port": first, "@destination_port": second}
    if protocol == 6:
        result |= {"@tcp_control_bits": bits, "@tcp_flags": tcp_letters(bits & 0x1FF) or None}
    return result


def _ipv4(xdr: Xdr) -> Read:
    return _sampled_ip(xdr, lambda data: ipv4_text(int.from_bytes(data, "big")), 4)


def _ipv6(xdr: Xdr) -> Read:
    return _sampled_ip(xdr, ipv6_text, 16)


def _switch(xdr: Xdr) -> Read:
    names = ("src_vlan", "src_priority", "dst_vlan", "dst_priority")
    result: Read = {f"sflow.{name}": xdr.number() for name in names}
    vlan = result["sflow.src_vlan"]
    return result | ({"@vlan": str(vlan)} if 0 < vlan < 4096 else {})


def _router(xdr: Xdr) -> Read:
    return {
        "sflow.next_hop": xdr.address(), "sflow.src_mask_length": xdr.number(), "sflow.dst_mask_length": xdr.number(),
    }  # fmt: skip


def _gateway(xdr: Xdr) -> Read:
    next_hop, own, source, peer = xdr.address(), xdr.number(), xdr.number(), xdr.number()
    path: list[int] = []
    for _ in range(_few(xdr)):
        xdr.number()  # set or sequence
        path.extend(xdr.number() for _ in range(_few(xdr)))
    communities = tuple(f"{c >> 16}:{c & 0xFFFF}" for c in [xdr.number() for _ in range(_few(xdr))])
    return {
        "sflow.bgp_next_hop": next_hop, "sflow.as": own, "@source_as": source or None, "sflow.src_peer_as": peer,
        "sflow.dst_as_path": tuple(path) or None, "@destination_as": path[-1] if path else None,
        "sflow.communities": communities or None, "sflow.local_pref": xdr.number(),
    }  # fmt: skip


def _few(xdr: Xdr) -> int:
    count = xdr.number()
    if count * 4 > len(xdr.data) - xdr.at:
        raise Short(f"a list of {count}")
    return count


def _user(xdr: Xdr) -> Read:
    xdr.number()  # character set, MIB enumeration
    source = xdr.text()
    xdr.number()
    return {"sflow.src_user": source, "sflow.dst_user": xdr.text()}


def _url(xdr: Xdr) -> Read:
    direction = xdr.number()
    return {"sflow.url_direction": direction, "sflow.url": xdr.text(), "sflow.url_host": xdr.text()}


def _mpls(xdr: Xdr) -> Read:
    next_hop = xdr.address()
    inward = tuple(entry >> 12 for entry in [xdr.number() for _ in range(_few(xdr))])
    outward = tuple(entry >> 12 for entry in [xdr.number() for _ in range(_few(xdr))])
    return {"sflow.mpls_next_hop": next_hop, "@mpls_labels": inward or None, "sflow.mpls_out_labels": outward or None}


def _nat(xdr: Xdr) -> Read:
    return {"@source_nat_ip": xdr.address(), "@destination_nat_ip": xdr.address()}


def _nat_ports(xdr: Xdr) -> Read:
    return {"@source_nat_port": xdr.number(), "@destination_nat_port": xdr.number()}


def _vlan_tunnel(xdr: Xdr) -> Read:
    return {"sflow.vlan_stack": tuple(str(tag & 0xFFF) for tag in [xdr.number() for _ in range(_few(xdr))]) or None}


def _table(text: str) -> Callable[[Xdr], Read]:
    """A structure of fixed numbers: `I` 32 bits, `i` signed, `Q` 64, `f` a float, then the name."""
    pairs = [word.split(":") for word in text.split()]
    layout = struct.Struct(">" + "".join(kind for kind, _ in pairs))
    names = [f"sflow.{name}" for _, name in pairs]

    def read(xdr: Xdr) -> Read:
        return dict(zip(names, layout.unpack(xdr.take(layout.size)), strict=True))

    return read


def _host(xdr: Xdr) -> Read:
    name, identity = xdr.text(), str(uuid.UUID(bytes=xdr.take(16)))
    machine, system = xdr.number(), xdr.number()
    return {
        "@host_name": name, "sflow.host_uuid": identity, "sflow.machine_type": machine, "sflow.os_name": system,
        "sflow.os_release": xdr.text(),
    }  # fmt: skip


GENERIC = (
    "I:ifIndex I:ifType Q:ifSpeed I:ifDirection I:ifStatus Q:ifInOctets I:ifInUcastPkts I:ifInMulticastPkts "
    "I:ifInBroadcastPkts I:ifInDiscards I:ifInErrors I:ifInUnknownProtos Q:ifOutOctets I:ifOutUcastPkts "
    "I:ifOutMulticastPkts I:ifOutBroadcastPkts I:ifOutDiscards I:ifOutErrors I:ifPromiscuousMode"
)
DOT3 = (
    "I:dot3StatsAlignmentErrors I:dot3StatsFCSErrors I:dot3StatsSingleCollisionFrames "
    "I:dot3StatsMultipleCollisionFrames I:dot3StatsSQETestErrors I:dot3StatsDeferredTransmissions "
    "I:dot3StatsLateCollisions I:dot3StatsExcessiveCollisions I:dot3StatsInternalMacTransmitErrors "
    "I:dot3StatsCarrierSenseErrors I:dot3StatsFrameTooLongs I:dot3StatsInternalMacReceiveErrors "
    "I:dot3StatsSymbolErrors"
)
VLAN = "I:vlan_id Q:vlan_octets I:vlan_ucastPkts I:vlan_multicastPkts I:vlan_broadcastPkts I:vlan_discards"
PROCESSOR = "i:cpu_5s i:cpu_1m i:cpu_5m Q:total_memory Q:free_memory"
CPU = (
    "f:load_one f:load_five f:load_fifteen I:proc_run I:proc_total I:cpu_num I:cpu_speed I:uptime I:cpu_user "
    "I:cpu_nice I:cpu_system I:cpu_idle I:cpu_wio I:cpu_intr I:cpu_sintr I:interrupts I:contexts"
)
MEMORY = (
    "Q:mem_total Q:mem_free Q:mem_shared Q:mem_buffers Q:mem_cached Q:swap_total Q:swap_free I:page_in I:page_out "
    "I:swap_in I:swap_out"
)
DISK = (
    "Q:disk_total Q:disk_free I:part_max_used I:disk_reads Q:bytes_read I:read_time I:disk_writes Q:bytes_written "
    "I:write_time"
)
NETWORK = "Q:bytes_in I:pkts_in I:errs_in I:drops_in Q:bytes_out I:pkts_out I:errs_out I:drops_out"
FLOW_RECORDS: Mapping[tuple[int, int], Callable[[Xdr], Read]] = {
    (0, 1): _raw_header, (0, 2): _ethernet_frame, (0, 3): _ipv4, (0, 4): _ipv6, (0, 1001): _switch,
    (0, 1002): _router, (0, 1003): _gateway, (0, 1004): _user, (0, 1005): _url, (0, 1006): _mpls, (0, 1007): _nat,
    (0, 1012): _vlan_tunnel, (0, 1020): _nat_ports,
}  # fmt: skip
COUNTER_RECORDS: Mapping[tuple[int, int], Callable[[Xdr], Read]] = {
    (0, 1): _table(GENERIC), (0, 2): _table(DOT3), (0, 5): _table(VLAN), (0, 1001): _table(PROCESSOR),
    (0, 2000): _host, (0, 2003): _table(CPU), (0, 2004): _table(MEMORY), (0, 2005): _table(DISK),
    (0, 2006): _table(NETWORK),
}  # fmt: skip
