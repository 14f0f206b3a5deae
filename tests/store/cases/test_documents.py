"""Documents: versions, keys, units, pages, and all or nothing."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soc.errors import Conflict, StoreError
from soc.model.clock import FixedClock, SystemClock
from soc.model.message import Message
from soc.store.cases import Cases


def message(id: str, system: str = "s1", destination: str = "nc") -> Message:
    return Message(id, "alert", destination, 1, {"name": "soc"}, "org", {"id": system}, {"x": 1})


def test_a_document_comes_back_with_version_1(cases: Cases) -> None:
    """What was put is what get gives."""
    with cases.begin("an") as tx:
        assert tx.put("alert", "a", {"tên": "Cảnh báo", "n": [1, None]}, None, unit="u1") == 1
    with cases.read("an") as tx:
        stored = tx.get("alert", "a")
    assert stored is not None
    assert (stored.document, stored.version, stored.unit) == ({"tên": "Cảnh báo", "n": [1, None]}, 1, "u1")


def test_several_come_at_once_and_what_is_not_there_is_left_out(cases: Cases) -> None:
    """By id, of one kind."""
    with cases.begin("an") as tx:
        for id in "ab":
            tx.put("alert", id, {"id": id}, None)
        tx.put("ticket", "c", {}, None)
    with cases.read("an") as tx:
        found = tx.several("alert", ["b", "c", "a", "a", "z"])
        assert tx.several("alert", []) == {}
    assert {id: stored.document for id, stored in found.items()} == {"a": {"id": "a"}, "b": {"id": "b"}}


def test_an_id_is_new_only_once(cases: Cases) -> None:
    """None as the expected version refuses a document that exists."""
    with cases.begin("an") as tx:
        tx.put("alert", "a", {}, None)
    with pytest.raises(Conflict, match="exists already"), cases.begin("an") as tx:
        tx.put("alert", "a", {}, None)


def test_the_second_of_two_writers_of_one_version_is_refused(cases: Cases) -> None:
    """Optimistic locking: both read version 1, only the first may write version 2."""
    with cases.begin("an") as tx:
        tx.put("alert", "a", {"by": "nobody"}, None)
    with cases.begin("an") as tx:
        assert tx.put("alert", "a", {"by": "an"}, 1) == 2
    with pytest.raises(Conflict, match="version 2, not 1"), cases.begin("binh") as tx:
        tx.put("alert", "a", {"by": "binh"}, 1)
    with cases.read("an") as tx:
        stored = tx.get("alert", "a")
    assert stored is not None
    assert stored.document == {"by": "an"}


def test_a_change_of_what_does_not_exist_is_refused(cases: Cases) -> None:
    """A version is expected of something that is there."""
    with pytest.raises(Conflict, match="does not exist"), cases.begin("an") as tx:
        tx.put("alert", "nothing", {}, 3)


def test_an_exception_leaves_nothing_of_any_table(cases: Cases, tmp_path: Path) -> None:
    """Document, keys, ledger, outbox, change and cursor roll back together."""

    def fail_late() -> None:
        with cases.begin("an") as tx:
            tx.put("alert", "a", {}, None, keys={"status": "new"})
            tx.ledger("alert.create", "alert:a", None, {}, "")
            tx.outbox(message("m"))
            tx.change("alert", "a", "new")
            tx.set_cursor("findings", {"seq": 1})
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fail_late()
    connection = sqlite3.connect(tmp_path / "db" / "cases.db")
    tables = ("documents", "keys", "ledger", "outbox", "changes", "cursors")
    assert [connection.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in tables] == [0] * 6
    assert cases.verify_ledger().ok


def test_find_answers_by_all_keys_and_any_value(cases: Cases) -> None:
    """Several keys must match; several values of one key may."""
    with cases.begin("an") as tx:
        for id, status, level in (("1", "new", "high"), ("2", "closed", "high"), ("3", "new", "low")):
            tx.put("alert", id, {}, None, keys={"status": status, "level": level, "event": ("e1", f"e{id}")})
        tx.put("ticket", "9", {}, None, keys={"status": "new"})
        assert [id for id, _ in tx.find("alert", keys={"status": "new"})] == ["3", "1"]
        assert [id for id, _ in tx.find("alert", keys={"status": ["new", "closed"], "level": "high"})] == ["2", "1"]
        assert [id for id, _ in tx.find("alert", keys={"event": "e3"})] == ["3"]
        assert tx.count("alert", {"event": "e1"}) == 3


def test_an_update_moves_the_keys(cases: Cases) -> None:
    """New keys replace the old ones; keys left out stay."""
    with cases.begin("an") as tx:
        tx.put("alert", "a", {}, None, unit="u1", keys={"status": "new"})
        tx.put("alert", "a", {}, 1)
        assert tx.count("alert", {"status": "new"}, {"u1"}) == 1
        tx.put("alert", "a", {}, 2, keys={"status": "closed"})
        assert (tx.count("alert", {"status": "new"}), tx.count("alert", {"status": "closed"})) == (0, 1)


def test_units_hide_other_units_and_the_unregistered(cases: Cases) -> None:
    """A unit's officer finds the unit's own documents only; no units find nothing."""
    with cases.begin("an") as tx:
        for id, unit in (("1", "u1"), ("2", "u2"), ("3", None)):
            tx.put("alert", id, {}, None, unit=unit)
        assert [id for id, _ in tx.find("alert", units=frozenset({"u1"}))] == ["1"]
        assert tx.find("alert", units=frozenset()) == []
        assert tx.count("alert", units=None) == 3


def test_pages_follow_each_other_without_gap(cases: Cases) -> None:
    """`before` is the last id of the page before, in either order."""
    ids = [f"{i:03}" for i in range(10)]
    with cases.begin("an") as tx:
        for id in ids:
            tx.put("alert", id, {}, None)
        for order, wanted in (("desc", ids[::-1]), ("asc", ids)):
            seen: list[str] = []
            while page := tx.find("alert", limit=3, order=order, before=seen[-1] if seen else None):
                seen += [id for id, _ in page]
            assert seen == wanted


def test_find_by_key_reads_an_index(cases: Cases, tmp_path: Path) -> None:
    """No scan over all documents of a kind."""
    connection = sqlite3.connect(tmp_path / "db" / "cases.db")
    plan = connection.execute(
        "EXPLAIN QUERY PLAN SELECT * FROM documents WHERE kind='a' AND id IN "
        "(SELECT id FROM keys WHERE kind='a' AND key='k' AND value IN ('v')) ORDER BY id DESC LIMIT 5"
    ).fetchall()
    assert not any("SCAN" in row[3] for row in plan)


def test_a_reading_transaction_refuses_to_write(cases: Cases) -> None:
    """`read` is a snapshot, nothing else."""
    with pytest.raises(StoreError, match="only reads"), cases.read("an") as tx:
        tx.put("alert", "a", {}, None)


def test_a_cursor_is_what_was_set_last(cases: Cases) -> None:
    """Consumers keep their place beside their changes."""
    with cases.begin("an") as tx:
        assert tx.cursor("findings") is None
        tx.set_cursor("findings", {"n1:findings:0": "n1:findings:5:0:0"})
        tx.set_cursor("findings", {"n1:findings:0": "n1:findings:6:0:0"})
    with cases.read("an") as tx:
        assert tx.cursor("findings") == {"n1:findings:0": "n1:findings:6:0:0"}


def test_changes_are_numbered_in_order_and_carry_the_unit(cases: Cases, clock: FixedClock) -> None:
    """A live screen asks for what came after the number it knows."""
    with cases.begin("an") as tx:
        tx.put("alert", "a", {}, None, unit="u1")
        first = tx.change("alert", "a", "new")
    with cases.begin("an") as tx:
        second = tx.change("alert", "a", "acknowledged")
    (change,) = cases.changes_after(first)
    assert (change.seq, change.what, change.unit, change.at_us) == (
        second, "acknowledged", "u1", clock.now_ns() // 1000,
    )  # fmt: skip
    assert second == first + 1


def test_threads_that_write_at_once_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight threads, ten read-and-add transactions each, one counter; nobody is told to try again on a slow disk."""
    monkeypatch.setattr("soc.store.cases.cases.BUSY_SECONDS", 200)
    cases = Cases(tmp_path / "c.db", SystemClock(), head_path=tmp_path / "h" / "head.json")
    with cases.begin("an") as tx:
        tx.put("n", "n", {"n": 0}, None)

    def work() -> None:
        for _ in range(10):
            with cases.begin("an") as tx:
                stored = tx.get("n", "n")
                assert stored is not None
                tx.put("n", "n", {"n": stored.document["n"] + 1}, stored.version)
                tx.ledger("n.add", "n:n")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with cases.read("an") as tx:
        stored = tx.get("n", "n")
    assert stored is not None
    assert stored.document == {"n": 80}
    verdict = cases.verify_ledger()
    assert (verdict.ok, verdict.entries, verdict.warnings) == (True, 80, ())
    cases.close()


@settings(deadline=None, max_examples=40)
@given(
    steps=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.integers(0, 9), st.booleans()), max_size=25)
)
def test_versions_behave_like_a_dict_with_versions(
    steps: list[tuple[str, int, int, bool]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Against a model: a wrong version changes nothing, an abandoned transaction changes nothing."""
    folder = tmp_path_factory.mktemp("cases")
    cases = Cases(folder / "c.db", FixedClock(0), head_path=folder / "h" / "head.json")
    model: dict[str, tuple[int, int]] = {}
    for id, expected, value, abandon in steps:
        allowed = model.get(id, (0, 0))[0] == expected
        try:
            with cases.begin("an") as tx:
                tx.put("d", id, {"v": value}, expected or None)
                if abandon:
                    raise InterruptedError
        except (Conflict, InterruptedError) as error:
            assert isinstance(error, InterruptedError) or not allowed  # noqa: PT017
        else:
            assert allowed
            model[id] = (expected + 1, value)
    with cases.read("an") as tx:
        found = {id: (stored.version, stored.document["v"]) for id, stored in tx.find("d")}
    cases.close()
    assert found == model


def test_a_document_is_deleted_with_its_keys_as_it_was_read(cases: Cases) -> None:
    """One that changed meanwhile stays; a deleted one may be made anew."""
    with cases.begin("a") as tx:
        tx.put("alert", "1", {"n": 1}, None, keys={"status": "new"})
        tx.put("alert", "2", {"n": 2}, None, keys={"status": "new"})
    with cases.begin("a") as tx:
        tx.put("alert", "1", {"n": 3}, 1)
        assert [tx.delete("alert", id, 1) for id in ("1", "2", "3")] == [False, True, False]
    with cases.begin("a") as tx:
        assert [id for id, _ in tx.find("alert", keys={"status": "new"})] == ["1"]
        assert tx.put("alert", "2", {"n": 4}, None) == 1
        assert tx.find("alert", keys={"status": "new"})[-1][0] == "1"
