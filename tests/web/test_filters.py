"""Named filters over the API: listed, shown, and meant by searches."""

from __future__ import annotations

from pathlib import Path

import pytest

from soc.pipeline import places
from tests.web.world import A, World, build


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory):
    made: World = build(tmp_path_factory.mktemp("filters") / "home")
    folder: Path = made.services.settings.path(places.DETECTIONS) / "filters"
    folder.mkdir(parents=True)
    (folder / "site.yml").write_text("name: jump\ntitle: Jump\nquery: user.name:jump-1\n---\nname: bad\nquery: 'a:b'\n")
    made.append(A, **{"user.name": "jump-1"})
    made.append(A, **{"user.name": "other-1"})
    yield made
    made.close()


def test_filters_are_listed_and_shown(world: World) -> None:
    """Ours and the site's by name; a refused one is told with its place and reason."""
    caller = world.caller("giang")
    answer = caller.get("/v1/filters").json()
    assert {"jump", "private_source"} <= {each["name"] for each in answer["data"]}
    assert any("bad is refused: in filter 'bad': unknown field 'a'" in each for each in answer["warnings"])
    assert caller.get("/v1/filters/jump").json()["data"]["query"] == "user.name:jump-1"
    assert caller.get("/v1/filters/jum").status_code == 404
    assert "unknown field 'a'" in caller.get("/v1/filters/bad").text


def test_a_search_means_the_filter(world: World) -> None:
    """And what it cannot mean is an error with the way out."""
    caller = world.caller("giang")
    found = caller.get("/v1/events", params={"q": "filter:jump"}).json()["data"]
    assert [event["user.name"] for event in found] == ["jump-1"]
    refused = caller.get("/v1/events", params={"q": "filter:jmp"})
    assert refused.status_code == 400
    assert "there is no filter 'jmp' (did you mean 'jump'?)" in refused.text
