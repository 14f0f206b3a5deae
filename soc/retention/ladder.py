"""How long logs are owed: the ladder of a legal profile as data, and calendar months in Vietnam's zone (pure)."""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from soc.content import Document, Faults, Node, documents, shipped
from soc.errors import ConfigError, ContentError, Fault, nearest
from soc.model.clock import DAY_US, VIETNAM

EVIDENCE = ("F", "F°", "S", "U", "inf", "N", "O")
"""Evidence classes of regulation.md: F text read in full … O our own choice, not law."""
DEFAULT_PROFILE = "2026"
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
Facts = Mapping[str, frozenset[str]]
"""What is known of a system and its logs, by attribute (`system.kind`, `log.kind`); an absent attribute is unknown."""


@dataclass(frozen=True)
class Rule:
    """One duty: so many calendar `months` and so many `days` of 24 hours (0 = none), whence, and how sure we are."""

    id: str
    months: int
    days: int
    cite: str
    evidence: str
    note: str = ""


@dataclass(frozen=True)
class Overlay:
    """A rule that binds when every attribute has one of these values; `applies_unknown` says what unknown means."""

    rule: Rule
    when: Mapping[str, frozenset[str]]
    applies_unknown: bool = False

    def matches(self, facts: Facts) -> bool:
        """Whether the overlay binds data of which these facts are known."""
        known = {name: values for name, values in facts.items() if name in self.when}
        if any(not (self.when[name] & values) for name, values in known.items()):
            return False
        return len(known) == len(self.when) or (self.applies_unknown and bool(known))


@dataclass(frozen=True)
class Ladder:
    """The rules of one legal profile. `default_total_months` is advice only and never decides a deletion."""

    id: str
    profile: str
    levels: Mapping[int, Rule]
    floor: Rule
    unregistered: Rule
    overlays: tuple[Overlay, ...]
    default_total_months: int

    def rules(self, level: int | None, facts: Facts | None = None, policy_months: int = 0) -> tuple[Rule, ...]:
        """Every rule that binds: the level's (None = unregistered), the floor, matching overlays, the site's policy."""
        base = self.unregistered if level is None else self.levels[level]
        overlays = tuple(overlay.rule for overlay in self.overlays if overlay.matches(facts or {}))
        policy = (Rule("tenant_policy", policy_months, 0, "", "O"),) if policy_months > 0 else ()
        return (base, self.floor, *overlays, *policy)

    def required_months(self, level: int | None, facts: Facts | None = None, policy_months: int = 0) -> int:
        """The largest number of months among the binding rules (the floor in days still binds beside it)."""
        return max(rule.months for rule in self.rules(level, facts, policy_months))


def highest(levels: Sequence[int]) -> int:
    """The level of a composite system: the highest of its parts (NĐ 85/2016 Đ5.2)."""
    return max(levels)


def local_date(us: int) -> dt.date:
    """The date in Asia/Ho_Chi_Minh of µs UTC."""
    return (_EPOCH + dt.timedelta(microseconds=us)).astimezone(VIETNAM).date()


def local_midnight_us(day: dt.date) -> int:
    """µs UTC of 00:00 of that day in Asia/Ho_Chi_Minh."""
    moment = dt.datetime.combine(day, dt.time(), VIETNAM)
    return (moment - _EPOCH) // dt.timedelta(microseconds=1)


def add_months(day: dt.date, months: int) -> dt.date:
    """The same day of the month so many months on (or back), clamped to that month's last day."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return dt.date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def due_us(newest_us: int, rule: Rule) -> int:
    """From when (µs UTC) this rule no longer asks for data whose newest event is at `newest_us`.

    Months are calendar months of the local date, and end with that day: deletable from 00:00 on the day after.
    Days are spans of 24 hours from the newest event itself (regulation.md, section 3).
    """
    by_days = newest_us + rule.days * DAY_US
    if not rule.months:
        return by_days
    last = add_months(local_date(newest_us), rule.months)
    return max(by_days, local_midnight_us(last + dt.timedelta(days=1)))


def latest_due_us(newest_us: int, rules: Sequence[Rule]) -> tuple[int, Rule]:
    """The latest due moment of the rules (µs UTC), and the rule that sets it; the first named wins a tie."""
    deciding = max(rules, key=lambda rule: due_us(newest_us, rule))
    return due_us(newest_us, deciding), deciding


def load(folders: Sequence[Path] | None = None, profile: str = DEFAULT_PROFILE) -> Ladder:
    """The ladder of a profile. Raises ContentError with every fault, ConfigError when no file has the profile."""
    ladders = load_all(folders)
    if profile not in ladders:
        known = ", ".join(sorted(ladders))
        raise ConfigError(f"no retention profile '{profile}'; one of {known}{nearest(profile, ladders)}")
    return ladders[profile]


def load_all(folders: Sequence[Path] | None = None) -> dict[str, Ladder]:
    """Every ladder by its profile; `folders` weakest first, the shipped one by default."""
    found: dict[str, Ladder] = {}
    faults: list[Fault] = []
    for document in documents(folders or [shipped("retention")]).values():
        if document.data.get("kind", "ladder") != "ladder":
            continue
        try:
            ladder = read(document)
        except ContentError as error:
            faults.extend(error.faults)
        else:
            found[ladder.profile] = ladder
    if faults:
        raise ContentError(faults)
    return found


def texts(folders: Sequence[Path] | None = None) -> dict[str, Mapping[str, str]]:
    """The words of retention: message id → {vi, en}, templates for `str.format`."""
    words: dict[str, Mapping[str, str]] = {}
    for document in documents(folders or [shipped("retention")]).values():
        if document.data.get("kind") == "messages":
            words.update(document.data.get("texts") or {})
    return words


def read(document: Document) -> Ladder:
    """One ladder from its document. Raises ContentError."""
    faults = Faults()
    node = Node(document, faults)
    ladder = Ladder(
        id=node.text("id", required=True),
        profile=node.text("profile", required=True),
        levels=_levels(node),
        floor=_named_rule(node, "floor"),
        unregistered=_named_rule(node, "unregistered"),
        overlays=tuple(_overlay(child) for child in node.children("overlays")),
        default_total_months=_advice(node),
    )
    node.finish(
        also=("title", "kind", "status", "author", "date", "references", "tags", "i18n", "valid_from", "valid_to")
    )
    if ladder.floor.days < 30:
        node.fault("the floor is at least 30 days (TT 31/2017/TT-BTTTT Đ5.3.h)", "floor")
    faults.raise_if_any()
    return ladder


def _levels(node: Node) -> dict[int, Rule]:
    found = {name: _rule(child, f"level_{name}") for name, child in node.named_children("ladder", required=True)}
    if sorted(found) != ["1", "2", "3", "4", "5"]:
        node.fault("'ladder' names each of the levels 1 to 5", "ladder")
    return {int(name): rule for name, rule in found.items() if name.isdigit()}


def _named_rule(node: Node, key: str) -> Rule:
    child = node.child(key, required=True)
    return Rule(key, 0, 0, "", "O") if child is None else _rule(child, key)


def _rule(node: Node, name: str, also: Sequence[str] = ()) -> Rule:
    rule = Rule(
        id=name,
        months=node.integer("months"),
        days=node.integer("days"),
        cite=node.text("cite", required=True),
        evidence=node.choice("evidence", EVIDENCE, required=True),
        note=node.text("note"),
    )
    if rule.months < 0 or rule.days < 0 or not (rule.months or rule.days):
        node.fault("a rule asks for 'months' or 'days', more than 0")
    node.finish(also=also)
    return rule


def _overlay(node: Node) -> Overlay:
    name = node.text("id", required=True)
    unknown = node.choice("unknown", ("apply", "skip"), "skip")
    conditions = node.mapping("when", required=True)
    when = {
        key: frozenset(map(str, values if isinstance(values, list) else [values])) for key, values in conditions.items()
    }
    return Overlay(_rule(node, name, also=("id", "when", "unknown")), when, unknown == "apply")


def _advice(node: Node) -> int:
    child = node.child("advice")
    return 0 if child is None else child.integer("default_total_months", required=True)
