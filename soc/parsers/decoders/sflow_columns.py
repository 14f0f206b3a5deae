"""The samples that agents send most, as whole columns: an Ethernet frame with TCP, UDP or ICMP over plain IPv4 or IPv6,
alone or with the switch's VLANs beside.

Everything else goes sample by sample (`sflow`), and both ways give the same; offsets are those of IEEE 802.3, RFC 791,
RFC 8200 and RFC 9293.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from soc.parsers.decoders.flow_community import community_rows
from soc.parsers.decoders.flow_derive import tcp_letters
from soc.parsers.decoders.flow_text import coded, constant, ipv4_texts, ipv6_texts, mac_texts, masked
from soc.parsers.decoders.flow_values import I64_MAX, Array, Values, ipv6_text

_HEAD = struct.Struct(">8I")
_RECORD = struct.Struct(">II")
_RAW = struct.Struct(">IIII")
_SWITCH_SIZE = 16
_SWITCH, _PACKET, _ETHERNET = 1001, 1, 1
_INDEX = 0x3FFF_FFFF
_TCP, _UDP, _ICMP, _ICMP6 = 6, 17, 1, 58
# Where the transport begins, and how many octets of each protocol have to be there.
_BEGINS = {4: 34, 6: 54}
_NEEDED = {4: {_TCP: 14, _UDP: 4, _ICMP: 2}, 6: {_TCP: 14, _UDP: 4, _ICMP6: 2}}
_WIDTH = {4: 34 + 14, 6: 54 + 14}


class Quick(NamedTuple):
    """A sample that can go into columns: where its parts are in the body."""

    family: int
    head: bytes
    switch: bytes
    raw: bytes
    packet: bytes


def quick(body: bytes) -> Quick | None:
    """The sample of a body, None when it has to be read in full."""
    if len(body) < 32 + 8 + 16 + 36:
        return None
    *_, inward, outward, count = _HEAD.unpack_from(body)
    if inward > _INDEX or outward > _INDEX or not 0 < count < 3:
        return None
    at, switch = 32, b""
    kind, size = _RECORD.unpack_from(body, at)
    if kind == _SWITCH and count == 2 and size == _SWITCH_SIZE:
        switch = body[40:56]
        at = 56
        if len(body) < at + 24:
            return None
        kind, size = _RECORD.unpack_from(body, at)
    elif count == 2:
        return None
    at += 8
    if kind != _PACKET or size < 16 + 36 or at + size > len(body):
        return None
    protocol, _, _, length = _RAW.unpack_from(body, at)
    if protocol != _ETHERNET or length + 16 > size:
        return None
    family = _family(body, at + 16, length)
    if not family:
        return None
    packet = body[at + 16 : at + 16 + min(length, _WIDTH[family])]
    return Quick(family, body[:28], switch, body[at : at + 16], packet.ljust(_WIDTH[family], b"\0"))


def _family(body: bytes, at: int, length: int) -> int:
    """4 or 6 when the frame is plain and long enough, else 0."""
    kind = body[at + 12 : at + 14]
    if kind == b"\x08\x00":
        is_plain = body[at + 14] == 0x45 and not body[at + 20] & 0x1F and not body[at + 21]
        needed = _NEEDED[4].get(body[at + 23]) if is_plain else None
        return 4 if needed and length >= 34 + needed else 0
    if kind == b"\x86\xdd" and length >= 56:
        needed = _NEEDED[6].get(body[at + 20]) if body[at + 14] >> 4 == 6 else None
        return 6 if needed and length >= 54 + needed else 0
    return 0


def columns(family: int, samples: Sequence[Quick]) -> Mapping[str, Values]:
    """The values of samples of one family, all or none of them with the switch's record, by the names of `sflow`."""
    n = len(samples)
    head = _numbers([sample.head for sample in samples], 7)
    raw = _numbers([sample.raw for sample in samples], 4)
    rate, length = head[:, 2], raw[:, 1]
    each = np.maximum(rate, 1)
    total = each.astype(np.uint64) * length.astype(np.uint64)
    result: dict[str, Values] = {
        "sflow.sample_sequence": head[:, 0], "sflow.source_id_type": head[:, 1] >> 24,
        "sflow.source_id_index": head[:, 1] & 0xFF_FFFF, "sflow.sampling_rate": rate, "sflow.sample_pool": head[:, 3],
        "sflow.drops": head[:, 4], "@input": _interfaces(head[:, 5]), "@output": _interfaces(head[:, 6]),
        "sflow.header_protocol": raw[:, 0], "sflow.frame_length": length, "sflow.stripped": raw[:, 2],
        "sflow.header_length": raw[:, 3], "@sampling_interval": rate, "@packets": each,
        "@bytes": np.minimum(total, np.uint64(I64_MAX)).astype(np.int64), "@action": constant("sflow_flow", n),
    }  # fmt: skip
    if samples[0].switch:
        vlans = _numbers([sample.switch for sample in samples], 4)
        names = ("src_vlan", "src_priority", "dst_vlan", "dst_priority")
        result |= {f"sflow.{name}": vlans[:, i] for i, name in enumerate(names)}
        result["@vlan"] = coded(np.minimum(vlans[:, 0], 4096), lambda v: str(v) if 0 < v < 4096 else None)
    packets = np.frombuffer(b"".join(sample.packet for sample in samples), np.uint8).reshape(n, -1)
    _packets(result, family, packets)
    return result


def _numbers(pieces: Sequence[bytes], width: int) -> Array:
    return np.frombuffer(b"".join(pieces), ">u4").reshape(-1, width).astype(np.int64)


def _interfaces(numbers: Array) -> Any:
    return masked(numbers, (numbers != 0) & (numbers != _INDEX))


def _short(packets: Array, at: int) -> Array:
    return packets[:, at].astype(np.int64) << 8 | packets[:, at + 1]


def _packets(result: dict[str, Values], family: int, packets: Array) -> None:
    n, at = len(packets), _BEGINS[family]
    if family == 4:
        protocol, source, target = packets[:, 23], packets[:, 26:30], packets[:, 30:34]
        texts, kind, tos, ttl = ipv4_texts, "ipv4", packets[:, 15], packets[:, 22]
    else:
        protocol, source, target = packets[:, 20], packets[:, 22:38], packets[:, 38:54]
        kind, tos, ttl = "ipv6", _short(packets, 14) >> 4 & 255, packets[:, 21]

        def texts(table: Array) -> Any:
            return ipv6_texts(table, ipv6_text)

    is_tcp, is_icmp = protocol == _TCP, (protocol == _ICMP) | (protocol == _ICMP6)
    first, second = _short(packets, at), _short(packets, at + 2)
    icmp_type, icmp_code = packets[:, at].astype(np.int64), packets[:, at + 1].astype(np.int64)
    bits = np.where(is_tcp, _short(packets, at + 12) & 0x1FF, 0)
    result |= {
        "@destination_mac": mac_texts(packets[:, :6]), "@source_mac": mac_texts(packets[:, 6:12]),
        "@ether_type": constant(0x0800 if family == 4 else 0x86DD, n), "@source_ip": texts(source),
        "@destination_ip": texts(target), "@type": constant(kind, n), "@tos": tos.astype(np.int64),
        "@ttl": ttl.astype(np.int64), "@protocol": coded(protocol, str), "@source_port": masked(first, ~is_icmp),
        "@destination_port": masked(second, ~is_icmp), "@icmp_type": masked(icmp_type, is_icmp),
        "@icmp_code": masked(icmp_code, is_icmp), "@tcp_control_bits": masked(bits, is_tcp),
        "@tcp_flags": coded(bits, lambda v: tcp_letters(v) or None),
    }  # fmt: skip
    ports = np.where(is_icmp, icmp_type, first), np.where(is_icmp, icmp_code, second)
    result["@community_id"] = community_rows(
        np.ascontiguousarray(source), np.ascontiguousarray(target), protocol,
        (ports[0].astype(np.uint16), ports[1].astype(np.uint16)),
    )  # fmt: skip
