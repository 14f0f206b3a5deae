"""Kafka topics in, against a real broker (verified: real): kills of both ends, rebalances, retention, transactions."""

from __future__ import annotations

import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from soc.collectors.kafka import Kafka
from soc.errors import ConfigError, SocError, TryAgain
from tests.collectors.broker import Broker
from tests.collectors.polls import Home, driver, poll, process, settings, until
from tests.ports import free_port

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One broker for all tests of this module."""
    made = Broker(tmp_path_factory.mktemp("kafka"))
    made.start()
    yield made
    made.kill()


def numbered(first: int, last: int, pad: int = 0) -> list[bytes | None]:
    """Values that can be told apart."""
    return [b"value %d %s" % (n, b"x" * pad) for n in range(first, last)]


def source(broker: Broker, topic: str, home: Path, **options: Any) -> Kafka:
    """The driver of a section."""
    options = {"brokers": (broker.address,), "topics": (topic,), "security": "plaintext", "group": topic, **options}
    made = driver(poll("kafka", **options), home)
    assert isinstance(made, Kafka)
    return made


def step_until(poller: Any, home: Home, n: int, seconds: float = 40.0) -> None:
    """Ask until so many records are queued; a fault on the way is no end."""
    until(lambda: poller.sources[0].step() is not None and len(home.records()) >= n, seconds)


def test_every_message_of_all_partitions_comes_once_in_order(tmp_path: Path, broker: Broker) -> None:
    """Over a new start too; a tombstone is passed over and counted; what is behind is told."""
    topic, home = broker.topic("every"), Home(tmp_path)
    broker.produce(topic, [*numbered(0, 2000, 2000), None])
    one = source(broker, topic, tmp_path)
    poller = home.poller(one)
    step_until(poller, home, 1)
    assert poller.health()[0]["lag_records"] > 0
    step_until(poller, home, 2000)
    until(lambda: poller.sources[0].step() is not None and poller.health()[0]["counts"].get("tombstones") == 1)
    one.close()
    broker.produce(topic, numbered(2000, 2500))
    two = source(broker, topic, tmp_path)
    poller = home.poller(two)
    step_until(poller, home, 2500)
    poller.sources[0].step()
    assert poller.health()[0]["lag_records"] == 0
    two.close()
    assert Counter(home.records()) == Counter(numbered(0, 2500, 2000)[:2000] + numbered(2000, 2500))
    by_key: dict[int, list[int]] = {}
    for record in home.records():
        n = int(record.split()[1])
        by_key.setdefault((n if n < 2000 else n - 2000) % 17, []).append(n)
    assert all(found == sorted(found) for found in by_key.values())
    assert all("poll.cursor" in block.origin for block in home.blocks())


def test_what_a_cloud_wraps_around_events_is_opened(tmp_path: Path, broker: Broker) -> None:
    """Azure's diagnostic settings write such messages to an event hub, which speaks Kafka; each event comes once."""
    topic, home = broker.topic("wrapped"), Home(tmp_path)
    broker.produce(topic, [b'{"records":[%s]}' % b",".join(b'{"n":%d}' % n for n in range(k, k + 50)) for k in
                           range(0, 1000, 50)] + [b'{"records":[]}'])  # fmt: skip
    one = source(broker, topic, tmp_path)
    step_until(home.poller(one), home, 500)
    one.close()
    two = source(broker, topic, tmp_path)
    step_until(home.poller(two), home, 1001)
    two.close()
    assert Counter(home.records()) == Counter([b'{"n":%d}' % n for n in range(1000)] + [b'{"records":[]}'])


def test_the_queue_counts_more_than_the_group(tmp_path: Path, broker: Broker) -> None:
    """Killed between our queue and the commit: the group knows nothing, and nothing is doubled."""
    topic, home = broker.topic("uncommitted"), Home(tmp_path)
    broker.produce(topic, numbered(0, 300))
    one = source(broker, topic, tmp_path)
    one._commit = lambda *_a, **_b: None  # type: ignore[method-assign]
    step_until(home.poller(one), home, 300)
    one.close()
    broker.produce(topic, numbered(300, 310))
    two = source(broker, topic, tmp_path)
    step_until(home.poller(two), home, 310)
    two.close()
    assert Counter(home.records()) == Counter(numbered(0, 310))


def test_without_our_own_offsets_that_would_double(tmp_path: Path, broker: Broker) -> None:
    """The mutant of the test above: the group's offsets alone."""
    topic, home = broker.topic("mutant"), Home(tmp_path)
    broker.produce(topic, numbered(0, 50))
    one = source(broker, topic, tmp_path)
    one._commit = lambda *_a, **_b: None  # type: ignore[method-assign]
    step_until(home.poller(one), home, 50)
    one.close()
    two = source(broker, topic, tmp_path)
    fetch = two.fetch
    two.fetch = lambda _cursor: fetch(None)  # type: ignore[method-assign]
    step_until(home.poller(two), home, 100)
    two.close()
    assert len(home.records()) == 100


def test_a_commit_that_fails_is_counted(tmp_path: Path, broker: Broker) -> None:
    """The broker's answer comes later; here it is that the topic is gone. What is queued is queued all the same."""
    topic, home = broker.topic("refused", 1), Home(tmp_path)
    broker.produce(topic, numbered(0, 10))
    one = source(broker, topic, tmp_path)
    poller = home.poller(one)
    durable, one.durable = one.durable, lambda _cursor: None  # type: ignore[method-assign]
    step_until(poller, home, 10)
    broker.drop(topic)
    until(lambda: topic not in broker.topics())
    durable(poller.sources[0].place.cursor)
    counts = poller.sources[0].health.counts
    until(lambda: poller.sources[0].step() is not None and (one._counts or counts).get("commit_failed") == 1)
    until(lambda: _made(broker, topic))  # without it a step only says that the topic is not there
    until(lambda: poller.sources[0].step() is not None and counts["commit_failed"] == 1)
    one.close()
    assert Counter(home.records()) == Counter(numbered(0, 10))


def test_a_wiped_home_goes_on_where_the_group_stands(tmp_path: Path, broker: Broker) -> None:
    """The group's offsets were committed behind our queue."""
    topic, home = broker.topic("wiped"), Home(tmp_path / "a")
    broker.produce(topic, numbered(0, 100))
    one = source(broker, topic, tmp_path / "a")
    step_until(home.poller(one), home, 100)
    one.close()
    broker.produce(topic, numbered(100, 120))
    fresh = Home(tmp_path / "b")
    two = source(broker, topic, tmp_path / "b")
    step_until(fresh.poller(two), fresh, 20)
    two.close()
    assert Counter(fresh.records()) == Counter(numbered(100, 120))


def test_members_share_the_partitions_and_hand_them_over(tmp_path: Path, broker: Broker) -> None:
    """A second member joins under load and goes again: both queues together have each message once."""
    topic = broker.topic("shared", 6)
    is_over, threads = threading.Event(), []
    homes = [Home(tmp_path / name) for name in ("a", "b")]

    def member(home: Home, name: str, leave: threading.Event) -> None:
        made = source(broker, topic, tmp_path / name)
        poller = home.poller(made)
        while not (is_over.is_set() or leave.is_set()):
            poller.sources[0].step()
        # It leaves at once and not when its session times out, as a static member would.
        made.close()

    leaves = [threading.Event(), threading.Event()]
    for home, name, leave in zip(homes, ("a", "b"), leaves, strict=True):
        threads.append(threading.Thread(target=member, args=(home, name, leave)))
    threads[0].start()
    broker.produce(topic, numbered(0, 1000))
    until(lambda: len(homes[0].records()) > 100)
    threads[1].start()
    total = 1000

    def second_reads() -> bool:  # what was there before it joined may all be read by the first
        nonlocal total
        broker.produce(topic, numbered(total, total + 100))
        total += 100
        return total >= 3000 and len(homes[1].records()) > 0

    until(second_reads)
    until(lambda: sum(len(home.records()) for home in homes) >= total)
    time.sleep(1.0)
    is_over.set()
    for thread in threads:
        thread.join(60)
    assert Counter(homes[0].records() + homes[1].records()) == Counter(numbered(0, total))


def test_what_retention_deleted_unread_is_counted_as_lost(tmp_path: Path, broker: Broker) -> None:
    """Received and dropped, `source_expired`; reading goes on with the oldest there is."""
    topic = broker.topic("expired", 1, **{"retention.ms": "-1", "segment.bytes": "1048576"})
    home = Home(tmp_path)
    broker.produce(topic, numbered(0, 10))
    one = source(broker, topic, tmp_path)
    step_until(home.poller(one), home, 10)
    one.close()
    broker.produce(topic, numbered(10, 60))
    broker.expire(topic, 0, 40)
    two = source(broker, topic, tmp_path)
    poller = home.poller(two)
    step_until(poller, home, 30)
    two.close()
    assert Counter(home.records()) == Counter(numbered(0, 10) + numbered(40, 60))
    [row] = poller.counters()
    assert (row["received"], row["queued"], row["dropped"]) == (60, 30, {"source_expired": 30})


def test_a_topic_that_was_made_anew_is_read_from_its_beginning(tmp_path: Path, broker: Broker) -> None:
    """Its offsets begin again; ours are of the old one."""
    topic, home = broker.topic("anew", 1), Home(tmp_path)
    broker.produce(topic, numbered(0, 100))
    one = source(broker, topic, tmp_path)
    step_until(home.poller(one), home, 100)
    one.close()
    broker.drop(topic)
    until(lambda: _made(broker, topic))
    broker.produce(topic, numbered(500, 520))
    two = source(broker, topic, tmp_path)
    poller = home.poller(two)
    step_until(poller, home, 120)
    two.close()
    assert Counter(home.records()) == Counter(numbered(0, 100) + numbered(500, 520))
    assert poller.health()[0]["counts"]["offset_reset"] == 1


def _made(broker: Broker, topic: str) -> bool:
    try:
        broker.topic(topic, 1)
    except Exception:
        time.sleep(0.2)
        return False
    return True


def test_only_committed_transactions_come(tmp_path: Path, broker: Broker) -> None:
    """What a producer took back was never said."""
    topic, home = broker.topic("transactions", 2), Home(tmp_path)
    broker.produce(topic, numbered(0, 20), **{"transactional.id": "keep"})
    broker.produce(topic, numbered(20, 40), **{"transactional.id": "abort"})
    broker.produce(topic, numbered(40, 50))
    one = source(broker, topic, tmp_path)
    step_until(home.poller(one), home, 30)
    one.close()
    assert Counter(home.records()) == Counter(numbered(0, 20) + numbered(40, 50))


def test_start_now_takes_only_what_comes_after(tmp_path: Path, broker: Broker) -> None:
    """Where no offset is known."""
    topic, home = broker.topic("now", 1), Home(tmp_path)
    broker.produce(topic, numbered(0, 20))
    one = source(broker, topic, tmp_path, start="now")
    poller = home.poller(one)
    until(lambda: poller.sources[0].step() is not None and poller.health()[0]["lag_records"] == 0)
    broker.produce(topic, numbered(20, 25))
    step_until(poller, home, 5)
    one.close()
    assert home.records() == numbered(20, 25)


def test_a_broker_that_is_away_and_a_topic_that_is_not_there_say_so(tmp_path: Path, broker: Broker) -> None:
    """One sentence each; the source fails and goes on trying."""
    absent = source(broker, "x", tmp_path, brokers=(f"127.0.0.1:{free_port()}",))
    with pytest.raises(TryAgain, match="Kafka says: "):
        _often(absent)
    absent.close()
    unknown = source(broker, "no-such-topic", tmp_path)
    with pytest.raises(SocError, match="no-such-topic"):
        _often(unknown)
    unknown.close()


def _often(source: Kafka) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        source.fetch(None)


def test_killed_over_and_over_at_both_ends_nothing_is_lost_or_doubled(tmp_path: Path, broker: Broker) -> None:
    """The poller as a process, kill -9 at random moments under load, the broker killed and started in between."""
    topic = broker.topic("kills", 4)
    home, chance, total = Home(tmp_path), random.Random(11), 6000

    def start() -> subprocess.Popen[bytes]:
        return process(tmp_path, "kafka", brokers=[broker.address], topics=[topic], security="plaintext", group=topic)

    for n in range(0, total, 2000):
        broker.produce(topic, numbered(n, n + 2000, 200))
        child, before = start(), len(home.records())
        until(lambda b=before: len(home.records()) > b)
        time.sleep(chance.uniform(0.0, 0.1))
        if n == 2000:
            broker.kill()
            time.sleep(0.5)
            broker.start()
            until(lambda b=before: len(home.records()) > b)
        child.send_signal(signal.SIGKILL)
        child.wait()
    child = start()
    try:
        until(lambda: len(home.records()) >= total)
        time.sleep(1.0)
    finally:
        child.terminate()
        child.wait(60)
    assert Counter(home.records()) == Counter(numbered(0, total, 200))


def test_a_section_for_kafka(tmp_path: Path) -> None:
    """TLS unless somebody says otherwise; a password by reference."""
    text = '[poll.k]\ndriver = "kafka"\nbrokers = ["k1.example:9093"]\ntopics = ["logs"]\n'
    assert settings(tmp_path, text).poll[0]["security"] == "ssl"
    for more, fault in (
        ('security = "sasl_ssl"\nuser = "soc"', "go together"),
        ('password = "geheim"', "never the secret itself, not what stands there"),
        ('security = "sasl_plaintext"', "should be one of ssl, sasl_ssl, plaintext"),
    ):
        with pytest.raises(ConfigError, match=fault) as caught:
            settings(tmp_path, text + more)
        assert "geheim" not in str(caught.value)
    with pytest.raises(ConfigError, match="a list of host:port"):
        settings(tmp_path, text.replace("k1.example:9093", "k1.example"))
