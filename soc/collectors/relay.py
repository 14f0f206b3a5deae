"""`Relay`: a distant unit hands its raw log to the centre, frame by frame, and forgets what the centre has."""

from __future__ import annotations

import logging
import secrets
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson

from soc.collectors import certify, enrol
from soc.collectors.enrol import Token
from soc.errors import ConfigError, PermissionRefused, SocError, TryAgain, UsageError
from soc.model.clock import Clock
from soc.model.daily import Daily
from soc.model.position import PARTITIONS, Partition, Position
from soc.model.record import RawBlock
from soc.store import files
from soc.store.queue import LogReader, pack, trim
from soc.store.queue.segment import nodes

LOG = "raw"
BATCH_BYTES = 2 << 20
"""Bytes of records in a batch; halved after each failure down to `LEAST_BYTES`, doubled again by each success."""
LEAST_BYTES = 64 << 10
PACE_S = 5.0
"""With a bandwidth cap a batch is as large as the cap allows in this time."""
SLOWEST_BYTES_S = 2048
"""A link that carries less is taken for dead."""
BATCH_FRAMES, READ_FRAMES = 512, 32
EPOCH = "epoch"
IDLE_S, CLOSED_S = 0.5, 20.0
HEALTH_NS = 30_000_000_000
ASK_NS = 5_000_000_000
"""So often the centre is asked whether it wants packets."""
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
TIMEOUT_S = 30.0
_log = logging.getLogger("soc.relay")


@dataclass(frozen=True)
class Link:
    """How the centre is reached; files below the unit's `SOC_HOME/relay`."""

    url: str
    folder: Path

    @property
    def authority(self) -> Path:
        """The centre's certificate authority."""
        return self.folder / "ca.pem"

    @property
    def certificate(self) -> Path:
        """Our certificate, and in the same file its key: both change in one rename."""
        return self.folder / "unit.pem"

    def client(self) -> httpx.Client:
        """Mutual TLS to the centre. Raises ConfigError when the unit has not joined."""
        if not self.url.startswith("https://"):
            raise ConfigError("[relay] url must begin with https://")
        try:
            context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(self.authority))
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.load_cert_chain(self.certificate)
        except OSError as error:
            raise ConfigError(f"this unit has no certificate: {error}", hint="soc relay join URL TOKEN") from error
        return httpx.Client(base_url=self.url, verify=context, timeout=TIMEOUT_S, trust_env=False)


def join(link: Link, text: str) -> str:
    """Trade a token for a certificate; the unit's name. Raises UsageError, PermissionRefused, TryAgain.

    The authority is fetched first without trust and believed only when its digest is the token's; the secret is sent
    over a connection that this authority vouches for.
    """
    token = Token.parse(text)
    try:
        blind = httpx.get(f"{link.url}/v1/ca", verify=False, timeout=TIMEOUT_S, trust_env=False)  # noqa: S501 -- see above
        pem = blind.content
        if certify.fingerprint(pem) != token.authority:
            raise PermissionRefused("the centre shows another authority than the token names", hint="ask who gave it")
        files.replace(link.authority, pem)
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(link.authority))
        key = certify.new_key()
        body = {"name": token.name, "secret": token.secret, "request": enrol.request_for(key, token.name).decode()}
        answer = httpx.post(f"{link.url}/v1/join", json=body, verify=context, timeout=TIMEOUT_S, trust_env=False)
    except (httpx.TransportError, ssl.SSLError) as error:
        raise TryAgain(f"the centre {link.url} does not answer: {error}") from error
    except ValueError as error:
        raise PermissionRefused(f"what answers at {link.url} shows no certificate authority: {error}") from error
    _checked(answer)
    files.replace(link.certificate, answer.content + certify.pem_of(key))
    return token.name


def _checked(answer: httpx.Response) -> Any:
    """Raises what the centre's refusal means."""
    if answer.status_code < 400:
        return answer
    try:
        said = orjson.loads(answer.content)["error"]
    except (ValueError, KeyError, TypeError):
        said = {"kind": "", "message": f"HTTP {answer.status_code}", "hint": None}
    known: Mapping[str, type[SocError]] = {"PermissionRefused": PermissionRefused, "UsageError": UsageError}
    raise known.get(said["kind"], TryAgain)(f"the centre says: {said['message']}", hint=said.get("hint"))


def _no_centre() -> TryAgain:
    return TryAgain("what answers does not speak as a centre does", hint="a proxy in between?")


def _passed(seqs: Mapping[str, int]) -> dict[Partition, Position]:
    """Cursors behind these frames of each node."""
    return {
        Partition(node, LOG, number): Position(node, LOG, seq)
        for node, seq in seqs.items()
        if seq >= 0
        for number in range(PARTITIONS)
    }


@dataclass(frozen=True)
class Packets:
    """A capture file that the centre asked for, with how many packets it has."""

    data: bytes
    packets: int
    is_cut: bool


class Relay:
    """Sends until stopped. The centre's answer is the only cursor: what it has is asked when a connection begins."""

    def __init__(
        self,
        root: Path,
        link: Link,
        clock: Clock,
        *,
        max_bytes_s: int = 0,
        times: Daily | None = None,
        health: Callable[[], Mapping[str, Any]] = dict,
        packets: Callable[[Mapping[str, Any]], Packets] | None = None,
        wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
    ) -> None:
        self._root, self._link, self._clock = root, link, clock
        self._max_bytes_s, self._health, self._wait = max_bytes_s, health, wait
        self._times = times or Daily()
        self._most = self._batch_bytes = min(BATCH_BYTES, max(LEAST_BYTES, int(max_bytes_s * PACE_S) or BATCH_BYTES))
        self._cursors: dict[str, int] = {}
        self._names: dict[str, str] = {}
        self._reader = LogReader(root, LOG)
        self._client: httpx.Client | None = None
        self._told_ns = self._asked_ns = 0
        self._packets = packets
        self._search: threading.Thread | None = None
        self._found: tuple[str, Packets] | None = None
        self._sent = 0
        self.counts = {"frames": 0, "records": 0, "bytes": 0, "failures": 0, "packet_answers": 0}
        self.fault = ""

    def run(self, stop: threading.Event) -> None:
        """Until `stop`; a centre that is away is asked again, later and later. Outside of `times` only our health goes
        to it."""
        wait_s = FIRST_WAIT_S
        while not stop.is_set():
            try:
                closed_s = self._times.next_s(self._clock.now_ns())
                sent = 0 if closed_s else self.step() + self.hand_over()
                self._tell()
                wait_s, self.fault = FIRST_WAIT_S, ""
                if closed_s:
                    self._wait(stop, min(closed_s, CLOSED_S))
                elif not sent:
                    self._wait(stop, IDLE_S)
                elif self._max_bytes_s:
                    self._wait(stop, sent / self._max_bytes_s)
            except SocError as error:
                self._failed(error)
                self._wait(stop, wait_s)
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)
        self.close()

    def step(self) -> int:
        """Send one batch; its bytes, 0 when there was nothing. Raises TryAgain, PermissionRefused, ConfigError."""
        for node in nodes(self._root, LOG):
            self._cursor(node)
        batch = self._batch()
        if not batch:
            return 0
        data = pack(batch)
        node = batch[0].node
        # What is written fast may only lie in the kernel's buffer: a slow link needs time before the answer can come.
        timeout = httpx.Timeout(TIMEOUT_S, read=TIMEOUT_S + len(data) / SLOWEST_BYTES_S)
        answer = self._upto("POST", "/v1/frames", params={"node": self._name(node)}, content=data, timeout=timeout)
        self._cursors[node] = answer
        self._batch_bytes = min(self._batch_bytes * 2, self._most)
        self.counts["frames"] += len(batch)
        self.counts["records"] += sum(block.n for block in batch)
        self.counts["bytes"] += len(data)
        trim(self._root, LOG, _passed(self._cursors))
        return len(data)

    def hand_over(self) -> int:
        """Send a piece of the packets that the centre asked for; its bytes. They are searched for beside it, and sent
        between batches, so that records wait for neither. Raises like `step`; a cut answer begins anew."""
        if not self._sent and not self._is_found():
            return 0
        assert self._found is not None
        id, answer = self._found
        piece, size = answer.data[self._sent : self._sent + self._batch_bytes], len(answer.data)
        params = {"at": self._sent, "size": size, "packets": answer.packets, "is_cut": int(answer.is_cut)}
        timeout = httpx.Timeout(TIMEOUT_S, read=TIMEOUT_S + len(piece) / SLOWEST_BYTES_S)
        self._sent = self._upto("POST", f"/v1/asks/{id}", params=params, content=piece, timeout=timeout)
        if self._sent == size:
            self.counts["packet_answers"] += 1
            self._found, self._sent, self._asked_ns = None, 0, 0
        return len(piece)

    def _is_found(self) -> bool:
        """Whether what the centre asks for has been searched; a search is begun where it asks for something else."""
        now = self._clock.monotonic_ns()
        is_searching = self._search is not None and self._search.is_alive()
        if self._packets is None or is_searching or (self._asked_ns and now - self._asked_ns < ASK_NS):
            return False
        asked = self._asked()
        self._asked_ns = now
        if asked is None or (self._found is not None and self._found[0] == asked["id"]):
            return asked is not None
        self._asked_ns = 0
        self._search = threading.Thread(target=self._look_for, args=(self._packets, asked), daemon=True)
        self._search.start()
        return False

    def _look_for(self, packets: Callable[[Mapping[str, Any]], Packets], asked: Mapping[str, Any]) -> None:
        try:
            found = packets(asked)
        except (OSError, SocError) as error:
            _log.error("packets that the centre asks for cannot be read: %s", error)
            found = Packets(b"", 0, False)
        self._found = asked["id"], found
        _log.info("the centre asks for packets of %s: %d", asked.get("flow"), found.packets)

    def _asked(self) -> dict[str, Any] | None:
        """The oldest request that waits for us; none of a centre that is older than we are and knows no requests."""
        answer = self._send("GET", "/v1/asks")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        try:
            first: dict[str, Any] | None = next(iter(orjson.loads(_checked(answer).content)["asks"]), None)
            return None if first is None else {**first, "id": str(first["id"])}
        except (ValueError, TypeError, KeyError) as error:
            raise _no_centre() from error

    def _batch(self) -> list[RawBlock]:
        """The next frames of one node, in order, up to the bounds; no more is read than that, and some."""
        batch: list[RawBlock] = []
        size, ahead = 0, dict(self._cursors)
        while len(batch) < BATCH_FRAMES:
            before = len(batch)
            for block in self._reader.read(_passed(ahead), None, READ_FRAMES):
                if block.seq <= self._cursor(block.node) or (batch and block.node != batch[0].node):
                    continue
                if batch and size + len(block.data) > self._batch_bytes:
                    return batch
                batch.append(block)
                size += len(block.data)
            if len(batch) == before:
                break
            ahead[batch[0].node] = batch[-1].seq
        return batch

    def _cursor(self, node: str) -> int:
        if node not in self._cursors:
            self._cursors[node] = self._upto("GET", "/v1/position", params={"node": self._name(node)})
        return self._cursors[node]

    def _name(self, node: str) -> str:
        """A log's name at the centre: its node, and a mark that a log begun anew does not share.

        Without the mark a unit that was installed again would count from 0, and the centre would know it all already.
        """
        if node not in self._names:
            path = self._root / LOG / node / EPOCH
            if not path.exists():
                files.replace(path, secrets.token_hex(4).encode())
            self._names[node] = f"{node}-{path.read_text()}"
        return self._names[node]

    def _tell(self) -> None:
        """Our own health, every so often."""
        now = self._clock.monotonic_ns()
        if self._told_ns and now - self._told_ns < HEALTH_NS:
            return
        lag = self._reader.lag(_passed(self._cursors))
        told = {
            "queue": dict(lag),
            "closed_s": self._times.next_s(self._clock.now_ns()),
            **self.counts,
            **self._health(),
        }
        _checked(self._send("POST", "/v1/health", content=orjson.dumps(told)))
        self._renew_when_due()
        self._told_ns = now

    def _renew_when_due(self) -> None:
        pem = self._link.certificate.read_bytes()
        if certify.days_left(pem, self._clock) > enrol.RENEW_DAYS:
            return
        key = certify.new_key()
        body = orjson.dumps({"request": enrol.request_for(key, "unit").decode()})
        answer = _checked(self._send("POST", "/v1/renew", content=body))
        if not certify.belongs(answer.content, key):
            raise TryAgain("the centre answers a renewal with no certificate for the new key")
        files.replace(self._link.certificate, answer.content + certify.pem_of(key))
        self._forget()
        _log.info("the unit's certificate was renewed")

    def _upto(self, method: str, path: str, **more: Any) -> int:
        """What the centre says that it has. Raises TryAgain for words that are not its own (a proxy's)."""
        try:
            return int(orjson.loads(_checked(self._send(method, path, **more)).content)["upto"])
        except (ValueError, TypeError, KeyError) as error:
            raise _no_centre() from error

    def _send(self, method: str, path: str, **more: Any) -> httpx.Response:
        if self._client is None:
            self._client = self._link.client()
        try:
            return self._client.request(method, path, **more)
        except httpx.RequestError as error:
            raise TryAgain(f"the centre does not answer: {type(error).__name__} {error}".strip()) from error

    def _failed(self, error: SocError) -> None:
        self.counts["failures"] += 1
        if str(error) != self.fault:
            _log.error("%s", error)
        self.fault = str(error)
        self._batch_bytes = max(self._batch_bytes // 2, LEAST_BYTES)
        self._forget()

    def _forget(self) -> None:
        """Begin a connection anew, and ask again what the centre has: an answer may have been lost."""
        if self._client is not None:
            self._client.close()
        self._client = None
        self._cursors.clear()
        self._sent = 0

    def close(self) -> None:
        """Let the connection and the files go."""
        self._forget()
        self._reader.close()
