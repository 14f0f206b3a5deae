"""Reads Sigma correlation documents through pySigma into a frozen form."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from sigma.correlations import (
    CorrelationConditionAND,
    CorrelationConditionNOT,
    CorrelationConditionOR,
    SigmaCorrelationRule,
    SigmaExtendedCorrelationCondition,
    SigmaRuleReference,
)

from soc.content import Document
from soc.detections.correlation.condition import METRICS, TEMPORAL, TYPES, All, AnyOf, Condition, Expression, Is, Not
from soc.detections.sigma.read import MALFORMED, POLICY, identity, version_of, vietnamese_title
from soc.detections.sigma.rule import Refused, Rule
from soc.model.fields import FieldDictionary
from soc.model.finding import LEVELS

MOST = 10_000
"""The largest count a condition may ask for: a group keeps so many events."""


@dataclass(frozen=True)
class Correlation:
    """One correlation. `rules` are ids in the order of the document; `group_by` and `counted` name a field per rule.

    `at_least` is the smallest count that fires: events, distinct values, or (temporal) distinct rules; `expression` is
    the extended condition of a temporal one. `of` are the rules and correlations themselves, in the order of `rules`.
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
    group_by: tuple[str, ...]
    group_fields: Mapping[str, tuple[str, ...]]
    counted: Mapping[str, str]
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
    tallied: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        # Read at every event, therefore looked up once.
        object.__setattr__(self, "at_least", self.condition.at_least)
        object.__setattr__(self, "expression", self.condition.expression)
        object.__setattr__(self, "tallied", self.type in ("value_count", *TEMPORAL))


Referable = Rule | Correlation


def read_correlation(
    document: Document, known: Mapping[str, Referable], fields: FieldDictionary
) -> Correlation | Refused:
    """Read one correlation whose rules are in `known`, by id and by name."""
    place = (identity(document), document.path, document.line("correlation"))
    try:
        sigma = SigmaCorrelationRule.from_dict(document.data, collect_errors=True, policy=POLICY)
        if sigma.errors:
            return Refused(*place, "; ".join(str(error) for error in sigma.errors))
        return _lower(document, sigma, known, fields)
    except MALFORMED as error:
        return Refused(*place, str(error) or type(error).__name__)


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
    document: Document, sigma: SigmaCorrelationRule, known: Mapping[str, Referable], fields: FieldDictionary
) -> Correlation:
    kind = sigma.type.name.lower()
    if kind not in TYPES:
        raise ValueError(f"correlation type '{kind}' is not built yet; one of {', '.join(TYPES)}")
    names = references(document)
    missing = [name for name in names if name not in known]
    if missing:
        raise ValueError(f"refers to '{missing[0]}', which is not loaded")
    rules = {name: known[name] for name in names}
    data = document.data
    aliases = (data["correlation"].get("aliases")) or {}
    group_by = tuple(map(str, sigma.group_by or ()))
    group_fields = {
        rule.id: tuple(_field(rule, name, _alias(aliases, group, name, rule), fields) for group in group_by)
        for name, rule in rules.items()
    }
    condition, counted_name = _condition(sigma, kind, rules)
    counted = {
        rule.id: _field(rule, name, _alias(aliases, counted_name, name, rule), fields)
        for name, rule in rules.items()
        if counted_name
    }
    level = str(data.get("level") or "medium").lower()
    return Correlation(
        id=identity(document),
        name=str(data.get("name") or ""),
        version=version_of(document),
        title=str(data.get("title") or identity(document)),
        level=level if level in LEVELS else "medium",
        type=kind,
        rules=tuple(rule.id for rule in rules.values()),
        span_us=int(sigma.timespan.seconds) * 1_000_000,
        condition=condition,
        group_by=group_by,
        group_fields=group_fields,
        counted=counted,
        generate=bool(sigma.generate),
        tags=tuple(map(str, data.get("tags") or ())),
        status=str(data.get("status") or ""),
        title_vi=vietnamese_title(data),
        playbook=str(data.get("x-playbook") or ""),
        path=document.path,
        line=document.first_line,
        of=tuple(rules.values()),
    )


def _alias(aliases: Mapping[str, Mapping[str, str]], group: str, name: str, rule: Referable) -> str:
    mapping = aliases.get(group) or {}
    return str(mapping.get(name) or mapping.get(rule.id) or mapping.get(rule.name) or group)


def _field(rule: Referable, name: str, field: str, fields: FieldDictionary) -> str:
    """The event field behind a name as the referenced rule sees it.

    Of a correlation it is what it groups by, or else the field of the event that completed it.
    """
    if isinstance(rule, Correlation):
        if field in rule.group_by:
            return field
        found = {_field(part, part.name or part.id, field, fields) for part in rule.of}
        if len(found) == 1:
            return found.pop()
        raise ValueError(f"'{name}' does not group by '{field}', which its rules call {', '.join(sorted(found))}")
    mapped = rule.field(field, fields)
    if mapped is None:
        raise ValueError(f"groups by '{field}', which no parser writes for '{name}'")
    return mapped


def _condition(sigma: SigmaCorrelationRule, kind: str, rules: Mapping[str, Referable]) -> tuple[Condition, str]:
    """The condition, and the field that it counts or measures ("" when none)."""
    condition = sigma.condition
    if isinstance(condition, SigmaExtendedCorrelationCondition):
        return Condition(expression=_expression(condition.parsed, rules)), ""
    op, amount = condition.op.name.lower(), condition.count
    if kind in TEMPORAL:
        if op != "gte":
            raise ValueError("a temporal correlation takes 'gte', or an expression over its rules")
        return Condition(amount=min(len(rules), amount)), ""
    field = condition.fieldref
    if kind != "event_count" and not isinstance(field, str):
        raise ValueError(f"{kind} needs one 'field' in its condition")
    if kind in METRICS:
        percentile = condition.percentile if condition.percentile is not None else 50
        if not 0 <= percentile <= 100:
            raise ValueError(f"percentile {percentile} is not between 0 and 100")
        return Condition(op, amount, percentile), str(field)
    if op not in ("gt", "gte"):
        # `lt` and `eq` would hold of every window that is still filling.
        raise ValueError(f"condition '{op}' cannot be decided while events still arrive; use gt or gte")
    made = Condition(op, max(amount, 1) if op == "gte" else amount)
    if made.at_least > MOST:
        raise ValueError(f"a group keeps {MOST} events, a count of {amount} is never reached")
    return made, str(field) if kind == "value_count" else ""


def _expression(parsed: object, rules: Mapping[str, Referable]) -> Expression:
    match parsed:
        case SigmaRuleReference():
            return Is(rules[parsed.reference].id)
        case CorrelationConditionNOT():
            return Not(_expression(parsed.args[0], rules))
        case CorrelationConditionAND():
            return All(tuple(_expression(part, rules) for part in parsed.args))
        case CorrelationConditionOR():
            return AnyOf(tuple(_expression(part, rules) for part in parsed.args))
    raise ValueError(f"cannot read '{parsed}' in the condition")
