"""The sockets of one UDP listener: the first is everybody's; a source that floods it gets one, and its drops, alone.

All are bound to the same address (SO_REUSEPORT, Linux 3.9) and a small classic BPF program (SO_ATTACH_REUSEPORT_CBPF,
Linux 4.5) says by the sender's address which of them takes a datagram. Neither needs a privilege. What the kernel drops
at the socket of a flooding source is that source's, exactly, and nobody else's datagram was in its way.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import logging
import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from soc.collectors.counters import EVERYBODY
from soc.collectors.datagram_batch import Datagrams, Inbox
from soc.collectors.listeners import ENOUGH_BUFFER, peer_name, widen

MAX_LANES = 8
"""Sources of one listener that have a socket of their own at the same time."""
LANE_BUFFER = 16 << 20
"""Bytes of the receive buffer of such a socket, as far as the kernel allows."""
HIGH = 1 / 16
"""From this part of the first socket's buffer on somebody floods it."""
HEAVY = 1 / 8
"""Who has more than this part of what is read then is moved."""
SILENT_S = 10.0
"""A source that has been silent for so long goes back to the first socket."""
BATCH = 512
_LEAST_SHARE = 32
_LOOK_S = 0.004
_COUNT_S = 0.05
_ENOUGH_S = 0.004
"""What `ENOUGH_BUFFER` is enough for."""
_LEAST_TRUESIZE = 256
_LOG_S = 60.0
_MAX_KNOWN = 4096
_SO_ATTACH_FILTER, _SO_ATTACH_REUSEPORT_CBPF = 26, 51
_SO_RXQ_OVFL, _SO_MEMINFO = 40, 55
_IP_PKTINFO, _IP_MULTICAST_ALL, _IPV6_MULTICAST_ALL = 8, 49, 29
_MEMINFO = struct.Struct("=9I")
_PKTINFO = struct.Struct("=i4s4s")
_log = logging.getLogger("soc.collectors")

# Classic BPF (linux/filter.h): opcodes, and where the network header begins for it.
_LD_W, _LD_B, _AND, _JEQ, _RET = 0x20, 0x30, 0x54, 0x15, 0x06
_NETWORK = 0x100000000 - 0x100000
_Instruction = tuple[int, int, int, int]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


class KernelDrops:
    """Datagrams that found the socket's buffer full, as the kernel counts them.

    `SO_RXQ_OVFL` (Linux 2.6.33) brings the count only along with a later datagram, so that the end of a burst stays
    unknown; `SO_MEMINFO` (Linux 4.12) tells the same counter at any time and is asked where it exists.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._seen: int = 0
        self._ancillary: int = 0
        sock.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)

    def note(self, ancillary: Iterable[tuple[int, int, bytes]]) -> None:
        """Read what `recvmsg` brought along."""
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_RXQ_OVFL:
                self._ancillary = struct.unpack("=I", data[:4])[0]

    def new(self) -> int:
        """How many since the last call (the counter has 32 bits)."""
        memory = _memory(self._sock)
        total = memory[8] if memory else self._ancillary
        fresh = (total - self._seen) % (1 << 32)
        self._seen = total
        return fresh


def _memory(sock: socket.socket) -> tuple[int, ...]:
    """Of the receive buffer: bytes used (0), bytes there are (1), datagrams dropped (8); empty on old kernels."""
    try:
        return _MEMINFO.unpack(sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))
    except (OSError, struct.error):
        return ()


class _Lane:
    """A socket for one source, or for none at the moment."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.drops = KernelDrops(sock)
        self.peer = ""
        self.behind = 0
        """So many datagrams at most lie in the first socket that came before those here."""
        self.heard_s = 0.0


class Sockets:
    """Reads the datagrams of a listener, those of a flooding source beside the others. One thread uses it."""

    def __init__(self, first: socket.socket, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Where the kernel does not take a second socket there is only the first, and the log says so."""
        self.first = first
        self._name = name
        self._clock = clock
        self._drops = KernelDrops(first)
        self._lanes: list[_Lane] = []
        self._inbox = Inbox(BATCH)
        self._room = first.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self._poll = select.poll()
        self._poll.register(first, select.POLLIN)
        self._looked_s = self._counted_s = 0.0
        self._told: dict[str, float] = {}
        self._lost: Counter[str] = Counter()
        # The first lane from the beginning: what cannot work is known now, and no later one comes without a program.
        self._is_able = self._grow()

    @property
    def lanes(self) -> list[str]:
        """The sources that have a socket of their own."""
        return [lane.peer for lane in self._lanes if lane.peer]

    @property
    def patience_s(self) -> float:
        """For how long what comes finds room, however fast it comes."""
        return _ENOUGH_S * (self._room // ENOUGH_BUFFER)

    def wait(self, milliseconds: int) -> bool:
        """Whether something can be read, within so many milliseconds."""
        return bool(self._poll.poll(milliseconds))

    def receive(self) -> list[Datagrams]:
        """The next datagrams, those of one source in the order of their arrival; empty when there are none."""
        first = self._inbox.receive(self.first, BATCH)
        n = 0 if first is None else len(first)
        is_empty = n < BATCH
        if first is not None:
            self._drops.note(self._inbox.controls(n - 1))
            if not is_empty:
                self._look(first)
        found = [first] if first is not None else []
        for lane in self._lanes:
            lane.behind = 0 if is_empty else max(lane.behind - n, 0)
        ready = [lane for lane in self._lanes if not lane.behind]
        for lane in ready:
            if several := self._read_lane(lane, max((BATCH - n) // len(ready), _LEAST_SHARE)):
                found.append(several)
        return found

    def dropped(self) -> list[tuple[str, int]]:
        """What the kernel dropped since the last call, by source; `*` where it does not say whose it was."""
        if fresh := self._drops.new():
            self._lost[EVERYBODY] += fresh
        now = self._clock()
        if now - self._counted_s >= _COUNT_S:
            self._counted_s = now
            for lane in self._lanes:
                self._count(lane)
                if lane.peer and not lane.behind and now - lane.heard_s > SILENT_S:
                    self._give_back(lane)
        lost, self._lost = self._lost, Counter()
        return list(lost.items())

    def shut(self) -> None:
        """Let nothing more in: what comes now is dropped and counted, what is here already can be read to its end."""
        for sock in (self.first, *(lane.sock for lane in self._lanes)):
            with contextlib.suppress(OSError):
                _attach(sock, _SO_ATTACH_FILTER, [(_RET, 0, 0, 0)])

    def close(self) -> list[tuple[str, int]]:
        """Close all; the last drops."""
        self._counted_s = float("-inf")
        lost = self.dropped()
        for lane in self._lanes:
            lane.sock.close()
        self.first.close()
        return lost

    # reading --------------------------------------------------------------------------------------------------------

    def _read_lane(self, lane: _Lane, most: int) -> Datagrams | None:
        found = self._inbox.receive(lane.sock, most)
        if found is None:
            return None
        lane.heard_s = self._clock()
        n, told = len(found), self._inbox.controls
        if self._inbox.are_told_alike(n):
            return None if _is_copy(told(0)) else found
        is_own = np.array([not _is_copy(told(i)) for i in range(n)])
        return found if is_own.all() else found.where(is_own) if is_own.any() else None

    # who floods -----------------------------------------------------------------------------------------------------

    def _look(self, batch: Datagrams) -> None:
        """Whether the first socket fills, and who fills it."""
        now = self._clock()
        if now - self._looked_s < _LOOK_S or not self._is_able:
            return
        self._looked_s = now
        memory = _memory(self.first)
        if not memory or memory[0] <= memory[1] * HIGH:
            return
        heavy = [host for host, n in batch.hosts().most_common() if n > len(batch) * HEAVY]
        moved = [lane for host in heavy if (lane := self._move(peer_name(host), now)) is not None]
        if moved and self._direct():
            used = (_memory(self.first) or memory)[0]
            for lane in moved:
                lane.behind = used // _LEAST_TRUESIZE + BATCH

    def _move(self, peer: str, now: float) -> _Lane | None:
        """A lane for a source; None when it has one, or when there is none left."""
        if peer in self.lanes:
            return None  # what is read now came before it was moved
        lane = next((lane for lane in self._lanes if not lane.peer), None)
        if lane is None and len(self._lanes) < MAX_LANES and self._grow():
            lane = self._lanes[-1]
        if lane is None:
            self._tell(f"{EVERYBODY} {MAX_LANES}", "more sources than it has sockets for (%s) flood it", str(MAX_LANES))
            return None
        self._count(lane)
        lane.peer, lane.heard_s = peer, now
        self._tell(peer, "%s sends more than can be read, it has a socket of its own now", peer)
        return lane

    def _give_back(self, lane: _Lane) -> None:
        lane.peer = ""
        self._direct()

    def _count(self, lane: _Lane) -> None:
        fresh = lane.drops.new()
        if fresh and lane.peer:  # without a source only copies of broadcasts come, which the first socket got too
            self._lost[lane.peer] += fresh

    def _tell(self, what: str, text: str, *values: str) -> None:
        now = self._clock()
        if now - self._told.get(what, -_LOG_S) < _LOG_S:
            return
        if len(self._told) >= _MAX_KNOWN:
            self._told.clear()
        self._told[what] = now
        _log.warning("listener %s: " + text, self._name, *values)

    # the kernel's side ----------------------------------------------------------------------------------------------

    def _grow(self) -> bool:
        """One more socket, the last of the group; False when the kernel takes none."""
        first = self.first
        sock = socket.socket(first.family, socket.SOCK_DGRAM)
        try:
            # Only now: the first one was bound alone, so that a port somebody else has is seen as taken.
            first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.setblocking(False)
            widen(sock, LANE_BUFFER)
            _refuse_groups(sock, first)
            sock.bind(first.getsockname())
            lane = _Lane(sock)
        except OSError as error:
            sock.close()
            self._tell("able", "no second socket, a flood is everybody's: %s", str(error.strerror))
            return False
        self._lanes.append(lane)
        if not self._direct():
            self._lanes.remove(lane)
            sock.close()
            return False
        self._poll.register(sock, select.POLLIN)
        return True

    def _direct(self) -> bool:
        """Tell the kernel whose datagrams go where; False when it takes no program, then all goes on as it was."""
        lanes = {lane.peer: i for i, lane in enumerate(self._lanes, 1) if lane.peer}
        try:
            _attach(self.first, _SO_ATTACH_REUSEPORT_CBPF, program(lanes))
        except OSError as error:
            self._tell("able", "no program for its sockets, a flood is everybody's: %s", str(error.strerror))
            return False
        return True


def _refuse_groups(sock: socket.socket, first: socket.socket) -> None:
    """Multicast of groups that others joined comes to the first socket only; of broadcasts see `_is_copy`."""
    sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
    if sock.family == socket.AF_INET6:
        only = first.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        with contextlib.suppress(OSError):  # Linux 4.20
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)


def _is_copy(ancillary: Iterable[tuple[int, int, bytes]]) -> bool:
    """A broadcast, which the kernel hands to every socket: its destination is not the address it came in by."""
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            _, local, destination = _PKTINFO.unpack(data[: _PKTINFO.size])
            return bool(local != destination)
    return False


def _attach(sock: socket.socket, option: int, steps: list[_Instruction]) -> None:
    code = b"".join(struct.pack("=HBBI", *step) for step in steps)
    buffer = ctypes.create_string_buffer(code, len(code))
    sock.setsockopt(socket.SOL_SOCKET, option, bytes(_Program(len(steps), ctypes.addressof(buffer))))


def program(lanes: Mapping[str, int]) -> list[_Instruction]:
    """Number of the socket by the sender's address: 0 for those that are not named."""
    four: list[_Instruction] = [(_LD_W, 0, 0, _NETWORK + 12)]
    six: list[_Instruction] = []
    for peer, number in lanes.items():
        address = ipaddress.ip_address(peer.partition("%")[0])
        if address.version == 4:
            four += [(_JEQ, 0, 1, int(address)), (_RET, 0, 0, number)]
            continue
        for k, word in enumerate(struct.unpack(">4I", address.packed)):
            # Past the words behind this one, two steps each, and the answer.
            six += [(_LD_W, 0, 0, _NETWORK + 8 + 4 * k), (_JEQ, 0, 2 * (3 - k) + 1, word)]
        six.append((_RET, 0, 0, number))
    four.append((_RET, 0, 0, 0))
    six.append((_RET, 0, 0, 0))
    return [(_LD_B, 0, 0, _NETWORK), (_AND, 0, 0, 0xF0), (_JEQ, 0, len(six), 0x60), *six, *four]
