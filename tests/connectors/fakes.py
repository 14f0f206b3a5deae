"""A small outbox in memory, with the promises of the real one: first open message per system, commit or nothing."""

from __future__ import annotations

import copy
import datetime as dt
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from soc.connectors.national import mapping
from soc.connectors.national.driver import Destination
from soc.connectors.national.message import Privacy, Sender, build
from soc.model.system import InformationSystem, LevelDecision

SENDER = Sender("H40.15", "Sở Thông tin")
REFERENCE = mapping.load()["national.reference"]


@dataclass(frozen=True)
class FakeItem:
    id: str
    kind: str
    system_id: str
    sequence: int
    sent: object
    state: str = "pending"
    tries: int = 0
    next_try_us: int = 0
    receipt: dict | None = None
    error: str | None = None

    def message(self):
        return self.sent


class FakeTx:
    def __init__(self, items, cursors):
        self.items, self.cursors = items, cursors

    def outbox(self, message):
        system_id = message.system["id"]
        mine = [i for i in self.items.values() if (i.sent.destination, i.system_id) == (message.destination, system_id)]
        sent = replace(message, sequence=len(mine) + 1)
        self.items[message.id] = FakeItem(message.id, message.kind, system_id, len(mine) + 1, sent)

    def outbox_due(self, destination, now_us, limit):
        first: dict = {}
        for item in self.items.values():
            if item.sent.destination == destination and item.state == "pending":
                first.setdefault(item.system_id, item)
        return [item for item in first.values() if item.next_try_us <= now_us][:limit]

    def outbox_mark(self, id, state, *, receipt=None, error=None, next_try_us=None):
        old = self.items[id]
        due = old.next_try_us if next_try_us is None else next_try_us
        self.items[id] = replace(old, state=state, tries=old.tries + 1, receipt=receipt, error=error, next_try_us=due)

    def outbox_counts(self):
        counts: dict = {}
        for item in self.items.values():
            states = counts.setdefault(item.sent.destination, {})
            states[item.state] = states.get(item.state, 0) + 1
        return counts

    def cursor(self, name):
        return copy.deepcopy(self.cursors.get(name))

    def set_cursor(self, name, document):
        self.cursors[name] = copy.deepcopy(document)


class FakeCases:
    def __init__(self):
        self.items: dict = {}
        self.cursors: dict = {}

    @contextmanager
    def begin(self, actor):
        tx = FakeTx(dict(self.items), dict(self.cursors))
        yield tx
        self.items, self.cursors = tx.items, tx.cursors

    def put(self, *messages):
        with self.begin("test") as tx:
            for message in messages:
                tx.outbox(message)

    def states(self):
        return {name: item.state for name, item in self.items.items()}


def system(name="a"):
    levels = (LevelDecision(3, dt.date(2020, 1, 1), "12/QĐ"),)
    return InformationSystem(name, f"Hệ thống {name}", "H40.15", "u1", "Sở A", "s", levels, dt.date(2020, 1, 1))


def message(number, *, owner="a", destination="centre", kind="alert", **more):
    payload = more.pop("payload", {"title": f"cảnh báo {number}", "severity": "high"})
    envelope = {"id": f"00000000-0000-0000-0000-{number:012d}", "destination": destination, "created_us": number}
    return build(kind, payload, sender=SENDER, privacy=Privacy(), system=system(owner), **envelope, **more)


def destination(receiver, **more):
    pair = receiver.pki.client
    url = more.pop("url", f"https://127.0.0.1:{receiver.port}")
    return Destination(
        "centre", url, REFERENCE, receiver.pki.authority, pair.certificate, pair.key, timeout_s=10, **more
    )


def nowhere(name="centre"):
    return Destination(name, "https://127.0.0.1:1", REFERENCE, Path("none"), Path("none"), Path("none"))
