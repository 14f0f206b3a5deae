"""The reference national receiver: HTTPS with client certificates, idempotent, fsynced before each receipt."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from soc.connectors.national import pki
from soc.errors import Conflict, StoreError, TryAgain
from soc.model.clock import Clock, SystemClock

MAX_BODY = 1 << 20
PAGE = 1000
LOG = "messages.jsonl"
_Scope = dict[str, Any]
_Asgi = Callable[[_Scope, Callable[..., Awaitable[Any]], Callable[..., Awaitable[None]]], Awaitable[None]]


class MessageLog:
    """Messages in an append-only file, one JSON line each, fsynced; the index by id lives in memory."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = path
        self.duplicates = 0
        self._clock = clock
        self._lock = threading.Lock()
        self._by_id: dict[str, dict[str, Any]] = {}
        self._offsets: list[int] = []
        self._kinds: dict[str, int] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab+")
        self._recover()

    def add(self, body: dict[str, Any]) -> dict[str, Any]:
        """The receipt `{id, receipt, number, at_us, duplicate}`, durable on return.

        The same id with the same body answers the first receipt again; with another body it raises Conflict.
        """
        name, fingerprint = body["id"], hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
        with self._lock:
            known = self._by_id.get(name)
            if known is not None:
                return self._again(known, name, fingerprint)
            number = len(self._offsets) + 1
            receipt = hashlib.sha256(f"{number}:{name}:{fingerprint}".encode()).hexdigest()
            row = {"number": number, "id": name, "fingerprint": fingerprint, "receipt": receipt,
                   "at_us": self._clock.now_ns() // 1000, "body": body}  # fmt: skip
            offset = self._append(orjson.dumps(row) + b"\n")
            self._note(row, offset)
        return {**_receipt(row), "duplicate": False}

    def after(self, number: int, limit: int = PAGE) -> list[dict[str, Any]]:
        """The messages numbered above `number`, with their receipts."""
        with self._lock:
            offsets = self._offsets[max(number, 0) : max(number, 0) + limit]
        if not offsets:
            return []
        with self.path.open("rb") as file:
            file.seek(offsets[0])
            return [orjson.loads(file.readline()) for _ in offsets]

    def stats(self) -> dict[str, Any]:
        """How many messages in all and by kind, and how often one came again."""
        with self._lock:
            return {"messages": len(self._offsets), "kinds": dict(self._kinds), "duplicates": self.duplicates}

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _again(self, known: dict[str, Any], name: str, fingerprint: str) -> dict[str, Any]:
        if known["fingerprint"] != fingerprint:
            raise Conflict(f"message {name} was received before with another body")
        self.duplicates += 1
        return {**_receipt(known), "duplicate": True}

    def _append(self, line: bytes) -> int:
        offset = self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            self._file.truncate(offset)
            raise StoreError(f"{self.path}: not written: {error.strerror}") from error
        return offset

    def _note(self, row: dict[str, Any], offset: int) -> None:
        self._by_id[row["id"]] = {key: value for key, value in row.items() if key != "body"}
        self._offsets.append(offset)
        kind = str(row["body"].get("kind"))
        self._kinds[kind] = self._kinds.get(kind, 0) + 1

    def _recover(self) -> None:
        """Read the index back. A torn last line was never receipted and is cut; damage inside is refused."""
        self._file.seek(0)
        offset = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            try:
                self._note(orjson.loads(line), offset)
            except (orjson.JSONDecodeError, KeyError, TypeError) as error:
                raise StoreError(f"{self.path}: damaged at byte {offset}") from error
            offset += len(line)
        self._file.truncate(offset)


def _receipt(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("id", "receipt", "number", "at_us")}


def application(log: MessageLog, drop_replies: int = 0) -> _Asgi:
    """The ASGI application. The first `drop_replies` messages are stored and their connection is cut unanswered."""
    left = [drop_replies]

    async def post(request: Request) -> Response:
        body, fault = _message(await _bounded(request))
        if fault:
            return JSONResponse({"error": fault}, 413 if fault == "too large" else 400)
        try:
            receipt = await run_in_threadpool(log.add, body)
        except Conflict as error:
            return JSONResponse({"error": str(error)}, 409)
        except StoreError as error:
            return JSONResponse({"error": str(error)}, 503)
        if left[0] > 0:
            left[0] -= 1
            return _Unanswered()
        return JSONResponse(receipt, 200 if receipt["duplicate"] else 201)

    async def read(request: Request) -> Response:
        after = request.query_params.get("after", "0")
        if not (after.isascii() and after.isdigit() and len(after) < 16):
            return JSONResponse({"error": "'after' should be a whole number"}, 400)
        return JSONResponse({"messages": await run_in_threadpool(log.after, int(after))})

    async def stats(_request: Request) -> Response:
        return JSONResponse(log.stats())

    routes = [
        Route("/v1/messages", post, methods=["POST"]),
        Route("/v1/messages", read, methods=["GET"]),
        Route("/v1/stats", stats, methods=["GET"]),
    ]
    return Starlette(routes=routes)


class _Unanswered(Response):
    """Promises a body and sends none: the server cuts the connection, the client never learns the receipt."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"64")]})


async def _bounded(request: Request) -> bytes | None:
    """The request's body, None when it is larger than MAX_BODY; what is too large is never held."""
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > MAX_BODY:
            return None
    return bytes(data)


def _message(data: bytes | None) -> tuple[dict[str, Any], str]:
    if data is None:
        return {}, "too large"
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        return {}, f"no JSON: {error}"
    if not isinstance(body, dict):
        return {}, "expected an object"
    missing = [key for key in ("id", "kind", "payload") if not body.get(key)]
    if missing or not isinstance(body["id"], str):
        return {}, f"missing: {', '.join(missing) or 'id as text'}"
    return body, ""


class Receiver:
    """A receiver in `folder` (`messages.jsonl`, `pki/`). `start` binds and serves in a thread, `stop` ends it."""

    def __init__(
        self,
        folder: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Clock | None = None,
        drop_replies: int = 0,
    ) -> None:
        self.clock = clock or SystemClock()
        self.pki = pki.ensure(folder / "pki", self.clock, tuple(dict.fromkeys(("localhost", "127.0.0.1", host))))
        self.host, self.port = host, port
        self._folder = folder
        self._drop_replies = drop_replies
        self._server: Any = None
        self._thread: threading.Thread | None = None

    def run(self, ready: Callable[[int], None]) -> None:
        """Serve until stopped or interrupted. Raises TryAgain when the port is taken."""
        listener = self._bind()
        log = MessageLog(self._folder / LOG, self.clock)
        try:
            self._server = _ReadyServer(self._config(log), lambda: ready(self.port))
            self._server.run(sockets=[listener])
        finally:
            log.close()
            listener.close()

    def start(self, timeout: float = 20.0) -> int:
        """Serve in a thread; the bound port. Raises TryAgain when it is not up within `timeout` seconds."""
        up = threading.Event()
        self._thread = threading.Thread(target=self.run, args=(lambda _port: up.set(),), daemon=True)
        self._thread.start()
        if not up.wait(timeout):
            raise TryAgain(f"the receiver did not come up on {self.host}:{self.port}")
        return self.port

    def stop(self) -> None:
        """Stop and wait for the end."""
        if self._server is not None:
            self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(20)

    def _bind(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self.host, self.port))
        except OSError as error:
            listener.close()
            raise TryAgain(f"cannot listen on {self.host}:{self.port}: {error.strerror}") from error
        self.port = int(listener.getsockname()[1])
        return listener

    def _config(self, log: MessageLog) -> Any:
        return uvicorn.Config(
            application(log, self._drop_replies),
            ssl_certfile=str(self.pki.server.certificate),
            ssl_keyfile=str(self.pki.server.key),
            ssl_ca_certs=str(self.pki.authority),
            ssl_cert_reqs=ssl.CERT_REQUIRED,
            http="h11",
            lifespan="off",
            log_level="critical",
            server_header=False,
            timeout_graceful_shutdown=3,
        )


class _ReadyServer(uvicorn.Server):  # type: ignore[misc]
    """Says when it is listening."""

    def __init__(self, config: Any, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, then call `ready`."""
        await super().startup(sockets=sockets)
        self._ready()


def serve(host: str, port: int, folder: Path, ready: Callable[[int], None]) -> None:
    """`soc national serve`: blocks until interrupted; `ready` gets the bound port. Raises TryAgain when it is taken."""
    Receiver(folder, host=host, port=port).run(ready)
