"""`Kafka`: topics in, as a member of a consumer group; offsets are committed only when our queue has the records.

Our queue is the truth and the broker's offsets follow it: a partition that is assigned to us begins where the later of
the two stands. So a kill between our queue and the commit doubles nothing. Partitions go to another member from what
was committed; what we had not made durable by then is left to it.
"""

from __future__ import annotations

import hashlib
import logging
import re
import socket
from collections import deque
from collections.abc import Sequence
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from soc.collectors.poll.page import FRAME_BYTES, FRAME_RECORDS, Cursor, Page, cost
from soc.collectors.poll.secrets import Secrets
from soc.collectors.poll.verify import unverified
from soc.collectors.wrapped import opened
from soc.errors import ConfigError, PermissionRefused, TryAgain
from soc.model.clock import Clock
from soc.model.poll import Poll

WAIT_S = 1.0
ASK_S = 15.0
"""Seconds for the broker to answer what offsets there are."""
AT_ONCE = 5000
EXPIRED = "source_expired"
_log = logging.getLogger("soc.poll.kafka")


class Kafka:
    """The driver; the cursor has the next offset by `topic/partition`."""

    def __init__(self, poll: Poll, secrets: Secrets, clock: Clock) -> None:
        self.source = f"kafka {' '.join(sorted(poll['topics']))} of {poll['group']}"
        self.peer = poll["brokers"][0].rpartition(":")[0].strip("[]")
        self.format, self.dataset = poll["format"], poll["dataset"]
        self._poll, self._secrets, self._clock = poll, secrets, clock
        self._consumer: Consumer | None = None
        self._durable: dict[str, int] = {}
        self._at: dict[str, int] = {}
        self._high: dict[str, int] = {}
        self._ready: deque[Message] = deque()
        self._is_revoked = False
        self._fault: KafkaError | None = None
        self._broker_said = ""
        self._counts: dict[str, int] = {}
        self._expired = 0

    # asking ---------------------------------------------------------------------------------------------------------

    def fetch(self, cursor: Cursor) -> Page:
        """What the broker has for us, see `Driver`. Raises TryAgain, PermissionRefused, ConfigError."""
        self._durable = dict(cursor or {})
        if self._consumer is None:
            self._at = dict(self._durable)
            self._consumer = self._connect()
        self._is_revoked, self._fault = False, None
        try:
            taken = self._taken(self._consumer)
        except KafkaException as error:
            raise self._failed(error.args[0]) from error
        if self._fault is not None and not taken:
            raise self._failed(self._fault)
        counts, self._counts = self._counts, {}
        lost, self._expired = ({EXPIRED: self._expired} if self._expired else {}), 0
        if taken:
            self._broker_said = ""
        values = [value for value in taken if value is not None]
        if len(values) < len(taken):
            counts["tombstones"] = len(taken) - len(values)
        moved = dict(self._at) != self._durable
        return Page(
            values, dict(self._at) if moved else cursor, counts=counts, lost=lost, lag_records=self._lag(self._consumer)
        )

    def _taken(self, consumer: Consumer) -> list[bytes | None]:
        """Values that fit one frame, of a wrapper its events; `_at` moves with them."""
        taken: list[bytes | None] = []
        size = 0
        names: dict[tuple[str | None, int | None], str] = {}
        self._fill(consumer)
        while self._ready and len(taken) < FRAME_RECORDS:
            message = self._ready[0]
            place = (message.topic(), message.partition())
            key, offset = names.get(place) or names.setdefault(place, f"{place[0]}/{place[1]}"), message.offset() or 0
            if offset >= self._at.get(key, 0):  # less: it came again after a partition was given to us anew
                value = message.value()
                parts: list[bytes | None] = [None] if value is None else [*opened(value, FRAME_RECORDS)]
                size += sum(cost(part or b"") for part in parts)
                if taken and (size > FRAME_BYTES or len(taken) + len(parts) > FRAME_RECORDS):
                    break
                taken += parts
                self._at[key] = offset + 1
            self._ready.popleft()
        return taken

    def _fill(self, consumer: Consumer) -> None:
        """Messages that can be taken; waits for the first one. Rebalances happen in here, and nowhere else."""
        if self._ready:
            return
        first = consumer.poll(WAIT_S)
        found = [first, *consumer.consume(AT_ONCE, 0)] if first is not None else []
        if self._is_revoked:
            # Some of these may be another member's by now. Ours come again from where we stand.
            self._at = dict(self._durable)
            consumer.assign(self._positions(consumer, consumer.assignment()))
            return
        for message in found:
            error = message.error()
            if error is not None:
                raise KafkaException(error)
            self._ready.append(message)

    def durable(self, cursor: Cursor) -> None:
        """Tell the group; a commit that fails is made good by the next one."""
        self._durable = dict(cursor or {})
        if self._consumer is not None:
            self._commit(self._consumer, asynchronous=True)

    def close(self) -> None:
        """Leave the broker."""
        consumer, self._consumer = self._consumer, None
        self._ready.clear()
        if consumer is not None:
            consumer.close()

    # the group ------------------------------------------------------------------------------------------------------

    def _connect(self) -> Consumer:
        poll, home = self._poll, self._secrets.home
        who = f"{socket.gethostname()} {home} {poll.name}"
        options: dict[str, Any] = {
            "bootstrap.servers": ",".join(poll["brokers"]), "group.id": poll["group"],
            # A member that was killed is the same one when it starts again, and waits for nobody.
            "group.instance.id": hashlib.blake2b(who.encode(), digest_size=12).hexdigest(),
            "session.timeout.ms": 6000,
            "client.id": "soc-toolkit", "enable.auto.commit": False, "auto.offset.reset": "error",
            "reconnect.backoff.ms": 500,  # each attempt that fails is a line in the log
            "partition.assignment.strategy": "range", "isolation.level": "read_committed",
            "security.protocol": poll["security"], "fetch.message.max.bytes": 1 << 20,
            "queued.max.messages.kbytes": 32 << 10, "error_cb": self._noted, "on_commit": self._answered,
        }  # fmt: skip
        files = {"ca": "ssl.ca.location", "certificate": "ssl.certificate.location", "key_file": "ssl.key.location"}
        options |= {name: str(home / poll[key]) for key, name in files.items() if poll[key]}
        if poll["security"] == "sasl_ssl":
            options |= {
                "sasl.mechanism": poll["mechanism"], "sasl.username": poll["user"],
                "sasl.password": self._secrets.read(poll["password"]),
            }  # fmt: skip
        try:
            consumer = Consumer(options, logger=_log)
        except KafkaException as error:
            raise ConfigError(f"[poll.{poll.name}] {error.args[0].str()}") from None
        consumer.subscribe(list(poll["topics"]), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)
        return consumer

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        try:
            consumer.assign(self._positions(consumer, partitions))
        except KafkaException as error:
            self._fault = error.args[0]
            self._is_revoked = True

    def _positions(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
        """Where each begins: the later of our queue and the group, within what the broker has."""
        found = []
        for at in consumer.committed(list(partitions), timeout=ASK_S) if partitions else []:
            if at.error is not None:
                raise KafkaException(at.error)
            key = f"{at.topic}/{at.partition}"
            low, high = consumer.get_watermark_offsets(TopicPartition(at.topic, at.partition), timeout=ASK_S)
            known = max(self._durable.get(key, -1), at.offset)
            if known > high:  # the topic was made anew: its numbers begin again
                self._counts["offset_reset"] = self._counts.get("offset_reset", 0) + 1
                known = low
            elif 0 <= known < low:
                self._expired += low - known
                known = low
            elif known < 0:
                known = low if self._poll["start"] == "beginning" else high
            self._at[key], self._high[key] = known, high
            found.append(TopicPartition(at.topic, at.partition, known if known > low else OFFSET_BEGINNING))
        return found

    def _revoked(self, consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        self._commit(consumer, asynchronous=False)
        self._lost(consumer, _partitions)

    def _lost(self, consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        self._is_revoked = True
        self._ready.clear()
        consumer.unassign()

    def _commit(self, consumer: Consumer, *, asynchronous: bool) -> None:
        try:
            mine = {f"{at.topic}/{at.partition}" for at in consumer.assignment()}
            offsets = [
                TopicPartition(key.rpartition("/")[0], int(key.rpartition("/")[2]), offset)
                for key, offset in self._durable.items()
                if key in mine
            ]
            if offsets and asynchronous:
                consumer.commit(offsets=offsets, asynchronous=True)
            elif offsets:
                self._answered(None, consumer.commit(offsets=offsets, asynchronous=False))
        except KafkaException as error:
            self._answered(error.args[0], ())

    def _answered(self, error: KafkaError | None, partitions: Sequence[TopicPartition]) -> None:
        """What became of a commit: it may fail as a whole, or for some of its partitions."""
        faults = [error] if error is not None else [at.error for at in partitions if at.error is not None]
        if faults:
            self._counts["commit_failed"] = self._counts.get("commit_failed", 0) + 1
            _log.warning("[poll.%s] a commit failed: %s", self._poll.name, faults[0].str())

    def _lag(self, consumer: Consumer) -> int | None:
        """Messages that the broker had when it was last heard and that we have not taken; None without a partition."""
        mine = consumer.assignment()
        for at in mine:
            _, high = consumer.get_watermark_offsets(at, cached=True)
            key = f"{at.topic}/{at.partition}"
            self._high[key] = max(high, self._high.get(key, 0))
        keys = [f"{at.topic}/{at.partition}" for at in mine]
        return sum(max(self._high[key] - self._at.get(key, 0), 0) for key in keys) if keys else None

    # faults ---------------------------------------------------------------------------------------------------------

    def _noted(self, error: KafkaError) -> None:
        if error.code() in _OF_BROKERS:
            self._broker_said = error.str()
        if error.fatal() or error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._AUTHENTICATION):
            self._fault = error

    def _failed(self, error: KafkaError) -> Exception:
        """A client that goes on by itself is kept; after anything else it is made anew, from where our queue stands."""
        text = error.str()
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            text = self._because(self._broker_said) or text
        else:
            self.close()
        kind = PermissionRefused if error.code() in _NOT_LET_IN else TryAgain
        return kind(f"Kafka says: {text[:300]}")

    def _because(self, said: str) -> str:
        """What a broker said; of a certificate that is not believed, why."""
        broker = _BROKER.match(said)
        if broker is None or "certificate verify failed" not in said:
            return said
        host, port = broker[1].strip("[]"), int(broker[2])
        why = unverified(host, port, self._secrets.home / self._poll["ca"] if self._poll["ca"] else None)
        return f"the certificate of {host}:{port} is not believed: {why}" if why else said


_BROKER = re.compile(r"\w+://(.+):(\d+)/")
_OF_BROKERS = (KafkaError._SSL, KafkaError._AUTHENTICATION, KafkaError._TRANSPORT)
"""Each comes once for each attempt, and then only that all brokers are down, which says nothing."""
_NOT_LET_IN = (
    KafkaError._AUTHENTICATION, KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.SASL_AUTHENTICATION_FAILED,
)  # fmt: skip
