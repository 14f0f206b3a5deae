"""The outbox keeps the order of each system and counts what waits."""

from __future__ import annotations

import pytest

from soc.errors import NotFound
from soc.model.message import Message
from soc.store.cases import Cases
from tests.store.cases.test_documents import message


def due(cases: Cases, now_us: int = 10) -> list[str]:
    with cases.read("an") as tx:
        return [item.id for item in tx.outbox_due("nc", now_us)]


def test_numbers_run_per_destination_and_system(cases: Cases) -> None:
    """Each (destination, system) counts from 1."""
    with cases.begin("an") as tx:
        numbers = [
            tx.outbox(message("1")), tx.outbox(message("2")), tx.outbox(message("3", "s2")),
            tx.outbox(message("4", "s1", "other")), tx.outbox(message("5")),
        ]  # fmt: skip
    assert numbers == [1, 2, 1, 1, 3]


def test_only_the_first_of_each_system_is_due(cases: Cases) -> None:
    """A later message never overtakes an earlier one, another system's goes on."""
    with cases.begin("an") as tx:
        for id, system in (("1", "s1"), ("2", "s1"), ("3", "s2")):
            tx.outbox(message(id, system))
        assert [item.id for item in tx.outbox_due("nc", 10)] == ["1", "3"]
        tx.outbox_mark("1", "sent", next_try_us=100)
    assert due(cases) == ["3"]
    assert sorted(due(cases, 100)) == ["1", "3"]


@pytest.mark.parametrize("outcome", ["acked", "rejected"])
def test_the_next_is_due_when_the_first_has_an_outcome(cases: Cases, outcome: str) -> None:
    """A refused message does not block its system for ever."""
    with cases.begin("an") as tx:
        tx.outbox(message("1"))
        tx.outbox(message("2"))
        tx.outbox_mark("1", outcome, receipt={"id": "r1"})
    assert due(cases) == ["2"]


def test_the_same_message_again_changes_nothing(cases: Cases) -> None:
    """A replayed transaction sends once."""
    with cases.begin("an") as tx:
        assert (tx.outbox(message("1")), tx.outbox(message("1"))) == (1, 1)
        assert tx.outbox_counts()["nc"]["pending"] == 1


def test_the_message_comes_back_with_its_number(cases: Cases) -> None:
    """What the driver sends is the message that was put in."""
    with cases.begin("an") as tx:
        tx.outbox(message("1"))
        (item,) = tx.outbox_due("nc", 0)
    assert item.message() == Message(**{**vars(message("1")), "sequence": 1})


def test_each_attempt_counts_once(cases: Cases) -> None:
    """sent → pending (failed) → sent → acked is two attempts; the receipt is kept."""
    with cases.begin("an") as tx:
        tx.outbox(message("1"))
        tx.outbox_mark("1", "sent")
        tx.outbox_mark("1", "pending", error="refused connection", next_try_us=5)
        (item,) = tx.outbox_items("nc", "pending")
        assert (item.tries, item.error) == (1, "refused connection")
        tx.outbox_mark("1", "sent")
        tx.outbox_mark("1", "acked", receipt={"ref": "x"})
        (item,) = tx.outbox_items("nc", "acked")
    assert (item.tries, item.error, item.receipt) == (2, None, {"ref": "x"})


def test_counts_name_every_state(cases: Cases) -> None:
    """A state without messages is a 0, not a gap."""
    with cases.begin("an") as tx:
        tx.outbox(message("1"))
        assert tx.outbox_counts() == {"nc": {"pending": 1, "sent": 0, "acked": 0, "rejected": 0}}


def test_an_unknown_message_is_named(cases: Cases) -> None:
    """Marking needs a message that is there."""
    with pytest.raises(NotFound, match="'x'"), cases.begin("an") as tx:
        tx.outbox_mark("x", "acked")


def test_an_unknown_state_is_refused(cases: Cases) -> None:
    """Only the four states exist."""
    with pytest.raises(ValueError, match="one of pending"), cases.begin("an") as tx:
        tx.outbox_mark("x", "lost")
