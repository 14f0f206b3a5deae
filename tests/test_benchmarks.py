"""The benchmarks' runner: which parts there are, and what a row says."""

from __future__ import annotations

from pathlib import Path

from benchmarks.__main__ import PARTS, installed, table
from benchmarks.entries import Cost, both, entry

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


def test_every_module_with_a_run_is_a_part() -> None:
    """A new benchmark cannot be forgotten by `make bench`."""
    helpers = {"__init__", "__main__", "collector", "entries", "oracle", "sigma_elasticsearch", "traffic"}
    assert set(PARTS) == {path.stem for path in FOLDER.glob("*.py")} - helpers
    assert "receive" in PARTS


def test_a_ratio_above_one_is_better() -> None:
    """Of rates more is better, of times less."""
    assert entry("rate", 200, "events/s", "x", 100)["ratio"] == 2
    assert entry("time", 200, "ms", "x", 100, less_is_better=True)["ratio"] == 0.5
    assert entry("alone", 200, "ms", None, None)["ratio"] is None


def test_a_peer_that_is_not_there_has_no_figure() -> None:
    """Its row is printed like any other: without cargo `make bench` still tells what we measured."""
    row = entry("alone", 200, "ms", "a peer that nobody could build", None)
    assert (row["reference"], row["reference_value"], row["ratio"]) == (None, None, None)
    assert "alone" in table([row])


def test_a_cost_is_two_rows_for_people_too() -> None:
    """Events a second of wall clock and CPU-µs an event, both in the printed table."""
    rows = both("x", Cost(1000, 2.0, 0.5), "plain", Cost(1000, 1.0, 1.0))
    assert [(row["name"], row["value"], row["ratio"]) for row in rows] == [("x", 500.0, 0.5), ("x.cpu", 500.0, 2.0)]
    assert "1,000.0 plain" in table(rows) or "1,000 plain" in table(rows)


def test_children_may_keep_their_bytecode() -> None:
    """Else each start compiles all of `soc` anew, which no installed program does: a third of a short run."""
    assert installed({"PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": "/x"}) == {"TMPDIR": "/x"}
