"""Community ID version 1, seed 0: one name for a flow whoever saw it (corelight.com, Community ID Flow Hashing)."""

from __future__ import annotations

import binascii
import functools
import hashlib
import socket
import struct
from collections.abc import Sequence

from soc.parsers.decoders.flow_values import Values

_SEED = b"\0\0"
_ICMP, _ICMP6 = 1, 58
_PORTS = frozenset({_ICMP, 6, 17, _ICMP6, 132})
# The type of the message that answers; a type without one makes a flow of one direction.
_ANSWERS = {
    _ICMP: {0: 8, 8: 0, 9: 10, 10: 9, 13: 14, 14: 13, 15: 16, 16: 15, 17: 18, 18: 17},
    _ICMP6: {128: 129, 129: 128, 130: 131, 131: 130, 133: 134, 134: 133, 135: 136, 136: 135, 139: 140, 140: 139,
             144: 145, 145: 144},
}  # fmt: skip
_TAIL = struct.Struct(">BBHH")
_BARE = struct.Struct(">BB")


def community_id(source: bytes, target: bytes, protocol: int, source_port: int, target_port: int) -> str:
    """`1:` and the Base64 of a SHA-1. Addresses are 4 or 16 octets; ICMP has its type and code for ports."""
    answers = _ANSWERS.get(protocol)
    is_one_way = False
    if answers is not None:
        answer = answers.get(source_port)
        is_one_way = answer is None
        target_port = target_port if answer is None else answer
    if not is_one_way and (source, source_port) > (target, target_port):
        source, target, source_port, target_port = target, source, target_port, source_port
    if protocol in _PORTS:
        data = _SEED + source + target + _TAIL.pack(protocol, 0, source_port, target_port)
    else:
        data = _SEED + source + target + _BARE.pack(protocol, 0)
    return "1:" + binascii.b2a_base64(hashlib.sha1(data, usedforsecurity=False).digest(), newline=False).decode()


def answer_of(protocol: int, kind: int) -> int | None:
    """The type of the ICMP message that answers this type; None for a type that has none."""
    return _ANSWERS[protocol].get(kind)


@functools.lru_cache(maxsize=16384)
def _of_texts(source: str, target: str, protocol: int, source_port: int, target_port: int) -> str | None:
    first, second = packed(source), packed(target)
    return None if len(first) != len(second) else community_id(first, second, protocol, source_port, target_port)


def packed(address: str) -> bytes:
    """The octets of an address."""
    return socket.inet_pton(socket.AF_INET6, address) if ":" in address else socket.inet_aton(address)


def community_ids(
    sources: Sequence[str | None], targets: Sequence[str | None], protocols: Values, ports: tuple[Values, Values]
) -> list[str | None]:
    """One for each flow with two addresses of one family, a protocol below 256 and, where it has ports, those."""
    numbers, first, second = (v if isinstance(v, list) else v.tolist() for v in (protocols, *ports))
    return [
        None if source is None or target is None or protocol is None or protocol > 255
        or (protocol in _PORTS and (port is None or other is None))
        else _of_texts(source, target, protocol, (port or 0) & 0xFFFF, (other or 0) & 0xFFFF)
        for source, target, protocol, port, other in zip(sources, targets, numbers, first, second, strict=True)
    ]  # fmt: skip
