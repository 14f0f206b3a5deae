"""Serves the API on a Unix socket that anybody may connect to, and on TCP; the kernel says who connected."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import logging
import os
import socket
import ssl
import stat
import struct
import threading
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import uvicorn

from soc.collectors.punctual import PunctualProtocol
from soc.collectors.tls import served
from soc.errors import ConfigError, Conflict
from soc.web.app import application
from soc.web.auth import Peer

if TYPE_CHECKING:
    from soc.config import Settings
    from soc.pipeline import Services

_log = logging.getLogger("soc.web")
BACKLOG = 128
GRACE_S = 5
PEER_CONNECTIONS = 128
"""Open connections of one uid, or of one address over TCP; a console takes three, a stream is one."""
_CREDENTIALS = struct.Struct("3i")
"""struct ucred of unix(7): pid, uid, gid."""


def peer_of(connection: socket.socket | None) -> Peer:
    """Who is at the other end: the uid at the time of connect(2), nobody for TCP."""
    if connection is None or connection.family != socket.AF_UNIX:
        return Peer()
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return Peer(_CREDENTIALS.unpack(raw)[1])


class PeerProtocol(PunctualProtocol):
    """HTTP/1.1 that puts the `Peer` of its connection into the state of every request, where no header reaches.

    Anybody may connect, so nobody may take all descriptors: one peer holds at most `PEER_CONNECTIONS`, and who sends
    no whole request within `REQUEST_S` seconds is let go.
    """

    app_state: dict[str, Any]
    _open: ClassVar[Counter[object]] = Counter()
    _who: object = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        peer = peer_of(transport.get_extra_info("socket"))
        # The state is shared by all connections; this one gets its own.
        self.app_state = {**self.app_state, "peer": peer}
        who = peer.uid if peer.uid is not None else (transport.get_extra_info("peername") or ("",))[0]
        if self._open[who] >= PEER_CONNECTIONS:
            transport.abort()
            return
        self._who = who
        self._open[who] += 1

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._who is not None:
            self._open[self._who] -= 1
            if not self._open[self._who]:
                del self._open[self._who]
            self._who = None


class _Server(uvicorn.Server):  # type: ignore[misc]
    """Stops when the event is set, and leaves signals to whoever started it."""

    def __init__(
        self,
        config: uvicorn.Config,
        stop: threading.Event,
        alive: Callable[[], None],
        tls: tuple[socket.socket, ssl.SSLContext] | None,
        renew: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._stop, self._alive, self._tls, self._renew = stop, alive, tls, renew

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._tls is not None:  # uvicorn speaks TLS on all of its sockets or on none, the Unix socket included
            sock, context = self._tls
            protocol = functools.partial(
                PeerProtocol, config=self.config, server_state=self.server_state, app_state=self.lifespan.state
            )
            loop = asyncio.get_running_loop()
            self.servers.append(await loop.create_server(protocol, sock=sock, ssl=context, backlog=BACKLOG))

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def on_tick(self, counter: int) -> bool:
        self._alive()
        self._renew()
        return self._stop.is_set() or bool(await super().on_tick(counter))


def serve(
    services: Services,
    *,
    sock: socket.socket | None,
    tcp: socket.socket | None = None,
    stop: threading.Event,
    alive: Callable[[], None] = lambda: None,
    again: threading.Event | None = None,
) -> None:
    """Answer on these bound sockets until `stop` is set; requests that run get `GRACE_S` seconds to end.

    `alive` is called ten times a second by the loop that answers; when `again` is set the certificate is read again.
    With `[web] certificate` and `key` TCP is HTTPS; without them only this machine may be listened to, for a token that
    crosses a network in clear is everybody's.
    Raises ConfigError for that, for files that cannot be used, and when the home cannot be closed to other users: then
    the API would be a wall beside an open door.
    """
    settings = services.settings
    context = tls_context(settings)
    if tcp is not None and context is None and not ipaddress.ip_address(tcp.getsockname()[0]).is_loopback:
        raise ConfigError(
            f"[web] host = '{settings.web_host}' without TLS: tokens would cross the network in clear",
            hint="give [web] certificate and key as PEM files, or listen on 127.0.0.1 behind a proxy that speaks TLS",
        )
    close_home(settings.home)
    config = uvicorn.Config(
        application(services, stop), http=PeerProtocol, ws="none", loop="asyncio", lifespan="off", log_config=None,
        access_log=False, server_header=False, proxy_headers=False, timeout_graceful_shutdown=GRACE_S, backlog=BACKLOG,
    )  # fmt: skip
    tls = (tcp, context) if tcp is not None and context is not None else None
    plain = [each for each in (sock, None if tls else tcp) if each is not None]

    def renew() -> None:
        if again is not None and again.is_set():
            again.clear()
            if context is not None:
                _renew(context, settings)

    _Server(config, stop, alive, tls, renew).run(sockets=plain)


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """TLS 1.2 or later with the files of `[web]`; None when it names none. Raises ConfigError."""
    names = (settings.web_certificate, settings.web_key)
    if not any(names):
        return None
    if not all(names):
        raise ConfigError(
            "[web] 'certificate' and 'key' go together, one is missing", hint="both are PEM files below SOC_HOME"
        )
    return served(settings.path(names[0]), settings.path(names[1]), "[web]")


def _renew(context: ssl.SSLContext, settings: Settings) -> None:
    """Read the files of a certificate again, for the connections that come from now on; faulty ones change nothing."""
    try:
        tls_context(settings)
        context.load_cert_chain(settings.path(settings.web_certificate), settings.path(settings.web_key))
    except (ConfigError, OSError) as error:
        _log.error("the certificate of before stays in use: %s", error)
    else:
        _log.info("[web] certificate was read again")


def close_home(home: Path) -> None:
    """Mode 0700 for the folder that holds every file. Raises ConfigError."""
    found = home.stat()
    if stat.S_IMODE(found.st_mode) & 0o077 == 0:
        return
    try:
        home.chmod(0o700)
    except OSError as error:
        hint = f"it belongs to uid {found.st_uid}; the service's own user has to own it"
        raise ConfigError(f"{home} is open to other users: {error.strerror}", hint=hint) from error


def open_unix_socket(path: Path) -> socket.socket:
    """A listening socket, open to connect (0666) in a folder that only its owner may change (0755).

    A socket file that a crash left is removed, one that somebody listens on is not. Raises Conflict for that one,
    ConfigError for a folder that another user could change under us or that cannot be made.
    """
    _folder(path.parent)
    _remove_stale(path)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o111)  # between bind and chmod nobody is locked out, and nothing is executable
        try:
            made.bind(str(path))
        finally:
            os.umask(before)
        path.chmod(0o666)
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        raise ConfigError(f"cannot listen on {path}: {error.strerror or error}") from error
    return made


def _folder(folder: Path) -> None:
    try:
        if not folder.exists():
            folder.mkdir(mode=0o755, parents=True)
            folder.chmod(0o755)  # whatever the umask says, others may pass through
        found = folder.lstat()
    except OSError as error:
        raise ConfigError(f"cannot make the folder {folder}: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigError(f"{folder} is no folder", hint="a link could lead elsewhere; name the real folder")
    if found.st_uid not in (os.geteuid(), 0):
        raise ConfigError(f"{folder} belongs to uid {found.st_uid}", hint="who owns it could put a socket in our place")
    if found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
        raise ConfigError(f"{folder} can be changed by others", hint="chmod 755 it")


def _remove_stale(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ConfigError(f"{path} is no socket; it was left alone", hint="move it away, or name another path")
    if found.st_uid not in (os.geteuid(), 0):
        raise ConfigError(f"{path} belongs to uid {found.st_uid}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise Conflict(f"{path} does not answer, but is not free: {error}") from error
    raise Conflict(f"a service listens on {path} already", hint="stop it, or name another socket")


def open_tcp_socket(host: str, port: int) -> socket.socket:
    """A bound TCP socket. Raises ConfigError."""
    try:
        return socket.create_server((host, port), backlog=BACKLOG, family=_family(host))
    except OSError as error:
        raise ConfigError(f"cannot listen on {host} port {port}: {error.strerror or error}") from error


def _family(host: str) -> Any:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
