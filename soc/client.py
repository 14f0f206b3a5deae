"""The way in for people and scripts: a thin client of our own API, over the Unix socket or HTTP with a token."""

from __future__ import annotations

import hashlib
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

import httpx
import orjson

from soc import errors
from soc.config import Settings
from soc.errors import ContentError, Fault, NotFound, PermissionRefused, QueryError, SocError, TryAgain, UsageError

NOT_RUNNING = "the service is not running here"
NOT_RUNNING_HINT = "soc up starts it, or give --url"
SILENCE_S = 30.0
"""A stream that says nothing for so long is dead: the service speaks at least every ten seconds."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 5.0
TRIES = 5
"""A part of an upload is sent this often before the upload gives up."""
_JSON = {"content-type": "application/json"}
_OCTETS = {"content-type": "application/octet-stream"}


@dataclass(frozen=True)
class Answer:
    """An enveloped answer: `data` in the shape that `schema` names; `cursor` asks for what was cut off.

    `total` counts all matches where the service counted them.
    """

    schema: str
    data: Any
    truncated: bool = False
    warnings: tuple[str, ...] | list[str] = ()
    cursor: str | None = None
    total: int | None = None


class Client:
    """One connection to one service. Errors of the service come out as the same `soc.errors`; use as a context."""

    def __init__(self, http: httpx.Client, where: str) -> None:
        self._http = http
        self.where = where

    @classmethod
    def connect(
        cls,
        settings: Settings,
        *,
        socket: Path | None = None,
        url: str | None = None,
        token: str | None = None,
        acting: str | None = None,
        timeout: float = 30.0,
    ) -> Self:
        """A client of the service at `url` (default `$SOC_URL`), else of the one on the Unix socket.

        `token` defaults to `$SOC_TOKEN`; an https address is verified against the CA file `$SOC_CA`, else against the
        machine's. `acting` acts as another person on simulated sites. Nothing is sent yet.
        """
        url = url or (None if socket else os.environ.get("SOC_URL")) or None
        token = token or os.environ.get("SOC_TOKEN") or None
        path = socket or settings.socket
        headers = {"authorization": f"Bearer {token}"} if token else {}
        if acting:
            headers["x-soc-as"] = acting
        http = httpx.Client(
            base_url=url or "http://localhost", headers=headers, timeout=timeout, trust_env=False,
            verify=_authority(os.environ.get("SOC_CA")) if url and url.startswith("https:") else False,
            transport=None if url else httpx.HTTPTransport(uds=str(path)),
        )  # fmt: skip
        return cls(http, url or str(path))

    def close(self) -> None:
        """Let the connection go."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Calls

    def get(self, path: str, *, wait_s: float | None = None, **params: Any) -> Answer:
        """Read; parameters that are None are left out. `wait_s` is for what takes the service longer than others."""
        return self._call("GET", path, params=_given(params), **_patient(wait_s))

    def post(self, path: str, body: Mapping[str, Any] | None = None, *, wait_s: float | None = None) -> Answer:
        """Change something; `wait_s` is for what takes the service longer than others."""
        return self._call("POST", path, content=orjson.dumps(dict(body or {})), headers=_JSON, **_patient(wait_s))

    def put(self, path: str, body: Mapping[str, Any]) -> Answer:
        """Put a document in its place."""
        return self._call("PUT", path, content=orjson.dumps(dict(body)), headers=_JSON)

    def put_bytes(self, path: str, data: bytes) -> Answer:
        """Put bytes in their place."""
        return self._call("PUT", path, content=data, headers=_OCTETS)

    def _call(self, method: str, path: str, **options: Any) -> Answer:
        with self._speaking():
            response = self._http.request(method, path, **options)
        return answer_of(response.status_code, response.content)

    def fetch(self, path: str, body: Mapping[str, Any] | None = None) -> tuple[bytes, Mapping[str, str]] | Answer:
        """A file that the service makes on asking (with `body`) or has, and the headers that tell of it; an answer
        where the file takes its time."""
        with self._speaking():
            if body is None:
                response = self._http.get(path)
            else:
                response = self._http.post(path, content=orjson.dumps(dict(body)), headers=_JSON)
        if response.status_code == httpx.codes.ACCEPTED:
            return answer_of(response.status_code, response.content)
        if response.status_code != httpx.codes.OK:
            raise error_of(response.status_code, response.content)
        return response.content, response.headers

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        try:
            yield
        except httpx.ConnectError as error:
            if "Permission denied" in str(error):
                hint = "the socket's folder is closed to you; the service's administrator opens it"
                raise PermissionRefused(f"may not connect to {self.where}", hint=hint) from error
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                hint = "SOC_CA names the file of the CA that signed it"
                raise UsageError(f"the certificate of {self.where} cannot be verified: {error}", hint=hint) from error
            raise TryAgain(NOT_RUNNING, hint=NOT_RUNNING_HINT) from error
        except httpx.TimeoutException as error:
            raise TryAgain(f"the service at {self.where} did not answer in time", hint="try again") from error
        except httpx.TransportError as error:
            raise TryAgain(f"the connection to {self.where} broke: {error}", hint="try again") from error
        except httpx.InvalidURL as error:
            raise UsageError(f"'{self.where}' is no address of a service: {error}") from error

    # Streams

    def stream(self, path: str, **params: Any) -> Iterator[dict[str, Any]]:
        """The objects of an NDJSON stream until it ends; a broken one raises TryAgain."""
        with self._opened(path, _given(params)) as response:
            for line in response.iter_lines():
                if line:
                    yield orjson.loads(line)

    @contextmanager
    def _opened(
        self, path: str, params: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> Iterator[httpx.Response]:
        waits = httpx.Timeout(self._http.timeout.connect, read=SILENCE_S)
        with (
            self._speaking(),
            self._http.stream("GET", path, params=params, headers=headers, timeout=waits) as response,
        ):
            if response.status_code != httpx.codes.OK:
                raise error_of(response.status_code, response.read())
            yield response

    def changes(self, after: int | None = None, *, stop: threading.Event | None = None) -> Iterator[dict[str, Any]]:
        """Notices of changes, for ever: a connection that breaks is made again and goes on behind the last notice.

        Ends when `stop` is set (noticed with the next notice or keep-alive). Raises PermissionRefused and the like;
        that the service is away for a moment is waited out.
        """
        stop = stop or threading.Event()
        seq, failures = after, 0
        while not stop.is_set():
            try:
                with self._opened("/v1/changes", _given({"after": seq})) as response:
                    for reached, notice in _events(response):
                        failures, seq = 0, seq if reached is None else reached
                        if stop.is_set():
                            return
                        if notice is not None:
                            yield notice
            except TryAgain:
                failures += 1
            stop.wait(wait_s(failures))

    # Uploads

    def upload(
        self,
        path: Path,
        *,
        format: str = "auto",
        product: str | None = None,
        resume: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> str:
        """Send a file, read with the caller's own rights, in parts; the id of the import.

        What an interrupted upload of the same content has is not sent again; with `resume` one that was read already
        is found again, and nothing is sent. `progress` is told bytes sent and bytes in all. Raises UsageError when the
        file cannot be read or changes.
        """
        try:
            with path.open("rb") as file:
                announced = {"name": path.name, "format": format, "product": product, "resume": resume}
                return self._send(file, announced, progress or (lambda _sent, _size: None))
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from error

    def _send(self, file: IO[bytes], announced: Mapping[str, Any], progress: Callable[[int, int], None]) -> str:
        size, name = os.fstat(file.fileno()).st_size, announced["name"]
        # A pipe can be read only once.
        digest = hashlib.file_digest(file, "sha256").hexdigest() if file.seekable() else ""  # type: ignore[arg-type]
        begun = self.post("/v1/imports", {**announced, "size": size, "sha256": digest}).data
        id, part_bytes = str(begun["id"]), int(begun["part_bytes"])
        have = set(begun.get("have") or ())
        if begun["state"] != "receiving":
            return id
        sent = 0
        for n in range(int(begun["parts"])):
            if n in have:
                sent = min(sent + part_bytes, size)
                progress(sent, size)
                continue
            if digest:
                file.seek(n * part_bytes)
            data = file.read(part_bytes)
            if len(data) != min(part_bytes, size - sent):
                raise UsageError(f"{name} became shorter while it was sent", hint="send a file that nobody writes to")
            again(lambda n=n, data=data: self.put_bytes(f"/v1/imports/{id}/parts/{n}", data))  # type: ignore[misc]
            sent += len(data)
            progress(sent, size)
        again(lambda: self.post(f"/v1/imports/{id}/commit"))
        return id


def wait_s(failures: int) -> float:
    """Seconds before the next try after so many failures in a row, also after a night of them."""
    return min(FIRST_WAIT_S * 2.0 ** min(failures, 16), LONGEST_WAIT_S)


def again(call: Callable[[], Answer], pause: Callable[[float], None] = time.sleep) -> Answer:
    """The call's answer; a call that may be repeated is tried `TRIES` times while the service is away or busy."""
    for attempt in range(1, TRIES):
        try:
            return call()
        except TryAgain:
            pause(wait_s(attempt))
    return call()


def _patient(wait_s: float | None) -> dict[str, float]:
    return {} if wait_s is None else {"timeout": wait_s}


def _given(params: Mapping[str, Any]) -> dict[str, Any]:
    """Query parameters: `since_` may stand for a name that Python keeps for itself, a list is joined with commas."""
    found = {name.rstrip("_"): value for name, value in params.items() if value is not None}
    return {name: ",".join(map(str, v)) if isinstance(v, list | tuple) else v for name, v in found.items()}


def _authority(path: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=path or None)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"SOC_CA: {path} is no file of CA certificates: {error}") from error


def _events(response: httpx.Response) -> Iterator[tuple[int | None, dict[str, Any] | None]]:
    """Id and data of server-sent events (HTML Living Standard, 9.2.6); a keep-alive has no data."""
    id: int | None = None
    data: list[str] = []
    for line in response.iter_lines():
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif line.startswith("id:") and line[3:].strip().isdigit():
            id = int(line[3:])
        elif not line:
            yield id, orjson.loads("\n".join(data)) if data else None
            data = []


def answer_of(status: int, content: bytes) -> Answer:
    """The answer, or the error that it is."""
    if status >= httpx.codes.BAD_REQUEST:
        raise error_of(status, content)
    try:
        body = orjson.loads(content)
        return Answer(
            body["schema"], body["data"], body["truncated"], body["warnings"], body["cursor"], body.get("total")
        )
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise SocError("this is no answer of our API", hint="is it the address of another service?") from error


def error_of(status: int, content: bytes) -> SocError:
    """The error of an answer as the class it had in the service; by its status where it has no known one."""
    try:
        shown = orjson.loads(content)["error"]
        kind, message, hint = str(shown["kind"]), str(shown["message"]), shown.get("hint")
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return _by_status(status)(f"the service answered {status}", hint="is it the address of another service?")
    if kind == "QueryError":
        return QueryError(message, column=int(shown.get("column") or 1), hint=hint)
    if kind == "ContentError" and shown.get("faults"):
        return ContentError([Fault(f["path"], f["line"], f["message"]) for f in shown["faults"]])
    found = getattr(errors, kind, None)
    known = isinstance(found, type) and issubclass(found, SocError) and found is not ContentError
    return (found if known else _by_status(status))(message, hint=hint)  # type: ignore[misc]


def _by_status(status: int) -> type[SocError]:
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return TryAgain if status != httpx.codes.INTERNAL_SERVER_ERROR else SocError
    return {401: PermissionRefused, 403: PermissionRefused, 404: NotFound}.get(status, UsageError)
