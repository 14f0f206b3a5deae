"""Many datagrams by one system call (recvmmsg, Linux 2.6.33), into memory that is used again; none is an object.

The compiled kernel does the same as `_Memory` and `_of_each`.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from soc.collectors.packed import Packed
from soc.model import kernel

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
    """A batch in the order of arrival: the bytes of all, one behind another, their sizes (uint32), and who sent each
    (sockaddr_in or sockaddr_in6, in 28 bytes)."""

    def __init__(self, data: bytes, sizes: bytes, names: bytes) -> None:
        self._data, self._sizes, self._names = data, sizes, names
        # sockaddr_in has the address behind the port, sockaddr_in6 behind the flow.
        is_four = struct.unpack_from("=H", names)[0] == socket.AF_INET
        self._key = slice(4, 8) if is_four else slice(8, _NAME)

    def __len__(self) -> int:
        return len(self._names) // _NAME

    def __iter__(self) -> Iterator[tuple[bytes, Address]]:
        return zip(_each(self._data, self._sizes), map(_address, self._rows()), strict=True)

    def _rows(self) -> list[bytes]:
        names = self._names
        return [names[at : at + _NAME] for at in range(0, len(names), _NAME)]

    def by_host(self) -> dict[str, Sequence[bytes]]:
        """The datagrams of each sender's address, packed, in the order in which they came."""
        found = kernel.asked(
            "datagrams_of_each", self._data, self._sizes, self._names, self._key.start, self._key.stop
        ) or _of_each(self._data, self._sizes, self._names, self._key)
        return {_host(key): Packed(data, array("I", sizes), longest) for key, data, sizes, longest in found}

    def hosts(self) -> Counter[str]:
        """How many of each sender's address."""
        return Counter({_host(key): n for key, n in Counter(name[self._key] for name in self._rows()).items()})

    def where(self, mask: Array) -> Datagrams:
        """Some of them, at least one."""
        each = zip(_each(self._data, self._sizes), mask.tolist(), strict=True)
        sizes, names = np.frombuffer(self._sizes, np.uintc), np.frombuffer(self._names, f"V{_NAME}")
        kept = b"".join(data for data, is_kept in each if is_kept)
        return Datagrams(kept, sizes[mask].tobytes(), names[mask].tobytes())


def _each(data: bytes, sizes: bytes) -> list[bytes]:
    stops = np.frombuffer(sizes, np.uintc).cumsum(dtype=np.int64).tolist()
    return [data[start:stop] for start, stop in zip([0, *stops], stops, strict=False)]


def _of_each(data: bytes, sizes: bytes, names: bytes, key: slice) -> list[tuple[bytes, bytes, bytes, int]]:
    """Of each sender the address, the datagrams one behind another, their sizes and the longest; senders as they came
    first."""
    keys = np.frombuffer(names, np.uint8).reshape(-1, _NAME)[:, key]
    if (keys == keys[0]).all():
        return [(keys[0].tobytes(), data, sizes, int(np.frombuffer(sizes, np.uintc).max()))]
    found: dict[bytes, list[bytes]] = {}
    for at, each in zip(range(0, len(names), _NAME), _each(data, sizes), strict=True):
        found.setdefault(names[at : at + _NAME][key], []).append(each)
    return [
        (one, b"".join(theirs), array("I", map(len, theirs)).tobytes(), max(map(len, theirs)))
        for one, theirs in found.items()
    ]


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


class _Room(Protocol):
    """The memory for batches of so many datagrams; `_Memory`, or what the compiled kernel has for it."""

    def receive(self, fd: int, most: int) -> tuple[bytes, bytes, bytes] | None:
        """What is there, at most so many: what `Datagrams` is made of. None when there is nothing."""
        ...

    def control(self, i: int) -> bytes:
        """The control messages of datagram i of the last batch."""
        ...

    def are_told_alike(self, n: int) -> bool:
        """Whether those of the first n are the same."""
        ...


class Inbox:
    """Takes batches of at most so many datagrams. One thread uses it; a batch does not point into its memory."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._room: _Room = kernel.asked("Inbox", most) or _Memory(most)

    def receive(self, sock: socket.socket, most: int) -> Datagrams | None:
        """What is there, at most so many; None when there is nothing, or an ICMP error about an answer of ours."""
        try:
            found = self._room.receive(sock.fileno(), min(most, self.most))
        except RuntimeError as error:
            kernel.failed("receive", error)
            self._room = _Memory(self.most)
            return self.receive(sock, most)
        return None if found is None else Datagrams(*found)

    def controls(self, i: int) -> list[tuple[int, int, bytes]]:
        """What the kernel told beside datagram i of the last batch, as `recvmsg` gives it."""
        data, at, found = self._room.control(i), 0, []
        while at + _CMSG.size <= len(data):
            size, level, kind = _CMSG.unpack_from(data, at)
            if size < _CMSG.size:
                break
            found.append((level, kind, data[at + _CMSG.size : at + size]))
            at += -(-size // 8) * 8
        return found

    def are_told_alike(self, n: int) -> bool:
        """Whether that is the same for the first n."""
        return self._room.are_told_alike(n)


class _Memory:
    """The memory of an inbox where nothing is compiled."""

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

    def receive(self, fd: int, most: int) -> tuple[bytes, bytes, bytes] | None:
        """See `_Room`."""
        heads = self._heads
        heads["name_size"], heads["control_size"] = _NAME, _CONTROL
        n = _libc.recvmmsg(fd, heads.ctypes.data, most, socket.MSG_DONTWAIT, None)
        if n <= 0:
            return None
        sizes = heads["size"][:n]
        return self._joined(n, sizes.astype(np.int64)), sizes.astype(np.uintc).tobytes(), self._names[:n].tobytes()

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

    def control(self, i: int) -> bytes:
        """See `_Room`."""
        control: bytes = self._controls[i].tobytes()
        return control[: int(self._heads["control_size"][i])]

    def are_told_alike(self, n: int) -> bool:
        """See `_Room`."""
        sizes, controls = self._heads["control_size"][:n], self._controls[:n]
        return bool((sizes == sizes[0]).all() and (controls[:, : int(sizes[0])] == controls[0, : int(sizes[0])]).all())


def _starts(table: Array) -> Array:
    """The address of each row."""
    return table.ctypes.data + np.arange(len(table), dtype=np.uint64) * np.uint64(table.strides[0])
