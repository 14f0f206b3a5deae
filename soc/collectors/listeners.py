"""What a listener is, who may send to it, and how it gets its port."""

from __future__ import annotations

import errno
import ipaddress
import logging
import resource
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from soc.errors import ConfigError
from soc.model.multiline import MAX_BYTES, PATTERN, WAIT_S
from soc.model.record import SYSTEM, ZONE

Kind = Literal["datagram", "stream", "relp", "http", "snmp", "gelf", "packet", "file"]


@dataclass(frozen=True)
class Spoken:
    """What serves a protocol, and the `RawBlock.format` of its records."""

    kind: Kind
    format: str


SPOKEN: Mapping[str, Spoken] = {
    "syslog-udp": Spoken("datagram", "syslog"),
    "syslog-tcp": Spoken("stream", "syslog"),
    "syslog-tls": Spoken("stream", "syslog"),
    "relp": Spoken("relp", "syslog"),
    "relp-tls": Spoken("relp", "syslog"),
    "netflow": Spoken("datagram", "netflow"),
    "sflow": Spoken("datagram", "sflow"),
    "snmp-trap": Spoken("snmp", "snmp"),
    "http": Spoken("http", "json"),
    "gelf-udp": Spoken("gelf", "gelf"),
    "gelf-tcp": Spoken("stream", "gelf"),
    "gelf-tls": Spoken("stream", "gelf"),
    "packets": Spoken("packet", "packet"),
    "file": Spoken("file", "lines"),
}
"""The protocols that are built."""
_TRIES = 20
_RECEIVE_BUFFER = 32 << 20
ENOUGH_BUFFER = 4 << 20
_SO_RCVBUFFORCE = 33
_FILES = 10_240
_log = logging.getLogger("soc.collectors")


def allow_files() -> None:
    """A connection is an open file: twice 4,096 of them, and some. The usual soft limit is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@dataclass(frozen=True)
class Tls:
    """Files of a TLS listener. With `clients_ca` peers need a certificate of it, with `clients` one of these names."""

    certificate: Path
    key: Path
    clients_ca: Path | None = None
    clients: tuple[str, ...] = ()


@dataclass(frozen=True)
class ListenerSpec:
    """One `[listen.<name>]`. `port` 0 lets the system choose; `max_bytes` bounds a record.

    `allow` holds addresses and networks, empty = everybody. A source may send `rate` records a second (0 = any number)
    and `burst` at once (0 = what ten seconds bring); `rates` says it for (network, rate, burst), the narrowest counts.
    With `fallback` a taken port is passed over for one of the next twenty. `tokens` and `users` are files of
    secrets (HTTP tokens, SNMPv3 users), readable by the service alone.
    Stamps without a zone are of `zone`, events that no address gives to a system are of `system`; empty says nothing.
    `multiline` (`soc.model.multiline`) says which lines of a file are one record, which records of syslog one event;
    the rest is waited for. Of kind `file`: `paths` are absolute patterns, `product` the parser of all lines, below
    `guarded` nothing is read.
    """

    name: str
    protocol: str
    host: str
    port: int
    site: str
    max_bytes: int = 65536
    allow: Sequence[str] = ()
    rate: int = 0
    burst: int = 0
    rates: tuple[tuple[str, int, int], ...] = ()
    fallback: bool = False
    tls: Tls | None = None
    tokens: Path | None = None
    users: Path | None = None
    paths: tuple[str, ...] = ()
    product: str = ""
    multiline: str = ""
    multiline_wait_s: int = 5
    guarded: Path | None = None
    zone: str = ""
    system: str = ""

    @property
    def kind(self) -> Kind:
        """What serves it."""
        return SPOKEN[self.protocol].kind

    @property
    def origin(self) -> dict[str, str]:
        """`RawBlock.origin` of its records: what the parser has to know of the listener."""
        known = {ZONE: self.zone, SYSTEM: self.system}
        if self.multiline and self.format == "syslog":  # files are joined where they are read
            known |= {PATTERN: self.multiline, WAIT_S: str(self.multiline_wait_s), MAX_BYTES: str(self.max_bytes)}
        return {key: value for key, value in known.items() if value}

    @property
    def is_stream(self) -> bool:
        """Whether peers connect."""
        return self.kind in ("stream", "relp", "http")

    @property
    def is_tls(self) -> bool:
        """Whether syslog and RELP peers must speak TLS (HTTP may, when `tls` is there)."""
        return self.protocol.endswith("-tls")

    @property
    def format(self) -> str:
        """`RawBlock.format` of its records."""
        return SPOKEN[self.protocol].format


class AllowList:
    """Which peers may send; remembers its answers, up to a bound."""

    def __init__(self, spec: ListenerSpec) -> None:
        try:
            self._networks = [ipaddress.ip_network(text, strict=False) for text in spec.allow]
        except ValueError as error:
            raise ConfigError(f"[listen.{spec.name}] allow: {error}", hint="give addresses or CIDR networks") from error
        self._known: dict[str, bool] = {}

    def permits(self, peer: str) -> bool:
        """Whether this address is in the list; everyone is when the list is empty."""
        if not self._networks:
            return True
        answer = self._known.get(peer)
        if answer is None:
            address = ipaddress.ip_address(peer.partition("%")[0])
            answer = any(address in network for network in self._networks)
            if len(self._known) >= 65536:
                self._known.clear()
            self._known[peer] = answer
        return answer


def peer_name(address: str) -> str:
    """A peer's address as text; an IPv4 peer of an IPv6 socket under its IPv4 address."""
    return address.removeprefix("::ffff:") if "." in address else address


def open_socket(spec: ListenerSpec) -> socket.socket:
    """The bound (for streams: listening), non-blocking socket. Raises ConfigError with the way out."""
    ports = range(spec.port, min(spec.port + (_TRIES if spec.fallback and spec.port else 0), 65535) + 1)
    for port in ports:
        try:
            return _bind(spec, port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and port != ports[-1]:
                continue
            raise _refusal(spec, port, error) from error
    raise ConfigError(f"[listen.{spec.name}] port {spec.port} is no port", hint="choose one from 1 to 65535")


def _bind(spec: ListenerSpec, port: int) -> socket.socket:
    kind = socket.SOCK_STREAM if spec.is_stream else socket.SOCK_DGRAM
    family, _, _, _, address = socket.getaddrinfo(spec.host, port, type=kind, flags=socket.AI_PASSIVE)[0]
    sock = socket.socket(family, kind)
    try:
        sock.setblocking(False)
        if spec.is_stream:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        elif (room := widen(sock)) < ENOUGH_BUFFER:
            _log.warning(
                "listener %s: the kernel gives %d KiB for bursts; the beginning of a flood may cost other sources"
                " datagrams: raise net.core.rmem_max to %d, or give the service CAP_NET_ADMIN",
                spec.name, room >> 10, _RECEIVE_BUFFER,
            )  # fmt: skip
        sock.bind(address)
        if spec.is_stream:
            sock.listen(1024)
    except OSError:
        sock.close()
        raise
    return sock


def widen(sock: socket.socket, size: int = _RECEIVE_BUFFER) -> int:
    """A burst waits in the kernel: as many bytes as it gives (more than net.core.rmem_max needs CAP_NET_ADMIN)."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


def _refusal(spec: ListenerSpec, port: int, error: OSError) -> ConfigError:
    place = f"[listen.{spec.name}] cannot listen on {spec.host} port {port} ({spec.protocol})"
    if error.errno == errno.EADDRINUSE:
        return ConfigError(f"{place}: the port is taken", hint="stop the other program, or choose another port")
    if error.errno in (errno.EACCES, errno.EPERM):
        return ConfigError(
            f"{place}: permission denied; ports below 1024 need the right to bind them",
            hint="give the service CAP_NET_BIND_SERVICE, or choose a port from 1024 up, such as 5514",
        )
    return ConfigError(f"{place}: {error.strerror}", hint="check the address of the listener")
