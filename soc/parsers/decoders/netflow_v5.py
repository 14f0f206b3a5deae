"""NetFlow version 5: fixed records, read as columns by numpy. Layout: Cisco, NetFlow Export Datagram Format, tables
B-3 and B-4."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_HEADER = struct.Struct(">HHIIIIBBH")
HEADER_BYTES, RECORD_BYTES = 24, 48
RECORD = np.dtype([
    ("srcaddr", ">u4"), ("dstaddr", ">u4"), ("nexthop", ">u4"), ("input", ">u2"), ("output", ">u2"),
    ("dPkts", ">u4"), ("dOctets", ">u4"), ("first", ">u4"), ("last", ">u4"), ("srcport", ">u2"), ("dstport", ">u2"),
    ("pad1", "u1"), ("tcp_flags", "u1"), ("prot", "u1"), ("tos", "u1"), ("src_as", ">u2"), ("dst_as", ">u2"),
    ("src_mask", "u1"), ("dst_mask", "u1"), ("pad2", ">u2"),
])  # fmt: skip
_FLAGS = "FSRPAUEC"
_ICMP = 1
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Flows:
    """`values` has one item a flow under the format's own names; `rows` the datagram and `parts` the place in it.

    `first_us`, `last_us`, `at_us` are µs UTC. `flags` and `refused` are keyed by datagram.
    """

    values: Mapping[str, Any]
    rows: list[int]
    parts: list[int]
    originals: list[bytes]
    flags: Mapping[int, tuple[str, ...]]
    refused: Mapping[int, str]


def decode(datagrams: Sequence[bytes]) -> Flows:
    """Every whole record that a header vouches for. A length that lies is flagged, a datagram without flows refused."""
    bodies: list[bytes] = []
    heads: list[tuple[int, ...]] = []
    counts: list[int] = []
    rows: list[int] = []
    flags: dict[int, tuple[str, ...]] = {}
    refused: dict[int, str] = {}
    for i, data in enumerate(datagrams):
        why = _refuse(data)
        if why:
            refused[i] = why
            continue
        head = _HEADER.unpack_from(data)
        whole, left = divmod(len(data) - HEADER_BYTES, RECORD_BYTES)
        count = min(head[1], whole)
        if count < head[1]:
            flags[i] = ("truncated",)
        elif whole > count or left:
            flags[i] = ("trailing_bytes",)
        bodies.append(data[HEADER_BYTES : HEADER_BYTES + count * RECORD_BYTES])
        heads.append(head)
        counts.append(count)
        rows.append(i)
    values, repeat = _columns(bodies, heads, counts)
    parts = [part for count in counts for part in range(count)]
    originals = _originals(datagrams, bodies, rows, counts)
    return Flows(values, [rows[k] for k in repeat], parts, originals, flags, refused)


def _refuse(data: bytes) -> str:
    if len(data) < HEADER_BYTES:
        return "shorter than a NetFlow v5 header"
    version, count = struct.unpack_from(">HH", data)
    if version != 5:
        return f"NetFlow version {version} is not read yet"
    if count == 0 or len(data) < HEADER_BYTES + RECORD_BYTES:
        return "no whole flow record"
    return ""


def _originals(datagrams: Sequence[bytes], bodies: list[bytes], rows: list[int], counts: list[int]) -> list[bytes]:
    # Header and record together: each flow can be read again from its own original.
    result: list[bytes] = []
    for row, body, count in zip(rows, bodies, counts, strict=True):
        head = datagrams[row][:HEADER_BYTES]
        result.extend(head + body[k * RECORD_BYTES : (k + 1) * RECORD_BYTES] for k in range(count))
    return result


def _columns(bodies: list[bytes], heads: list[tuple[int, ...]], counts: list[int]) -> tuple[dict[str, Any], list[int]]:
    flows = np.frombuffer(b"".join(bodies), RECORD)
    head = np.array(heads, dtype=np.int64).reshape(-1, 9)
    repeat = np.repeat(np.arange(len(heads)), counts)
    _, _, uptime, secs, nsecs, sequence, engine_type, engine_id, sampling = head[repeat].T
    at_us = secs * 1_000_000 + nsecs // 1000
    values: dict[str, Any] = {
        name: flows[name].astype(np.int64)
        for name in ("input", "output", "dPkts", "dOctets", "tos", "src_as", "dst_as", "prot", "tcp_flags", "src_mask",
                     "dst_mask")
    }  # fmt: skip
    for name in ("srcaddr", "dstaddr", "nexthop"):
        values[name] = addresses(flows[name])
    values |= _ports(flows)
    first, last = _wall(at_us, uptime, flows["first"]), _wall(at_us, uptime, flows["last"])
    values |= {
        "first_us": first, "last_us": last, "duration_ns": (last - first) * 1000, "at_us": at_us,
        "uptime_ms": uptime, "sequence": sequence, "engine_type": engine_type, "engine_id": engine_id,
        "sampling_interval": sampling & 0x3FFF, "version": np.full(len(flows), 5, np.int64),
        "tcp_flag_letters": _flag_letters(flows["tcp_flags"]),
    }  # fmt: skip
    return values, repeat.tolist()


def _ports(flows: Array) -> dict[str, Any]:
    # ICMP has no ports: exporters put type * 256 + code where the destination port stands.
    source, target = flows["srcport"].astype(np.int64), flows["dstport"].astype(np.int64)
    is_icmp = flows["prot"] == _ICMP
    if not is_icmp.any():
        return {"srcport": source, "dstport": target}
    return {
        "srcport": _where(~is_icmp, source), "dstport": _where(~is_icmp, target),
        "icmp_type": _where(is_icmp, target >> 8), "icmp_code": _where(is_icmp, target & 0xFF),
    }  # fmt: skip


def _where(mask: Array, numbers: Array) -> list[int | None]:
    return [n if m else None for m, n in zip(mask.tolist(), numbers.tolist(), strict=True)]


def _wall(at_us: Array, uptime: Array, moment: Array) -> Array:
    # Both are 32-bit ms since boot; the difference is taken modulo 2**32, so a counter that wrapped does no harm.
    ago = (uptime - moment.astype(np.int64)) & 0xFFFF_FFFF
    ago = np.where(ago >= 1 << 31, ago - (1 << 32), ago)
    return np.asarray(at_us - ago * 1000)


def addresses(numbers: Array) -> list[str]:
    """Dotted text of 32-bit addresses; each distinct one is written once."""
    distinct, inverse = np.unique(numbers, return_inverse=True)
    texts = [str(ipaddress.IPv4Address(n)) for n in distinct.tolist()]
    return [texts[k] for k in inverse.tolist()]


def _flag_letters(flags: Array) -> list[str]:
    table = ["".join(letter for bit, letter in enumerate(_FLAGS) if value >> bit & 1) for value in range(256)]
    return [table[v] for v in flags.tolist()]
