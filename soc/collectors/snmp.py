"""Receives SNMP traps and informs; informs are answered when they are durable, SNMPv3 is verified and decrypted."""

from __future__ import annotations

import hashlib
import logging
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from soc.collectors.counters import Counters
from soc.collectors.datagram_batch import Address
from soc.collectors.datagrams import KERNEL
from soc.collectors.floods import Sockets
from soc.collectors.intake import Durable, Intake
from soc.collectors.listeners import ListenerSpec, peer_name
from soc.collectors.rates import Gate
from soc.collectors.snmp_engine import Engine
from soc.collectors.snmp_users import load
from soc.collectors.snmp_usm import INFORM, VERSION_3, Usm, response
from soc.errors import ConfigError, StoreError
from soc.model.ber import INTEGER, OCTETS, SEQUENCE, BadBer, expect, header, integer, tlv
from soc.model.clock import Clock
from soc.model.record import OVERSIZE, UNVERIFIED
from soc.model.snmp_record import FORMAT

MAX_INFORMS = 8192
"""Informs that are remembered, so that one sent again while we make it durable is one record."""
MAX_REPORTS_S = 2000
"""Reports a second of one listener."""
_PLAIN_VERSIONS = (b"\2\1\1\4", b"\2\1\0\4")  # version and the tag of the community
_TRAPS = (0xA7, 0xA4)
_TRAP, _V3, _OTHER = range(3)
_AGAIN_NS = 60_000_000_000
_POLL_MS = 50
_KEEP_S = 60
_LEAVE_S = 3.0
_SECOND_NS = 1_000_000_000
_log = logging.getLogger("soc.collectors.snmp")


class _V3Spec(ListenerSpec):
    """The same listener, for records of format `snmp-v3`."""

    @property
    def format(self) -> str:
        """Not that of its protocol."""
        return FORMAT


def _v3(spec: ListenerSpec) -> _V3Spec:
    return _V3Spec(**{each.name: getattr(spec, each.name) for each in fields(spec)})


def engine_path(users: Path) -> Path:
    """Where the engine of a users file keeps its identity and boots: beside it."""
    return users.with_name(f"{users.stem}.engine.json")


class SnmpReceiver:
    """The listeners of kind `snmp`, a thread each; those with the same users file are one engine."""

    def __init__(
        self, listeners: Sequence[tuple[ListenerSpec, socket.socket]], intake: Intake, counters: Counters, clock: Clock
    ) -> None:
        """Raises ConfigError for a users file that is wrong or readable by others, StoreError for the engine's."""
        security: dict[Path, Usm] = {}
        for spec, _ in listeners:
            if spec.users is not None and spec.users not in security:
                security[spec.users] = Usm(load(spec.users), Engine(engine_path(spec.users), clock))
        self._engines = [usm.engine for usm in security.values()]
        self._listeners = [
            _Listener(spec, sock, intake, counters, clock, None if spec.users is None else security[spec.users])
            for spec, sock in listeners
        ]

    def start(self) -> None:
        """Begin to receive."""
        for listener in self._listeners:
            listener.thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the threads of all listeners that stay run."""
        return all(each.thread.is_alive() for each in self._listeners if not each.stop.is_set())

    def stop(self) -> None:
        """Begin to end: take what the kernel has already, answer what becomes durable, then close."""
        for listener in self._listeners:
            listener.stop.set()

    def ended(self, wait_s: float) -> bool:
        """Whether the end has come, within so many seconds; the sockets are closed then."""
        if not all(listener.ended(wait_s) for listener in self._listeners):
            return False
        for engine in self._engines:
            _save(engine)
        return True

    def prepared(self, spec: ListenerSpec) -> Callable[[], None]:
        """What makes the listener of this name be as `spec` says, its users read again. Raises ConfigError."""
        listener = next(each for each in self._listeners if each.spec.name == spec.name)
        if spec.users != listener.spec.users:
            raise ConfigError(f"[listen.{spec.name}] users: another file is another engine", hint="restart soc collect")
        return listener.prepared(spec)

    def drop(self, name: str) -> bool:
        """End one listener, or answer True: it is the only one left, so stop all of it."""
        left = [each for each in self._listeners if not each.stop.is_set()]
        if [each.spec.name for each in left] == [name]:
            return True
        going = next(each for each in left if each.spec.name == name)
        going.stop.set()
        threading.Thread(target=self._let_go, args=(going,), name=f"leave-{name}", daemon=True).start()
        return False

    def _let_go(self, going: _Listener) -> None:
        """Close its socket once the informs that it took are answered."""
        while not going.ended(_POLL_MS / 1000):
            time.sleep(_POLL_MS / 1000)
        self._listeners = [each for each in self._listeners if each is not going]

    def counts(self) -> dict[str, dict[str, int]]:
        """By listener: `answered`, `reported`, `answers_lost`, `reports_withheld`, `again` (informs that came twice),
        `asked` (who asked only for our engine id or time), and a count under each reason not to believe a message."""
        return {listener.spec.name: dict(listener.counts) for listener in self._listeners}


def _save(engine: Engine) -> None:
    try:
        engine.save()
    except StoreError as error:
        # The boots are durable since the start; only what senders' clocks said is as old as the last save.
        _log.error("%s", error)


@dataclass
class _Batch:
    """Records of one peer and format, in order, and who waits for their durability."""

    records: list[bytes] = field(default_factory=list)
    flags: dict[int, int] = field(default_factory=dict)
    waiting: list[Durable] = field(default_factory=list)

    def add(self, record: bytes, bits: int = 0, durable: Durable | None = None) -> None:
        """One more."""
        if bits:
            self.flags[len(self.records)] = bits
        self.records.append(record)
        if durable is not None:
            self.waiting.append(durable)

    def tell(self, is_durable: bool) -> None:
        """Pass it on."""
        for durable in self.waiting:
            durable(is_durable)


@dataclass(frozen=True)
class _Outline:
    """Version, PDU tag (0 for v3) and where the message's body, its PDU and the PDU's body lie."""

    version: int
    tag: int = 0
    at: int = 0
    pdu: int = 0
    body: tuple[int, int] = (0, 0)


def _outline(data: bytes) -> _Outline:
    """Just enough to know who must be answered. Raises BadBer."""
    at, end = expect(data, 0, len(data), SEQUENCE)
    start, pdu = expect(data, at, end, INTEGER)
    version = integer(data, start, pdu)
    if version == VERSION_3:
        return _Outline(version)
    _, pdu = expect(data, pdu, end, OCTETS)
    tag, start, stop = header(data, pdu, end)
    return _Outline(version, tag, at, pdu, (start, stop))


def _kind(data: bytes) -> int:
    """What to do with a datagram, from its first bytes: a v1 or v2c trap waits for no answer, v3 is verified."""
    try:
        at = 2 if data[1] < 0x80 else data[1] - 0x7E
        head = data[at : at + 4]
        if head in _PLAIN_VERSIONS:
            return _TRAP if data[at + 5 + data[at + 4]] in _TRAPS else _OTHER
        return _V3 if head[:3] == b"\2\1\3" and data[0] == SEQUENCE else _OTHER
    except IndexError:
        return _OTHER


class _Listener:
    """One socket and its thread. Answers are sent from the thread of the group commit."""

    def __init__(
        self, spec: ListenerSpec, sock: socket.socket, intake: Intake, counters: Counters, clock: Clock, usm: Usm | None
    ) -> None:
        self.spec = spec
        self.counts: dict[str, int] = {}
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run, name=f"listen-{spec.name}", daemon=True)
        self._v3 = _v3(spec)
        self._sock = sock
        self._intake = intake
        self._counters = counters
        self._clock = clock
        self._usm = usm
        self._gate = Gate(spec, counters)
        self._sockets = Sockets(sock, spec.name)
        self._lock = threading.Lock()
        self._informs: OrderedDict[bytes, tuple[int, bool]] = OrderedDict()
        self._owed = 0
        self._reports = (0, 0)
        self._ended_ns: int | None = None
        self._kept_ns = clock.monotonic_ns()
        self._told: dict[str, int] = {}

    def prepared(self, spec: ListenerSpec) -> Callable[[], None]:
        """What makes it be as `spec` says from the next batch on."""
        gate = Gate(spec, self._counters)
        users = None if spec.users is None else load(spec.users)

        def change() -> None:
            self.spec, self._gate = spec, gate
            self._v3 = _v3(spec)
            if self._usm is not None and users is not None:
                self._usm.reload(users)

        return change

    # the thread -----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self.stop.is_set():
            if self._sockets.wait(_POLL_MS):
                self._drain()
            self._count_drops(self._sockets.dropped())
            self._keep_when_due()
        self._sockets.shut()
        # Where the kernel cannot shut it a sender that never pauses must not keep us here.
        for _ in range(4096):
            if not self._drain():
                break
        self._count_drops(self._sockets.dropped())

    def ended(self, wait_s: float) -> bool:
        """Closed; informs that are not durable yet keep the socket open for a while, so that they can be answered."""
        self.thread.join(wait_s)
        if self.thread.is_alive():
            return False
        now = self._clock.monotonic_ns()
        if self._ended_ns is None:
            self._ended_ns = now
        if self._owed and now - self._ended_ns < _LEAVE_S * _SECOND_NS:
            return False
        self._count_drops(self._sockets.close())
        return True

    def _drain(self) -> bool:
        """One batch; False when the socket was empty."""
        received = self._sockets.receive()
        now = self._clock.now_ns()
        of: dict[str, list[tuple[bytes, Address]]] = {}
        for each in (each for datagrams in received for each in datagrams):
            of.setdefault(each[1][0], []).append(each)
        for host, datagrams in of.items():
            self._accept(peer_name(host), datagrams, now)
        return bool(received)

    def _accept(self, peer: str, datagrams: Sequence[tuple[bytes, Address]], now: int) -> None:
        spec, most = self.spec, self.spec.max_bytes
        datagrams = datagrams[: self._gate.admit(peer, len(datagrams), now, self._clock.monotonic_ns())]
        plain, secured = _Batch(), _Batch()
        for data, address in datagrams:
            if len(data) > most:
                plain.add(data[:most], OVERSIZE)
            elif (kind := _kind(data)) == _TRAP:
                plain.records.append(data)
            elif kind == _V3 and self._usm is not None:
                self._secured(self._usm, data, address, secured, now)
            else:
                self._other(data, address, plain)
        for each, batch in ((spec, plain), (self._v3, secured)):
            if batch.records:
                self._intake.add(each, peer, now, batch.records, batch.flags, batch.tell if batch.waiting else None)

    def _other(self, data: bytes, address: Address, batch: _Batch) -> None:
        try:
            found = _outline(data)
        except BadBer:
            batch.add(data)  # the parser says why it cannot be read
            return
        if found.version == 1 and found.tag == INFORM:
            self._inform(data, found, address, batch)
        else:
            batch.add(data)

    def _inform(self, data: bytes, found: _Outline, address: Address, batch: _Batch) -> None:
        """A v2c inform: the answer repeats its version, community, request and variables."""
        try:
            answer = tlv(SEQUENCE, data[found.at : found.pdu], response(data, *found.body))
        except BadBer:
            batch.add(data)
            return
        self._confirmed(data, data, lambda: answer, address, batch)

    def _secured(self, usm: Usm, data: bytes, address: Address, batch: _Batch, now: int) -> None:
        found = usm.receive(data)
        record = found.record
        if found.report is not None:
            self._send_report(found.report, address)
        if record is None:
            self._count("asked")
        elif found.answer is not None:
            self._confirmed(found.inform, record.pack(), found.answer, address, batch)
        elif record.reason:
            spec, reason = self.spec, record.reason.partition(":")[0]
            self._count(reason)
            self._counters.unbelieved(spec.site, spec.name, peer_name(address[0]), now, reason)
            batch.add(record.pack(), UNVERIFIED)
        else:
            batch.records.append(record.pack())

    # answers --------------------------------------------------------------------------------------------------------

    def _confirmed(
        self, what: bytes, record: bytes, answer: Callable[[], bytes], address: Address, batch: _Batch
    ) -> None:
        """Queue an inform and answer it when it is durable; one that was sent again is answered, not queued again."""
        key = hashlib.blake2b(repr(address[:2]).encode() + what, digest_size=16).digest()
        now = self._clock.monotonic_ns()
        with self._lock:
            at_ns, is_durable = self._informs.get(key, (now - _AGAIN_NS, False))
            is_again = now - at_ns < _AGAIN_NS
            if not is_again:
                self._remember(key, now, False)
                self._owed += 1
        if not is_again:
            batch.add(record, durable=lambda is_kept: self._settled(key, is_kept, answer, address))
            return
        self._count("again")
        if is_durable:
            self._send(answer(), address)

    def _remember(self, key: bytes, at_ns: int, is_durable: bool) -> None:
        self._informs[key] = (at_ns, is_durable)
        self._informs.move_to_end(key)
        if len(self._informs) > MAX_INFORMS:
            self._informs.popitem(last=False)

    def _settled(self, key: bytes, is_kept: bool, answer: Callable[[], bytes], address: Address) -> None:
        with self._lock:
            self._owed -= 1
            if is_kept:
                self._remember(key, self._clock.monotonic_ns(), True)
            else:
                self._informs.pop(key, None)  # the sender gets no answer and tries again
        if is_kept:
            self._send(answer(), address)

    def _send_report(self, report: bytes, address: Address) -> None:
        """At most so many a second: senders' addresses can be forged, and we must not help to flood somebody."""
        second = self._clock.monotonic_ns() // _SECOND_NS
        sent = self._reports[1] if self._reports[0] == second else 0
        self._reports = (second, sent + 1)
        if sent < MAX_REPORTS_S:
            self._send(report, address, "reported")
        else:
            self._count("reports_withheld")

    def _send(self, answer: bytes, address: Address, what: str = "answered") -> None:
        try:
            self._sock.sendto(answer, address)
        except OSError:
            what = "answers_lost"  # as if the network had lost it: the sender tries again
        self._count(what)

    # keeping accounts -----------------------------------------------------------------------------------------------

    def _count(self, what: str) -> None:
        with self._lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def _count_drops(self, lost: list[tuple[str, int]]) -> None:
        spec = self.spec
        for peer, n in lost:
            self._counters.dropped(spec.site, spec.name, peer, self._clock.now_ns(), KERNEL, n)

    def _keep_when_due(self) -> None:
        now = self._clock.monotonic_ns()
        if now - self._kept_ns < _KEEP_S * _SECOND_NS:
            return
        self._kept_ns = now
        if self._usm is not None:
            _save(self._usm.engine)
        with self._lock:
            counts = dict(self.counts)
        if counts != self._told:
            self._told = counts
            _log.info("listener %s: %s", self.spec.name, ", ".join(f"{n} {what}" for what, n in counts.items()))
