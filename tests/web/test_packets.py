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
