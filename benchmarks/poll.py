"""A Kafka topic into the log, until durable, for each second of CPU; next to kcat and to a plain consumer loop."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from confluent_kafka import Consumer

from benchmarks.entries import Cost, Entry, Stopwatch, child_seconds, cpu, entry
from soc.collectors.poll.runner import Poller
from soc.collectors.pollers import polled
from soc.model.clock import SystemClock
from soc.store.queue import DiskLog
from tests.collectors.broker import Broker
from tests.collectors.polls import poll

MESSAGES = 400_000
PART = 50_000
LINE = b"<86>Nov 20 03:00:00 web1 sshd[77]: Failed password for invalid user admin from 203.0.113.9 port 50022 ssh2"
LOOP = "confluent-kafka loop: write, fdatasync a batch"
KCAT = "kcat (C) into a file, no sync"


def run(quick: bool = False) -> list[Entry]:
    """One topic of four partitions, read from its beginning."""
    messages = MESSAGES // (10 if quick else 1)
    with tempfile.TemporaryDirectory(dir=os.environ.get("SOC_BENCH_DIR")) as folder:
        place = Path(folder)
        (place / "kafka").mkdir()
        broker = Broker(place / "kafka")
        broker.start()
        try:
            topic = broker.topic("bench", 4)
            for start in range(0, messages, PART):
                broker.produce(topic, [LINE] * min(PART, messages - start))
            plain, own = _loop(broker, topic, messages, place), _own(broker, topic, messages, place)
            rows = [
                entry("kafka_in", own.rate, "durable events/s", LOOP, plain.rate),
                cpu("kafka_in", own, LOOP, plain),
            ]
            if shutil.which("kcat"):
                rows.append(cpu("kafka_in_c", own, KCAT, _kcat(broker, topic, messages, place)))
        finally:
            broker.kill()
    return rows


def _own(broker: Broker, topic: str, messages: int, place: Path) -> Cost:
    section = poll("kafka", brokers=(broker.address,), topics=(topic,), security="plaintext", group="own")
    source, clock, watch = polled(section, place, SystemClock()), SystemClock(), Stopwatch()
    with DiskLog(place / "queue", "raw", "poll", clock) as log:
        poller = Poller([source], "bench", log, clock, folder=place / "poll", counters_path=place / "poll.json")
        [asked] = poller.sources
        while not asked.health.records:  # joining the group is no work
            asked.step()
        first = asked.health.records
        with watch:
            while asked.health.records < messages:
                asked.step()
        source.driver.close()
    return watch.cost(messages - first)


def _loop(broker: Broker, topic: str, messages: int, place: Path) -> Cost:
    options = {"bootstrap.servers": broker.address, "group.id": "loop", "auto.offset.reset": "beginning"}
    consumer, watch = Consumer({**options, "enable.auto.commit": False}), Stopwatch()
    consumer.subscribe([topic])
    found = 0
    with (place / "loop").open("wb") as file:
        while not found:
            found = len(consumer.consume(1, 1.0))
        first = found
        with watch:
            while found < messages:
                batch = consumer.consume(5000, 0.1)
                file.writelines(message.value() or b"" for message in batch)
                file.flush()
                os.fdatasync(file.fileno())
                consumer.commit(asynchronous=True)
                found += len(batch)
    consumer.close()
    return watch.cost(messages - first)


def _kcat(broker: Broker, topic: str, messages: int, place: Path) -> Cost:
    before, began = child_seconds(resource.getrusage(resource.RUSAGE_CHILDREN)), time.perf_counter()
    with (place / "kcat").open("wb") as file:
        command = ["kcat", "-C", "-b", broker.address, "-t", topic, "-o", "beginning", "-e", "-q"]
        subprocess.run(command, stdout=file, check=True)
    after = child_seconds(resource.getrusage(resource.RUSAGE_CHILDREN))
    return Cost(messages, time.perf_counter() - began, after - before)
