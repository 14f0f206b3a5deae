"""Packets that the centre wants of a unit: over real mutual TLS, in pieces, cut and begun anew, for that unit alone."""

from __future__ import annotations

import datetime as dt
import stat
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from soc.collectors import packet_asks
from soc.collectors.packet_asks import HERE, Asks
from soc.collectors.relay import LEAST_BYTES, Packets, Relay
from soc.errors import NotFound, PermissionRefused, SocError, TryAgain, UsageError
from soc.model.clock import VIETNAM, FixedClock
from soc.model.daily import Daily
from tests.collectors.units import Centre, Unit, numbered

ID, OTHER = "a" * 32, "b" * 32
DATA = bytes(range(256)) * 2000
TOLD = {"packets": 9, "is_cut": False}


def handed(relay: Relay) -> int:
    """A piece that is handed over, once it was searched for; 0 when nothing is asked."""
    size = relay.hand_over()
    while not size and relay._search is not None and relay._search.is_alive():
        relay._search.join()
    return size or relay.hand_over()


def whole(asked: Mapping[str, Any]) -> Packets:
    """A unit whose ring has `DATA` for everybody."""
    return Packets(DATA, 9, False)


def test_a_unit_hands_over_what_is_asked_and_records_do_not_wait_for_it(tmp_path: Path, centre: Centre) -> None:
    """Piece by piece, a batch of records between them; the centre sees how far it is."""
    unit = Unit(tmp_path / "unit", centre)
    centre.asks.ask("xa-dakbla", ID, {"flow": "1:x"})
    relay = unit.relay(packets=whole, max_bytes_s=1)  # the smallest pieces
    seen = []
    for n in range(100):
        unit.receive(*numbered(n, n + 1))
        relay.step()
        if not handed(relay):
            break
        [state] = centre.asks.states(ID)
        seen.append(state["bytes"])
        assert len(centre.records()) == n + 1
    relay.close()
    assert seen == [*range(LEAST_BYTES, len(DATA), LEAST_BYTES), len(DATA)]
    assert b"".join(centre.asks.pieces(ID)) == DATA
    assert centre.asks.states(ID) == [state | {"is_done": True, "packets": 9, "is_cut": False, "size": len(DATA)}]
    assert centre.asks.open("xa-dakbla") == []


def test_an_answer_that_is_cut_begins_anew(tmp_path: Path, centre: Centre) -> None:
    """The unit is killed amid it, the hub too; what was there in part is written over."""
    unit = Unit(tmp_path / "unit", centre)
    centre.asks.ask("xa-dakbla", ID, {"flow": "1:x"})
    first = unit.relay(packets=whole, max_bytes_s=1)
    for _ in range(3):
        assert handed(first)
    first.close()
    centre.stop()
    centre.start()
    second = unit.relay(packets=whole, max_bytes_s=1)
    while handed(second):
        pass
    second.close()
    assert b"".join(centre.asks.pieces(ID)) == DATA


def test_the_loop_answers_within_its_times_only(tmp_path: Path, centre: Centre) -> None:
    """Outside of `windows` the unit asks for no work; a request waits for it."""
    unit = Unit(tmp_path / "unit", centre)
    centre.asks.ask("xa-dakbla", ID, {"flow": "1:x"})
    far = dt.datetime.now(VIETNAM) + dt.timedelta(hours=12)
    for times, is_done in ((Daily((f"{far:%H}:00-{far:%H}:59",)), False), (Daily(), True)):
        stop = threading.Event()
        laps = iter(range(20))
        relay = unit.relay(
            packets=whole, times=times, wait=lambda stop, _s, laps=laps: next(laps, None) is not None or stop.set(),
        )  # fmt: skip
        relay.run(stop)
        assert centre.asks.states(ID)[0]["is_done"] == is_done


def test_records_go_on_while_a_ring_is_searched(tmp_path: Path, centre: Centre) -> None:
    """A large ring takes its time; what cannot be read at all is an answer without packets."""
    unit, go_on = Unit(tmp_path / "unit", centre), threading.Event()

    def slowly(asked: Mapping[str, Any]) -> Packets:
        go_on.wait(60)
        raise OSError("the disk is gone")

    centre.asks.ask("xa-dakbla", ID, {"flow": "1:x"})
    relay = unit.relay(packets=slowly)
    for n in range(5):
        unit.receive(*numbered(n, n + 1))
        assert (relay.step() > 0, relay.hand_over()) == (True, 0)
    assert centre.records() == numbered(0, 5)
    go_on.set()
    handed(relay)
    relay.close()
    [state] = centre.asks.states(ID)
    assert (state["is_done"], state["packets"], state["bytes"]) == (True, 0, 0)


def test_a_unit_answers_for_itself_alone(tmp_path: Path, centre: Centre) -> None:
    """What another one was asked does not exist for it; nobody answers for the centre's own rings."""
    Unit(tmp_path / "one", centre)
    other = Unit(tmp_path / "other", centre, "xa-khac")
    centre.asks.ask("xa-dakbla", ID, {"flow": "1:x"})
    centre.asks.ask(HERE, OTHER, {"flow": "1:x"})
    relay = other.relay(packets=whole)
    assert handed(relay) == 0
    for id in (ID, OTHER, "../../etc/passwd", "a" * 31):
        with pytest.raises(SocError):
            relay._upto("POST", f"/v1/asks/{id}", params={"at": 0, "size": 1, "packets": 1, "is_cut": 0}, content=b"x")
    centre.authority.forget("xa-khac")
    with pytest.raises(PermissionRefused):
        relay._asked()
    relay.close()
    assert not centre.asks.states(ID)[0]["bytes"]


@pytest.fixture
def asks(tmp_path: Path) -> Asks:
    """What was asked of `u`: `ID`."""
    made = Asks(tmp_path, FixedClock(10**18))
    made.ask("u", ID, {"flow": "1:x", "actor": "binh", "reason": "PH-12"})
    return made


def test_pieces_must_follow_one_another(asks: Asks) -> None:
    """A gap, a piece twice, more than was said, an end before the end, one answer after another."""
    assert asks.take("u", ID, 0, b"abc", 6) == 3
    for at, data, size, told in (
        (4, b"d", 6, None),
        (0, b"abcdefg", 6, None),
        (3, b"defg", 6, None),
        (3, b"d", 6, TOLD),
    ):
        with pytest.raises(UsageError):
            asks.take("u", ID, at, data, size, told)
    with pytest.raises(UsageError):
        asks.take("u", ID, 3, b"d", packet_asks.MAX_BYTES + 1, TOLD)
    assert asks.take("u", ID, 3, b"def", 6, TOLD) == 6
    with pytest.raises(NotFound):
        asks.take("u", ID, 0, b"forged", 6, TOLD)
    assert list(asks.pieces(ID)) == [b"abcdef"]


def test_an_answer_has_a_bound(asks: Asks, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a unit says of its size."""
    monkeypatch.setattr(packet_asks, "MAX_BYTES", 5)
    with pytest.raises(UsageError):
        asks.take("u", ID, 0, b"abcdef", 6, TOLD)


def test_answers_that_are_kept_are_bounded(tmp_path: Path) -> None:
    """The oldest gives way; its state says that it was there."""
    asks = Asks(tmp_path, FixedClock(10**18))
    for n in range(packet_asks.MAX_KEPT + 1):
        asks.ask("u", f"{n:032x}", {})
        asks.take("u", f"{n:032x}", 0, b"x", 1, TOLD)
    assert [len(list(asks.pieces(f"{n:032x}"))) for n in range(packet_asks.MAX_KEPT + 1)] == [
        0,
        *[1] * packet_asks.MAX_KEPT,
    ]
    [state] = asks.states(f"{0:032x}")
    assert (state["is_done"], state["packets"], state["bytes"]) == (True, 9, 0)


def test_requests_are_bounded_and_go_after_a_day(tmp_path: Path) -> None:
    """Sixteen wait for a unit; the seventeenth is refused until some are answered or old."""
    clock = FixedClock(10**18)
    asks = Asks(tmp_path, clock)
    for n in range(packet_asks.MAX_OPEN):
        asks.ask("u", f"{n:032x}", {})
    with pytest.raises(TryAgain, match="16"):
        asks.ask("u", ID, {})
    asks.ask("v", ID, {})
    asks.take("u", f"{0:032x}", 0, b"", 0, {"packets": 0, "is_cut": False})
    asks.ask("u", OTHER, {})
    clock.advance(86_401)
    assert asks.open("u") == []
    assert list((tmp_path / "u").iterdir()) == []


def test_names_never_become_paths(tmp_path: Path, asks: Asks) -> None:
    """Neither a unit's nor a request's."""
    for unit, id in (("../x", ID), ("u", "../../x"), ("_here/..", ID), ("u", "A" * 32)):
        with pytest.raises(UsageError):
            asks.take(unit, id, 0, b"", 0)
    assert (asks.states("../*"), list(asks.pieces("*"))) == ([], [])
    assert stat.S_IMODE((tmp_path / "u" / f"{ID}.json").stat().st_mode) == 0o600
