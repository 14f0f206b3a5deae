"""Is each system's log held as long as it is owed? Required months, oldest held, gaps and a verdict (pure)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from soc.model.system import InformationSystem
from soc.retention.certificate import Tombstone
from soc.retention.ladder import Rule, add_months, due_us, local_date, local_midnight_us
from soc.retention.plan import Policy, Segment

COMPLIANT, ON_COURSE, BREACH = "compliant", "on_course", "breach"
_DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Silence:
    """A span in which a system's source sent nothing, as its anomaly model saw it; µs UTC."""

    system_id: str
    first_us: int
    last_us: int


@dataclass(frozen=True)
class Gap:
    """Days (UTC, both included) without logs. `cause`: deleted (too early), silent (the source), missing."""

    first: str
    last: str
    days: int
    cause: str


@dataclass(frozen=True)
class Standing:
    """One system's state. `advice_months` is a recommendation; the verdict never looks at it."""

    system_id: str
    name: str
    level: int
    required_months: int
    required_by: str
    evidence: str
    registered: str
    oldest_day: str | None
    expected_days: int
    covered_days: int
    gaps: tuple[Gap, ...]
    verdict: str
    advice_months: int

    @property
    def label(self) -> str:
        """The message id of the verdict."""
        return f"retention.verdict.{self.verdict}"

    def to_document(self) -> dict[str, Any]:
        """A JSON-able dict."""
        return {**asdict(self), "gaps": [asdict(gap) for gap in self.gaps]}


@dataclass(frozen=True)
class _Days:
    """The UTC days of one system: held, deleted under a tombstone, and with a silent source."""

    held: set[str]
    deleted: set[str]
    quiet: set[str]


def check(
    systems: Iterable[InformationSystem],
    segments: Sequence[Segment],
    policy: Policy,
    now_us: int,
    *,
    held_now: Mapping[str, Iterable[str]] | None = None,
    tombstones: Sequence[Tombstone] = (),
    silences: Sequence[Silence] = (),
) -> list[Standing]:
    """The standing of every system in force, by id.

    `held_now`: further days per system (rows still in hot files). What is owed is counted from the day after
    registration to yesterday (UTC), so that part days accuse nobody.
    """
    held = _days(segments)
    for name, days in (held_now or {}).items():
        held.setdefault(name, set()).update(days)
    deleted = _days(tombstones)
    today = local_date(now_us)
    current = [system for system in systems if system.retired is None or system.retired > today]
    quiet = {system.id: _silent_days(system.id, silences) for system in current}
    return [
        _standing(
            system, _Days(held.get(system.id, set()), deleted.get(system.id, set()), quiet[system.id]), policy, now_us
        )
        for system in sorted(current, key=lambda system: system.id)
    ]


def is_compliant(standings: Iterable[Standing]) -> bool:
    """Whether no system is in breach."""
    return all(standing.verdict != BREACH for standing in standings)


def _standing(system: InformationSystem, known: _Days, policy: Policy, now_us: int) -> Standing:
    level = _level(system, policy, now_us)
    rules = policy.ladder.rules(level, policy.facts(system), policy.policy_months)
    required = max(rules, key=lambda rule: (rule.months, rule.days))
    start = window_start(rules, now_us)
    yesterday = _utc_date(now_us) - _DAY
    expected = _span(max(start, system.registered + _DAY), yesterday)
    absent = [day for day in expected if day not in known.held]
    gaps = _gaps([(day, _cause(day, known)) for day in absent])
    return Standing(
        system_id=system.id,
        name=system.name,
        level=level,
        required_months=required.months,
        required_by=required.cite,
        evidence=required.evidence,
        registered=system.registered.isoformat(),
        oldest_day=min(known.held, default=None),
        expected_days=len(expected),
        covered_days=len(expected) - len(absent),
        gaps=tuple(gaps),
        verdict=_verdict(gaps, system.registered < start),
        advice_months=policy.ladder.default_total_months,
    )


def _verdict(gaps: Sequence[Gap], is_full_window: bool) -> str:
    """A silent source left nothing to keep: its gap is shown, and is a matter for detection, not for retention."""
    if any(gap.cause != "silent" for gap in gaps):
        return BREACH
    return COMPLIANT if is_full_window else ON_COURSE


def _level(system: InformationSystem, policy: Policy, now_us: int) -> int:
    """The highest level in force within its own window: an upgrade binds at once, a downgrade only for new data."""
    today = local_date(now_us)
    level = system.level_on(today)
    for decision in system.levels:
        earlier = [d.since for d in system.levels if decision.since < d.since <= today]
        if not earlier or decision.level <= level:
            continue
        months = policy.ladder.required_months(decision.level, policy.facts(system), policy.policy_months)
        if add_months(min(earlier), months) >= today:  # data written under it are still owed
            level = decision.level
    return level


def window_start(rules: Sequence[Rule], now_us: int) -> dt.date:
    """The oldest UTC day of receipt whose first moment is still owed under these rules."""
    months = max(rule.months for rule in rules)
    days = max(rule.days for rule in rules)
    day = min(add_months(local_date(now_us), -months), local_date(now_us) - dt.timedelta(days=days)) - 4 * _DAY
    while max(due_us(_utc_midnight_us(day), rule) for rule in rules) <= now_us:
        day += _DAY
    return day


def _days(pieces: Iterable[Segment | Tombstone]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for piece in pieces:
        for name in piece.systems:
            found.setdefault(name, set()).add(piece.day)
    return found


def _silent_days(system_id: str, silences: Sequence[Silence]) -> set[str]:
    spans = [s for s in silences if s.system_id == system_id]
    return {day for s in spans for day in _span(_utc_date(s.first_us), _utc_date(s.last_us))}


def _cause(day: str, known: _Days) -> str:
    if day in known.deleted:
        return "deleted"
    return "silent" if day in known.quiet else "missing"


def _gaps(days: Sequence[tuple[str, str]]) -> list[Gap]:
    gaps: list[Gap] = []
    for day, cause in days:
        last = gaps[-1] if gaps else None
        if last and last.cause == cause and dt.date.fromisoformat(last.last) + _DAY == dt.date.fromisoformat(day):
            gaps[-1] = Gap(last.first, day, last.days + 1, cause)
        else:
            gaps.append(Gap(day, day, 1, cause))
    return gaps


def _span(first: dt.date, last: dt.date) -> list[str]:
    return [(first + n * _DAY).isoformat() for n in range((last - first).days + 1)]


def _utc_date(us: int) -> dt.date:
    return dt.datetime.fromtimestamp(us // 1_000_000, dt.UTC).date()


def _utc_midnight_us(day: dt.date) -> int:
    return local_midnight_us(day) + 7 * 3_600_000_000  # Vietnam is UTC+7 without daylight saving
