"""HTTP/1.x (RFC 9110, 9112): requests with their responses; bodies are counted and passed over, never kept."""

from __future__ import annotations

import re
from collections import deque
from typing import Any

from soc.parsers.decoders.packet_flows import Flow, Teller
from soc.parsers.decoders.packet_streams import At

MAX_HEAD = 64 << 10
"""Octets of the head of a message; a longer one ends what is read of the connection."""
MAX_WAITING = 256
"""Requests of a connection that wait for their response."""
MAX_VALUE = 4096
"""Characters of a header that are told."""
_PIECE = 4096
METHODS = (
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PROPFIND", "PROPPATCH", "MKCOL",
    "COPY", "MOVE", "LOCK", "UNLOCK", "REPORT", "SEARCH", "SUBSCRIBE", "NOTIFY", "M-SEARCH", "CHECKOUT", "MERGE",
    "BIND", "RPC_IN_DATA", "RPC_OUT_DATA", "BCOPY", "BMOVE", "POLL", "LINK", "PURGE", "QUERY", "SOURCE", "DEBUG",
    "TRACK",
)  # fmt: skip
"""What a connection must begin with, so that SMTP or POP3 is not taken for HTTP."""
_STARTS = (*(f"{name} ".encode() for name in METHODS), b"HTTP/1.")
_ENOUGH = max(map(len, _STARTS))
_REQUEST = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) +(\S+)(?: +HTTP/(\d\.\d))?[ \t]*")
_STATUS = re.compile(rb"HTTP/(\d\.\d) +(\d{3})(?: (.*))?")
_URL = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*)://)?([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)
_HEAD, _BODY, _CHUNK, _TRAILER, _UNTIL_CLOSE, _OVER = "head", "body", "chunk", "trailer", "until_close", "over"


def begins(head: bytes) -> bool | None:
    """Whether a stream begins like HTTP; None: too short to tell."""
    if head.startswith(_STARTS):
        return True
    return None if len(head) < _ENOUGH and any(start.startswith(head) for start in _STARTS) else False


class _Direction:
    """Where one direction stands: in a head, or so many octets before the end of a body."""

    def __init__(self) -> None:
        self.held = bytearray()
        self.state = _HEAD
        self.left = 0
        self.body = 0
        self.is_chunked = False
        self.at: At | None = None
        self.searched = 0


class HttpTalk:
    """The messages of one connection; each request is told with its response, or without one at the end."""

    def __init__(self, teller: Teller, flow: Flow) -> None:
        self._teller, self._flow = teller, flow
        self._directions = (_Direction(), _Direction())
        self._waiting: deque[tuple[At, dict[str, Any]]] = deque()
        self._current: dict[str, Any] | None = None
        self._answer: dict[str, Any] | None = None
        self._client: bool | None = None
        self._marks: dict[str, None] = {}

    def data(self, reply: bool, data: bytes, at: At) -> bool:
        side = self._directions[reply]
        start = 0
        while start < len(data) and side.state != _OVER:
            if side.state in (_BODY, _UNTIL_CLOSE):
                start += self._pass(reply, side, len(data) - start)
            else:
                # A piece at a time: a segment full of tiny messages must not be copied once for each.
                start += self._line_or_head(reply, side, data[start : start + _PIECE], at)
        return side.state != _OVER

    # bodies ---------------------------------------------------------------------------------------------------------

    def _pass(self, reply: bool, side: _Direction, octets: int) -> int:
        """Octets of a body go by."""
        if side.state == _UNTIL_CLOSE:
            side.body += octets
            return octets
        taken = min(octets, side.left)
        side.left -= taken
        side.body += taken
        if not side.left:
            self._body_ends(reply, side)
        return taken

    def _body_ends(self, reply: bool, side: _Direction) -> None:
        if side.state == _BODY and side.is_chunked:
            side.state = _CHUNK
        else:
            self._message_ends(reply, side)

    def _is_request(self, reply: bool) -> bool:
        return reply == bool(self._client)

    # heads ----------------------------------------------------------------------------------------------------------

    def _line_or_head(self, reply: bool, side: _Direction, data: bytes, at: At) -> int:
        """Octets until the end of a head or of a chunk's line; how many of `data` were used."""
        if not side.held:
            side.at, side.searched = at, 0
        before = len(side.held)
        side.held += data
        if side.state == _HEAD:
            while side.held[:2] == b"\r\n" or side.held[:1] == b"\n":  # RFC 9112 section 2.2: empty lines before it
                cut = 2 if side.held[:1] == b"\r" else 1
                del side.held[:cut]
                before -= cut
            end = _head_end(side.held, max(side.searched - 3, 0))
        else:
            end = side.held.find(b"\n", side.searched) + 1
            if side.state == _TRAILER and end:
                end = end if side.held[:end].strip() == b"" else _head_end(side.held, 0)
        if not end:
            side.searched = len(side.held)
            if len(side.held) > MAX_HEAD:
                self._stop(reply, side, "head_too_long")
            return len(data)
        text = bytes(side.held[:end])
        side.held.clear()
        if side.state == _HEAD:
            self._head(reply, side, text)
        elif side.state == _CHUNK:
            self._chunk(reply, side, text)
        else:
            self._message_ends(reply, side)
        return end - before

    def _chunk(self, reply: bool, side: _Direction, line: bytes) -> None:
        digits = line.split(b";", 1)[0].strip()
        if not line.strip():
            return  # the line end behind the octets of a chunk
        try:
            if not 0 < len(digits) <= 16:
                raise ValueError
            size = int(digits.decode("ascii"), 16)
        except ValueError:
            self._stop(reply, side, "malformed")
            return
        if size:
            side.state, side.left = _BODY, size
        else:
            side.state = _TRAILER

    def _head(self, reply: bool, side: _Direction, text: bytes) -> None:
        first, headers = _parsed(text)
        status = _STATUS.fullmatch(first)
        if status is not None:
            self._client = not reply if self._client is None else self._client
            self._response(reply, side, status, headers)
            return
        request = _REQUEST.fullmatch(first)
        if request is None or (self._client is not None and reply != self._client):
            self._stop(reply, side, "malformed")
            return
        self._client = reply
        self._request(reply, side, request, headers)

    def _request(self, reply: bool, side: _Direction, found: re.Match[bytes], headers: dict[str, str]) -> None:
        method = found[1].decode("ascii")
        values: dict[str, Any] = {"method": method, "version": (found[3] or b"0.9").decode("ascii")}
        values |= url(found[2].decode("utf-8", "backslashreplace"), headers.get("host", ""), self._flow.ports[1])
        for name, header in (("user_agent", "user-agent"), ("referrer", "referer"), ("request_type", "content-type")):
            if headers.get(header):
                values[name] = headers[header][:MAX_VALUE]
        for name, header in (("auth_scheme", "authorization"), ("proxy_auth_scheme", "proxy-authorization")):
            # Only how; never what stands behind it.
            if headers.get(header):
                values[name] = scheme(headers[header])
        if "cookie" in headers:
            values["has_cookie"] = True
        assert side.at is not None
        if len(self._waiting) >= MAX_WAITING:
            self._marks["requests_cut"] = None
            self._tell(*self._waiting.popleft(), None)
        self._waiting.append((side.at, values))
        self._current = values
        self._begin_body(reply, side, headers, is_empty=False)

    def _response(self, reply: bool, side: _Direction, found: re.Match[bytes], headers: dict[str, str]) -> None:
        code = int(found[2])
        values: dict[str, Any] = {"status": code, "response_version": found[1].decode("ascii")}
        if headers.get("content-type"):
            values["mime_type"] = headers["content-type"].split(";")[0].strip().lower()[:256]
        for name in ("server", "location"):
            if headers.get(name):
                values[name] = masked(headers[name])[:MAX_VALUE]
        self._answer = values
        method = self._waiting[0][1]["method"] if self._waiting else ""
        if code == 101 or (method == "CONNECT" and 200 <= code < 300):
            self._message_ends(reply, side)
            for direction in self._directions:  # another protocol from here on
                direction.state = _OVER
            return
        is_empty = method == "HEAD" or code < 200 or code in (204, 304)
        self._begin_body(reply, side, headers, is_empty=is_empty)

    def _begin_body(self, reply: bool, side: _Direction, headers: dict[str, str], *, is_empty: bool) -> None:
        """RFC 9112 section 6.3."""
        side.body = side.left = 0
        side.is_chunked = False
        length = headers.get("content-length", "")
        if is_empty:
            self._message_ends(reply, side)
        elif "chunked" in headers.get("transfer-encoding", "").lower():
            side.is_chunked = True
            side.state = _CHUNK
        elif length:
            numbers = {part.strip() for part in length.split(",")}
            text = numbers.pop()
            if numbers or not (text.isascii() and text.isdigit() and len(text) < 19):
                self._stop(reply, side, "malformed")
                return
            side.left = int(text)
            side.state = _BODY
            if not side.left:
                self._message_ends(reply, side)
        elif self._is_request(reply):
            self._message_ends(reply, side)
        else:
            side.state = _UNTIL_CLOSE

    def _message_ends(self, reply: bool, side: _Direction) -> None:
        side.state = _HEAD
        if self._is_request(reply):
            if self._current is not None:
                self._current["request_body"] = side.body
            self._current = None
            return
        answer, self._answer = self._answer, None
        if answer is None:
            return
        answer["response_body"] = side.body
        if 100 <= answer["status"] < 200 and answer["status"] != 101:
            return  # an interim response; the final one follows
        if self._waiting:
            self._tell(*self._waiting.popleft(), answer)
        else:
            self._marks["no_request"] = None
            assert side.at is not None
            self._tell(side.at, {}, answer)

    def _stop(self, reply: bool, side: _Direction, why: str) -> None:
        self._marks[why] = None
        side.held.clear()
        side.state = _OVER

    # the end --------------------------------------------------------------------------------------------------------

    def gap(self, reply: bool, octets: int) -> bool:
        side = self._directions[reply]
        if side.state == _UNTIL_CLOSE or (side.state == _BODY and octets <= side.left):
            self._pass(reply, side, octets)
        elif side.state != _OVER:
            self._stop(reply, side, "gap")
        return side.state != _OVER

    def finish(self) -> None:
        for reply, side in enumerate(self._directions):
            if self._is_request(bool(reply)):
                if side.held:
                    self._marks["incomplete"] = None
                if self._current is not None:
                    self._current["request_body"] = side.body
                continue
            if self._answer is not None:
                if side.state != _UNTIL_CLOSE:
                    self._marks["incomplete"] = None
                self._message_ends(bool(reply), side)
        while self._waiting:
            self._tell(*self._waiting.popleft(), None)

    def _tell(self, at: At, request: dict[str, Any], answer: dict[str, Any] | None) -> None:
        values = {**request, **(answer or {})}
        marks = [*self._marks, *(() if answer is not None else ("no_response",))]
        self._marks.clear()
        if marks:
            values["marks"] = marks
        self._teller.tell("http", self._flow, at, values, bool(self._client))


def _head_end(held: bytearray, start: int) -> int:
    """Behind the empty line that ends a head; 0: not there yet."""
    ends = [end + size for mark, size in ((b"\r\n\r\n", 4), (b"\n\n", 2)) if (end := held.find(mark, start)) >= 0]
    return min(ends, default=0)


def _parsed(text: bytes) -> tuple[bytes, dict[str, str]]:
    """The first line, and the headers by lower-case name; one that is there again is joined by a comma."""
    lines = text.replace(b"\r\n", b"\n").split(b"\n")
    headers: dict[str, str] = {}
    last = ""
    for line in lines[1:]:
        if line[:1] in (b" ", b"\t") and last:  # obs-fold
            headers[last] += " " + line.strip().decode("utf-8", "backslashreplace")
            continue
        name, colon, value = line.partition(b":")
        if not colon:
            continue
        last = name.strip().decode("latin-1").lower()
        said = value.strip().decode("utf-8", "backslashreplace")
        headers[last] = f"{headers[last]}, {said}" if last in headers else said
    return lines[0], headers


def scheme(header: str) -> str:
    """`Basic` of `Basic dXNlcjpwYXNz`; what is no scheme (a bare token) says `unknown`."""
    word, blank, _ = header.partition(" ")
    return word[:32] if blank and word.isalnum() else "unknown"


def masked(text: str) -> str:
    """A URL without who and what stands before `@` in its authority."""
    found = _URL.fullmatch(text)
    if found is None or "@" not in found[2]:
        return text
    return text[: found.start(2)] + found[2].rpartition("@")[2] + text[found.end(2) :]


def url(target: str, host: str, port: int) -> dict[str, Any]:
    """The parts of a request's target (RFC 9112 section 3.2), completed by its Host; credentials are left out."""
    target = target[: 4 * MAX_VALUE]
    values: dict[str, Any] = {"target": masked(target) if "://" in target else target}
    if "://" in target:
        found = _URL.fullmatch(target)
        assert found is not None
        named, authority, path, query, fragment = found.groups()
        host = (authority or "").rpartition("@")[2]
    else:
        named, (path, _, query), fragment = "http", target.partition("?"), None
        if "/" not in path and path != "*":  # authority-form of CONNECT
            host, path, query = path.rpartition("@")[2], "", ""
            values["target"] = host
    name, _, number = host.strip().rpartition(":") if re.search(r":\d+$", host.strip()) else (host.strip(), "", "")
    name = name.strip("[]")
    values["domain"] = name[:1024] or None
    values["port"] = int(number) if number and len(number) < 6 else port
    values["scheme"] = (named or "http").lower()
    values["path"] = path or None
    values["query"] = query or None
    values["fragment"] = fragment or None
    if name and path[:1] in ("/", ""):
        shown = f"[{name}]" if ":" in name else name
        rest = f"?{query}" if query else ""
        where = "" if values["port"] == 80 else f":{values['port']}"
        values["full"] = f"{values['scheme']}://{shown}{where}{path}{rest}"
    return {key: value for key, value in values.items() if value is not None}
