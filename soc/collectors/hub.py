"""`Hub`: the centre's door for distant units: frames of their logs, taken exactly once, over mutual TLS."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from cryptography import x509
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from soc.collectors.counters import Counters
from soc.collectors.enrol import Authority, checked_name
from soc.collectors.packet_asks import Asks
from soc.collectors.punctual import PunctualProtocol
from soc.errors import PermissionRefused, SocError, TryAgain, UsageError
from soc.model.clock import Clock
from soc.store import files
from soc.store.queue import DiskLog, unpack
from soc.store.queue.replica import MAX_PACKED

LOG = "raw"
MAX_LOGS, MAX_LOGS_OF_UNIT = 10_000, 100
"""Each is files that are open; a unit has one for each of its collectors, and others each time it is installed."""
BODY_S = 20.0
MAX_SMALL = 64 << 10
_SAVE_NS = 1_000_000_000
_STATUS = {"PermissionRefused": 403, "UsageError": 400, "NotFound": 404, "DiskFull": 503, "TryAgain": 503}
_log = logging.getLogger("soc.relay")


@dataclass
class _Log:
    """A log of a unit, as it is here."""

    log: DiskLog
    counters: Counters
    lock: threading.Lock = field(default_factory=threading.Lock)
    saved_ns: int = 0

    def save_when_due(self, clock: Clock) -> None:
        """Keep the counts once in a while: the frames complete them after a crash, until they are trimmed."""
        now = clock.monotonic_ns()
        if now - self.saved_ns >= _SAVE_NS:
            self.saved_ns = now
            self.counters.save(clock.now_ns())


class Intake:
    """One replica log and one counters file for each log of each unit. Thread-safe."""

    def __init__(self, root: Path, folder: Path, clock: Clock, *, max_bytes: int | None = None) -> None:
        self._root, self._folder, self._clock, self._max_bytes = root, folder, clock, max_bytes
        self._lock = threading.Lock()
        self._logs: dict[str, _Log] = {}

    def last(self, unit: str, node: str) -> int:
        """The highest frame of that log which is durable here; -1 for none."""
        return self._of(unit, node).log.last_seq

    def take(self, unit: str, node: str, data: bytes) -> int:
        """Make a batch durable; the highest frame now. Raises UsageError, DiskFull, StoreError."""
        to = self._of(unit, node)
        blocks = unpack(data, node=to.log.node, log=LOG)
        with to.lock:
            fresh = to.log.replicate(blocks)
            if fresh:
                to.counters.queued(fresh, fresh[-1].seq, waited=False)
                to.save_when_due(self._clock)
            return to.log.last_seq

    def _of(self, unit: str, node: str) -> _Log:
        name = f"{checked_name(unit)}.{checked_name(node)}"
        with self._lock:
            if name not in self._logs:
                of_unit = sum(other.startswith(f"{unit}.") for other in self._logs)
                if len(self._logs) >= MAX_LOGS or of_unit >= MAX_LOGS_OF_UNIT:
                    raise TryAgain(f"more than {MAX_LOGS_OF_UNIT} logs of unit '{unit}', or {MAX_LOGS} of all")
                log = DiskLog(self._root, LOG, name, self._clock, max_bytes=self._max_bytes, replica=True)
                counters = Counters(self._folder / f"{name}.json")
                for block in log.frames_after(counters.seq):
                    counters.queued([block], block.seq, waited=False)
                self._logs[name] = _Log(log, counters)
            return self._logs[name]

    def close(self) -> None:
        """Save the counters and let the logs go."""
        with self._lock:
            for each in self._logs.values():
                each.counters.save(self._clock.now_ns())
                each.log.close()
            self._logs.clear()


class _CertificateProtocol(PunctualProtocol):
    """Puts the peer's certificate, as TLS verified it, into the state of every request."""

    app_state: dict[str, Any]

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        self.app_state = {**self.app_state, "certificate": tls.getpeercert(binary_form=True) if tls else None}


class Hub:
    """Serves until `stop`. `authority` says who is a unit; `intake` keeps what they send, `asks` what is asked."""

    def __init__(self, authority: Authority, intake: Intake, health: Path, clock: Clock, asks: Asks) -> None:
        self._authority, self._intake, self._health, self._clock = authority, intake, health, clock
        self._asks = asks

    def application(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/v1/ca", self._ca),
                Route("/v1/join", self._join, methods=["POST"]),
                Route("/v1/renew", self._renew, methods=["POST"]),
                Route("/v1/position", self._position),
                Route("/v1/frames", self._frames, methods=["POST"]),
                Route("/v1/health", self._told, methods=["POST"]),
                Route("/v1/asks", self._asked),
                Route("/v1/asks/{id}", self._answered, methods=["POST"]),
            ],
            exception_handlers={SocError: _refusal},
        )

    def serve(self, sock: socket.socket, stop: threading.Event) -> None:
        """Answer on this bound socket until `stop` is set."""
        certificate, key = self._authority.server
        config = uvicorn.Config(
            self.application(), http=_CertificateProtocol, ws="none", loop="asyncio", lifespan="off", log_config=None,
            access_log=False, server_header=False, proxy_headers=False, timeout_graceful_shutdown=5,
            ssl_certfile=str(certificate), ssl_keyfile=str(key), ssl_ca_certs=str(self._authority.certificate),
            ssl_cert_reqs=ssl.CERT_OPTIONAL,
        )  # fmt: skip
        server = uvicorn.Server(config)
        watcher = threading.Thread(target=_until, args=(server, stop), daemon=True)
        watcher.start()
        server.run(sockets=[sock])
        self._intake.close()

    async def _ca(self, _request: Request) -> Response:
        return PlainTextResponse(self._authority.certificate.read_bytes())

    async def _join(self, request: Request) -> Response:
        body = await _small(request)
        made = self._authority.join
        pem = await run_in_threadpool(made, _text(body, "name"), _text(body, "secret"), _text(body, "request").encode())
        _log.info("unit %s joined", body["name"])
        return PlainTextResponse(pem)

    async def _renew(self, request: Request) -> Response:
        unit, serial = self._unit(request)
        body = await _small(request)
        pem = await run_in_threadpool(self._authority.renew, unit, serial, _text(body, "request").encode())
        return PlainTextResponse(pem)

    async def _position(self, request: Request) -> Response:
        unit, _ = self._unit(request)
        last = await run_in_threadpool(self._intake.last, unit, request.query_params.get("node", ""))
        return _json({"upto": last})

    async def _frames(self, request: Request) -> Response:
        unit, _ = self._unit(request)
        data = await _bounded(request, MAX_PACKED)
        upto = await run_in_threadpool(self._intake.take, unit, request.query_params.get("node", ""), data)
        return _json({"upto": upto})

    async def _told(self, request: Request) -> Response:
        unit, _ = self._unit(request)
        body = await _small(request)
        document = {"unit": unit, "heard_us": self._clock.now_ns() // 1000, "health": body}
        await run_in_threadpool(files.replace, self._health / f"{unit}.health.json", orjson.dumps(document))
        return _json({"ok": True})

    async def _asked(self, request: Request) -> Response:
        unit, _ = self._unit(request)
        return _json({"asks": await run_in_threadpool(self._asks.open, unit)})

    async def _answered(self, request: Request) -> Response:
        unit, _ = self._unit(request)
        data = await _bounded(request, MAX_PACKED)
        number = {key: _whole(request, key) for key in ("at", "size", "packets", "is_cut")}
        is_last = number["at"] + len(data) == number["size"]
        told = {"packets": number["packets"], "is_cut": bool(number["is_cut"])} if is_last else None
        took = (unit, request.path_params["id"], number["at"], data, number["size"], told)
        return _json({"upto": await run_in_threadpool(self._asks.take, *took)})

    def _unit(self, request: Request) -> tuple[str, str]:
        """The unit whose certificate the connection showed. Raises PermissionRefused."""
        raw = request.scope.get("state", {}).get("certificate")
        if not raw:
            raise PermissionRefused("a unit shows its certificate", hint="soc relay join gets one")
        certificate = x509.load_der_x509_certificate(raw)
        name = str(certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)
        serial = f"{certificate.serial_number:x}"
        if not self._authority.knows(name, serial):
            raise PermissionRefused(f"unit '{name[:60]}' is not enrolled here")
        return name, serial


def _until(server: uvicorn.Server, stop: threading.Event) -> None:
    stop.wait()
    server.should_exit = True


async def _bounded(request: Request, limit: int) -> bytes:
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > limit:
            raise UsageError(f"a body of more than {limit} bytes")
    return bytes(data)


async def _small(request: Request) -> dict[str, Any]:
    """A short document, which comes at once: anybody may send one, also an octet a minute."""
    try:
        async with asyncio.timeout(BODY_S):
            return _object(await _bounded(request, MAX_SMALL))
    except TimeoutError:
        raise UsageError(f"a body that took more than {BODY_S:g} seconds") from None


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise UsageError(f"no JSON: {error}") from error
    if not isinstance(found, dict):
        raise UsageError("expected an object")
    return found


def _text(body: dict[str, Any], key: str) -> str:
    if not isinstance(body.get(key), str):
        raise UsageError(f"'{key}' should be text")
    return str(body[key])


def _whole(request: Request, key: str) -> int:
    text = request.query_params.get(key, "")
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise UsageError(f"'{key}' should be a whole number")
    return int(text)


def _json(document: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(document), status, media_type="application/json")


def _refusal(_request: Request, error: Exception) -> Response:
    kind = type(error).__name__
    hint = error.hint if isinstance(error, SocError) else None
    answer = _json({"error": {"kind": kind, "message": str(error), "hint": hint}}, _STATUS.get(kind, 500))
    answer.headers["connection"] = "close"  # else the rest of a body that was refused could come for ever
    return answer
