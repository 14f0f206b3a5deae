"""TAXII 2.1 against OASIS's own server (verified: real) and one of ours, MISP against one of ours (replica)."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from soc.collectors.poll.rest import seconds
from soc.content import shipped
from soc.errors import ConfigError, PermissionRefused, TryAgain
from soc.model.record import RawBlock
from soc.parsers import ParserSet, ParserState
from tests import programs
from tests.collectors.polls import CLOCK, Home, all_of, driver, poll, serving, settings, until
from tests.ports import free_port

COLLECTION = "91a7b528-80eb-42ed-a74d-c6fbd5a26116"
TYPE = "application/taxii+json;version=2.1"


def indicator(n: int, *, version: int = 0) -> dict[str, Any]:
    """A STIX 2.1 object."""
    return {
        "type": "indicator", "spec_version": "2.1", "id": f"indicator--{n:08d}-1111-4111-8111-111111111111",
        "created": "2026-11-20T03:00:00.000Z", "modified": f"2026-11-20T03:00:{version:02d}.000Z",
        "pattern": f"[ipv4-addr:value = '203.0.113.{n % 250}']", "pattern_type": "stix",
        "valid_from": "2026-11-20T03:00:00Z", "name": f"indicator {n}",
    }  # fmt: skip


def ids(home: Home) -> list[tuple[str, str]]:
    """Identifier and version of what is in the queue."""
    found = [orjson.loads(record) for record in home.records()]
    return [(one["id"], one.get("modified", "")) for one in found]


# medallion ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def medallion(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """OASIS's server with one empty collection; its API root."""
    library = programs.server("medallion")
    folder, port = tmp_path_factory.mktemp("medallion"), free_port()
    collection = {
        "id": COLLECTION, "title": "Test", "description": "", "can_read": True, "can_write": True,
        "media_types": ["application/stix+json;version=2.1"], "objects": [], "manifest": [],
    }  # fmt: skip
    information = {"title": "Root", "description": "", "versions": [TYPE], "max_content_length": 9765625}
    data = {
        "/discovery": {"title": "T", "description": "", "contact": "", "default": f"http://127.0.0.1:{port}/root/",
                       "api_roots": [f"http://127.0.0.1:{port}/root/"]},
        "root": {"information": information, "status": [], "collections": [collection]},
    }  # fmt: skip
    (folder / "data.json").write_text(json.dumps(data))
    config = {
        "backend": {"module_class": "MemoryBackend", "module": "medallion.backends.memory_backend",
                    "filename": str(folder / "data.json")},
        "users": {"soc": "Geheim"}, "taxii": {"max_page_size": 100, "interop_requirements": True},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    environment = {**os.environ, "PYTHONPATH": library}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "medallion.scripts.run", "--port", str(port), str(folder / "config.json")],
            env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    root = f"http://127.0.0.1:{port}/root/"
    try:
        until(lambda: process.poll() is not None or _answers(root))
        assert process.poll() is None, (folder / "log").read_text()
        yield root
    finally:
        process.terminate()
        process.wait(60)


def _answers(root: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(root, auth=("soc", "Geheim"), headers={"Accept": TYPE}).status_code < 500
    return False


def put(root: str, *objects: dict[str, Any]) -> None:
    """Add objects, as a producer does."""
    answer = httpx.post(
        f"{root}collections/{COLLECTION}/objects/", auth=("soc", "Geheim"),
        headers={"Accept": TYPE, "Content-Type": TYPE}, content=json.dumps({"objects": objects}),
    )  # fmt: skip
    assert answer.status_code == 202, answer.text


def test_objects_of_a_real_server_come_once(tmp_path: Path, medallion: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Page by page, over new starts, new versions too; the password is needed and wrong ones are refused."""
    monkeypatch.setenv("TAXII_PASSWORD", "Geheim")
    options = {"url": medallion, "collection": COLLECTION, "user": "soc", "password": "env:TAXII_PASSWORD", "limit": 7}
    home, expected = Home(tmp_path), []
    for first, last in ((0, 3), (3, 25), (25, 26)):
        objects = [indicator(n) for n in range(first, last)]
        put(medallion, *objects)
        expected += [(one["id"], one["modified"]) for one in objects]
        for _ in range(2):
            all_of(home.poller(driver(poll("taxii", **options), tmp_path)))
    put(medallion, indicator(2, version=5))
    expected.append((indicator(2)["id"], "2026-11-20T03:00:05.000Z"))
    source = driver(poll("taxii", **options), tmp_path)
    all_of(home.poller(source))
    assert Counter(ids(home)) == Counter(expected)
    assert (source.format, source.dataset) == ("json", "taxii.stix")
    monkeypatch.setenv("TAXII_PASSWORD", "wrong")
    with pytest.raises(PermissionRefused) as caught:
        driver(poll("taxii", **options), tmp_path).fetch(None)
    assert "wrong" not in str(caught.value)


# a server of ours, for what that one does not do ----------------------------------------------------------------------


class Taxii:
    """A collection as section 5.4 has it; `token` says whether pages have `next`."""

    def __init__(self, *, token: bool = True, size: int = 5) -> None:
        self.objects: list[tuple[str, dict[str, Any]]] = []
        self.token, self.size = token, size

    def add(self, at: str, *objects: dict[str, Any]) -> None:
        """Objects that were added at one moment."""
        self.objects += [(at, one) for one in objects]
        self.objects.sort(key=lambda item: item[0])

    def answer(self, _method: str, path: str, params: dict[str, Any], headers: dict[str, str]) -> Any:
        assert path == "/root/collections/c1/objects/"
        assert headers["accept"] == TYPE
        low = seconds(params["added_after"], "iso") if "added_after" in params else -1.0
        found = [item for item in self.objects if seconds(item[0], "iso") > low]
        first = int(params.get("next", 0))
        size = min(self.size, int(params["limit"]))
        page = found[first : first + size]
        body: dict[str, Any] = {"objects": [one for _, one in page]} if page else {}
        if first + size < len(found):
            body |= {"more": True, **({"next": str(first + size)} if self.token else {})}
        more = {"X-TAXII-Date-Added-First": page[0][0], "X-TAXII-Date-Added-Last": page[-1][0]} if page else {}
        return 200, {"Content-Type": TYPE, **more}, json.dumps(body).encode()


def stamp(n: float) -> str:
    """A moment with microseconds, as servers write it."""
    return (dt.datetime(2026, 11, 20, 3, tzinfo=dt.UTC) + dt.timedelta(seconds=n)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@pytest.mark.parametrize("token", [True, False], ids=["next", "added_after"])
def test_pages_without_a_token_go_on_by_time(tmp_path: Path, token: bool) -> None:
    """`more` without `next`: from the time of the page's newest; late additions within the overlap are not missed."""
    server, home = Taxii(token=token), Home(tmp_path)
    with serving(server.answer) as api:
        url = api.url.replace("/items", "/root")
        options = {"url": url, "collection": "c1", "overlap_s": 10.0}
        for n in range(23):
            server.add(stamp(n + 0.123456), indicator(n))
        all_of(home.poller(driver(poll("taxii", **options), tmp_path)))
        server.add(stamp(15.5), indicator(100))
        server.add(stamp(30), indicator(101), {"type": "marking-definition", "id": "marking-definition--1"})
        all_of(home.poller(driver(poll("taxii", **options), tmp_path)))
        all_of(home.poller(driver(poll("taxii", **options), tmp_path)))
    found = Counter(id for id, _ in ids(home))
    assert set(found.values()) == {1}
    assert len(found) == 23 + 3


def test_more_of_one_moment_than_a_page_holds_is_an_error(tmp_path: Path) -> None:
    """Without a token there is no way to the rest: it is said, and nothing is passed over."""
    server, home = Taxii(token=False), Home(tmp_path)
    server.add(stamp(1), *(indicator(n) for n in range(12)))
    server.add(stamp(0), *(indicator(n) for n in range(20, 23)))
    with serving(server.answer) as api:
        source = driver(poll("taxii", url=api.url.replace("/items", "/root"), collection="c1"), tmp_path)
        poller = home.poller(source)
        for _ in range(6):
            poller.sources[0].step()
    health = poller.health()[0]
    assert "more of one moment than a page holds" in health["fault"]
    assert len(ids(home)) == 5


def test_an_answer_that_is_lost_costs_no_page_of_a_token_that_is_used_up(
    tmp_path: Path, medallion: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """medallion gives each page of a token once: after a fault and after a new start the look begins again."""
    collection = {
        "url": medallion,
        "collection": COLLECTION,
        "limit": 4,
        "headers": {"Authorization": "Basic c29jOkdlaGVpbQ=="},
    }
    home = Home(tmp_path)
    put(medallion, *(indicator(n) for n in range(200, 230)))
    source = driver(poll("taxii", **collection), tmp_path)
    poller = home.poller(source)
    poller.sources[0].step()
    poller.sources[0].step()
    body = source._web._body
    source._web._body = lambda answer: (body(answer), _raise(TryAgain("the line is cut")))[1]
    poller.sources[0].step()
    source._web._body = body
    poller.sources[0].step()
    poller = home.poller(driver(poll("taxii", **collection), tmp_path))  # killed amid the look
    all_of(poller)
    found = Counter(id for id, _ in ids(home))
    assert {indicator(n)["id"] for n in range(200, 230)} <= set(found)
    assert set(Counter(ids(home)).values()) == {1}


def _raise(error: Exception) -> Any:
    raise error


def test_a_stix_object_becomes_an_event_of_its_own_dataset(tmp_path: Path) -> None:
    """The object is whole in the original."""
    parsers = ParserSet.load([shipped("parsers")])
    record = orjson.dumps(indicator(7))
    block = RawBlock.of([record], receipt_ns=CLOCK.now_ns(), format="json", origin={"event.dataset": "taxii.stix"})
    batches, _ = parsers.parse(block, ParserState(), CLOCK.now_ns())
    [row] = [row for batch in batches for row in batch.rows()]
    assert row["event.dataset"] == "taxii.stix"
    assert row["event.original"].encode() == record
    assert row["soc.rest"]["pattern"] == indicator(7)["pattern"]


# MISP ---------------------------------------------------------------------------------------------------------------


class Misp:
    """restSearch of a MISP of ours: attributes of events that were published since, page by page."""

    def __init__(self) -> None:
        self.attributes: list[dict[str, Any]] = []
        self.now = 1_795_600_000

    def publish(self, *attributes: dict[str, Any]) -> None:
        """An event with these attributes, now."""
        self.attributes += [{**one, "_published": self.now} for one in attributes]

    def answer(self, method: str, path: str, params: dict[str, Any], headers: dict[str, str]) -> Any:
        if headers.get("authorization") != "Geheim":
            return 403, {}, b'{"message": "Authentication failed."}'
        assert (method, path, params["returnFormat"]) == ("POST", "/attributes/restSearch", "json")
        found = [one for one in self.attributes if one["_published"] > int(params.get("publish_timestamp", 0))]
        found = [one for one in found if "type" not in params or one["type"] in params["type"]]
        first = (params["page"] - 1) * params["limit"]
        page = [{k: v for k, v in one.items() if k[0] != "_"} for one in found[first : first + params["limit"]]]
        date = dt.datetime.fromtimestamp(self.now, dt.UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
        return 200, {"Date": date}, json.dumps({"response": {"Attribute": page}}).encode()


def attribute(n: int, edited: int = 1_573_635_698) -> dict[str, Any]:
    """An attribute whose time of editing may be years old: it was taken over from another MISP."""
    return {"id": str(n), "uuid": f"cd70624e-79a2-4066-aaec-{n:012d}", "type": "ip-dst", "category": "Network activity",
            "value": f"203.0.113.{n % 250}", "timestamp": str(edited), "to_ids": True, "deleted": False}  # fmt: skip


def test_attributes_come_once_by_when_they_were_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old times of editing hide nothing; an edit comes again; filters are handed on; a wrong key is refused."""
    server, home = Misp(), Home(tmp_path)
    monkeypatch.setenv("MISP_KEY", "Geheim")
    with serving(server.answer) as api:
        options = {"url": api.url.removesuffix("/items"), "key": "env:MISP_KEY", "limit": 10, "overlap_s": 60.0}
        for grown in ((0, 25), (25, 25), (25, 31)):
            server.publish(*(attribute(n) for n in range(*grown)))
            for _ in range(2):
                server.now += 40
                all_of(home.poller(driver(poll("misp", **options), tmp_path)))
        server.publish(attribute(3, edited=server.now), {**attribute(90), "type": "comment"})
        source = driver(poll("misp", filters={"type": ["ip-dst"]}, **options), tmp_path)
        all_of(home.poller(source))
        assert source.dataset == "misp.attribute"
        monkeypatch.setenv("MISP_KEY", "other")
        with pytest.raises(PermissionRefused):
            driver(poll("misp", **options), tmp_path).fetch(None)
    found = Counter(orjson.loads(record)["id"] for record in home.records())
    assert found == Counter({**{str(n): 1 for n in range(31)}, "3": 2})


def test_events_of_misp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole events, of their own dataset."""
    monkeypatch.setenv("MISP_KEY", "Geheim")
    event = {"Event": {"uuid": "u1", "timestamp": "1", "publish_timestamp": "2", "info": "x"}}
    with serving(lambda *_: {"response": [event]}) as api:
        url = api.url.removesuffix("/items")
        source = driver(poll("misp", url=url, key="env:MISP_KEY", what="events"), tmp_path)
        page = source.fetch(None)
        assert api.asked[0][0] == "/events/restSearch"
    assert (source.dataset, [orjson.loads(r) for r in page.records]) == ("misp.event", [event])


def test_a_server_without_a_clock_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would know where to go on."""
    monkeypatch.setenv("MISP_KEY", "Geheim")
    with serving(lambda *_: (200, {"Date": "soon"}, b'{"response": {"Attribute": []}}')) as api:
        source = driver(poll("misp", url=api.url.removesuffix("/items"), key="env:MISP_KEY"), tmp_path)
        with pytest.raises(TryAgain, match="no Date header"):
            source.fetch(None)


def test_sections_for_intelligence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key by reference, and not in the clear; user and password together."""
    text = '[poll.i]\ndriver = "misp"\nurl = "http://misp.example"\nkey = "env:MISP_KEY"\n'
    monkeypatch.setenv("MISP_KEY", "Geheim")
    with pytest.raises(ConfigError, match="may not travel"):
        driver(settings(tmp_path, text).poll[0], tmp_path)
    with pytest.raises(ConfigError, match="never the secret itself, not what stands there") as caught:
        settings(tmp_path, text.replace("env:MISP_KEY", "Geheim"))
    assert "Geheim" not in str(caught.value)
    with pytest.raises(ConfigError, match="'user' and 'password' go together"):
        settings(tmp_path, '[poll.t]\ndriver = "taxii"\nurl = "https://t.example/r"\ncollection = "c"\nuser = "u"\n')
