"""Every rule × window has exactly one status, and none can vanish."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from soc.pipeline.coverage.counting import EVENTS, FAILED, SKIPPED, WINDOW_US, name_of
from soc.pipeline.coverage.late import LateNote
from soc.pipeline.coverage.report import STATUSES, Backfill, Cell, Coverage, Known, is_gap

RULES = ("one", "two", "both")
N = 6


def ruleset(*rules: str, at_us: int = 0) -> dict[str, Any]:
    """A set; `both` is a correlation that builds on the others."""
    builds_on = {"both": ["one", "two"]} if "both" in rules else {}
    titles = {rule: [rule, rule] for rule in rules}
    return {
        "rules": dict.fromkeys(rules, "1"),
        "builds_on": builds_on,
        "models": [],
        "titles": titles,
        "last_us": at_us,
    }


def at(window: int) -> int:
    return window * WINDOW_US


def known(counts: dict[tuple[int, str], int], **more: Any) -> Known:
    """Six windows; unless it is said otherwise, the store has what was counted."""
    in_store = {window: 0 for window, _ in counts}
    for (window, name), n in counts.items():
        in_store[window] += n if f" {EVENTS}" in name else 0
    words = {"rulesets": {"s": ruleset(*RULES)}, "in_store": in_store, **more}
    return Known(since_us=0, until_us=at(N), counts=counts, **words)


def cells(rule: str, found: Known) -> list[str]:
    coverage = Coverage(found)
    return [coverage.cell(rule, start).status for start in coverage.starts]


EVENT = name_of("s", EVENTS)


def test_what_was_counted_was_evaluated_and_silence_is_no_gap() -> None:
    """Windows without events need nothing."""
    found = known({(at(2), EVENT): 7})
    assert cells("one", found) == ["evaluated"] * N
    assert Coverage(found).cell("one", at(2)) == Cell("evaluated", "", 7)
    assert Coverage(found).report()["gaps"] == 0


def test_what_still_waits_makes_its_window_late_and_those_behind_it() -> None:
    """The worker for all rules; the correlations for those that have them."""
    found = known({(at(1), EVENT): 7}, waiting_us=at(4) + 5, waiting_matched_us=at(2) + 5)
    assert cells("one", found) == ["evaluated"] * 4 + ["late"] * 2
    assert cells("both", found) == ["evaluated"] * 2 + ["late"] * 4


def test_a_rule_that_broke_failed_and_so_did_what_builds_on_it() -> None:
    """Its neighbour did not."""
    found = known({(at(1), EVENT): 7, (at(1), name_of("s", FAILED, "one")): 2})
    assert cells("one", found)[1] == cells("both", found)[1] == "failed"
    assert cells("two", found) == ["evaluated"] * N
    assert Coverage(found).cell("one", at(1)) == Cell("failed", "rule_broke", 2)


def test_events_that_no_rule_saw_are_skipped() -> None:
    """A frame that broke the matching, events that came past the worker, and a rule that was not there yet."""
    assert cells("one", known({(at(1), EVENT): 7, (at(1), name_of("s", SKIPPED)): 3}))[1] == "skipped"
    past = Coverage(known({(at(1), EVENT): 7}, in_store={at(1): 9}))
    assert past.cell("one", at(1)) == Cell("skipped", "uncounted", 2)
    sets = {"s": ruleset("one"), "t": ruleset("one", "two", at_us=5)}
    new = Coverage(known({(at(1), EVENT): 7, (at(2), name_of("t", EVENTS)): 4}, rulesets=sets))
    assert [new.cell("two", at(n)).why for n in (1, 2)] == ["not_loaded", ""]
    assert new.cell("one", at(1)).status == "evaluated"


def test_what_retention_took_is_no_gap() -> None:
    """Fewer events than were counted."""
    assert cells("one", known({(at(1), EVENT): 7}, in_store={}))[1] == "evaluated"


def test_a_backfill_makes_up_for_whole_windows_of_its_rules() -> None:
    """A window that it only touches stays a gap, and so does one of another rule."""
    counts = {(at(n), name_of("s", SKIPPED)): 1 for n in range(N)} | {(at(n), EVENT): 1 for n in range(N)}
    found = known(counts, backfills=[Backfill("b", frozenset({"one"}), at(1) + 1, at(4))])
    assert cells("one", found) == ["skipped"] * 2 + ["backfilled"] * 2 + ["skipped"] * 2
    assert cells("two", found) == ["skipped"] * N
    assert Coverage(found).report()["gaps"] == N * 3 - 2


def test_ranges_are_told_and_not_windows() -> None:
    """Neighbours with the same reason are one line; rules that are alike stand together."""
    counts = {(at(n), EVENT): 2 for n in range(N)} | {(at(n), name_of("s", SKIPPED)): 1 for n in (2, 3)}
    [row] = Coverage(known(counts)).report()["ranges"]
    assert (row["since_us"], row["until_us"], row["events"], row["rules_total"]) == (at(2), at(4), 2, 3)


NAMES = st.sampled_from([
    *(name_of(s, what) for s in "st" for what in (EVENTS, SKIPPED)), *(name_of("s", FAILED, r) for r in RULES)
])  # fmt: skip
BACKFILLS = st.builds(
    lambda rules, a, b: Backfill("b", frozenset(rules), at(a), at(b)),
    st.sets(st.sampled_from(RULES)), st.integers(0, N), st.integers(0, N),
)  # fmt: skip
NOTES = st.builds(
    lambda rules, windows, done, tries: LateNote(
        "n", 0, 0, 0, dict.fromkeys(rules), {rule: dict.fromkeys(map(at, windows), 1) for rule in rules},
        tuple(done), tries,
    ),
    st.sets(st.sampled_from(RULES)), st.sets(st.integers(0, N - 1)), st.sets(st.sampled_from(RULES)), st.integers(0, 4),
)  # fmt: skip
WAITS = st.none() | st.integers(0, at(N))


@given(
    st.dictionaries(st.tuples(st.integers(0, N - 1).map(at), NAMES), st.integers(1, 9)),
    st.dictionaries(st.integers(0, N - 1).map(at), st.integers(0, 20)),
    st.lists(BACKFILLS, max_size=3), WAITS, WAITS, st.lists(NOTES, max_size=2),
)  # fmt: skip
def test_no_rule_and_no_window_vanishes(
    counts: dict[tuple[int, str], int],
    in_store: dict[int, int],
    backfills: list[Backfill],
    raw: int | None,
    matched: Any,
    late: list[LateNote],
) -> None:
    """Whatever was counted: the statuses add up to rules × windows, as the cells one by one do, and so do the gaps."""
    sets = {"s": ruleset(*RULES, at_us=9), "t": ruleset("one")}
    more = {"backfills": backfills, "waiting_us": raw, "waiting_matched_us": matched, "rulesets": sets, "late": late}
    coverage = Coverage(known(counts, in_store=in_store, **more))
    report = coverage.report()
    one_by_one = [coverage.cell(rule, start).status for rule in RULES for start in coverage.starts]
    assert report["totals"] == {status: one_by_one.count(status) for status in STATUSES}
    assert sum(report["totals"].values()) == len(RULES) * N
    told = sum((r["until_us"] - r["since_us"]) // WINDOW_US * r["rules_total"] for r in report["ranges"])
    assert told == len(one_by_one) - one_by_one.count("evaluated")
    assert report["gaps"] == sum(is_gap(coverage.cell(rule, start)) for rule in RULES for start in coverage.starts)
