"""One HTTP client for all drivers that speak it: TLS verified, nothing followed, everything bounded."""

from __future__ import annotations

import email.utils
import io
import ipaddress
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from soc.collectors.poll.page import Throttled
from soc.collectors.poll.secrets import Secrets
from soc.collectors.unpack import Damaged, unpacked
from soc.errors import ConfigError, PermissionRefused, TryAgain
from soc.model.clock import Clock
from soc.model.poll import Poll

CONNECT_S = 10.0
WHOLE_S = 300.0
"""Seconds in which an answer has to be whole, however slowly it drips."""
LONGEST_WAIT_S = 3600.0
"""A Retry-After counts up to so much."""
USER_AGENT = "soc-toolkit"
_COUNTED = 1 << 62
"""No limit of its own: `max_body` counts."""


@dataclass(frozen=True)
class Answer:
    """What came: headers by their small names, and the body, expanded."""

    headers: Mapping[str, str]
    body: bytes
    links: Mapping[str, str]
    """Targets of the Link header (RFC 8288) by their `rel`, as absolute addresses."""


class Web:
    """Requests to one source. The client is made anew after `close`, and reads the secrets again then."""

    def __init__(
        self, poll: Poll, secrets: Secrets, clock: Clock, *,
        secret_headers: Mapping[str, str] | None = None, path: str = "", has_password: bool = False,
    ) -> None:  # fmt: skip
        """`secret_headers` are headers by reference beside those of the options, `path` goes on behind their url."""
        self._poll, self._secrets, self._clock = poll, secrets, clock
        self._headers = {**poll["headers"], **(secret_headers or {})}
        self.url = httpx.URL(poll["url"].rstrip("/") + path if path else poll["url"])
        self._client: httpx.Client | None = None
        has_secrets = has_password or any(text.startswith(("file:", "env:")) for text in self._headers.values())
        if self.url.scheme != "https" and has_secrets and not _is_here(self.url.host):
            raise ConfigError(
                f"[poll.{poll.name}] a secret may not travel over http://{self.url.host}", hint="give an https:// url"
            )

    @property
    def peer(self) -> str:
        """The host that is asked."""
        return self.url.host.strip("[]")

    def ask(
        self,
        method: str = "GET",
        url: str | None = None,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        basic: tuple[str, str] | None = None,
        accept: str = "application/json",
    ) -> Answer:
        """One request. Raises Throttled, PermissionRefused (401, 403), TryAgain for everything else that fails.

        `url` None: that of the options. Another origin than theirs is refused: our headers are for nobody else.
        """
        target = self.url if url is None else self.url.join(url)
        if (target.scheme, target.host, target.port) != (self.url.scheme, self.url.host, self.url.port):
            raise TryAgain(f"the next page would be of another server, {target.host[:200]}; it is not asked")
        if params:
            target = target.copy_merge_params(dict(params))
        auth = httpx.BasicAuth(basic[0], self._secrets.read(basic[1])) if basic else None
        headers = {"Accept": accept, "Accept-Encoding": "gzip"}
        if self._client is None:
            self._client = self._connect()
        try:
            with self._client.stream(method, target, json=body, headers=headers, auth=auth) as answer:
                self._refuse(answer)
                links = {
                    rel: str(self.url.join(link["url"])) for rel, link in answer.links.items() if rel and "url" in link
                }
                return Answer({k.lower(): v for k, v in answer.headers.items()}, self._body(answer), links)
        except Damaged as error:
            raise TryAgain(str(error)) from error
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, ValueError) as error:
            # httpx may repeat an address with its parameters: the kind of the fault is enough.
            raise TryAgain(f"{self.peer} does not answer: {type(error).__name__}{_tls(error)}") from error

    def _connect(self) -> httpx.Client:
        poll = self._poll
        context: ssl.SSLContext | bool = True
        if self.url.scheme == "https":
            home = self._secrets.home
            try:
                context = ssl.create_default_context(cafile=str(home / poll["ca"]) if poll["ca"] else None)
                context.minimum_version = ssl.TLSVersion.TLSv1_2
                if poll["certificate"]:
                    context.load_cert_chain(home / poll["certificate"], home / poll["key_file"])
            except OSError as error:
                raise ConfigError(f"[poll.{poll.name}] a certificate cannot be read: {error}") from error
        headers = {"User-Agent": USER_AGENT, **self._secrets.fill(self._headers)}
        try:
            return httpx.Client(
                headers=headers, verify=context, trust_env=False, follow_redirects=False,
                proxy=poll["proxy"] or None, timeout=httpx.Timeout(poll["timeout_s"], connect=CONNECT_S),
                limits=httpx.Limits(max_connections=1),
            )  # fmt: skip
        except UnicodeEncodeError:
            raise ConfigError(f"[poll.{poll.name}] a header is no ASCII text") from None

    def _refuse(self, answer: httpx.Response) -> None:
        code, said = answer.status_code, f"{self.peer} answers {answer.status_code}"
        if code == 429 or (code == 503 and "retry-after" in answer.headers):
            raise Throttled(f"{said}: asked too often", self._retry_after(answer.headers.get("retry-after", "")))
        if code in (401, 403):
            self.close()  # the secret is read again
            raise PermissionRefused(f"{said}: it does not let us in")
        if code in (301, 302, 303, 307, 308):
            host = httpx.URL(answer.headers.get("location", "")).host
            raise TryAgain(f"{said}: it sends us on to '{host[:200]}', which is not followed")
        if code != 200:
            raise TryAgain(said)

    def _retry_after(self, text: str) -> float:
        """Seconds, of a number or of an HTTP date (RFC 9110 section 10.2.3)."""
        if text.strip().isascii() and text.strip().isdigit() and len(text) < 10:
            return min(float(text), LONGEST_WAIT_S)
        try:
            then = email.utils.parsedate_to_datetime(text).timestamp()
        except (ValueError, TypeError):
            return 0.0
        return min(max(then - self._clock.now_ns() / 1e9, 0.0), LONGEST_WAIT_S)

    def _body(self, answer: httpx.Response) -> bytes:
        began, limit, data = self._clock.monotonic_ns(), self._poll["max_body"], bytearray()
        stream = self._plain(answer)
        while piece := stream.read1(65_536):
            data += piece
            if len(data) > limit:
                raise TryAgain(f"{self.peer} answers with more than {limit} bytes", hint="ask for smaller pages")
            if self._clock.monotonic_ns() - began > WHOLE_S * 1e9:
                raise TryAgain(f"{self.peer} answers too slowly")
        return bytes(data)

    def _plain(self, answer: httpx.Response) -> io.BufferedReader:
        """The body as it is expanded, a bounded piece at a time: httpx would expand 64 KiB of zstd to a GiB at once."""
        raw: Any = _Raw(answer.iter_raw(65_536))
        encoding, stream = answer.headers.get("content-encoding", "").strip().lower(), io.BufferedReader(raw, 1 << 16)
        if encoding in ("", "identity"):
            return stream
        if encoding not in ("gzip", "x-gzip"):
            raise TryAgain(f"{self.peer} answers in the encoding '{encoding[:32]}', and gzip was asked for")
        return unpacked(stream, "gzip", _COUNTED, self.peer)

    def close(self) -> None:
        """End the connection."""
        if self._client is not None:
            self._client.close()
        self._client = None


class _Raw(io.RawIOBase):
    """A body as it comes."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._pieces, self._held = pieces, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        held = self._held or next(self._pieces, b"")
        n = min(len(buffer), len(held))
        buffer[:n], self._held = held[:n], held[n:]
        return n


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _tls(error: Exception) -> str:
    """Why TLS failed, which has no secrets in it and is what a person must know."""
    text = str(error)
    return f" ({text[:200]})" if "CERTIFICATE" in text or "SSL" in text else ""
