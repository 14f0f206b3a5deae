"""The client: the same data, the same errors, streams that go on, uploads that survive a broken line."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import soc.client
from soc.client import Answer, Client, again, answer_of, error_of, wait_s
from soc.errors import (
    Conflict,
    ContentError,
    NotFound,
    PermissionRefused,
    QueryError,
    SocError,
    TryAgain,
    UsageError,
)
from soc.web import errors as web_errors
from soc.web.server import open_tcp_socket
from tests.web.world import A, World, build, settings

LINE = b"<38>Nov 25 10:00:00 h sshd[1]: Failed password for root from 203.0.113.9 port 1 ssh2\n"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = build(tmp_path / "home")
    yield made
    made.close()


@pytest.fixture
def path() -> Iterator[Path]:
    """Where the socket goes: pytest's own folders have names too long for one."""
    folder = Path(tempfile.mkdtemp(prefix="soc-client-"))
    yield folder / "api.sock"
    shutil.rmtree(folder)


@pytest.fixture
def client(world: World, path: Path) -> Iterator[Client]:
    """The service's own user, who is an administrator."""
    with world.served(path), Client.connect(world.services.settings, socket=path, timeout=120) as made:
        yield made


def test_an_answer_is_the_envelope(client: Client, world: World) -> None:
    """Data, and whether there is more of it."""
    answer = client.get("/v1/alerts", limit=1, status=None)
    assert isinstance(answer, Answer)
    assert (answer.schema, len(answer.data), answer.truncated) == ("soc.alert.list/v1", 1, True)
    rest = client.get("/v1/alerts", before=answer.cursor, status=["new", "escalated"])
    assert (len(rest.data), rest.truncated, rest.cursor) == (3, False, None)


def test_acting_for_another_person(world: World, path: Path) -> None:
    """`--as` on a simulated site."""
    with world.served(path), Client.connect(world.services.settings, socket=path, acting="an") as made:
        assert made.get("/v1/me").data["name"] == "an"
        assert made.post(f"/v1/alerts/{world.ids[A]['alert']}/acknowledge").data["owner"] == "an"


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda c: c.get("/v1/alerts/none"), NotFound, "no alert 'none'"),
        (lambda c: c.get("/v1/events", since="soon"), UsageError, "no time"),
        (lambda c: c.post("/v1/alerts/x/acknowledge"), PermissionRefused, "may not"),
        (lambda c: c.put("/v1/systems/x", {"document": {"id": "x"}}), ContentError, "missing"),
        (lambda c: c.post("/v1/people", {"name": "an", "role": "tier1"}), Conflict, "exists"),
        (lambda c: list(c.stream("/v1/events/tail", q="user.nam:x")), QueryError, "user.name"),
        (lambda c: c.put_bytes("/v1/imports/x/parts/0", b"x"), NotFound, "no import"),
    ],
)
def test_errors_are_the_same_class_again(
    client: Client, call: Callable[[Client], object], kind: type[SocError], words: str
) -> None:
    """With their words; the command line then ends with the same exit code."""
    with pytest.raises(kind, match=words) as caught:
        call(client)
    assert type(caught.value) is kind


def test_a_query_error_keeps_its_column(client: Client) -> None:
    """So that it can be pointed at."""
    with pytest.raises(QueryError) as caught:
        client.get("/v1/events", q="root user.nam:x")
    assert caught.value.column == 6


@pytest.mark.parametrize(
    "error",
    [
        UsageError("u", hint="h"), PermissionRefused("p"), NotFound("n"), Conflict("c", hint="h"), TryAgain("t"),
        SocError("s"), QueryError("q", column=7, hint="h"), web_errors.NotSignedIn("n", hint="h"),
        web_errors.TooLarge("l"),
    ],
)  # fmt: skip
def test_every_error_survives_the_way(error: SocError) -> None:
    """Class (the family's, where the web has one of its own), words, hint, exit code."""
    response = web_errors.answer(error)
    back = error_of(response.status_code, response.body)
    assert isinstance(error, type(back))
    assert (str(back), back.hint, back.exit_code) == (str(error), error.hint, error.exit_code)


@pytest.mark.parametrize(
    ("status", "content", "kind"),
    [
        (502, b"<html>", TryAgain), (500, b"{}", SocError), (404, b"[]", NotFound), (401, b"", PermissionRefused),
        (418, b'{"error": {"kind": "Teapot", "message": "m"}}', UsageError),
        (400, b'{"error": {"kind": "Fault", "message": "m"}}', UsageError),
        (500, b'{"error": {"kind": "Exception", "message": "m"}}', SocError),
    ],
)  # fmt: skip
def test_what_is_no_error_of_ours_is_judged_by_its_status(status: int, content: bytes, kind: type[SocError]) -> None:
    """Another server, a proxy in between, a kind that does not exist."""
    assert type(error_of(status, content)) is kind


def test_another_service_is_noticed() -> None:
    """200 alone makes no answer."""
    with pytest.raises(SocError, match="no answer of our API"):
        answer_of(200, b'{"hello": 1}')


def test_a_service_that_is_not_running(tmp_path: Path) -> None:
    """Exit code 75, and how to start it."""
    made = Client.connect(settings(tmp_path), socket=tmp_path / "none.sock")
    with made, pytest.raises(TryAgain, match="not running here") as caught:
        made.get("/v1/me")
    assert caught.value.hint is not None
    assert "soc up" in caught.value.hint


def test_a_stale_socket_is_a_service_that_is_not_running(path: Path, tmp_path: Path) -> None:
    """Nobody listens on it."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with Client.connect(settings(tmp_path), socket=path) as made, pytest.raises(TryAgain, match="not running"):
        made.get("/v1/me")


def test_a_service_that_does_not_answer_in_time(path: Path, tmp_path: Path) -> None:
    """The time-out is the caller's."""
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(path))
        deaf.listen()
        made = Client.connect(settings(tmp_path), socket=path, timeout=0.2)
        with made, pytest.raises(TryAgain, match="in time"):
            made.get("/v1/me")
        patient = Client.connect(settings(tmp_path), socket=path, timeout=60.0)
        with patient, pytest.raises(TryAgain, match="in time"):
            patient.post("/v1/mibs", {}, wait_s=0.2)


def test_a_token_over_http(world: World, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By argument or by environment; without one the answer is a refusal."""
    tcp = open_tcp_socket("127.0.0.1", 0)
    url = f"http://127.0.0.1:{tcp.getsockname()[1]}"
    secret = world.services.access.issue_token("chi")
    with world.served(path, tcp):
        with Client.connect(world.services.settings, url=url, token=secret) as made:
            assert made.get("/v1/me").data["name"] == "chi"
        with Client.connect(world.services.settings, url=url) as made, pytest.raises(PermissionRefused):
            made.get("/v1/me")
        monkeypatch.setenv("SOC_URL", url)
        monkeypatch.setenv("SOC_TOKEN", secret)
        with Client.connect(world.services.settings) as made:
            assert (made.where, made.get("/v1/me").data["name"]) == (url, "chi")


def test_no_proxy_of_the_environment_is_used(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    """A token is not sent through a foreign machine."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with Client.connect(world.services.settings, socket=path) as made:
        assert made.get("/v1/me").data["name"] == "giang"


# Streams


def test_a_stream_gives_objects(client: Client, world: World) -> None:
    """New events, then where the tail is."""
    world.clock.advance(1)
    lines = client.stream("/v1/events/tail")
    assert next(lines)["skipped"] == 0
    world.clock.advance(1)
    (id,) = world.append(A)
    assert next(line for line in lines if "event" in line)["event"]["event.id"] == id


def test_changes_go_on_after_the_service_was_away(world: World, path: Path) -> None:
    """Every change once, in order, also those that came while the line was down."""
    stop = threading.Event()
    got: list[dict[str, Any]] = []
    opened = threading.Event()
    enough = threading.Event()

    def listen() -> None:
        with Client.connect(world.services.settings, socket=path) as made:
            for change in made.changes(0, stop=stop):
                got.append(change)
                opened.set()
                if change["id"] == last_id.get("id"):
                    enough.set()

    last_id: dict[str, str] = {}
    listener = threading.Thread(target=listen, daemon=True)
    with world.served(path):
        listener.start()
        assert opened.wait(120)
    between = world.alert(A, "between")
    last_id["id"] = (world.alert(A, "last")).id
    with world.served(path):
        assert enough.wait(120)
        stop.set()
        world.alert(A, "wake")
        listener.join(60)
    seqs = [change["seq"] for change in got]
    assert seqs == list(range(1, len(seqs) + 1))
    assert between.id in {change["id"] for change in got}


def test_changes_without_a_number_begin_now_and_still_resume(
    world: World, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service says where the stream began, before anything happened: what came while it was away is not lost."""
    stop, begun, seen = threading.Event(), threading.Event(), threading.Event()
    got: list[dict[str, Any]] = []
    events = soc.client._events

    def noted(response: httpx.Response) -> Iterator[Any]:
        for each in events(response):
            yield each
            begun.set()  # the client has it: it asks for the next

    monkeypatch.setattr(soc.client, "_events", noted)

    def listen() -> None:
        with Client.connect(world.services.settings, socket=path) as made:
            for change in made.changes(stop=stop):
                got.append(change)
                seen.set()

    listener = threading.Thread(target=listen, daemon=True)
    with world.served(path):
        listener.start()
        assert begun.wait(120)
    away = world.alert(A, "away")
    with world.served(path):
        assert seen.wait(120)
        stop.set()
        world.alert(A, "wake")
        listener.join(60)
    assert got[0]["id"] == away.id


def test_a_refusal_ends_the_changes(world: World, path: Path) -> None:
    """Only that the service is away is waited out."""
    with (
        world.served(path),
        Client.connect(world.services.settings, socket=path, acting="nobody-here") as made,
        pytest.raises(PermissionRefused),
    ):
        next(made.changes())


# Uploads


def test_a_file_is_sent_in_parts(client: Client, world: World, tmp_path: Path) -> None:
    """With its progress; the service then has every byte."""
    file = tmp_path / "auth.log"
    file.write_bytes(LINE * 60_000)  # more than one part of 4 MiB
    told: list[tuple[int, int]] = []
    id = client.upload(file, progress=lambda sent, size: told.append((sent, size)))
    state = client.get(f"/v1/imports/{id}").data
    assert (state["state"], state["size"], state["name"]) == ("queued", file.stat().st_size, "auth.log")
    assert (len(told), told[-1]) == (state["parts"], (file.stat().st_size,) * 2)
    assert len(told) > 1


SENDER = """
import os, sys, time
from pathlib import Path
from soc import client
from soc.config import load
def progress(sent, size):
    print(sent, flush=True)
    if sent * 4 > size * 3:
        time.sleep(600)
with client.Client.connect(load(home=Path(sys.argv[1])), socket=Path(sys.argv[2])) as made:
    made.upload(Path(sys.argv[3]), progress=progress)
"""


def test_a_client_that_was_killed_goes_on(world: World, path: Path, tmp_path: Path) -> None:
    """The same content, by whatever name: only what the service lacks is sent; asked again, it is the same import."""
    file = tmp_path / "auth.log"
    file.write_bytes(b"".join(b"%09d a line\n" % i for i in range(800_000)))  # four parts
    with world.served(path):
        home = world.services.settings.home
        sender = subprocess.Popen([sys.executable, "-c", SENDER, home, path, file], stdout=subprocess.PIPE, text=True)
        assert sender.stdout is not None
        assert [int(sender.stdout.readline()) for _ in range(3)][-1] * 2 > file.stat().st_size
        sender.kill()
        sender.wait()
        moved = file.rename(tmp_path / "other.log")
        with Client.connect(world.services.settings, socket=path) as made:
            sent: list[str] = []
            put = made.put_bytes
            made.put_bytes = lambda at, data: (sent.append(at), put(at, data))[1]  # type: ignore[method-assign, func-returns-value]
            id = made.upload(moved)
            assert [at.rpartition("/")[2] for at in sent] == ["3"]
            state = made.get(f"/v1/imports/{id}").data
            assert (state["state"], state["size"]) == ("queued", moved.stat().st_size)
            assert made.upload(moved) == id
            world.services.uploads.read(id, threading.Event())
            assert made.upload(moved, resume=True) == id
            assert len(sent) == 1
            assert made.upload(moved) != id


def test_an_empty_file_is_an_import_too(client: Client, tmp_path: Path) -> None:
    """Of no parts."""
    file = tmp_path / "empty.log"
    file.touch()
    assert client.get(f"/v1/imports/{client.upload(file)}").data["size"] == 0


def test_a_file_that_cannot_be_read_is_the_callers_matter(client: Client, tmp_path: Path) -> None:
    """The client opens it with the caller's rights; the service never sees its path."""
    with pytest.raises(UsageError, match="No such file"):
        client.upload(tmp_path / "none.log")


class Flaky(httpx.BaseTransport):
    """A line that breaks after the service has already taken what was sent, `times` times."""

    def __init__(self, inner: httpx.BaseTransport, times: int) -> None:
        self.inner, self.times = inner, times

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self.inner.handle_request(request)
        if self.times and request.method == "PUT":
            self.times -= 1
            with contextlib.closing(response):
                response.read()
            raise httpx.ReadError("the line broke", request=request)
        return response


def test_a_part_whose_answer_was_lost_is_sent_again(world: World, path: Path, tmp_path: Path) -> None:
    """It counts once."""
    file = tmp_path / "auth.log"
    file.write_bytes(LINE)
    with world.served(path):
        transport = Flaky(httpx.HTTPTransport(uds=str(path)), 2)
        http = httpx.Client(transport=transport, base_url="http://localhost", timeout=120)
        with Client(http, "test") as made:
            id = made.upload(file)
            assert transport.times == 0
            assert made.get(f"/v1/imports/{id}").data["state"] == "queued"


def test_trying_again_ends() -> None:
    """After five times the caller is told, with growing pauses in between."""
    pauses: list[float] = []
    calls: list[int] = []

    def call() -> Answer:
        calls.append(1)
        raise TryAgain("away")

    with pytest.raises(TryAgain):
        again(call, pauses.append)
    assert (len(calls), pauses) == (5, sorted(pauses))


def test_the_wait_grows_to_a_limit_and_stays_there() -> None:
    """A console that is left open over a weekend still comes back."""
    waits = [wait_s(n) for n in (0, 1, 2, 10, 5_000)]
    assert waits == sorted(waits)
    assert waits[-2:] == [5.0, 5.0]


def test_only_being_away_is_tried_again() -> None:
    """A refusal stays a refusal."""
    calls: list[int] = []

    def call() -> Answer:
        calls.append(1)
        raise Conflict("no")

    with pytest.raises(Conflict):
        again(call, lambda _: None)
    assert len(calls) == 1


def test_the_client_knows_nothing_of_the_engine() -> None:
    """It imports errors and config of this toolkit, and no room: a workstation needs no store."""
    import subprocess
    import sys

    program = "import sys, soc.client; print(sorted(m for m in sys.modules if m.startswith('soc.')))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout.replace("'", '"')))
    assert {m.split(".")[1] for m in loaded} <= {"client", "config", "errors", "model"}
