"""The sockets of one UDP listener: the first is everybody's; a source that floods it gets one, and its drops, alone.

When many flood at once, those who have no socket of their own share one, so that the first stays for the others.

All are bound to the same address (SO_REUSEPORT, Linux 3.9) and a small classic BPF program (SO_ATTACH_REUSEPORT_CBPF,
Linux 4.5) says by the sender's address which of them takes a datagram. Neither needs a privilege. What the kernel drops
at the socket of a flooding source is that source's, exactly, and nobody else's datagram was in its way.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import time
from collections import Counter
from collections.abc import Callable

import numpy as np

from soc.collectors.counters import EVERYBODY
from soc.collectors.datagram_batch import Datagrams, Inbox
from soc.collectors.datagram_kernel import (
    NOTHING,
    SO_ATTACH_FILTER,
    SO_ATTACH_REUSEPORT_CBPF,
    KernelDrops,
    attach,
    is_copy,
    memory_of,
    program,
    refuse_groups,
)
from soc.collectors.listeners import ENOUGH_BUFFER, peer_name, widen

MAX_LANES = 8
"""Sources of one listener that have a socket of their own at the same time."""
MAX_CROWD = 64
"""Sources that flood together and share one socket more."""
LANE_BUFFER = 16 << 20
"""Bytes of the receive buffer of such a socket, as far as the kernel allows."""
HIGH = 1 / 16
"""From this part of the first socket's buffer on somebody floods it."""
HEAVY = 1 / 8
"""Who has more than this part of what is read then is moved."""
CROWD = 1 / 64
"""Who has more than this part goes to the shared socket, as long as …"""
CALM = 1 / 4
"""… more than this part is left to those who stay."""
LIGHT = 1000
"""Who has fewer datagrams of the shared socket in `SILENT_S` leaves it."""
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
_log = logging.getLogger("soc.collectors")


class _Lane:
    """A socket for one source, for a crowd, or for none at the moment."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.drops = KernelDrops(sock)
        self.peer = ""
        """`EVERYBODY` for the one that a crowd shares."""
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
        self._crowd: Counter[str] = Counter()
        self._crowded_s = 0.0
        self._told: dict[str, float] = {}
        self._lost: Counter[str] = Counter()
        # The first lane from the beginning: what cannot work is known now, and no later one comes without a program.
        self._is_able = self._grow()

    @property
    def lanes(self) -> list[str]:
        """The sources that have a socket of their own."""
        return [lane.peer for lane in self._lanes if lane.peer not in ("", EVERYBODY)]

    @property
    def crowd(self) -> list[str]:
        """The sources that share one."""
        return list(self._crowd)

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
            if self._drops.is_noted:
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
        """What the kernel dropped since the last look, by source; `*` where it does not say whose it was."""
        now = self._clock()
        if now - self._counted_s < _COUNT_S:
            return []
        self._counted_s = now
        if fresh := self._drops.new():
            self._lost[EVERYBODY] += fresh
        for lane in self._lanes:
            self._count(lane)
            if lane.peer and not lane.behind and now - lane.heard_s > SILENT_S:
                self._give_back(lane)
        if self._crowd and now - self._crowded_s > SILENT_S:
            self._thin_out(now)
        lost, self._lost = self._lost, Counter()
        return list(lost.items())

    def shut(self) -> None:
        """Let nothing more in: what comes now is dropped and counted, what is here already can be read to its end."""
        for sock in (self.first, *(lane.sock for lane in self._lanes)):
            with contextlib.suppress(OSError):
                attach(sock, SO_ATTACH_FILTER, NOTHING)

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
        if lane.peer == EVERYBODY:
            for host, many in found.hosts().items():
                if (peer := peer_name(host)) in self._crowd:
                    self._crowd[peer] += many
        n, told = len(found), self._inbox.controls
        if self._inbox.are_told_alike(n):
            return None if is_copy(told(0)) else found
        is_own = np.array([not is_copy(told(i)) for i in range(n)])
        return found if is_own.all() else found.where(is_own) if is_own.any() else None

    # who floods -----------------------------------------------------------------------------------------------------

    def _look(self, batch: Datagrams) -> None:
        """Whether the first socket fills, and who fills it."""
        now = self._clock()
        if now - self._looked_s < _LOOK_S or not self._is_able:
            return
        self._looked_s = now
        memory = memory_of(self.first)
        if not memory or memory[0] <= memory[1] * HIGH:
            return
        moved, rest = [], len(batch)
        for host, n in batch.hosts().most_common():
            is_heavy = n > len(batch) * HEAVY
            if not is_heavy and (n <= len(batch) * CROWD or rest <= len(batch) * CALM):
                break
            rest -= n
            peer = peer_name(host)
            if peer not in self.lanes and peer not in self._crowd:  # else what is read now came before it was moved
                lane = (self._move(peer, now) if is_heavy else None) or self._join(peer, now)
                moved += [lane] if lane is not None else []
        if moved and self._direct():
            used = (memory_of(self.first) or memory)[0]
            for lane in moved:
                lane.behind = used // _LEAST_TRUESIZE + BATCH

    def _free(self, most: int) -> _Lane | None:
        """A socket that nobody has, of so many at most."""
        lane = next((lane for lane in self._lanes if not lane.peer), None)
        if lane is None and len(self._lanes) < most and self._grow():
            lane = self._lanes[-1]
        if lane is not None:
            self._count(lane)
        return lane

    def _move(self, peer: str, now: float) -> _Lane | None:
        """A socket of its own for a source; None when there is none left."""
        lane = self._free(MAX_LANES + (self._shared() is not None)) if len(self.lanes) < MAX_LANES else None
        if lane is not None:
            lane.peer, lane.heard_s = peer, now
            self._tell(peer, "%s sends more than can be read, it has a socket of its own now", peer)
        return lane

    def _join(self, peer: str, now: float) -> _Lane | None:
        """The socket of the crowd, with this source in it; None when it is full."""
        lane = self._shared() or self._free(MAX_LANES + 1)
        if lane is None or len(self._crowd) >= MAX_CROWD:
            self._tell(
                f"{EVERYBODY} {MAX_CROWD}", "more sources than a shared socket takes (%s) flood it", str(MAX_CROWD)
            )
            return None
        if not self._crowd:
            self._crowded_s = now
            self._tell(EVERYBODY, "many sources flood it together, they share a socket: %s and others", peer)
        lane.peer, lane.heard_s = EVERYBODY, now
        self._crowd[peer] = 0
        return lane

    def _thin_out(self, now: float) -> None:
        """Who sent little since the last time belongs to the first socket again, and all when they are so few that each
        may have its own; once nothing lies in the shared one, so that nobody overtakes himself."""
        lane = self._shared()
        if lane is None or any(memory_of(lane.sock)[:1]):
            return
        self._crowded_s = now
        kept = {peer: 0 for peer, n in self._crowd.items() if n >= LIGHT}
        if len(kept) <= MAX_LANES - len(self.lanes):
            self._give_back(lane)
            return
        is_less, self._crowd = len(kept) < len(self._crowd), Counter(kept)
        if is_less:
            self._direct()

    def _shared(self) -> _Lane | None:
        return next((lane for lane in self._lanes if lane.peer == EVERYBODY), None)

    def _give_back(self, lane: _Lane) -> None:
        if lane.peer == EVERYBODY:
            self._crowd.clear()
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
            refuse_groups(sock, first)
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
        numbers = {lane.peer: i for i, lane in enumerate(self._lanes, 1) if lane.peer}
        shared = numbers.pop(EVERYBODY, 0)
        lanes = numbers | dict.fromkeys(self._crowd, shared)
        try:
            attach(self.first, SO_ATTACH_REUSEPORT_CBPF, program(lanes))
        except OSError as error:
            self._tell("able", "no program for its sockets, a flood is everybody's: %s", str(error.strerror))
            return False
        return True
