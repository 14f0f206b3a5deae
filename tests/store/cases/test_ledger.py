"""Whoever changes, removes or adds an entry behind our back is found out."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soc.model.clock import FixedClock
from soc.model.ledger import GENESIS, LedgerEntry
from soc.store.cases import Cases, LedgerVerdict

TEXTS = ("actor", "via", "act", "object", "before", "after", "reason", "prev", "hash")


def opened(folder: Path) -> Cases:
    return Cases(folder / "db" / "c.db", FixedClock(1_000_000_000), head_path=folder / "head" / "h.json")


def filled(folder: Path, n: int) -> Cases:
    cases = opened(folder)
    for i in range(n):
        with cases.begin(f"người-{i}") as tx:
            tx.ledger("alert.note", f"alert:{i}", {"note": ""}, {"note": f"ghi chú {i}"}, "theo yêu cầu")
    return cases


def behind_our_back(folder: Path, *statements: str) -> None:
    connection = sqlite3.connect(folder / "db" / "c.db", isolation_level=None)
    connection.execute("DROP TRIGGER ledger_no_update")
    connection.execute("DROP TRIGGER ledger_no_delete")
    for statement in statements:
        connection.execute(statement)
    connection.close()


def judged(folder: Path, *statements: str, n: int = 4) -> LedgerVerdict:
    cases = filled(folder, n)
    behind_our_back(folder, *statements)
    verdict = cases.verify_ledger()
    cases.close()
    return verdict


def test_an_honest_chain_holds(tmp_path: Path) -> None:
    """Numbers from 1, each entry after the one before it, the first after the genesis hash."""
    cases = filled(tmp_path, 3)
    entries = cases.ledger_entries()
    assert [e.seq for e in entries] == [1, 2, 3]
    assert [e.prev for e in entries] == [GENESIS, entries[0].hash, entries[1].hash]
    assert cases.verify_ledger() == LedgerVerdict(True, 3)
    assert cases.ledger_entries(2, 10) == entries[2:]
    cases.close()


@pytest.mark.parametrize("act", ["UPDATE ledger SET actor='x'", "DELETE FROM ledger"])
def test_the_table_refuses_changes(tmp_path: Path, act: str) -> None:
    """Triggers stop an honest mistake with a database tool."""
    filled(tmp_path, 1).close()
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        sqlite3.connect(tmp_path / "db" / "c.db").execute(act)


@settings(max_examples=30, deadline=None)
@given(seq=st.integers(1, 4), column=st.sampled_from((*TEXTS, "at_us")), text=st.text('abc{}"1', max_size=5))
def test_a_change_anywhere_is_detected(
    tmp_path_factory: pytest.TempPathFactory, seq: int, column: str, text: str
) -> None:
    """Any column of any entry, whatever stands there now."""
    folder = tmp_path_factory.mktemp("ledger")
    value = "7" if column == "at_us" else "'" + (text + "!") + "'"
    verdict = judged(folder, f"UPDATE ledger SET {column}={value} WHERE seq={seq}")
    assert not verdict.ok
    assert any(f"entry {seq}" in fault for fault in verdict.faults)


@pytest.mark.parametrize("seq", [1, 2, 3])
def test_a_removed_entry_is_detected(tmp_path: Path, seq: int) -> None:
    """The numbers have a gap, and the next entry follows nothing."""
    verdict = judged(tmp_path, f"DELETE FROM ledger WHERE seq={seq}")
    assert not verdict.ok


def test_the_removed_last_entry_is_detected(tmp_path: Path) -> None:
    """The chain alone would look whole; the signed head knows better."""
    verdict = judged(tmp_path, "DELETE FROM ledger WHERE seq=4")
    assert verdict.faults == ("the last entry was removed: the signed head is at 4, the database at 3",)


def test_the_removal_of_everything_is_detected(tmp_path: Path) -> None:
    """An empty ledger under a head of 4."""
    assert not judged(tmp_path, "DELETE FROM ledger").ok


def test_a_removed_last_entry_stays_detected_when_work_goes_on(tmp_path: Path) -> None:
    """A later honest entry does not cover the gap, its head neither."""
    cases = filled(tmp_path, 4)
    behind_our_back(tmp_path, "DELETE FROM ledger WHERE seq=4")
    with cases.begin("an") as tx:
        assert tx.ledger("alert.note", "alert:9").seq == 5
    verdict = cases.verify_ledger()
    assert verdict.faults == ("entry 5: entries 4 to 4 are missing", "entry 5: does not follow the entry before it")
    cases.close()


def test_a_rewritten_last_entry_with_a_fitting_hash_is_detected(tmp_path: Path) -> None:
    """An attacker can compute hashes too, but not sign a head."""
    cases = filled(tmp_path, 3)
    last = cases.ledger_entries()[-1]
    forged = LedgerEntry(**{**vars(last), "actor": "somebody", "hash": ""}).sealed()
    behind_our_back(tmp_path, f"UPDATE ledger SET actor='somebody', hash='{forged.hash}' WHERE seq=3")
    assert cases.verify_ledger().faults == ("entry 3: is not the one that was signed",)
    with cases.begin("an") as tx:
        tx.ledger("alert.note", "alert:9")
    assert cases.verify_ledger().faults == ("entry 4: does not follow the entry before it",)
    cases.close()


def test_a_head_behind_the_database_is_a_crash_and_no_fault(tmp_path: Path) -> None:
    """The commit is durable before the head is; dying between the two proves nothing."""
    cases = filled(tmp_path, 2)
    head = tmp_path / "head" / "h.json"
    old = head.read_bytes()
    with cases.begin("an") as tx:
        tx.ledger("alert.note", "alert:9")
    head.write_bytes(old)
    verdict = cases.verify_ledger()
    assert (verdict.ok, len(verdict.warnings)) == (True, 1)
    with cases.begin("an") as tx:
        tx.ledger("alert.note", "alert:10")
    assert cases.verify_ledger() == LedgerVerdict(True, 4)
    cases.close()


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (None, "missing"),
        (b"", "damaged"),
        (b"[]", "damaged"),
        (b'{"chain":"main","seq":1,"hash":"' + b"0" * 64 + b'","signature":"' + b"00" * 64 + b'"}', "signature"),
    ],
)
def test_a_lost_head_is_detected_and_stays_in_the_chain(tmp_path: Path, content: bytes | None, word: str) -> None:
    """Removing the head with the last entry does not help: the loss becomes an entry of its own."""
    cases = filled(tmp_path, 2)
    behind_our_back(tmp_path, "DELETE FROM ledger WHERE seq=2")
    head = tmp_path / "head" / "h.json"
    head.unlink() if content is None else head.write_bytes(content)
    assert any(word in fault for fault in cases.verify_ledger().faults)
    cases.close()
    cases = opened(tmp_path)
    with cases.begin("an") as tx:
        tx.ledger("alert.note", "alert:9")
    verdict = cases.verify_ledger()
    assert len(verdict.faults) == 1
    assert "entry 2: the signed head had been lost here" in verdict.faults[0]
    cases.close()


def test_a_head_that_cannot_be_written_does_not_undo_the_commit(tmp_path: Path) -> None:
    """The caller learns that the commit is durable; the verdict warns of the head."""
    cases = filled(tmp_path, 1)
    head = tmp_path / "head" / "h.json"
    head.unlink()
    head.mkdir()
    with cases.begin("an") as tx:
        tx.put("alert", "a", {}, None)
        tx.ledger("alert.note", "alert:a")
    with cases.read("an") as tx:
        assert tx.get("alert", "a") is not None
    assert any("could not be written" in warning for warning in cases.verify_ledger().warnings)
    cases.close()


def test_a_fraction_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    """RFC 8785 numbers are not hashed as fractions; the transaction ends."""
    cases = opened(tmp_path)
    with pytest.raises(ValueError, match="floats"), cases.begin("an") as tx:
        tx.ledger("alert.score", "alert:1", None, {"score": 0.5}, "")
    assert cases.verify_ledger() == LedgerVerdict(True, 0)
    cases.close()


def test_secrets_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    """Database, key and head have mode 0600."""
    filled(tmp_path, 1).close()
    files = [tmp_path / "db" / "c.db", tmp_path / "head" / "h.json", tmp_path / "head" / "ledger.key"]
    assert [oct(f.stat().st_mode & 0o777) for f in files] == ["0o600"] * 3
