"""Who is calling: the kernel's uid, a token, or an administrator who acts for somebody on a simulated site."""

from __future__ import annotations

from pathlib import Path

import pytest

from soc.access import permissions_of
from soc.web.auth import Allowed
from tests.web.world import UIDS, UNKNOWN_UID, A, World, build


def acts(world: World) -> list[tuple[str, str, str]]:
    """Actor, way in and act of every entry of the ledger."""
    return [(e.actor, e.via, e.act) for e in world.services.cases.ledger_entries(0, 1000)]


def test_a_uid_is_the_person_it_belongs_to(world: World) -> None:
    """No password and no token on the machine itself."""
    me = world.caller("an").get("/v1/me").json()["data"]
    assert (me["name"], me["role"], me["via"], me["acting_for"], me["wall"]) == ("an", "tier1", "api", None, True)
    assert me["permissions"] == list(permissions_of("tier1"))


def test_an_officer_is_told_their_units(world: World) -> None:
    """What they may see stands in the answer."""
    assert world.caller("officer-a").get("/v1/me").json()["data"]["units"] == [A]


def test_the_service_user_is_told_that_there_is_no_wall(world: World) -> None:
    """Whoever owns the files could read them without asking."""
    assert world.caller("giang").get("/v1/me").json()["data"]["wall"] is False


def test_an_unknown_uid_is_refused_with_exit_5(world: World) -> None:
    """A login on the machine is no account of the service."""
    response = world.caller(uid=UNKNOWN_UID).get("/v1/me")
    error = response.json()["error"]
    assert (response.status_code, error["kind"], error["exit_code"]) == (403, "PermissionRefused", 5)
    assert str(UNKNOWN_UID) in error["message"]


def test_root_is_nobody_special(world: World) -> None:
    """Uid 0 is looked up like any other."""
    root = world.services.access.person_by_uid(0)
    response = world.caller(uid=0).get("/v1/me")
    assert response.status_code == (403 if root is None else 200)
    assert root is None or response.json()["data"]["role"] == root.role


def test_a_disabled_person_is_refused(world: World) -> None:
    """From the next request on."""
    world.services.access.change_person("an", disabled=True, by="giang")
    assert world.caller("an").get("/v1/me").status_code == 403


def test_without_a_caller_only_health_and_the_description_answer(world: World) -> None:
    """Over TCP nobody is anybody until a token says so."""
    nobody = world.caller()
    assert nobody.get("/v1/health").json()["data"]["ok"] is True
    assert nobody.get("/openapi.json").status_code == 200
    response = nobody.get("/v1/alerts")
    assert (response.status_code, response.json()["error"]["exit_code"]) == (401, 5)
    assert response.headers["www-authenticate"] == "Bearer"


def test_even_an_unknown_path_needs_a_caller(world: World) -> None:
    """A stranger does not learn which paths there are by trying."""
    assert world.caller().get("/v1/nothing").status_code == 401
    assert world.caller("an").get("/v1/nothing").status_code == 404


def test_a_token_names_its_person(world: World) -> None:
    """The only way in over TCP."""
    secret = world.services.access.issue_token("chi")
    assert world.caller(Authorization=f"Bearer {secret}").get("/v1/me").json()["data"]["name"] == "chi"


@pytest.mark.parametrize("header", ["Bearer soc_0_0", "Bearer ", "Basic YTpi", "Bearer soc_é_1", ""])
def test_a_bad_token_is_401_whatever_the_uid(world: World, header: str) -> None:
    """A wrong proof is not replaced by a better one in silence."""
    caller = world.caller("an")
    response = caller.get("/v1/me", headers={"authorization": header.encode()})
    assert (response.status_code, response.json()["error"]["kind"]) == (401, "PermissionRefused")


def test_an_expired_or_revoked_token_is_401(world: World) -> None:
    """Both are told in the same words."""
    short = world.services.access.issue_token("chi", days=1)
    revoked = world.services.access.issue_token("chi", days=300)
    world.services.access.revoke_token(revoked.split("_")[1])
    world.clock.advance(2 * 86_400)
    answers = [world.caller(Authorization=f"Bearer {s}").get("/v1/me") for s in (short, revoked)]
    assert [a.status_code for a in answers] == [401, 401]
    assert answers[0].text == answers[1].text


@pytest.mark.parametrize("name", ["peer", "uid", "x-soc-uid", "x-soc-peer", "x-forwarded-for", "state", "remote-user"])
def test_no_header_makes_a_caller(world: World, name: str) -> None:
    """The uid lies beside the request, where no client writes."""
    header = {name: str(UIDS["chi"])}
    assert world.caller().get("/v1/me", headers=header).status_code == 401
    assert world.caller("an").get("/v1/me", headers=header).json()["data"]["name"] == "an"


def test_an_admin_acts_for_somebody_on_a_simulated_site(world: World) -> None:
    """What they do stands in the ledger under both names, also what a room writes by itself."""
    caller = world.caller("giang", **{"X-Soc-As": "an"})
    me = caller.get("/v1/me").json()["data"]
    assert (me["name"], me["role"], me["via"], me["acting_for"]) == ("an", "tier1", "api as giang", "giang")
    assert caller.post(f"/v1/alerts/{world.ids[A]['alert']}/acknowledge").status_code == 200
    body = {"ticket": world.ids[A]["number"], "step": world.ids[A]["step"], "params": {"address": "203.0.113.7"}}
    assert caller.post("/v1/runs", body).status_code == 201
    assert ("an", "api as giang", "alert.acknowledge") in acts(world)
    assert ("an", "api as giang", "playbook.plan") in acts(world)


def test_acting_takes_the_rights_of_the_other_not_ones_own(world: World) -> None:
    """An administrator does not keep their own permissions beside."""
    assert world.caller("giang", **{"X-Soc-As": "an"}).get("/v1/ledger").status_code == 403


@pytest.mark.parametrize("who", ["an", "chi", "dung", "officer-a"])
def test_only_an_admin_acts_for_somebody(world: World, who: str) -> None:
    """Not even the head of the centre."""
    response = world.caller(who, **{"X-Soc-As": "binh"}).get("/v1/me")
    assert (response.status_code, response.json()["error"]["exit_code"]) == (403, 5)


@pytest.mark.parametrize("name", ["nobody-here", "engine", ""])
def test_nobody_acts_for_a_person_who_does_not_exist(world: World, name: str) -> None:
    """Least of all for the engine."""
    assert world.caller("giang", **{"X-Soc-As": name}).get("/v1/me").status_code == 403


def test_nobody_acts_for_a_disabled_person(world: World) -> None:
    """Their rights ended."""
    world.services.access.change_person("an", disabled=True, by="giang")
    assert world.caller("giang", **{"X-Soc-As": "an"}).get("/v1/me").status_code == 403


def test_on_a_real_site_nobody_acts_for_somebody(tmp_path: Path) -> None:
    """There everybody signs with their own name."""
    world = build(tmp_path / "home", simulated=False)
    response = world.caller("giang", **{"X-Soc-As": "an"}).get("/v1/me")
    world.close()
    assert response.status_code == 403


def test_a_route_with_an_unknown_permission_cannot_be_written() -> None:
    """A typing error would otherwise open or close a door for ever."""
    with pytest.raises(ValueError, match=r"alert\.reed"):
        Allowed("alert.reed")
