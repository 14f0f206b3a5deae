"""Which rules make work without worth."""

from __future__ import annotations

from typing import Any

from soc.alerts.noise import noise

DAY_US = 86_400_000_000
NOON_US = 1_795_582_800_000_000  # 2026-11-25 12:00 in Vietnam


def alert(entity: str = "source.ip=10.0.0.5", verdict: str = "", **changes: Any) -> dict[str, Any]:
    """What counts of an alert."""
    return {
        "rule_id": "r1", "title": "Noisy", "title_vi": "", "level": "low", "count": 2, "entity": entity,
        "verdict": verdict, "last_us": NOON_US, **changes,
    }  # fmt: skip


def test_alerts_are_counted_by_rule_and_day_of_vietnam() -> None:
    """An alert after 17:00 UTC is of the next day there; the noisiest rule stands first."""
    late = NOON_US + 12 * 3_600_000_000
    one, two = noise([alert(rule_id="r2"), alert(), alert(last_us=late), alert(last_us=late + DAY_US)], 3)
    assert (one["rule"], one["alerts"], one["findings"], one["per_day"]) == ("r1", 3, 6, 1.0)
    assert one["by_day"] == {"2026-11-25": 1, "2026-11-26": 1, "2026-11-27": 1}
    assert (two["rule"], two["share"], two["advice"]) == ("r2", None, None)


def test_the_share_is_of_what_people_judged() -> None:
    """Duplicates and tests say nothing about a rule; both kinds of false positives do."""
    verdicts = ("false_positive_logic", "false_positive_data", "true_positive", "duplicate", "test", "")
    [row] = noise([alert(verdict=verdict) for verdict in verdicts], 1)
    assert (row["judged"], row["share"]) == (3, 2 / 3)


def test_an_exception_is_advised_where_it_would_help_and_hide_nothing() -> None:
    """From five verdicts and four in five false; never an entity that was an attack, nor one among many."""
    false = [alert(verdict="false_positive_logic") for _ in range(5)]
    assert noise(false, 1)[0]["advice"] == "source.ip=10.0.0.5"
    assert noise(false[:4], 1)[0]["advice"] is None
    assert noise([*false, alert(verdict="true_positive")], 1)[0]["advice"] is None
    spread = [alert(f"source.ip=10.0.0.{n}", "false_positive_logic") for n in range(5)]
    assert noise(spread, 1)[0]["advice"] is None
