"""A real Kafka broker of one node, to be killed and started again; jars by tests/servers/kafka.sh."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests import programs
from tests.ports import free_port

_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{bound}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{told}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT{protocols}
log.dirs={folder}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=2
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
auto.create.topics.enable=false
log.cleaner.dedupe.buffer.size=16777216
log.retention.check.interval.ms=500
log.segment.delete.delay.ms=100
{own}
"""


class Broker:
    """KRaft, broker and controller in one, on loopback."""

    def __init__(self, folder: Path, listeners: Mapping[str, tuple[str, Mapping[str, str]]] | None = None) -> None:
        """`listeners` are others beside the plain one: name → security protocol, and properties of its own; their
        addresses are in `others`, of the host `localhost`."""
        self._jars, self.folder = programs.server("kafka") + "/*", folder
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        properties = folder / "server.properties"
        listeners = listeners or {}
        self.others = {name: f"localhost:{free_port()}" for name in listeners}
        at = "".join(f",{name}://{address}" for name, address in self.others.items())
        protocols = "".join(f",{name}:{protocol}" for name, (protocol, _) in listeners.items())
        own = "\n".join(
            f"listener.name.{name.lower()}.{key}={value}"
            for name, (_, more) in listeners.items()
            for key, value in more.items()
        )
        properties.write_text(
            _PROPERTIES.format(
                port=self.port, controller=free_port(), folder=folder, bound=at, told=at, protocols=protocols, own=own
            )
        )
        words = ("format", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c", str(properties))
        self._java("-Xmx128m", "kafka.tools.StorageTool", *words)

    def _command(self, heap: str, *words: str) -> list[str]:
        quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        return ["java", heap, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", quiet, "-cp", self._jars, *words]

    def _java(self, heap: str, *words: str) -> None:
        subprocess.run(self._command(heap, *words), check=True, capture_output=True, timeout=180)

    def start(self) -> None:
        """Start and wait until it answers."""
        with (self.folder / "kafka.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command("-Xmx256m", "kafka.Kafka", str(self.folder / "server.properties")),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        end = time.monotonic() + 180
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                break
            assert self._process.poll() is None, (self.folder / "kafka.log").read_text()[-2000:]
            assert time.monotonic() < end
            time.sleep(0.1)

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def topic(self, name: str, partitions: int = 3, **config: str) -> str:
        """A new topic."""
        admin = AdminClient({"bootstrap.servers": self.address})
        made = admin.create_topics([NewTopic(name, partitions, 1, config=config)])
        made[name].result(30)
        return name

    def drop(self, name: str) -> None:
        """Delete a topic."""
        admin = AdminClient({"bootstrap.servers": self.address})
        admin.delete_topics([name])[name].result(30)

    def topics(self) -> set[str]:
        """The topics there are."""
        return set(AdminClient({"bootstrap.servers": self.address}).list_topics(timeout=10).topics)

    def expire(self, name: str, partition: int, offset: int) -> None:
        """Delete what lies before this offset, as retention does."""
        admin, at = AdminClient({"bootstrap.servers": self.address}), TopicPartition(name, partition, offset)
        admin.delete_records([at])[at].result(30)

    def produce(self, topic: str, values: list[bytes | None], **options: str) -> None:
        """Durable at the broker on return; keys spread the values over the partitions, in order for each."""
        producer = Producer({"bootstrap.servers": self.address, "linger.ms": 5, "enable.idempotence": True, **options})
        if "transactional.id" in options:
            producer.init_transactions(30)
            producer.begin_transaction()
        for n, value in enumerate(values):
            producer.produce(topic, value, key=str(n % 17))
            producer.poll(0)
        assert producer.flush(60) == 0
        if "transactional.id" in options:
            producer.commit_transaction(30) if options["transactional.id"] == "keep" else producer.abort_transaction(30)
