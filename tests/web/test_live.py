"""What goes on while it is read: the tail and the notices of changes, within a scope, without a gap or a repeat."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from soc.model.query import MatchAll
from soc.web.auth import Asking, Caller
from soc.web.live import OVERLAP_US, ROWS_PER_TICK, Tail
from tests.web.world import A, B, World


def tail(world: World, who: str = "an", after_us: int | None = None) -> Tail:
    """A tail of everything a person may see."""
    services = world.services
    person = services.access.person(who)
    assert person is not None
    ask = Asking(services, Caller(person), services.access.scope_of(person, "test"))
    return Tail(ask, MatchAll(), world.clock.now_ns() // 1000 if after_us is None else after_us)


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["event.id"] for row in rows]


def test_a_tail_begins_now(world: World) -> None:
    """What was there before is not news."""
    world.clock.advance(1)
    assert tail(world).step() == []


def test_new_events_come_once_in_order(world: World) -> None:
    """Step by step."""
    world.clock.advance(1)
    watched = tail(world)
    world.clock.advance(1)
    first = world.append(A, 2)
    assert ids(watched.step()) == first
    second = world.append(B, 1)
    assert ids(watched.step()) == second
    assert watched.step() == []


def test_what_becomes_visible_late_is_not_missed(world: World) -> None:
    """A slow worker stamped it before, and stored it after, what was sent already."""
    world.clock.advance(1)
    watched = tail(world)
    world.clock.advance(9)
    now_us = world.clock.now_ns() // 1000
    assert watched.step() == []
    fast = world.append(A)
    assert ids(watched.step()) == fast
    late = world.append(B, 1, **{"event.ingested": now_us - OVERLAP_US // 2})
    assert ids(watched.step()) == late
    assert watched.step() == []


def test_a_scope_cuts_the_tail(world: World) -> None:
    """Neither the other unit's events nor those of nobody, nor a count of them."""
    world.clock.advance(1)
    watched = tail(world, "officer-b")
    world.clock.advance(1)
    world.append(A, ROWS_PER_TICK + 5)
    world.append(None, 1)
    mine = world.append(B, 1)
    assert ids(watched.step()) == mine
    assert watched.skipped == 0


def test_too_many_at_once_are_cut_and_counted(world: World) -> None:
    """The newest are sent, the rest is a number."""
    world.clock.advance(1)
    watched = tail(world)
    world.clock.advance(1)
    all_of_them = world.append(A, ROWS_PER_TICK + 7)
    assert ids(watched.step()) == all_of_them[7:]
    assert [watched.position()["skipped"] for _ in range(2)] == [7, 0]
    assert watched.step() == []


def test_a_position_goes_on_behind_itself(world: World) -> None:
    """Nothing of what was sent comes again."""
    world.clock.advance(1)
    watched = tail(world)
    world.clock.advance(1)
    world.append(A, 3)
    watched.step()
    position = int(watched.position()["position"])
    world.clock.advance(1)
    news = world.append(A, 1)
    assert ids(tail(world, after_us=position).step()) == news


@pytest.mark.parametrize("is_paused", [True, False])
def test_after_a_long_pause_the_old_ones_are_only_counted(world: World, is_paused: bool) -> None:
    """A position of this morning, or a reader that stood still, must not load a day of events into memory."""
    world.clock.advance(1)
    watched = tail(world)
    assert watched.step() == []
    position = watched.mark_us
    world.clock.advance(1)
    world.append(A, 5)
    world.clock.advance(7200)
    new = world.append(A, 2)
    world.clock.advance(1)
    later = watched if is_paused else tail(world, after_us=position)
    assert ids(later.step()) == new
    assert (later.position()["skipped"], later.step()) == (5, [])


def test_a_quiet_hour_is_no_pause(world: World) -> None:
    """Nothing came, but it was asked: what was sent before is not counted as skipped."""
    world.clock.advance(1)
    watched = tail(world)
    world.clock.advance(1)
    sent = world.append(A, 2)
    assert ids(watched.step()) == sent
    for _ in range(100):
        world.clock.advance(40)
        assert watched.step() == []
    assert watched.skipped == 0


def test_events_that_were_sealed_in_between_are_not_repeated(world: World) -> None:
    """Moving from the hot file into a sealed one is no news."""
    world.clock.advance(1)
    watched = tail(world)
    world.clock.advance(1)
    sent = world.append(A, 2)
    assert ids(watched.step()) == sent
    world.seal()
    assert watched.step() == []


# Over the wire


@pytest.fixture
def unix(world: World) -> Iterator[httpx.Client]:
    """The service on a socket, called as its own user."""
    folder = Path(tempfile.mkdtemp(prefix="soc-live-"))
    path = folder / "api.sock"
    with world.served(path):
        transport = httpx.HTTPTransport(uds=str(path))
        with httpx.Client(transport=transport, base_url="http://localhost", timeout=120) as client:
            yield client
    shutil.rmtree(folder)


def notices(lines: Iterator[str], n: int) -> list[dict[str, Any]]:
    """The next `n` changes of a stream."""
    found: list[dict[str, Any]] = []
    for line in lines:
        if line.startswith("data: "):
            found.append(json.loads(line[6:]))
            if len(found) == n:
                break
    return found


def test_the_tail_speaks_json_lines(world: World, unix: httpx.Client) -> None:
    """Events, then where it is."""
    world.clock.advance(1)
    with unix.stream("GET", "/v1/events/tail", params={"q": "user.name:admin"}) as response:
        lines = response.iter_lines()
        assert set(json.loads(next(lines))) == {"position", "skipped"}
        world.clock.advance(1)
        world.append(A, 1)
        (wanted,) = world.append(A, 1, **{"user.name": "admin"})
        said = [json.loads(next(lines)) for _ in range(2)]
        while "event" not in said[-2]:
            said.append(json.loads(next(lines)))
        assert response.headers["content-type"].startswith("application/x-ndjson")
    assert said[-2]["event"]["event.id"] == wanted
    assert int(said[-1]["position"]) == world.clock.now_ns() // 1000


def test_a_bad_query_is_told_before_the_stream_begins(unix: httpx.Client) -> None:
    """As an error, with its column."""
    response = unix.get("/v1/events/tail", params={"q": "user.nam:x"})
    assert (response.status_code, response.json()["error"]["kind"]) == (400, "QueryError")


def test_changes_come_with_their_numbers(world: World, unix: httpx.Client) -> None:
    """From now on, or behind a number."""
    with unix.stream("GET", "/v1/changes") as response:
        lines = response.iter_lines()
        assert next(lines).startswith("id: ")
        made = world.alert(A, "fresh")
        (seen,) = notices(lines, 1)
    assert (seen["kind"], seen["id"], seen["what"]) == ("alert", made.id, "create")
    assert set(seen) == {"seq", "kind", "id", "what", "at_us"}
    with unix.stream("GET", "/v1/changes", params={"after": seen["seq"] - 1}) as response:
        assert notices(response.iter_lines(), 1) == [seen]
    with unix.stream("GET", "/v1/changes", headers={"last-event-id": str(seen["seq"] - 1)}) as response:
        assert notices(response.iter_lines(), 1) == [seen]


def test_changes_of_another_unit_are_not_sent(world: World, unix: httpx.Client) -> None:
    """Not even that there was one."""
    with unix.stream("GET", "/v1/changes", params={"after": 0}, headers={"x-soc-as": "officer-b"}) as response:
        lines = response.iter_lines()
        mine = world.alert(B, "last")
        seen: list[dict[str, Any]] = []
        while not seen or seen[-1]["id"] != mine.id:
            seen += notices(lines, 1)
    everything = json.dumps(seen)
    assert not [key for key in ("alert", "escalated", "ticket", "run") if world.ids[A][key] in everything]
    assert world.ids[B]["ticket"] in everything


def test_a_number_that_was_never_given_waits_for_the_next(world: World, unix: httpx.Client) -> None:
    """A client of another database is not left waiting for ever."""
    with unix.stream("GET", "/v1/changes", params={"after": 10**9}) as response:
        lines = response.iter_lines()
        next(lines)
        made = world.alert(A, "fresh")
        assert notices(lines, 1)[0]["id"] == made.id


def test_a_stream_ends_when_its_caller_is_disabled(
    world: World, unix: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rights are asked for again while it runs."""
    monkeypatch.setattr("soc.web.live.COMMENT_S", 0.2)
    with unix.stream("GET", "/v1/changes", headers={"x-soc-as": "officer-a"}) as response:
        lines = response.iter_lines()
        next(lines)
        world.services.access.change_person("officer-a", disabled=True, by="giang")
        assert [line for line in lines if line.startswith("data")] == []


def test_streams_give_their_place_back(world: World, unix: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """However they end; one too many is told to come again."""
    places = threading.BoundedSemaphore(1)
    monkeypatch.setattr("soc.web.live._places", places)
    with unix.stream("GET", "/v1/changes") as response:
        lines = response.iter_lines()
        next(lines)
        refused = unix.get("/v1/changes")
        assert (refused.status_code, refused.json()["error"]["exit_code"]) == (503, 75)
    assert places.acquire(timeout=60)
