"""Reads Sigma correlation documents through pySigma into a frozen form."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sigma.correlations import (
    CorrelationConditionAND,
    CorrelationConditionNOT,
    CorrelationConditionOR,
    SigmaCorrelationRule,
    SigmaExtendedCorrelationCondition,
    SigmaRuleReference,
)

from soc.content import Document
from soc.detections.correlation.condition import (
    MEANS,
    METRICS,
    OPERATORS,
    TEMPORAL,
    TYPES,
    All,
    AnyOf,
    Condition,
    Expression,
    Is,
    Not,
)
from soc.detections.sigma.mapping import field_name
from soc.detections.sigma.read import MALFORMED, POLICY, identity, version_of, vietnamese_title
from soc.detections.sigma.routing import renamed
from soc.detections.sigma.rule import Refused, Rule
from soc.model.fields import FieldDictionary
from soc.model.finding import LEVELS

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


def read_correlation(
    document: Document, known: Mapping[str, Referable], fields: FieldDictionary
) -> Correlation | Refused:
    """Read one correlation whose rules are in `known`, by id and by name."""
    place = (identity(document), document.path, document.line("correlation"))
    try:
        # pySigma takes one operator, the specification as many as make a range: it sees each of them alone.
        read = [
            SigmaCorrelationRule.from_dict(data, collect_errors=True, policy=POLICY) for data in _one_limit(document)
        ]
        errors = dict.fromkeys(str(error) for sigma in read for error in sigma.errors)
        if errors:
            return Refused(*place, "; ".join(errors))
        return _lower(document, read, known, fields)
    except MALFORMED as error:
        return Refused(*place, str(error) or type(error).__name__)


def _one_limit(document: Document) -> list[dict[str, Any]]:
    """The document once for each operator of its condition."""
    body = document.data.get("correlation")
    condition = body.get("condition") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(condition, dict):
        return [document.data]
    limits = [key for key in condition if key in OPERATORS]
    if len(limits) < 2:
        return [document.data]
    rest = {key: value for key, value in condition.items() if key not in OPERATORS}
    return [
        {**document.data, "correlation": {**body, "condition": {**rest, limit: condition[limit]}}} for limit in limits
    ]


def references(document: Document) -> list[str]:
    """The ids or names that a correlation document refers to; without `rules`, those of its extended condition."""
    body = document.data.get("correlation")
    if not isinstance(body, dict):
        return []
    rules, condition = body.get("rules"), body.get("condition")
    if not rules and isinstance(condition, str):
        with contextlib.suppress(*MALFORMED):
            rules = SigmaExtendedCorrelationCondition(condition).get_referenced_rules()
    return [str(rule) for rule in (rules if isinstance(rules, list) else [rules] if rules else [])]


def _lower(
    document: Document, read: Sequence[SigmaCorrelationRule], known: Mapping[str, Referable], fields: FieldDictionary
) -> Correlation:
    sigma = read[0]
    kind = sigma.type.name.lower()
    if kind not in TYPES:
        raise ValueError(f"correlation type '{kind}' is not built yet; one of {', '.join(TYPES)}")
    names = references(document)
    if not names:
        raise ValueError("names no rules")
    missing = [name for name in names if name not in known]
    if missing:
        raise ValueError(f"refers to '{missing[0]}', which is not loaded")
    rules = {known[name].id: (name, known[name]) for name in names}
    if len(rules) < len(names) and kind == "temporal_ordered":
        raise ValueError("a temporal_ordered correlation names a rule once")
    data = document.data
    aliases = (data["correlation"].get("aliases")) or {}
    group_by = tuple(map(str, sigma.group_by or ()))
    all_of_them = kind in TEMPORAL and data["correlation"].get("condition") is None
    condition, counted = (
        (Condition((("gte", len(rules)),)), []) if all_of_them else _condition(read, kind, known, len(rules))
    )

    def named(wanted: Iterable[str]) -> dict[str, tuple[Names, ...]]:
        return {
            id: tuple(event_fields(rule, name, _alias(aliases, each, name, rule), fields) for each in wanted)
            for id, (name, rule) in rules.items()
        }

    level = str(data.get("level") or "medium").lower()
    return Correlation(
        id=identity(document),
        name=str(data.get("name") or ""),
        version=version_of(document),
        title=str(data.get("title") or identity(document)),
        level=level if level in LEVELS else "medium",
        type=kind,
        rules=tuple(rules),
        span_us=int(sigma.timespan.seconds) * 1_000_000,
        condition=condition,
        group_by=group_by,
        group_fields=named(group_by),
        counted=named(counted) if counted else {},
        generate=bool(sigma.generate),
        tags=tuple(map(str, data.get("tags") or ())),
        status=str(data.get("status") or ""),
        title_vi=vietnamese_title(data),
        playbook=str(data.get("x-playbook") or ""),
        path=document.path,
        line=document.first_line,
        of=tuple(rule for _, rule in rules.values()),
    )


def _alias(aliases: Mapping[str, Mapping[str, str]], group: str, name: str, rule: Referable) -> str:
    mapping = aliases.get(group) or {}
    return str(mapping.get(name) or mapping.get(rule.id) or mapping.get(rule.name) or group)


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


def _condition(
    read: Sequence[SigmaCorrelationRule], kind: str, known: Mapping[str, Referable], rules: int
) -> tuple[Condition, list[str]]:
    """The condition, and the fields that it counts or measures."""
    condition = read[0].condition
    if isinstance(condition, SigmaExtendedCorrelationCondition):
        return Condition(expression=_expression(condition.parsed, known)), []
    limits = tuple((each.condition.op.name.lower(), each.condition.count) for each in read)
    made = Condition(limits, 50 if condition.percentile is None else condition.percentile)
    counted = _counted(kind, condition.fieldref)
    if kind in METRICS:
        if not 0 <= made.percentile <= 100:
            raise ValueError(f"percentile {made.percentile} is not between 0 and 100")
        return made, counted
    most = rules if kind in TEMPORAL else MOST
    if made.at_least > most:
        why = f"names {rules} rules" if kind in TEMPORAL else f"keeps {MOST} events of a group"
        raise ValueError(f"it {why}, a count of {made.at_least} is never reached")
    if made.at_most < made.at_least:
        raise ValueError(f"no count that can be seen is {made}; a group has at least one event")
    if made.at_most >= MOST and math.isfinite(made.at_most):
        raise ValueError(f"it keeps {MOST} events of a group, whether there are more than {made.at_most} is not seen")
    return made, counted


def _counted(kind: str, field: str | list[str] | None) -> list[str]:
    if kind not in ("value_count", *METRICS):
        return []
    named = [field] if isinstance(field, str) else field or []
    if not named or (kind != "value_count" and len(named) > 1):
        raise ValueError(f"{kind} needs one 'field' in its condition")
    return [str(each) for each in named]


def _expression(parsed: object, known: Mapping[str, Referable]) -> Expression:
    match parsed:
        case SigmaRuleReference():
            return Is(known[parsed.reference].id)
        case CorrelationConditionNOT():
            return Not(_expression(parsed.args[0], known))
        case CorrelationConditionAND():
            return All(tuple(_expression(part, known) for part in parsed.args))
        case CorrelationConditionOR():
            return AnyOf(tuple(_expression(part, known) for part in parsed.args))
    raise ValueError(f"cannot read '{parsed}' in the condition")
