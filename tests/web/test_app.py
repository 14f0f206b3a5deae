"""The application as a whole: permissions declared, one shape of answers and errors, limits, and the page about it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import orjson
import pytest
from fastapi import Depends
from fastapi.routing import APIRoute

from soc.access import ROLES, holds
from soc.errors import SocError
from soc.web.app import KNOWN, PUBLIC, STREAMS, application, check_permissions, permission_of
from soc.web.auth import ANYBODY, Allowed, Asking
from soc.web.gate import JSON_BYTES, PART_BYTES
from tests.web.test_scope import CALLS, filled
from tests.web.world import A, World

DOCS = Path(__file__).parents[2] / "docs" / "api.md"


def routes(world: World) -> dict[str, str]:
    """`GET /v1/alerts` → its permission."""
    found = [r for r in application(world.services).routes if isinstance(r, APIRoute)]
    return {f"{method} {r.path}": permission_of(r) or "" for r in found for method in r.methods}


def test_a_route_without_a_permission_stops_the_start(world: World) -> None:
    """It is named, and nothing is served."""
    app = application(world.services)
    app.add_api_route("/v1/oops", lambda: {"everything": "open"})
    with pytest.raises(RuntimeError, match="/v1/oops"):
        check_permissions(app)


def test_a_route_for_anybody_must_be_listed(world: World) -> None:
    """`ANYBODY` is for /v1/me."""

    def anybody(ask: Annotated[Asking, Depends(Allowed(ANYBODY))]) -> None: ...

    anybody.__annotations__["ask"] = Annotated[Asking, Depends(Allowed(ANYBODY))]
    app = application(world.services)
    app.add_api_route("/v1/anybody", anybody)
    with pytest.raises(RuntimeError, match="/v1/anybody"):
        check_permissions(app)


@pytest.mark.parametrize("role", [r for r in ROLES if r not in ("engine", "tier2-unit")])
def test_every_route_refuses_the_roles_that_lack_its_permission(world: World, role: str) -> None:
    """The declaration is what is enforced: 403 for exactly those."""
    caller = world.caller(next(name for name, r in _people(world).items() if r == role))
    known = ("plan", "hold", "import", "zero", "officer", "lookback", "rule", "withheld", "packets")
    ids = world.ids[A] | dict.fromkeys(known, "x") | {"zero": "0"}
    refused = set()
    for call, permission in routes(world).items():
        method, path = call.split()
        if call not in CALLS or permission == ANYBODY or holds(role, permission):
            continue
        params, body = CALLS[call]
        for name, key in params.items():
            path = path.replace(f"{{{name}}}", ids[key])
        response = caller.request(method, path, **({} if body is None else {"json": filled(body, ids)}))
        assert (call, response.status_code) == (call, 403)
        refused.add(call)
    assert refused


def _people(world: World) -> dict[str, str]:
    return {p.name: p.role for p in world.services.access.people() if not p.units}


def test_every_answer_is_the_envelope(world: World) -> None:
    """Readings of every noun have the same five keys and a versioned schema."""
    caller = world.caller("chi")
    for path in ("/v1/alerts", "/v1/tickets", "/v1/me", "/v1/events", "/v1/people", "/v1/retention", "/v1/ledger"):
        body = caller.get(path).json()
        assert {"schema", "data", "truncated", "warnings", "cursor"} <= set(body)
        assert re.fullmatch(r"soc\.[a-z.]+/v1", body["schema"])


@pytest.mark.parametrize(
    ("call", "status", "kind"),
    [
        ("/v1/events?q=user.nam:x", 400, "QueryError"),
        ("/v1/events?since=yesterday", 400, "UsageError"),
        ("/v1/events?limit=100000", 400, "UsageError"),
        ("/v1/events?cursor=x", 400, "QueryError"),
        ("/v1/events/top?field=no.such", 400, "QueryError"),
        ("/v1/events/zz", 404, "NotFound"),
        ("/v1/alerts/none", 404, "NotFound"),
        ("/v1/tickets/KT-1999-000001", 404, "NotFound"),
        ("/v1/playbooks/ssh-brute-forse", 404, "NotFound"),
    ],
)
def test_errors_keep_their_kind(world: World, call: str, status: int, kind: str) -> None:
    """The client raises the same class again."""
    response = world.caller("chi").get(call)
    assert (response.status_code, response.json()["error"]["kind"]) == (status, kind)


def test_a_wrong_query_names_its_column(world: World) -> None:
    """So that a console can point at it."""
    error = world.caller("an").get("/v1/events", params={"q": "root user.nam:x"}).json()["error"]
    assert (error["column"], error["exit_code"]) == (6, 2)
    assert "user.name" in error["message"]


def test_a_stale_version_is_409(world: World) -> None:
    """Two people who decide at once: the second reads again."""
    path = f"/v1/alerts/{world.ids[A]['alert']}"
    version = world.caller("an").get(path).json()["data"]["version"]
    assert world.caller("an").post(f"{path}/note", {"text": "first", "version": version}).status_code == 200
    response = world.caller("binh").post(f"{path}/note", {"text": "second", "version": version})
    assert (response.status_code, response.json()["error"]["kind"]) == (409, "Conflict")


@pytest.mark.parametrize(
    "body",
    [{"text": "x", "more": 1}, {"text": 1}, {}, {"text": "x" * 10_001}, [], {"text": "x", "version": "1"}],
)
def test_a_body_that_does_not_fit_is_400(world: World, body: Any) -> None:
    """Unknown keys, other types and too long texts are refused by name, not guessed."""
    response = world.caller("an").post(f"/v1/alerts/{world.ids[A]['alert']}/note", body)
    assert (response.status_code, response.json()["error"]["kind"]) == (400, "UsageError")


def test_no_traceback_leaves(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong inside is said in the service's log alone."""

    def broken() -> None:
        raise KeyError("/secret/path of the service")

    monkeypatch.setattr(world.services, "status", broken)
    response = world.caller("an").get("/v1/status")
    assert response.status_code == 500
    assert response.json()["error"]["exit_code"] == 1
    assert "secret" not in response.text
    assert "Traceback" not in response.text


def test_an_own_error_of_the_store_is_500_with_its_words(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SocError is written for people."""

    def broken() -> None:
        raise SocError("the queue is upside down", hint="turn it")

    monkeypatch.setattr(world.services, "status", broken)
    error = world.caller("an").get("/v1/status").json()["error"]
    assert (error["message"], error["hint"]) == ("the queue is upside down", "turn it")


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data", ""])
def test_a_form_changes_nothing(world: World, kind: str) -> None:
    """A foreign page can send these types on its own; a JSON body it cannot."""
    path = f"/v1/alerts/{world.ids[A]['alert']}/acknowledge"
    response = world.caller("an").request("POST", path, content=b"{}", headers={"content-type": kind})
    assert response.status_code == 415
    assert world.caller("an").get(f"/v1/alerts/{world.ids[A]['alert']}").json()["data"]["status"] == "new"


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8600", ""])
def test_a_foreign_host_is_refused(world: World, host: str) -> None:
    """A page whose name was pointed at this machine sends that name."""
    assert world.caller("an").get("/v1/me", headers={"host": host}).status_code == 400


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8600", "LOCALHOST:1", "[::1]:8600"])
def test_names_of_this_machine_are_taken(world: World, host: str) -> None:
    """With or without a port."""
    assert world.caller("an").get("/v1/me", headers={"host": host}).status_code == 200


def test_a_name_of_the_settings_is_ours_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a certificate people type the name that it is for."""
    monkeypatch.setattr(world.services, "settings", replace(world.services.settings, web_names=("soc.hue.example",)))
    asked = {"host": "SOC.hue.example:8600"}
    assert world.caller("an").get("/v1/me", headers=asked).status_code == 200


def test_a_body_has_a_limit_whatever_its_header_says(world: World) -> None:
    """Announced or not, what is too long is 413."""
    path = f"/v1/alerts/{world.ids[A]['alert']}/note"
    long = b'{"text": "' + b"x" * JSON_BYTES + b'"}'
    kind = {"content-type": "application/json"}
    announced = world.caller("an").request("POST", path, content=long, headers=kind)

    async def pieces() -> Any:
        for at in range(0, len(long), 100_000):
            yield long[at : at + 100_000]

    unannounced = world.caller("an").request("POST", path, content=pieces(), headers=kind)
    assert (announced.status_code, unannounced.status_code) == (413, 413)


def test_a_part_may_be_longer_than_a_document(world: World) -> None:
    """Up to its own limit."""
    kind = {"content-type": "application/octet-stream"}
    path = "/v1/imports/00000000-0000-7000-8000-000000000000/parts/0"
    fits = world.caller("an").request("PUT", path, content=b"x" * PART_BYTES, headers=kind)
    over = world.caller("an").request("PUT", path, content=b"x" * (PART_BYTES + 1), headers=kind)
    assert (fits.status_code, over.status_code) == (404, 413)


@pytest.mark.parametrize("id", ["..", "%2e%2e", "..%2f..", "a" * 129, "00000000-0000-7000-8000-00000000000G"])
def test_an_import_id_is_no_path(world: World, id: str) -> None:
    """It names a folder of the service, and nothing above it."""
    assert world.caller("an").get(f"/v1/imports/{id}").status_code in (400, 404)


def test_lists_go_on_with_their_cursor(world: World) -> None:
    """Every alert once, page by page."""
    caller = world.caller("an")
    seen: list[str] = []
    cursor = None
    while True:
        page = caller.get("/v1/alerts", params={"limit": 1, **({"before": cursor} if cursor else {})}).json()
        seen += [row["id"] for row in page["data"]]
        cursor = page["cursor"]
        if not page["truncated"]:
            break
    assert len(seen) == len(set(seen)) == 4


def test_the_page_names_every_route_with_its_permission(world: World) -> None:
    """docs/api.md is held against the application."""
    rows = re.findall(r"^\| `(GET|POST|PUT) (/\S+)` \| (?:`([a-z.]+)`|([a-z ]+)) \|", DOCS.read_text("utf-8"), re.M)
    written = {f"{method} {path}": permission or words for method, path, permission, words in rows}
    expected = {call: permission or "any known person" for call, permission in routes(world).items()}
    expected |= {f"GET {path}": "public" for path in PUBLIC}
    assert written == expected


def test_open_paths_are_few(world: World) -> None:
    """Widening them is a decision, and this test its place."""
    assert frozenset({"/v1/health", "/openapi.json"}) == PUBLIC
    assert frozenset({"/v1/me"}) == KNOWN
    assert len(STREAMS) == 2


def test_the_description_is_plain_json(world: World) -> None:
    """Other programs make clients of it; the envelope is in it."""
    described = orjson.loads(world.caller().get("/openapi.json").content)
    assert "Envelope" in described["components"]["schemas"]
    assert world.caller("an").get("/docs").status_code == 404
