"""An alert's way to the reference receiver: it waits while nobody is there, and arrives once whatever is lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from soc.config import National
from soc.connectors.national.receiver import Receiver
from soc.model.clock import FixedClock, SystemClock
from soc.pipeline import Services
from tests.pipeline.world import NOW_NS, finding, settings_of

MINUTE_US = 60_000_000


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    """A real HTTPS server with client certificates, not started yet."""
    made = Receiver(tmp_path / "national")
    made.start()
    made.stop()
    yield made
    made.stop()


def services_of(home: Path, port: int) -> Services:
    """A site that reports to it."""
    pki = home / "national" / "pki"
    entry = National(
        "reference",
        f"https://127.0.0.1:{port}",
        mapping="national.reference",
        ca=str(pki / "ca.pem"),
        certificate=str(pki / "client.pem"),
        key=str(pki / "client.key"),
    )
    return Services.open(replace(settings_of(home), national=(entry,)), FixedClock(NOW_NS))


def arrived(home: Path) -> list[str]:
    """The ids in the receiver's log, in order."""
    path = home / "national" / "messages.jsonl"
    return [orjson.loads(line)["id"] for line in path.read_bytes().splitlines()] if path.exists() else []


def counts(services: Services) -> dict[str, int]:
    """By state."""
    with services.cases.read("test") as tx:
        return {state: n for state, n in tx.outbox_counts().get("reference", {}).items() if n}


def test_messages_wait_for_a_receiver_that_is_down_and_arrive_in_order(tmp_path: Path, receiver: Receiver) -> None:
    """Three alerts while it is down: pending; once it is up: acknowledged, each once."""
    services = services_of(tmp_path, receiver.port)
    services.alerts.take([finding(n) for n in (1, 2, 3)])
    assert services.national is not None
    services.national.step(NOW_NS // 1000)
    waiting = counts(services)
    up = Receiver(tmp_path / "national", port=receiver.port)
    up.start()
    services.national.step(NOW_NS // 1000 + 60 * MINUTE_US)
    up.stop()
    assert waiting == {"pending": 3}
    assert counts(services) == {"acked": 3}
    assert len(arrived(tmp_path)) == len(set(arrived(tmp_path))) == 3


def test_a_reply_dropped_after_the_receivers_commit_doubles_nothing(tmp_path: Path, receiver: Receiver) -> None:
    """The first answer never comes back: it is asked again with the same id, and the receiver knows it."""
    services = services_of(tmp_path, receiver.port)
    services.alerts.take([finding(1)])
    up = Receiver(tmp_path / "national", port=receiver.port, clock=SystemClock(), drop_replies=1)
    up.start()
    assert services.national is not None
    services.national.step(NOW_NS // 1000)
    unsure = counts(services)
    once = arrived(tmp_path)
    services.national.step(NOW_NS // 1000 + 60 * MINUTE_US)
    up.stop()
    assert unsure == {"pending": 1}
    assert counts(services) == {"acked": 1}
    assert arrived(tmp_path) == once
    assert len(once) == 1
