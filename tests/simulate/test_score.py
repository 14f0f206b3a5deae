"""The scorer: all three of time, entity and technique, the reasons of a miss, and the shuffled control."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from soc.errors import StoreError
from soc.simulate import truth as truths
from soc.simulate.score import score, shuffled
from soc.simulate.truth import Truth, TruthFile
from tests.simulate.watch import Watch, a_province, played

T0 = 1_795_143_600_000_000


def an_attack(id: str = "a1", **changes: Any) -> dict[str, Any]:
    """A brute force of 40 seconds from T0."""
    base = Truth(id, "ssh-brute-force", ("T1110.001",), ("203.0.113.9", "root"), "kontum", T0, T0 + 40_000_000)
    return {**base.to_document(), **changes}


def an_alert(id: str = "x1", **changes: Any) -> dict[str, Any]:
    """What is raised of it, as `Alert.to_document` gives it (the parts that count)."""
    document = {
        "id": id, "title": "SSH password guessing", "entity": "source.ip=203.0.113.9", "observables": [],
        "tags": ["attack.credential-access", "attack.t1110.001"], "first_us": T0, "last_us": T0 + 13_000_000,
        "created_us": T0 + 14_000_000, "import_id": None,
    }  # fmt: skip
    return {**document, **changes}


def test_an_attack_is_caught_with_the_seconds_it_took() -> None:
    """The earliest alert counts; all that belong to it are named."""
    later = an_alert("x2", created_us=T0 + 50_000_000, tags=["attack.t1110"])
    result = score([an_attack()], [later, an_alert()])
    assert [(c.id, c.alerts, c.seconds) for c in result.caught] == [("a1", ("x2", "x1"), 14.0)]
    assert (result.missed, result.false, result.recall, result.slowest_s) == ((), (), 1.0, 14.0)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"entity": "source.ip=192.0.2.1", "tags": ["attack.t1046"]}, "no_alert"),
        ({"first_us": T0 + 3_600_000_000, "last_us": T0 + 3_601_000_000}, "entity_only"),
        ({"entity": "source.ip=192.0.2.1"}, "time_only"),
        ({"tags": ["attack.t1046"]}, "other_technique"),
        ({"entity": "source.ip=203.0.113.90"}, "time_only"),
        ({"tags": ["attack.t1110.0011", "attack.t11100"]}, "other_technique"),
    ],
)
def test_a_miss_says_why(changes: dict[str, Any], why: str) -> None:
    """Two of the three are not enough, nor are their beginnings; the alert then is false."""
    result = score([an_attack()], [an_alert(**changes)])
    assert [(m.id, m.why) for m in result.missed] == [("a1", why)]
    assert [f.id for f in result.false] == ["x1"]
    assert result.recall == 0.0


def test_the_entity_may_stand_in_any_part_of_the_alert() -> None:
    """In the name of a source, or among the observables."""
    by_source = an_alert(entity="soc.source=kontum/syslog-udp/203.0.113.9")
    by_observable = an_alert(entity="host.name=h", observables=[{"field": "source.ip", "value": "203.0.113.9"}])
    assert [len(score([an_attack()], [alert]).caught) for alert in (by_source, by_observable)] == [1, 1]


def test_what_is_still_under_way_is_pending() -> None:
    """Until half a minute after its end; then it is a miss."""
    assert score([an_attack()], [], now_us=T0 + 45_000_000).pending == ("a1",)
    assert len(score([an_attack()], [], now_us=T0 + 71_000_000).missed) == 1


def test_an_attack_cut_short_is_not_expected_and_its_alert_not_false() -> None:
    """Nobody can blame the rules, nor the alert that came in time."""
    cut = an_attack(expect=False)
    assert score([cut], []).missed == ()
    assert score([cut], [an_alert()]).false == ()


def test_alerts_of_imports_are_not_about_the_traffic() -> None:
    """They are counted apart, neither catching nor false."""
    result = score([an_attack()], [an_alert(import_id="i1")])
    assert (len(result.missed), len(result.false), result.outside) == (1, 0, 1)


def test_an_alert_older_than_the_attack_tells_no_seconds() -> None:
    """One of the same hour took it in."""
    result = score([an_attack()], [an_alert(created_us=T0 - 1, first_us=T0 - 60_000_000)])
    assert [c.seconds for c in result.caught] == [None]


def test_the_score_is_json() -> None:
    """With the figures that people look at first."""
    document = json.loads(
        json.dumps(score([an_attack(), an_attack("a2", start_us=0, end_us=1)], [an_alert()]).to_document())
    )
    assert (document["expected"], document["recall"], document["slowest_s"]) == (2, 0.5, 14.0)
    assert document["missed"][0]["id"] == "a2"


@pytest.fixture(scope="module")
def half_an_hour() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Truth and alerts of half an hour of simulated traffic."""
    packets, attacks = played(5, 1800, rate=2.0)
    watch = Watch(a_province(5))
    watch.see(packets)
    return [a.to_document() for a in attacks], [a.to_document() for a in watch.alerts.values()]


@pytest.mark.parametrize("seed", range(8))
def test_with_the_truth_shuffled_the_score_falls_to_nothing(half_an_hour, seed: int) -> None:
    """The control: what is caught is caught for its entity and technique, not by chance."""
    truth, alerts = half_an_hour
    mixed = shuffled(truth, seed)
    assert score(truth, alerts).recall == 1.0
    assert sorted(m["entity"] for m in mixed) == sorted(t["entity"] for t in truth)
    assert all(m["entity"] != t["entity"] for m, t in zip(mixed, truth, strict=True))
    assert len(score(mixed, alerts).caught) <= 1


def test_the_truth_is_written_line_by_line_and_the_last_word_counts(tmp_path: Path) -> None:
    """Only its owner may read it; a torn last line is passed over, a damaged one within is an error."""
    path = tmp_path / "simulate" / "truth.jsonl"
    attack = Truth("a1", "n", ("T1046",), ("203.0.113.9",), "kontum", T0, T0 + 10)
    file = TruthFile(path)
    file.append(attack)
    file.append(attack.cut_short(T0 + 5))
    file.close()
    with path.open("ab") as tail:
        tail.write(b'{"id": "torn')
    assert path.stat().st_mode & 0o777 == 0o600
    assert truths.read(path) == [json.loads(json.dumps(attack.cut_short(T0 + 5).to_document()))]
    with path.open("ab") as tail:
        tail.write(b"\n")
    with pytest.raises(StoreError, match=r"truth\.jsonl:3"):
        truths.read(path)


def test_a_truth_that_was_never_written_is_a_clear_error(tmp_path: Path) -> None:
    """With the way out."""
    with pytest.raises(StoreError, match="cannot read"):
        truths.read(tmp_path / "none.jsonl")
