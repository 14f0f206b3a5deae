"""Counts of sources and hours."""

import os

import pytest

from soc.collectors import counters as module
from soc.collectors.counters import HOUR_NS, KEPT_HOURS, Counters
from soc.errors import StoreError
from soc.model.record import RawBlock


def block(*records, peer="10.0.0.1", at=0, **options):
    return RawBlock.of(list(records), receipt_ns=at, peer=peer, **options)


def test_waiting_records_are_received_but_not_settled(tmp_path):
    """Live counts include what waits for the commit; the file does not, so that a crash leaves it balanced."""
    counters = Counters(tmp_path / "c")
    counters.arrived("default", "test", "10.0.0.1", 0, 3)
    counters.dropped("default", "test", "10.0.0.1", 0, "kernel", 2)
    counters.save(0)
    assert counters.snapshot()[0]["received"] == 5
    assert Counters(tmp_path / "c").snapshot()[0]["received"] == 2


def test_a_block_over_the_hour_is_counted_in_both_hours(tmp_path):
    """Each record counts in the hour of its own receipt."""
    counters = Counters(tmp_path / "c")
    counters.queued([block(b"a", b"bc", at=[HOUR_NS - 1, HOUR_NS], flags=b"\0\1")], 0, waited=False)
    assert [(r["hour_us"], r["queued"], r["bytes"], r["flagged"]) for r in counters.snapshot()] == [
        (0, 1, 1, 0),
        (HOUR_NS // 1000, 1, 2, 1),
    ]


def test_counts_and_the_last_frame_survive_a_restart(tmp_path):
    """What was saved is read again with the number of the last frame in it."""
    counters = Counters(tmp_path / "c")
    counters.queued([block(b"a")], 41, waited=False)
    counters.refused("default", "test", "10.0.0.2", 0)
    counters.save(0)
    again = Counters(tmp_path / "c")
    assert again.seq == 41
    assert again.snapshot() == counters.snapshot()


def test_forged_senders_share_a_count(tmp_path, monkeypatch):
    """Beyond a bound of peers the rest of the hour is counted together, nothing is lost."""
    monkeypatch.setattr(module, "MAX_PEERS", 3)
    counters = Counters(tmp_path / "c")
    for i in range(10):
        counters.queued([block(b"x", peer=f"10.0.0.{i}")], i, waited=False)
    rows = counters.snapshot()
    assert sum(row["queued"] for row in rows) == 10
    assert {row["peer"]: row["queued"] for row in rows}["+others"] == 7


def test_days_of_forged_senders_fill_no_memory(tmp_path, monkeypatch):
    """Of too many rows those of the oldest hours become one for each listener and hour; no count is lost."""
    monkeypatch.setattr(module, "MAX_ROWS", 30)
    counters = Counters(tmp_path / "c")
    for hour in range(9):
        for i in range(9):
            at = hour * HOUR_NS
            counters.queued([block(b"x", peer=f"10.0.{hour}.{i}", at=at)], hour * 9 + i, waited=False)
            counters.dropped("default", "test", f"10.0.{hour}.{i}", at, "queue_full")
            counters.dropped("default", "test", "*", at, "kernel")
            counters.refused("default", "test", f"10.0.{hour}.{i}", at)
    counters.save(8 * HOUR_NS)
    for each in (counters, Counters(tmp_path / "c")):
        rows = each.snapshot()
        assert len(rows) == 7 * 2 + 2 * 10
        for hour in range(9):
            mine = [row for row in rows if row["hour_us"] == hour * HOUR_NS // 1000]
            assert len(mine) == (2 if hour < 7 else 10)
            assert sum(row["queued"] for row in mine) == sum(row["bytes"] for row in mine) == 9
            assert sum(row["refused"] for row in mine) == 9
            assert sum(row["refused_for"].get("not_allowed", 0) for row in mine) == 9
            assert sum(row["dropped"].get("queue_full", 0) for row in mine) == 9
            assert sum(row["dropped"].get("kernel", 0) for row in mine) == 9
        each.queued([block(b"late", peer="10.0.0.1", at=0)], 100, waited=False)
        assert len(each.snapshot()) == len(rows)


def test_drops_that_could_not_be_saved_are_still_urgent(tmp_path):
    """The next save comes as early as if it were the first."""
    counters = Counters(tmp_path / "c")
    counters.dropped("default", "test", "10.0.0.1", 0, "queue_full")
    (tmp_path / "c.new").mkdir()
    with pytest.raises(StoreError):
        counters.save(0)
    assert counters.unsaved_drops
    (tmp_path / "c.new").rmdir()
    counters.save(0)
    assert not counters.unsaved_drops


def test_old_hours_leave_the_file(tmp_path):
    """Hours older than a week are forgotten when the file is saved."""
    counters = Counters(tmp_path / "c")
    counters.queued([block(b"old", at=0), block(b"new", at=KEPT_HOURS * HOUR_NS)], 0, waited=False)
    counters.save((KEPT_HOURS + 1) * HOUR_NS)
    assert [row["hour_us"] for row in counters.snapshot()] == [KEPT_HOURS * HOUR_NS // 1000]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch, call):
    """When fsync or rename fails, the error is told, the old counts stay, and the next save has everything."""
    counters = Counters(tmp_path / "c")
    counters.queued([block(b"a")], 0, waited=False)
    counters.save(0)
    counters.queued([block(b"b")], 1, waited=False)

    def fail(*_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        if call == "fsync":
            patch.setattr(os, "fsync", fail)
        else:
            patch.setattr(type(tmp_path), "replace", fail)
        with pytest.raises(StoreError, match="cannot write the counters"):
            counters.save(0)
    assert Counters(tmp_path / "c").seq == 0
    counters.save(0)
    assert Counters(tmp_path / "c").snapshot()[0]["queued"] == 2


def test_a_broken_file_is_an_error_with_a_way_out(tmp_path):
    """Counts that cannot be read are not silently begun anew."""
    (tmp_path / "c").write_bytes(b"{")
    with pytest.raises(StoreError, match="cannot read the counters"):
        Counters(tmp_path / "c")
