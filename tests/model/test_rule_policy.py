"""Which rules are on, off and in shadow."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from soc.model.rule_policy import Choice, RulePolicy, Selector


@dataclass(frozen=True)
class Rule:
    """What a choice looks at."""

    id: str = "r1"
    level: str = "high"
    status: str = "test"
    tags: tuple[str, ...] = ("attack.t1059.001", "attack.execution")


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("r1", True), ("id=R1", True), ("r2", False), ("level=high", True), ("level=low", False),
        ("status=test", True), ("tag=attack.t1059*", True), ("tag=attack.t1059", False), ("tag=ATTACK.Execution", True),
    ],
)  # fmt: skip
def test_rules_are_chosen_by_id_tag_level_and_status(text: str, taken: bool) -> None:
    """Without a kind it is an id; case does not matter; a star is wild."""
    assert Selector.parse(text).takes(Rule()) == taken


@pytest.mark.parametrize("text", ["", "colour=red", "tag=", "status= "])
def test_what_chooses_nothing_is_refused(text: str) -> None:
    """A typing error must not silently leave a rule on."""
    with pytest.raises(ValueError, match="chooses no rules"):
        Selector.parse(text)


def test_the_nearest_word_wins() -> None:
    """Site, then a person's decision, then the unit itself; `enable` wins over `disable` of the same place."""
    units = {"quiet": Choice.parse(["level=high"], []), "keen": Choice.parse([], ["r1"])}
    policy = RulePolicy(Choice.parse(["level=high"], []), (Selector.parse("status=test"),), units)
    assert policy.state(Rule()) == "off"
    assert policy.state(Rule(), "keen") == "shadow"
    assert policy.state(Rule(), "keen", "live") == "live"
    assert policy.state(Rule(), "quiet", "live") == "off"
    assert policy.state(Rule(), None, "live") == "live"
    assert policy.state(Rule(), "keen", "off") == "off"
    assert RulePolicy(Choice.parse(["level=high"], ["id=r1"])).state(Rule()) == "live"


def test_a_rule_that_one_unit_wants_is_matched() -> None:
    """What is off everywhere costs nothing; what some unit turned on again is still matched for all."""
    off = Choice.parse(["level=high"], [])
    assert RulePolicy(off).is_off_everywhere(Rule())
    assert not RulePolicy(off, units={"keen": Choice.parse([], ["r1"])}).is_off_everywhere(Rule())
    assert not RulePolicy(units={"quiet": off}).is_off_everywhere(Rule())
