"""Many datagrams by one system call (recvmmsg, Linux 2.6.33), into memory that is used again; none is an object."""

from __future__ import annotations

import ctypes
import socket
import struct
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from soc.collectors.packed import Packed

Address = tuple[Any, ...]
"""As `socket` has it: host and port, for IPv6 flow and scope too."""
_SLOT = 2048
"""Bytes of a datagram that lie beside those of the others; what is longer goes on elsewhere."""
_REST = 65536 - _SLOT
_CONTROL = 128
_RUN = 4
"""From so many equally long datagrams in a row on (what exporters send) they are copied together."""
_NAME = struct.calcsize("=HH4s16sI")  # sockaddr_in6
# struct mmsghdr and struct iovec of 64-bit Linux.
_HEAD = np.dtype([
    ("name", "u8"), ("name_size", "u4"), ("", "u4"), ("pieces", "u8"), ("n_pieces", "u8"), ("control", "u8"),
    ("control_size", "u8"), ("flags", "u4"), ("", "u4"), ("size", "u4"), ("", "u4"),
])  # fmt: skip
_PIECE = np.dtype([("base", "u8"), ("size", "u8")])
_CMSG = struct.Struct("=Qii")
_libc = ctypes.CDLL(None)
_libc.recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
Array = np.ndarray[Any, Any]


class Datagrams:
    """A batch in the order of arrival: the bytes of all, one behind another, their sizes, and who sent each."""

    def __init__(self, data: bytes, sizes: Array, names: Array) -> None:
        self._data, self._sizes, self._names = data, sizes, names
        # sockaddr_in has the address behind the port, sockaddr_in6 behind the flow.
        self._key = names[:, 4:8] if names[0, 0] == socket.AF_INET else names[:, 8:]

    def __len__(self) -> int:
        return len(self._sizes)

    def __iter__(self) -> Iterator[tuple[bytes, Address]]:
        return zip(self._each(), map(_address, self._rows(self._names)), strict=True)

    def _each(self) -> list[bytes]:
        data, stops = self._data, self._sizes.cumsum().tolist()
        return [data[start:stop] for start, stop in zip([0, *stops], stops, strict=False)]

    @staticmethod
    def _rows(table: Array) -> list[bytes]:
        whole, width = table.tobytes(), table.shape[1]
        return [whole[at : at + width] for at in range(0, len(whole), width)]

    def by_host(self) -> dict[str, Sequence[bytes]]:
        """The datagrams of each sender's address; those of a single one stay packed."""
        if (self._key == self._key[0]).all():
            sizes = array("I")
            sizes.frombytes(self._sizes.astype(np.uintc).tobytes())
            return {_host(self._key[0].tobytes()): Packed(self._data, sizes)}
        found: dict[bytes, list[bytes]] = {}
        for key, data in zip(self._rows(self._key), self._each(), strict=True):
            if key in found:
                found[key].append(data)
            else:
                found[key] = [data]
        return {_host(key): several for key, several in found.items()}

    def hosts(self) -> Counter[str]:
        """How many of each sender's address."""
        return Counter({_host(key): n for key, n in Counter(self._rows(self._key)).items()})

    def where(self, mask: Array) -> Datagrams:
        """Some of them, at least one."""
        kept = [data for data, is_kept in zip(self._each(), mask.tolist(), strict=True) if is_kept]
        return Datagrams(b"".join(kept), self._sizes[mask], self._names[mask])


@lru_cache(maxsize=65536)
def _host(key: bytes) -> str:
    if len(key) == 4:
        return socket.inet_ntop(socket.AF_INET, key)
    host, scope = socket.inet_ntop(socket.AF_INET6, key[:16]), int.from_bytes(key[16:20], "little")
    if not scope:
        return host
    try:
        return f"{host}%{socket.if_indextoname(scope)}"
    except OSError:  # the interface is gone
        return f"{host}%{scope}"


def _address(name: bytes) -> Address:
    family, port = struct.unpack_from("=H", name)[0], struct.unpack_from(">H", name, 2)[0]
    if family == socket.AF_INET:
        return _host(name[4:8]), port
    flow, scope = struct.unpack_from(">I", name, 4)[0], struct.unpack_from("=I", name, 24)[0]
    return _host(name[8:]), port, flow, scope


class Inbox:
    """The memory for batches of so many datagrams. One thread uses it; a batch does not point into it."""

    def __init__(self, most: int) -> None:
        self._slots = np.zeros((most, _SLOT), np.uint8)
        self._rests = np.zeros((most, _REST), np.uint8)  # the kernel gives memory for what is used of it
        self._names = np.zeros((most, _NAME), np.uint8)
        self._controls = np.zeros((most, _CONTROL), np.uint8)
        self._pieces = np.zeros((most, 2), _PIECE)
        for place, (table, size) in enumerate(((self._slots, _SLOT), (self._rests, _REST))):
            self._pieces["base"][:, place] = _starts(table)
            self._pieces["size"][:, place] = size
        self._heads = np.zeros(most, _HEAD)
        self._heads["name"], self._heads["control"] = _starts(self._names), _starts(self._controls)
        self._heads["pieces"], self._heads["n_pieces"] = _starts(self._pieces), 2
        self._octets = self._slots.data.cast("B")
        self.most = most

    def receive(self, sock: socket.socket, most: int) -> Datagrams | None:
        """What is there, at most so many; None when there is nothing, or an ICMP error about an answer of ours."""
        heads = self._heads
        heads["name_size"], heads["control_size"] = _NAME, _CONTROL
        n = _libc.recvmmsg(sock.fileno(), heads.ctypes.data, min(most, self.most), socket.MSG_DONTWAIT, None)
        if n <= 0:
            return None
        sizes = heads["size"][:n].astype(np.int64)
        return Datagrams(self._joined(n, sizes), sizes, self._names[:n].copy())

    def _joined(self, n: int, sizes: Array) -> bytes:
        slots, rests = self._octets, self._rests
        changes = (np.flatnonzero(sizes[1:] != sizes[:-1]) + 1).tolist()
        if int(sizes.max()) <= _SLOT and len(changes) * _RUN <= n:
            runs = zip([0, *changes], [*changes, n], strict=True)
            return b"".join([self._slots[start:stop, : sizes[start]].tobytes() for start, stop in runs])
        begun = zip(range(0, n * _SLOT, _SLOT), sizes.tolist(), strict=True)
        return b"".join([
            slots[at : at + size] if size <= _SLOT
            else slots[at : at + _SLOT].tobytes() + rests[at // _SLOT, : size - _SLOT].tobytes()
            for at, size in begun
        ])  # fmt: skip

    def controls(self, i: int) -> list[tuple[int, int, bytes]]:
        """What the kernel told beside datagram i of the last batch, as `recvmsg` gives it."""
        data, at, found = self._controls[i].tobytes()[: int(self._heads["control_size"][i])], 0, []
        while at + _CMSG.size <= len(data):
            size, level, kind = _CMSG.unpack_from(data, at)
            if size < _CMSG.size:
                break
            found.append((level, kind, data[at + _CMSG.size : at + size]))
            at += -(-size // 8) * 8
        return found

    def are_told_alike(self, n: int) -> bool:
        """Whether that is the same for the first n."""
        sizes, controls = self._heads["control_size"][:n], self._controls[:n]
        return bool((sizes == sizes[0]).all() and (controls[:, : int(sizes[0])] == controls[0, : int(sizes[0])]).all())


def _starts(table: Array) -> Array:
    """The address of each row."""
    return table.ctypes.data + np.arange(len(table), dtype=np.uint64) * np.uint64(table.strides[0])
