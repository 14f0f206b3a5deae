"""The driver: order, waits, records; with a transport that does as told."""

from __future__ import annotations

import datetime as dt
import itertools

import pytest

from soc.connectors.national.driver import HttpsTransport, OutboxDriver, Outcome, days_without_heartbeat, judge, wait_s
from soc.model.clock import FixedClock
from soc.model.message import Message
from tests.connectors.fakes import SENDER, FakeCases, message, nowhere

ACK = Outcome("acked", receipt={"id": "x", "receipt": "r"})
DOWN = Outcome("pending", error="ConnectError", is_down=True)
BUSY = Outcome("pending", error="HTTP 503")
START = dt.datetime(2026, 11, 19, 17, tzinfo=dt.UTC)  # midnight in Vietnam


class Line:
    """A transport that answers from a script (the last answer repeats) and remembers what was sent."""

    def __init__(self, *answers):
        self.answers = list(answers) or [ACK]
        self.sent = []
        self.whole = []

    def __call__(self, destination, sent):
        self.sent.append(sent.id[-2:])
        self.whole.append(sent.id)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def cases():
    return FakeCases()


@pytest.fixture
def clock():
    return FixedClock(START)


def driver(cases, clock, line):
    return OutboxDriver(cases, [nowhere()], clock, line)


def test_everything_due_is_sent_in_order(cases, clock):
    """Three of one system in one step."""
    cases.put(message(1), message(2), message(3))
    line = Line()
    assert driver(cases, clock, line).step() == {"centre": {"acked": 3, "rejected": 0, "retry": 0}}
    assert line.sent == ["01", "02", "03"]


def test_a_system_waits_behind_its_first_message_and_others_go_on(cases, clock):
    """A busy answer for the first of `a`: the second waits, that of `b` goes."""
    cases.put(message(1), message(2), message(3, owner="b"))
    line = Line(BUSY, ACK)
    driver(cases, clock, line).step()
    assert line.sent == ["01", "03"]
    clock.advance(10)
    driver(cases, clock, line).step()
    assert line.sent == ["01", "03", "01", "02"]


def test_an_unreachable_destination_is_tried_once_a_wait(cases, clock):
    """Twenty systems wait behind one failed connection."""
    cases.put(*(message(n, owner=f"s{n}") for n in range(20)))
    line = Line(DOWN)
    for _ in range(5):
        driver(cases, clock, line).step()
    assert len(line.sent) == 1


def test_the_wait_doubles_up_to_five_minutes_and_survives_a_restart(cases, clock):
    """A new driver each time: the wait lies in the cursor."""
    cases.put(message(1))
    line, tries = Line(DOWN), []
    for _second in range(1200):
        before = len(line.sent)
        driver(cases, clock, line).step()
        tries += [clock.now_ns() // 10**9] * (len(line.sent) - before)
        clock.advance(1)
    waits = [b - a for a, b in itertools.pairwise(tries)]
    assert waits[:8] == [2, 4, 8, 16, 32, 64, 128, 256]
    assert wait_s(40) == 300


def test_a_rejected_message_lets_the_next_one_pass(cases, clock):
    """And its reason is on record."""
    cases.put(message(1), message(2))
    made = driver(cases, clock, Line(Outcome("rejected", error="HTTP 422 bad"), ACK))
    made.step()
    assert sorted(cases.states().values()) == ["acked", "rejected"]
    status = made.status()["centre"]
    assert (status["acked"], status["rejected"], status["last_error"]) == (1, 1, "HTTP 422 bad")


def test_a_marked_message_in_the_outbox_is_stopped_at_the_door(cases, clock):
    """Put there past `build`: never handed to the transport."""
    cases.put(Message("x1", "alert", "centre", 1, {}, None, {"id": "a"}, {"classification": "tối mật"}))
    line = Line()
    assert driver(cases, clock, line).step()["centre"]["rejected"] == 1
    assert line.sent == []


def test_ac12_three_days_down_then_all_in_order_once_and_the_gap_is_named(cases, clock):
    """AC12: a heartbeat and an alert every hour, the line down on days 2 to 4."""
    line, ids = Line(ACK), iter(range(100, 9999))
    made = driver(cases, clock, line)
    received = []
    for hour in range(6 * 24):
        day = hour // 24
        line.answers = [DOWN] if 1 <= day <= 3 else [ACK]
        line.whole.clear()
        cases.put(message(hour))
        made.heartbeat(lambda: f"beat-{next(ids)}", SENDER, {"status": "ok"})
        made.step()
        received += line.whole if line.answers == [ACK] else []
        clock.advance(3600)
    alerts = [name for name, item in cases.items.items() if item.kind == "alert"]
    assert set(cases.states().values()) == {"acked"}
    assert [name for name in received if name in alerts] == alerts
    status = made.status()["centre"]
    gaps = days_without_heartbeat(status, dt.date(2026, 11, 20), dt.date(2026, 11, 25))
    assert gaps == ["2026-11-21", "2026-11-22", "2026-11-23"]
    assert sum(day["acked"] for day in status["days"].values()) == len(cases.items)


def test_an_outage_leaves_one_heartbeat(cases, clock):
    """Not one for each interval."""
    made = driver(cases, clock, Line(DOWN))
    for n in range(50):
        made.heartbeat(lambda n=n: f"beat-{n}", SENDER, {"status": "ok"})
        made.step()
        clock.advance(600)
    assert len(cases.items) == 1


@pytest.mark.parametrize(
    ("status", "content", "state"),
    [
        (201, b'{"id": "m", "receipt": "r"}', "acked"),
        (200, b'{"id": "m", "receipt": "r", "duplicate": true}', "acked"),
        (200, b'{"id": "other", "receipt": "r"}', "pending"),
        (200, b"<html>login</html>", "pending"),
        (302, b"", "pending"),
        (403, b"", "pending"),
        (429, b"", "pending"),
        (503, b"[]", "pending"),
        (400, b'{"error": "no"}', "rejected"),
        (409, b"", "rejected"),
    ],
)
def test_only_a_receipt_for_this_message_acknowledges(status, content, state):
    """A proxy's friendly page is no receipt."""
    assert judge(status, content, "m").state == state


def test_a_destination_with_missing_certificates_is_on_record_and_stops_nobody(cases, clock):
    """The other destinations go on; status says what is wrong."""
    cases.put(message(1))
    made = driver(cases, clock, HttpsTransport())
    assert made.step()["centre"]["retry"] == 1
    assert "certificate" in made.status()["centre"]["last_error"]
