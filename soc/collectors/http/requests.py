"""`Request`: what a head says, whose token it came with, and its body so far; and an answer as bytes."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote

import h11

from soc.collectors.http import elastic, hec, plain, tokens
from soc.collectors.http.bodies import BadBody, expanded
from soc.collectors.http.calls import Call, Dialect, Reply


class Request:
    """One request on its way in, of the dialect that its path speaks."""

    def __init__(self, head: h11.Request, dialects: Mapping[str, Dialect]) -> None:
        self._head = head
        self.path = unquote(head.target.decode("latin-1").partition("?")[0], errors="replace")
        self.dialect = dialects[_dialect_of(self.path)]
        self.token: tokens.Token | None = None
        self.refusal: Reply | None = None
        """What is answered instead of reading the body."""
        self.pieces: list[bytes] = []
        self.size = 0
        """Bytes of the body that came, also those that are not kept."""

    def header(self, name: str) -> str:
        """The value of a header, its name in lower case; empty without it."""
        wanted = name.encode()
        return next((v.decode("latin-1") for k, v in self._head.headers if k == wanted), "")

    @property
    def has_body(self) -> bool:
        """Whether the head announces one."""
        return self.header("content-length") not in ("", "0") or bool(self.header("transfer-encoding"))

    @property
    def wants_no_body(self) -> bool:
        """Whether the answer is a head alone."""
        return self._head.method == b"HEAD"

    def call(self, body: bytes, max_bytes: int) -> Call:
        """The request as its dialect takes it. Raises BadBody."""
        head = self._head
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        _, _, query = head.target.decode("latin-1").partition("?")
        encodings = headers.get("content-encoding", "")
        return Call(
            head.method.decode("latin-1"), self.path, _query(query), headers,
            expanded(body, encodings) if encodings else body,
            self.token.name if self.token else "", max_bytes,
        )  # fmt: skip


def written(http: h11.Connection, reply: Reply, request: Request | None, *, is_last: bool) -> bytes:
    """An answer as it goes out; `is_last` says that the connection ends with it."""
    headers = [
        ("Content-Type", reply.media), ("Content-Length", str(len(reply.body))), *reply.headers,
        *((("Connection", "close"),) if is_last else ()),
    ]  # fmt: skip
    reason = HTTPStatus(reply.status).phrase.encode()
    data = http.send(h11.Response(status_code=reply.status, headers=headers, reason=reason)) or b""
    if reply.body and not (request is not None and request.wants_no_body):
        data += http.send(h11.Data(data=reply.body)) or b""
    return data + (http.send(h11.EndOfMessage()) or b"")


def _query(text: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(text, max_num_fields=64))
    except ValueError as error:
        raise BadBody(400, "too many parameters") from error


def _dialect_of(path: str) -> str:
    if plain.speaks(path):
        return "plain"
    if hec.speaks(path):
        return "hec"
    return "elastic" if elastic.speaks(path) else "plain"
