"""Packets over the API: a right of their own, the scope of the flow's events, a ledger entry for each retrieval."""

from __future__ import annotations

from pathlib import Path

import pytest

from soc.client import Client
from soc.collectors.packet_ring import PacketRing
from soc.errors import PermissionRefused
from soc.parsers.decoders.flow_community import community_id, packed
from soc.pipeline import places
from tests.web.world import A, World, build

ENDS = ("10.1.0.9", "203.0.113.9")
FLOW = community_id(packed(ENDS[0]), packed(ENDS[1]), 17, 1000, 2000)
FRAME = (
    b"\2\0\0\0\0\1\2\0\0\0\0\2\x08\0" + bytes.fromhex("450000200001000040110000") + packed(ENDS[0]) + packed(ENDS[1])
    + bytes.fromhex("03e807d0000c0000") + b"data"
)  # fmt: skip
ASK = {"community_id": FLOW, "since": "1h", "reason": "PH-12"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory):
    home: Path = tmp_path_factory.mktemp("packets") / "home"
    made: World = build(home)
    settings = made.services.settings
    ring = PacketRing(places.packet_ring(settings, "edge"), 1, max_bytes=64 << 20, max_age_s=3600)
    ring.append(made.clock.now_ns(), FRAME, len(FRAME))
    ring.close()
    made.append(A, **{
        "network.community_id": FLOW, "packet.file": ring.name or "x", "soc.listener": "edge",
        "soc.site": settings.site_id, "source.ip": ENDS[0], "destination.ip": ENDS[1],
    })  # fmt: skip
    yield made
    made.close()


def test_a_responder_gets_the_packets_and_the_ledger_says_so(world: World) -> None:
    """pcapng with the octets; who, what, why and how much are in the ledger."""
    response = world.caller("binh").post("/v1/packets", ASK)
    assert (response.status_code, response.headers["x-soc-packets"]) == (200, "1")
    assert FRAME in response.content
    last = world.services.cases.ledger_entries()[-1]
    assert (last.actor, last.act, last.object, last.reason) == ("binh", "packet.get", f"flow:{FLOW}", "PH-12")
    assert last.after["packets"] == 1


@pytest.mark.parametrize("who", ["an", "chi", "dung", "giang", "officer-a"])
def test_the_right_is_its_own(world: World, who: str) -> None:
    """Neither analysts nor the head, the auditor, the administrator or a unit's officer read packets."""
    before = len(world.services.cases.ledger_entries())
    assert world.caller(who).post("/v1/packets", ASK).status_code == 403
    assert len(world.services.cases.ledger_entries()) == before


def test_a_responder_of_another_unit_finds_nothing(world: World) -> None:
    """404, as for a flow that never was."""
    before = len(world.services.cases.ledger_entries())
    assert world.caller("tier3-b").post("/v1/packets", ASK).status_code == 404
    assert len(world.services.cases.ledger_entries()) == before


@pytest.mark.parametrize("change", [{"reason": ""}, {"community_id": "../../x"}, {"community_id": None}, {"file": "x"}])
def test_what_is_asked_wrongly_is_refused(world: World, change: dict) -> None:
    """No reason, no community id, an unknown key."""
    assert world.caller("binh").post("/v1/packets", {**ASK, **change}).status_code in (400, 422)


def test_the_client_gets_octets_and_errors(world: World, tmp_path: Path) -> None:
    """Over the socket: a refusal comes out as the error it is, nothing is written."""
    with world.served(tmp_path / "s"):
        refused = pytest.raises(PermissionRefused, match=r"packet\.read")
        with Client.connect(world.services.settings, socket=tmp_path / "s") as client, refused:
            client.fetch("/v1/packets", ASK)
        token = world.services.access.issue_token("binh")
        with Client.connect(world.services.settings, socket=tmp_path / "s", token=str(token)) as client:
            data, told = client.fetch("/v1/packets", ASK)
    assert FRAME in data
    assert (told["x-soc-packets"], told["x-soc-truncated"]) == ("1", "false")


OLD = community_id(packed(ENDS[0]), packed(ENDS[1]), 17, 1000, 2002)
AWAY = community_id(packed(ENDS[0]), packed(ENDS[1]), 17, 1000, 2001)


def test_a_distant_unit_is_asked_and_its_answer_is_the_callers_alone(world: World) -> None:
    """202 with the request; 503 until the unit has answered; then the file. Both acts are in the ledger."""
    world.append(A, **{
        "network.community_id": AWAY, "packet.file": "x", "soc.listener": "edge", "soc.site": "dakbla",
        "soc.position": "xa-dakbla.sense-edge-0a1b2c3d:raw:1:0:0", "source.ip": ENDS[0], "destination.ip": ENDS[1],
    })  # fmt: skip
    asked = world.caller("binh").post("/v1/packets", {**ASK, "community_id": AWAY})
    assert (asked.status_code, asked.json()["data"]["units"]) == (202, ["xa-dakbla"])
    id = asked.json()["data"]["id"]
    last = world.services.cases.ledger_entries()[-1]
    assert (last.actor, last.act, last.object, last.reason) == ("binh", "packet.ask", f"flow:{AWAY}", "PH-12")
    state = world.caller("binh").get(f"/v1/packets/{id}").json()["data"]
    assert (state["is_done"], state["units"][0]["bytes"], state["units"][0]["size"]) == (False, 0, None)
    assert world.caller("binh").get(f"/v1/packets/{id}/file").status_code == 503
    asks = world.services.units.packet_asks()
    [open_one] = asks.open("xa-dakbla")
    assert (open_one["id"], open_one["flow"], open_one["points"][0]["name"]) == (id, AWAY, "edge")
    asks.take("xa-dakbla", id, 0, b"octets", 6, {"packets": 2, "is_cut": False})
    for other, status in (("tier3-b", 404), ("an", 403)):
        assert world.caller(other).get(f"/v1/packets/{id}").status_code == status
        assert world.caller(other).get(f"/v1/packets/{id}/file").status_code == status
    got = world.caller("binh").get(f"/v1/packets/{id}/file")
    assert (got.content, got.headers["x-soc-packets"]) == (b"octets", "2")
    last = world.services.cases.ledger_entries()[-1]
    assert (last.act, last.object, last.reason) == ("packet.get", f"flow:{AWAY}", "PH-12")
    assert last.after == {"request": id, "packets": 2, "bytes": 6, "truncated": False}


def test_a_unit_that_has_them_no_more_says_so(world: World) -> None:
    """Its events are here, its ring has gone on."""
    id = world.caller("binh").post("/v1/packets", {**ASK, "community_id": AWAY}).json()["data"]["id"]
    world.services.units.packet_asks().take("xa-dakbla", id, 0, b"", 0, {"packets": 0, "is_cut": False})
    answer = world.caller("binh").get(f"/v1/packets/{id}/file")
    assert (answer.status_code, "overwritten" in answer.text) == (404, True)


def test_a_flow_that_was_seen_here_and_there_is_one_file(world: World) -> None:
    """Our ring's part is there at once, and is no reason to wait, whether it still has the packets or not."""
    for position, site in (("xa-dakbla.sense-edge-0a1b2c3d:raw:7:0:0", "dakbla"), ("n1:raw:77:0:0", "hue")):
        for flow in (FLOW, OLD):
            world.append(A, **{
                "network.community_id": flow, "packet.file": "x", "soc.listener": "edge", "soc.site": site,
                "soc.position": position, "source.ip": ENDS[0], "destination.ip": ENDS[1],
            })  # fmt: skip
    for flow, n in ((FLOW, 1), (OLD, 0)):
        id = world.caller("binh").post("/v1/packets", {**ASK, "community_id": flow}).json()["data"]["id"]
        world.services.units.packet_asks().take("xa-dakbla", id, 0, b"octets", 6, {"packets": 2, "is_cut": False})
        got = world.caller("binh").get(f"/v1/packets/{id}/file")
        assert (got.headers["x-soc-packets"], FRAME in got.content) == (str(2 + n), bool(n))
        assert got.content.endswith(b"octets")
