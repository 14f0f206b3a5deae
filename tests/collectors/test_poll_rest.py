"""The `rest` driver against an HTTP interface of our own (verified: replica): paging, times, bounds, refusals."""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import ssl
import tracemalloc
from email.utils import formatdate
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from soc.collectors.poll import items
from soc.collectors.poll.page import Page, Throttled
from soc.collectors.poll.rest import seconds, written
from soc.collectors.poll.secrets import Secrets
from soc.errors import ConfigError, PermissionRefused, SocError, TryAgain
from tests.collectors.certificates import Authority
from tests.collectors.polls import CLOCK, Api, Home, all_of, driver, poll, serving, settings

Params = dict[str, Any]


def rows(first: int, last: int) -> list[dict[str, Any]]:
    """Documents that can be told apart."""
    times = [(n, f"2026-11-20T03:{n // 60:02d}:{n % 60:02d}Z") for n in range(first, last)]
    return [{"id": n, "at": at, "text": f"row {n}"} for n, at in times]


class Table:
    """Rows that grow, as an interface shows them."""

    def __init__(self, *, size: int = 7) -> None:
        self.rows: list[dict[str, Any]] = []
        self.size = size

    def token(self, _method: str, _path: str, params: Params, _headers: Any) -> Any:
        first = int(params.get("cursor", 0))
        found = self.rows[first : first + self.size]
        more = first + self.size < len(self.rows)
        return {"data": {"items": found}, "paging": {"next": str(first + self.size) if more else None}}

    def delta(self, _method: str, _path: str, params: Params, _headers: Any) -> Any:
        first = int(params.get("cursor", 0))
        found = self.rows[first : first + self.size]
        return {"data": {"items": found}, "paging": {"next": str(first + len(found))}}

    def link(self, _method: str, _path: str, params: Params, _headers: Any) -> Any:
        first = int(params.get("after", 0))
        more = first + self.size < len(self.rows)
        headers = {"Link": f'</items?after={first + self.size}>; rel="next", </items>; rel="first"'} if more else {}
        return 200, headers, json.dumps(self.rows[first : first + self.size]).encode()

    def page(self, _method: str, _path: str, params: Params, _headers: Any) -> Any:
        first = (int(params["page"]) - 1) * int(params["size"])
        return self.rows[first : first + int(params["size"])]

    def since(self, _method: str, _path: str, params: Params, _headers: Any) -> Any:
        low = seconds(params["from"], "iso") if "from" in params else 0.0
        found = [row for row in self.rows if seconds(row["at"], "iso") >= low]
        first = int(params.get("skip", 0))
        return {"rows": found[first : first + int(params["n"])]}


def queued(home: Home) -> list[int]:
    """Which rows are in the queue, in order."""
    return [orjson.loads(record)["id"] for record in home.records()]


TOKEN = {"items": "data.items", "paging": "token", "next": "paging.next", "next_param": "cursor"}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("token", TOKEN),
        ("delta", TOKEN),
        ("link", {"paging": "link"}),
        ("page", {"paging": "page", "next_param": "page", "limit_param": "size", "limit": 7}),
        ("page", {"paging": "page", "next_param": "page", "limit_param": "size", "limit": 7, "method": "POST"}),
        ("since", {"items": "rows", "paging": "offset", "next_param": "skip", "limit_param": "n", "limit": 7}),
        (
            "since",
            {
                "items": "rows", "paging": "offset", "next_param": "skip", "limit_param": "n", "limit": 7,
                "since_param": "from", "time": "at", "overlap_s": 5.0, "id": "id",
            },
        ),
        (
            "since",
            {
                "items": "rows", "paging": "offset", "next_param": "skip", "limit_param": "n", "limit": 7,
                "since_param": "from", "time": "at", "overlap_s": 5.0,
            },
        ),
    ],
    ids=["token", "delta", "link", "page", "post", "offset", "since", "since-without-id"],
)  # fmt: skip
def test_every_row_comes_once_however_it_is_paged(tmp_path: Path, kind: str, options: Params) -> None:
    """Rows grow between looks, the process starts anew between them, also in the middle of a look."""
    table, home = Table(), Home(tmp_path)
    with serving(getattr(table, kind)) as api:
        for grown in (0, 3, 7, 8, 14, 36, 36, 60):
            table.rows = rows(0, grown)
            poller = home.poller(driver(poll("rest", url=api.url, **options), tmp_path))
            poller.sources[0].step()
            poller = home.poller(driver(poll("rest", url=api.url, **options), tmp_path))
            all_of(poller)
    assert queued(home) == list(range(60))


def test_rows_that_come_late_within_the_overlap_are_not_missed(tmp_path: Path) -> None:
    """A row whose time lies before the newest one that was seen."""
    table, home = Table(), Home(tmp_path)
    options = {"items": "rows", "limit_param": "n", "since_param": "from", "time": "at", "overlap_s": 30.0, "id": "id"}
    with serving(table.since) as api:
        whole = rows(0, 50)
        table.rows = [row for row in whole if row["id"] not in (33, 48)]
        source = driver(poll("rest", url=api.url, **options), tmp_path)
        all_of(home.poller(source))
        table.rows = whole
        all_of(home.poller(source))
        assert api.asked[-1][1]["from"] == "2026-11-20T03:00:19.000Z"
    assert sorted(queued(home)) == list(range(50))


def test_equal_texts_within_a_look_are_all_kept(tmp_path: Path) -> None:
    """No id: the second and third of three equal rows are records too, and no later look doubles them."""
    table, home = Table(), Home(tmp_path)
    options = {"items": "rows", "limit_param": "n", "since_param": "from", "time": "at", "overlap_s": 30.0}
    with serving(table.since) as api:
        source = driver(poll("rest", url=api.url, **options), tmp_path)
        for n in (2, 3, 3):
            table.rows = [{"id": 1, "at": "2026-11-20T03:00:00Z"}] * n
            all_of(home.poller(source))
    assert queued(home) == [1, 1, 1]


def test_where_it_begins(tmp_path: Path) -> None:
    """From the beginning no time is sent; a given time less the overlap; now."""
    table = Table()
    options = {"items": "rows", "limit_param": "n", "since_param": "from", "time": "at", "overlap_s": 60.0}
    with serving(table.since) as api:
        for start in ("beginning", "2026-11-01T00:00:00+07:00", "now"):
            driver(poll("rest", url=api.url, start=start, **options), tmp_path).fetch(None)
        asked = [params.get("from") for _, params, _ in api.asked]
    assert asked[:2] == [None, "2026-10-31T16:59:00.000Z"]
    assert 0 <= CLOCK.now_ns() / 1e9 - 60 - seconds(asked[2], "iso") < 30


def test_a_time_of_tomorrow_does_not_carry_the_cursor_past_today(tmp_path: Path) -> None:
    """A clock that runs ahead at the source: the cursor stops at our now."""
    options = {"since_param": "from", "time": "at", "items": "rows"}
    with serving(lambda *_: {"rows": [{"at": "2099-01-01T00:00:00Z"}]}) as api:
        page = driver(poll("rest", url=api.url, **options), tmp_path).fetch(None)
    assert page.cursor["since"] <= CLOCK.now_ns() / 1e9


# the record as it was written ---------------------------------------------------------------------------------------


def test_records_are_the_texts_of_the_source(tmp_path: Path) -> None:
    """Big numbers, spaces, escapes and order of names are its own; nothing is written anew."""
    body = b'{"a": {"b": [ {"n": 123456789012345678901234567890, "x":1.10} ,\n[1, 2], "t\\u00e9", null ]}, "c": []}'
    assert items.records(body, "a.b") == [
        b'{"n": 123456789012345678901234567890, "x":1.10}', b"[1, 2]", b'"t\\u00e9"', b"null",
    ]  # fmt: skip
    assert items.records(body, "a.none") == []
    assert items.records(b'{"x":1}\n{"x":2}\n', "") == [b'{"x":1}', b'{"x":2}']
    assert items.records(b"", "") == []


def test_lines_inside_json_become_lines(tmp_path: Path) -> None:
    """`format = "syslog"`: the records are texts."""
    with serving(lambda *_: ["<13>Nov 20 03:00:00 h sshd[1]: x", {"not": "text"}]) as api:
        source = driver(poll("rest", url=api.url, format="syslog"), tmp_path)
        page = source.fetch(None)
    assert source.format == "syslog"
    assert page.records == [b"<13>Nov 20 03:00:00 h sshd[1]: x", b'{"not": "text"}']


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(_json, max_size=6), st.sampled_from([None, 2]))
def test_every_list_is_taken_apart_into_what_json_says(found: list[Any], indent: int | None) -> None:
    """Each text is the element, whatever stands before the list."""
    body = json.dumps({"x": {"y": [1], "data": "]"}, "data": found}, indent=indent).encode()
    assert [json.loads(text) for text in items.records(body, "data")] == found


@given(st.binary(max_size=300) | st.text(alphabet='[]{}",:\\ 1eu-\n', max_size=60).map(str.encode))
def test_no_answer_breaks_the_reader(body: bytes) -> None:
    """Records, or TryAgain; nothing else comes out."""
    for path in ("", "a", "a.b"):
        with contextlib.suppress(TryAgain):
            assert isinstance(items.records(body, path), list)


def test_a_deep_answer_is_refused(tmp_path: Path) -> None:
    """A hundred thousand brackets cost no more than an error."""
    with pytest.raises(TryAgain, match="no JSON list"):
        items.records(b"[" * 100_000, "")


def test_too_many_records_in_one_answer_are_an_error(tmp_path: Path) -> None:
    """The way out is smaller pages; nothing is thrown away."""
    with pytest.raises(TryAgain, match="more than 100000"):
        items.records(b"[" + b"1," * 100_000 + b"1]", "")


@given(st.floats(0, 4e9), st.sampled_from(["iso", "epoch", "epoch_ms"]))
def test_a_written_time_is_never_later(at: float, form: str) -> None:
    """What is asked for reaches at least as far back as it should, by less than a second."""
    assert 0 <= at - seconds(written(at, form), form) < 1


# refusals and bounds ------------------------------------------------------------------------------------------------


def asked(reply: Any, tmp_path: Path, **options: Any) -> tuple[Page | SocError, Api]:
    """What comes of one request."""
    with serving(lambda *_: reply) as api:
        source = driver(poll("rest", url=api.url, **options), tmp_path)
        try:
            return source.fetch(None), api
        except SocError as error:
            return error, api


@pytest.mark.parametrize(
    ("reply", "kind", "text"),
    [
        ((500, {}, b"secret"), TryAgain, "answers 500"),
        ((401, {}, b""), PermissionRefused, "does not let us in"),
        ((403, {}, b""), PermissionRefused, "does not let us in"),
        ((302, {"Location": "https://evil.example/x?token=1"}, b""), TryAgain, "'evil.example', which is not followed"),
        ((200, {}, b"<html>"), TryAgain, "no JSON list"),
        ((200, {}, b"\xff\xfe"), TryAgain, "no UTF-8"),
        ((200, {"Content-Encoding": "gzip"}, b"not gzip"), TryAgain, "damaged gzip data"),
        ((200, {"Content-Encoding": "gzip"}, gzip.compress(b"[1]")[:-6]), TryAgain, "damaged gzip data"),
        ((200, {}, b"[" + b" " * 5000 + b"]"), TryAgain, "more than 4096 bytes"),
        ((200, {"Content-Encoding": "gzip"}, gzip.compress(b" " * 10_000_000)), TryAgain, "more than 4096 bytes"),
        ((200, {"Content-Length": "100"}, b"[]"), TryAgain, "does not answer"),
    ],
)
def test_what_cannot_be_read_is_asked_again_and_says_no_secret(
    tmp_path: Path, reply: Any, kind: type[SocError], text: str
) -> None:
    """One clear sentence each; bodies and parameters are not repeated."""
    error, _ = asked(reply, tmp_path, max_body=4096, timeout_s=0.5)
    assert type(error) is kind
    assert text in str(error)
    assert "secret" not in str(error)
    assert "token" not in str(error)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_compressed_answer_takes_no_more_memory_than_its_bound(tmp_path: Path, encoding: str) -> None:
    """Whatever a server sends that was broken into: one read of zstd would be a GiB."""
    body = {"gzip": gzip.compress, "zstd": zstandard.compress}[encoding](bytes(48 << 20))
    tracemalloc.start()
    try:
        error, _ = asked((200, {"Content-Encoding": encoding}, body), tmp_path, max_body=1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert isinstance(error, TryAgain)
    assert ("more than 1048576 bytes" if encoding == "gzip" else "encoding 'zstd'") in str(error)


@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_is_honoured(tmp_path: Path, code: int) -> None:
    """Seconds, a date, nonsense, and never more than an hour."""
    for text, low, high in (
        ("7", 7, 7), ("99999999", 3600, 3600), ("-1", 0, 0), ("soon", 0, 0),
        (formatdate(CLOCK.now_ns() / 1e9 + 90, usegmt=True), 60, 90), ("Fri, 20 Nov 2020 00:00:00 GMT", 0, 0),
    ):  # fmt: skip
        error, _ = asked((code, {"Retry-After": text}, b""), tmp_path)
        assert isinstance(error, Throttled)
        assert low <= error.wait_s <= high


def test_a_next_page_of_another_server_is_not_asked(tmp_path: Path) -> None:
    """Neither are our headers shown to it."""
    strangers: list[Any] = []
    with serving(lambda *a: strangers.append(a) or []) as other:
        reply = (200, {"Link": f'<{other.url}>; rel="next"'}, b"[1]")
        with serving(lambda *_: reply) as api:
            source = driver(poll("rest", url=api.url, paging="link"), tmp_path)
            page = source.fetch(None)
            with pytest.raises(TryAgain, match="another server"):
                source.fetch(page.cursor)
    assert strangers == []


def test_a_token_that_is_no_token_is_an_error(tmp_path: Path) -> None:
    """Objects and texts without end."""
    for token in ({"a": 1}, "x" * 20_000, 1.5):
        error, _ = asked({"data": {"items": [1]}, "paging": {"next": token}}, tmp_path, **TOKEN)
        assert isinstance(error, TryAgain)


def test_slow_pages_are_spaced(tmp_path: Path) -> None:
    """`requests_per_minute` is a pause between two requests."""
    from soc.collectors.pollers import polled

    assert polled(poll("rest", url="https://a.example/", requests_per_minute=30), tmp_path, CLOCK).min_gap_s == 2.0


# secrets and TLS ----------------------------------------------------------------------------------------------------


def test_secrets_are_read_by_reference_and_appear_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The header has it; state, frames, log and health do not. A changed secret holds after a refusal."""
    secret = tmp_path / "cloud.header"
    secret.write_text("Bearer old-Geheim\n")
    secret.chmod(0o600)
    shown: list[str] = []

    def answer(_m: str, _p: str, _q: Params, headers: dict[str, str]) -> Any:
        shown.append(headers["authorization"])
        return [{"id": 1}] if headers["authorization"] == "Bearer new-Geheim" else (401, {}, b"")

    caplog.set_level(logging.DEBUG)
    home = Home(tmp_path)
    with serving(answer) as api:
        section = poll("rest", url=api.url, headers={"Authorization": "file:cloud.header"})
        poller = home.poller(driver(section, tmp_path))
        poller.sources[0].step()
        secret.write_text("Bearer new-Geheim")
        poller.sources[0].step()
        poller.sources[0].step()
    poller.sources[0]._save(now=True)
    assert shown == ["Bearer old-Geheim", "Bearer new-Geheim", "Bearer new-Geheim"]
    assert len(home.records()) == 1
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path != secret)
    assert b"Geheim" not in kept
    assert "Geheim" not in caplog.text + repr(poller.health()) + repr(section)


def test_a_secret_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """Mode 0600 or nothing; links to nowhere, folders and many lines too."""
    secrets = Secrets(tmp_path, {"TOKEN": "t", "EMPTY": ""})
    assert secrets.read("env:TOKEN") == "t"
    path = tmp_path / "s"
    path.write_text("geheim")
    for mode in (0o640, 0o604, 0o660):
        path.chmod(mode)
        with pytest.raises(ConfigError, match="others may read"):
            secrets.read("file:s")
    path.chmod(0o600)
    assert secrets.read("file:s") == "geheim"
    path.write_text("geheim\nzwei")
    for wrong in ("file:s", "file:none", "file:.", "env:EMPTY", "env:NONE"):
        with pytest.raises(ConfigError) as caught:
            secrets.read(wrong)
        assert "geheim" not in str(caught.value)


def test_a_secret_does_not_travel_in_the_clear(tmp_path: Path) -> None:
    """http:// with a secret is for this machine only."""
    with pytest.raises(ConfigError, match="may not travel"):
        driver(poll("rest", url="http://cloud.example/", headers={"Authorization": "env:TOKEN"}), tmp_path)


def test_tls_is_verified(tmp_path: Path) -> None:
    """Unknown authority and wrong name are refused, the right one is taken, and with `certificate` we show ours."""
    authority = Authority(tmp_path)
    certificate, key = authority.pair("localhost", dns=["localhost"])
    ours, our_key = authority.pair("soc")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(authority.path)
    context.verify_mode = ssl.CERT_REQUIRED
    with serving(lambda *_: [{"id": 1}], context) as api:
        right = {"ca": str(authority.path), "certificate": str(ours), "key_file": str(our_key)}
        with pytest.raises(TryAgain, match="CERTIFICATE_VERIFY_FAILED"):
            driver(poll("rest", url=api.url), tmp_path).fetch(None)
        with pytest.raises(TryAgain, match="CERTIFICATE_VERIFY_FAILED"):
            driver(poll("rest", url=api.url.replace("localhost", "127.0.0.1"), **right), tmp_path).fetch(None)
        with pytest.raises(TryAgain, match="does not answer"):
            driver(poll("rest", url=api.url, ca=str(authority.path)), tmp_path).fetch(None)
        page = driver(poll("rest", url=api.url, **right), tmp_path).fetch(None)
        assert page.records == [b'{"id": 1}']


# soc.toml -----------------------------------------------------------------------------------------------------------


def test_a_section_becomes_a_poll_with_its_defaults(tmp_path: Path) -> None:
    """And is shown with the origin of each value, references as references."""
    text = """
[poll.cloud]
driver = "rest"
url = "https://cloud.example/v1/events"
headers = {Authorization = "file:poll/cloud.header"}
every_s = 5
"""
    made = settings(tmp_path, text)
    [section] = made.poll
    assert (section.name, section.driver, section["every_s"], section["limit"]) == ("cloud", "rest", 5.0, 1000)
    shown = {row.name: row for row in made.shown()}
    assert shown["poll.cloud.headers"].value == {"Authorization": "file:poll/cloud.header"}
    assert shown["poll.cloud.every_s"].origin.endswith("soc.toml:6")
    assert shown["poll.cloud.limit"].origin == "default"
    assert made.to_document()["poll"]["cloud"]["driver"] == "rest"


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('driver = "rset"\nurl = "https://a.example"', "soc.toml:2: 'poll.a.driver' should be one of rest"),
        ('url = "https://a.example"', "soc.toml:1: 'driver' is missing in [poll.a]"),
        ('driver = "rest"', "soc.toml:1: 'url' is missing in [poll.a]"),
        ('driver = "rest"\nurl = "https://a.example"\nevery = 5', "soc.toml:4: unknown key 'every' in [poll.a]"),
        ('driver = "rest"\nurl = "https://u:p@a.example"', "soc.toml:3: 'poll.a.url' should be an https:// address"),
        ('driver = "rest"\nurl = "https://a.example"\nevery_s = 0', "a number of seconds from 0.05 up"),
        (
            'driver = "rest"\nurl = "https://a.example"\npaging = "token"',
            "needs 'next', where the answer",
        ),
        ('driver = "rest"\nurl = "https://a.example"\npaging = "page"', "needs 'next_param'"),
        ('driver = "rest"\nurl = "https://a.example"\nsince_param = "s"', "'since_param' and 'time' go together"),
        ('driver = "rest"\nurl = "https://a.example"\ncertificate = "c"', "'certificate' and 'key_file' go together"),
        ('driver = "rest"\nurl = "https://a.example"\nitems = "a..b"', "names joined by dots"),
        ('driver = "rest"\nurl = "https://a.example"\nstart = "yesterday"', "now, beginning or a time"),
    ],
)
def test_a_wrong_section_is_told_with_its_place(tmp_path: Path, body: str, fault: str) -> None:
    """And the nearest name where there is one."""
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, f"[poll.a]\n{body}\n")
    assert fault in str(caught.value)


def test_a_secret_in_the_file_is_refused_and_not_repeated(tmp_path: Path) -> None:
    """Literal secrets stand nowhere, not even in the error."""
    section = '[poll.a]\ndriver = "rest"\nurl = "https://a.example"\nheaders = {Authorization = "Bearer Geheim"}'
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, section)
    assert "soc.toml:4: 'poll.a.headers' should be a table in which 'Authorization' is file:PATH" in str(caught.value)
    assert "Geheim" not in str(caught.value)


def test_a_name_that_a_listener_has_is_refused(tmp_path: Path) -> None:
    """Listener names tell whose records are whose."""
    with pytest.raises(ConfigError, match="the name is taken by a listener"):
        settings(tmp_path, '[poll.syslog-udp]\ndriver = "rest"\nurl = "https://a.example"\n')
