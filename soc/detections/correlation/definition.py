"""A Sigma correlation in its frozen form, free of pySigma."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from soc.detections.correlation.condition import (
    MEANS,
    Condition,
    Expression,
)
from soc.detections.sigma.mapping import field_name
from soc.detections.sigma.routing import renamed
from soc.detections.sigma.rule import Rule
from soc.model.fields import FieldDictionary

MOST = 10_000
"""The largest count a condition may name: a group keeps so many events."""
LATE_SPANS = 2
"""An event may come this many spans behind the newest one of its group and still counts exactly."""
GRACE_US = 60_000_000
"""So long after its end a window waits for late events, by their receipt, before it is judged as a whole."""
HOUR_US = 3_600_000_000
Names = tuple[str, ...]


@dataclass(frozen=True)
class Correlation:
    """One correlation. `rules` are ids in the order of the document. For each of them `group_fields` has the names of
    each `group_by` value, and `counted` those of each part of what is counted: the first name that an event has is read
    (the ways to log one thing name it differently). `of` are the rules and correlations, in the order of `rules`.

    Looked up once, for they are read at every event: `at_least` is the smallest count that fires (events, distinct
    values or rules); `expression` the extended condition; `lasting` whether it is told at the event that fulfils it,
    or else when a window is over; `late_us` how far behind its group's newest an event still counts, `kept_us` how long
    events are kept for it; `is_count` whether nothing but the number of events counts.
    """

    id: str
    name: str
    version: str
    title: str
    level: str
    type: str
    rules: tuple[str, ...]
    span_us: int
    condition: Condition
    group_by: Names
    group_fields: Mapping[str, tuple[Names, ...]]
    counted: Mapping[str, tuple[Names, ...]]
    generate: bool = False
    tags: tuple[str, ...] = ()
    status: str = ""
    title_vi: str = ""
    playbook: str = ""
    path: str = ""
    line: int = 1
    of: tuple[Referable, ...] = field(default=(), repr=False, compare=False)
    at_least: int = field(init=False, default=1)
    expression: Expression | None = field(init=False, default=None)
    lasting: bool = field(init=False, default=True)
    late_us: int = field(init=False, default=0)
    kept_us: int = field(init=False, default=0)
    is_count: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        lasting = self.condition.is_lasting() and self.type not in MEANS
        set_ = object.__setattr__
        set_(self, "at_least", self.condition.at_least)
        set_(self, "expression", self.condition.expression)
        set_(self, "lasting", lasting)
        set_(self, "late_us", LATE_SPANS * self.span_us + max((_delay_us(part) for part in self.of), default=0))
        set_(self, "kept_us", self.late_us + self.span_us)  # the window of the latest that is still taken
        set_(self, "is_count", self.type == "event_count")

    @property
    def is_above(self) -> bool:
        """Whether it refers to a correlation."""
        return any(isinstance(part, Correlation) for part in self.of)

    @property
    def idle_us(self) -> int:
        """A group that nothing touched for so long is forgotten: what its events are kept, two spans, and an hour."""
        return self.late_us + LATE_SPANS * self.span_us + HOUR_US

    def needs(self, rule: str) -> tuple[str, ...]:
        """The fields that an event of this rule must carry."""
        return tuple(name for names in (*self.group_fields[rule], *self.counted.get(rule, ())) for name in names)


def _delay_us(part: Referable) -> int:
    """How long after the time that it bears the finding of a correlation may come."""
    if isinstance(part, Rule):
        return 0
    return part.late_us + (0 if part.lasting else part.span_us + GRACE_US)


Referable = Rule | Correlation


def event_fields(rule: Referable, name: str, field: str, fields: FieldDictionary) -> Names:
    """The event fields behind a name as the referenced rule sees it, one for each way that its events are logged.

    Of a correlation it is what it groups by, or else the field of the event that completed it. Raises ValueError when
    no parser writes it; `name` is what the reason calls the rule.
    """
    if isinstance(rule, Correlation):
        if field in rule.group_by:
            return (field,)
        found = {event_fields(part, part.name or part.id, field, fields) for part in rule.of}
        if len(found) == 1:
            return found.pop()
        called = ", ".join(sorted({each for names in found for each in names}))
        raise ValueError(f"'{name}' does not group by '{field}', which its rules call {called}")
    mapped = [
        variant.names.get(field)
        or field_name(field, windows=variant.route.windows, renamed=renamed(variant.route), fields=fields)
        for variant in rule.variants
    ]
    known = tuple(dict.fromkeys(each for each in mapped if each))
    if not known:
        raise ValueError(f"reads '{field}', which no parser writes for '{name}'")
    return known
