"""Coverage counts what works, and says what the rest lacks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from soc.detections.attack import Standing, coverage, csv_rows, gaps, layer

GOOD = Standing("r1", "Guessing", "high", ("attack.credential-access", "attack.t1110.001"), "live", "held", True)


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({}, []),
        ({"state": "shadow"}, ["not_live"]),
        ({"state": "off", "tests": "failed"}, ["not_live", "tests_failed"]),
        ({"tests": "untested", "is_fed": False}, ["untested", "not_fed"]),
        ({"tests": "refused"}, ["untested"]),
    ],
)
def test_a_rule_counts_when_it_is_live_tested_and_fed(changes: dict[str, object], missing: list[str]) -> None:
    """Each of the three is needed; what is missing is named."""
    standing = replace(GOOD, **changes)  # type: ignore[arg-type]
    found = coverage([standing])
    [row] = found["techniques"]
    assert (standing.missing, len(row["counted"]), found["counted"]) == (missing, not missing, not missing)
    assert [each["missing"] for each in row["others"]] == ([missing] if missing else [])


def test_tactics_come_in_the_order_of_an_attack() -> None:
    """Old spellings are the same tactic; groups and techniques are none; a tactic of tomorrow stands last."""
    rules = [
        replace(GOOD, tags=("attack.impact", "attack.t1486", "attack.g0010")),
        replace(GOOD, id="r2", tags=("attack.initial_access", "attack.t1190", "attack.s0002", "attack.ds0005")),
        replace(GOOD, id="r3", tags=("attack.stealth", "attack.t1070"), is_fed=False),
        replace(GOOD, id="r4", tags=("attack.tomorrow", "attack.t1071"), is_fed=False),
    ]
    found = coverage(rules)
    assert [(row["tactic"], row["techniques"]) for row in found["tactics"]] == [
        ("initial-access", ["T1190"]), ("stealth", []), ("impact", ["T1486"]), ("tomorrow", []),
    ]  # fmt: skip


def test_the_layer_is_one_that_the_navigator_reads() -> None:
    """Format 4.5: what it requires is there, ids are whole, the score is what counts."""
    found = layer(coverage([GOOD, replace(GOOD, id="r2", state="shadow", title="Other")]), "soc")
    assert found["versions"] == {"navigator": "4.9.0", "layer": "4.5"}
    assert (found["name"], found["domain"]) == ("soc", "enterprise-attack")
    assert found["techniques"] == [
        {"techniqueID": "T1110.001", "score": 1, "comment": "Guessing\nOther (not_live)", "enabled": True}
    ]
    assert found["gradient"]["maxValue"] > found["gradient"]["minValue"]


def test_a_layer_of_nothing_still_has_a_gradient() -> None:
    """The format wants maxValue above minValue."""
    assert layer(coverage([]), "soc")["gradient"] == {"colors": ["#f4f4f4", "#8ec843"], "minValue": 0, "maxValue": 1}


def test_gaps_are_what_data_are_there_for() -> None:
    """Nobody can use a rule whose log source is silent; the one that lacks least comes first; covered is no gap."""
    rules = [
        GOOD,
        replace(GOOD, id="r2", tags=("attack.t1059",), state="off", tests="untested", title="Far"),
        replace(GOOD, id="r3", tags=("attack.t1059",), state="shadow", title="Near"),
        replace(GOOD, id="r4", tags=("attack.t1070",), is_fed=False),
    ]
    [row] = gaps(coverage(rules))
    assert (row["technique"], [each["title"] for each in row["others"]]) == ("T1059", ["Near", "Far"])


def test_a_table_has_a_row_for_each_technique_and_rule() -> None:
    """What counts, and what the others lack."""
    rows = list(csv_rows(coverage([GOOD, replace(GOOD, id="r2", state="shadow", is_fed=False)])))
    assert rows[1] == ("T1110.001", "credential-access", "r1", "Guessing", "high", "yes", "")
    assert rows[2][-2:] == ("no", "not_live not_fed")
    assert {len(row) for row in rows} == {len(rows[0])}
