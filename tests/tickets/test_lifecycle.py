"""The states of a ticket: what may follow what, and the words when it may not."""

from __future__ import annotations

import pytest

from soc.errors import Conflict, UsageError
from soc.model.ticket import STATES
from soc.tickets.lifecycle import NEXT, OPEN, check, reason_against

GIVEN = {"assignee": "lan", "resolution": "not_an_incident", "reason": "r", "target": "t"}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("to", STATES)
def test_exactly_the_listed_steps_are_allowed(state: str, to: str) -> None:
    """Every pair of states is either a step or a refusal with a reason that names both."""
    why = reason_against(state, to, **GIVEN)
    if to in NEXT[state]:
        assert why is None
    else:
        assert why is not None
        assert state in why
        assert to in why


def test_every_state_can_be_reached_and_every_open_one_left() -> None:
    """No dead ends but those that another verb leaves."""
    reached = {"new"}
    for _ in STATES:
        reached |= {to for state in reached for to in NEXT[state]}
    assert reached == set(STATES)
    assert all(NEXT[state] for state in OPEN)


@pytest.mark.parametrize(
    ("state", "to", "given", "words"),
    [
        ("triage", "assigned", {}, "to whom"),
        ("triage", "duplicate", {}, "which ticket"),
        ("recovered", "closed", {"reason": "x"}, "resolution"),
        ("recovered", "closed", {"resolution": "resolved"}, "reason"),
        ("assigned", "closed", {"resolution": "resolved", "reason": "x"}, "contained"),
        ("closed", "reopened", {}, "reason"),
        ("contained", "assigned", {"assignee": "lan"}, "reason"),
        ("contained", "closed", {}, "eradicate"),
    ],
)
def test_a_refusal_says_what_is_missing(state: str, to: str, given: dict[str, str], words: str) -> None:
    """The person reads what to do instead."""
    with pytest.raises(Conflict, match=words):
        check(state, to, **given)


def test_an_unknown_state_names_the_nearest() -> None:
    """A slip of the keyboard is recognised."""
    with pytest.raises(UsageError, match="did you mean 'closed'"):
        check("recovered", "close")
