"""Community ID version 1, seed 0: one name for a flow whoever saw it (corelight.com, Community ID Flow Hashing)."""

from __future__ import annotations

import binascii
import functools
import hashlib
import socket
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from soc.model.kernel import asked
from soc.parsers.decoders.flow_text import Array, fixed_strings, plain
from soc.parsers.decoders.flow_values import Values
from soc.parsers.decoders.sha1_rows import sha1_rows

_SEED = b"\0\0"
_ICMP, _ICMP6 = 1, 58
_PORTS = frozenset({_ICMP, 6, 17, _ICMP6, 132})
# The type of the message that answers; a type without one makes a flow of one direction.
_ANSWERS = {
    _ICMP: {0: 8, 8: 0, 9: 10, 10: 9, 13: 14, 14: 13, 15: 16, 16: 15, 17: 18, 18: 17},
    _ICMP6: {128: 129, 129: 128, 130: 131, 131: 130, 133: 134, 134: 133, 135: 136, 136: 135, 139: 140, 140: 139,
             144: 145, 145: 144},
}  # fmt: skip
_NO_ANSWER = 256
_ANSWERS_OF = {
    protocol: np.array([answers.get(kind, _NO_ANSWER) for kind in range(256)], np.uint16)
    for protocol, answers in _ANSWERS.items()
}
_HAS_PORTS = np.array([protocol in _PORTS for protocol in range(256)])
_LENGTH = 30
_START = np.frombuffer(b"1:", np.uint8)
_FEW, _MANY = 64, 4096
"""Below so many flows a call for each is cheaper than columns, and a hash of each than the rounds of all at once."""
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
    numbers, first, second = (plain(v) for v in (protocols, *ports))
    return [
        None if source is None or target is None or protocol is None or protocol > 255
        or (protocol in _PORTS and (port is None or other is None))
        else _of_texts(source, target, protocol, (port or 0) & 0xFFFF, (other or 0) & 0xFFFF)
        for source, target, protocol, port, other in zip(sources, targets, numbers, first, second, strict=True)
    ]  # fmt: skip


def community_rows(sources: Array, targets: Array, protocols: Array, ports: tuple[Array, Array]) -> Any:
    """The same of whole columns: rows of 4 or 16 octets, protocols below 256, ports of 16 bits, nothing missing."""
    n, size = sources.shape
    if n < _FEW:
        rows = zip(sources, targets, protocols.tolist(), ports[0].tolist(), ports[1].tolist(), strict=True)
        return pa.array([community_id(a.tobytes(), b.tobytes(), p, x, y) for a, b, p, x, y in rows], pa.string())
    first, second, is_swapped = _ordered(sources, targets, protocols, *ports)
    message = np.zeros((n, 2 * size + 8), np.uint8)  # the seed, 0, is there
    one, other = (np.ascontiguousarray(side).view(np.uint32) for side in (sources, targets))
    swap = is_swapped[:, None]
    message[:, 2 : size + 2] = np.where(swap, other, one).view(np.uint8)
    message[:, size + 2 : 2 * size + 2] = np.where(swap, one, other).view(np.uint8)
    message[:, -6] = protocols
    message[:, -4:-2] = first.astype(">u2").view(np.uint8).reshape(n, 2)
    message[:, -2:] = second.astype(">u2").view(np.uint8).reshape(n, 2)
    with_ports = _HAS_PORTS[protocols]
    if with_ports.all():
        return fixed_strings(_texts(message))
    texts = np.empty((n, _LENGTH), np.uint8)
    texts[with_ports] = _texts(message[with_ports])
    texts[~with_ports] = _texts(message[~with_ports][:, :-4])
    return fixed_strings(texts)


def _digests(messages: Array) -> Array:
    n, size = messages.shape
    if n >= _MANY:
        return sha1_rows(messages)
    whole = messages.tobytes()
    made = [hashlib.sha1(whole[at : at + size], usedforsecurity=False).digest() for at in range(0, n * size, size)]
    return np.frombuffer(b"".join(made), np.uint8).reshape(n, 20)


def _ordered(
    sources: Array, targets: Array, protocols: Array, first: Array, second: Array
) -> tuple[Array, Array, Array]:
    """The ports as they are hashed, and the flows whose ends change places: the smaller end comes first."""
    one_way = np.zeros(len(protocols), bool)
    for protocol, answers in _ANSWERS_OF.items():
        here = protocols == protocol
        if here.any():
            answer = answers[first & 0xFF]
            has_answer = here & (answer != _NO_ANSWER) & (first < 256)
            second = np.where(has_answer, answer, second)
            one_way |= here & ~has_answer
    is_swapped = ~one_way & _is_after(sources, targets, first > second)
    return np.where(is_swapped, second, first), np.where(is_swapped, first, second), is_swapped


def _is_after(sources: Array, targets: Array, ports: Array) -> Array:
    """Whether the source's octets, then its port, are the larger ones."""
    result = ports
    for at in reversed(range(0, sources.shape[1], 4)):
        one, other = (np.ascontiguousarray(side[:, at : at + 4]).view(">u4").ravel() for side in (sources, targets))
        result = (one > other) | ((one == other) & result)
    return result


def _texts(messages: Array) -> Array:
    """`1:` and Base64 (RFC 4648) of 20 octets: 27 letters and one `=`. With one octet more a row is whole groups of
    three, so one call writes all of them."""
    n = len(messages)
    if (found := asked("community_texts", messages.tobytes(), messages.shape[1])) is not None:
        return np.frombuffer(found, np.uint8).reshape(n, _LENGTH)
    padded = np.zeros((n, 21), np.uint8)
    padded[:, :20] = _digests(messages)
    text = np.empty((n, _LENGTH), np.uint8)
    text[:, :2] = _START
    text[:, 2:] = np.frombuffer(binascii.b2a_base64(padded.tobytes(), newline=False), np.uint8).reshape(n, 28)
    text[:, 29] = ord("=")
    return text
