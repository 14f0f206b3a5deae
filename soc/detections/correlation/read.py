"""Reads Sigma correlation documents through pySigma into the frozen form."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sigma.correlations import (
    CorrelationConditionAND,
    CorrelationConditionNOT,
    CorrelationConditionOR,
    SigmaCorrelationRule,
    SigmaExtendedCorrelationCondition,
    SigmaRuleReference,
)
from sigma.processing.pipeline import ProcessingPipeline
from sigma.rule import SigmaRule

from soc.content import Document
from soc.detections.correlation.condition import (
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
from soc.detections.correlation.definition import MOST, Correlation, Names, Referable, event_fields
from soc.detections.sigma.header import identity, version_of, vietnamese_title
from soc.detections.sigma.read import MALFORMED, POLICY
from soc.detections.sigma.routing import KEYS
from soc.detections.sigma.rule import Refused
from soc.errors import nearest
from soc.model.fields import FieldDictionary
from soc.model.finding import LEVELS

WORDS = ("type", "rules", "generate", "group-by", "timespan", "aliases", "condition")
"""The keys of a correlation (Sigma 2.1)."""


def read_correlation(
    document: Document,
    known: Mapping[str, Referable],
    fields: FieldDictionary,
    pipelines: Sequence[ProcessingPipeline] = (),
) -> Correlation | Refused:
    """Read one correlation whose rules are in `known`, by id and by name; `pipelines` may rename what it names."""
    place = (identity(document), document.path, document.line("correlation"))
    if misspelt := _misspelt(document):
        return Refused(
            *place[:2], document.line("correlation", misspelt), f"unknown key '{misspelt}'{nearest(misspelt, WORDS)}"
        )
    try:
        # pySigma takes one operator, the specification as many as make a range: it sees each of them alone.
        read = [
            SigmaCorrelationRule.from_dict(data, collect_errors=True, policy=POLICY) for data in _one_limit(document)
        ]
        errors = dict.fromkeys(str(error) for sigma in read for error in sigma.errors)
        if errors:
            return Refused(*place, "; ".join(errors))
        for sigma in read if pipelines else ():
            sigma.referenced_rules = _stand_ins(known[name] for name in references(document) if name in known)
            for pipeline in pipelines:
                pipeline.apply(sigma)
        return _lower(document, read, known, fields)
    except MALFORMED as error:
        return Refused(*place, str(error) or type(error).__name__)


def _misspelt(document: Document) -> str | None:
    """A key that nobody reads and that looks like one of a correlation: with `group_by` it would group by nothing."""
    body = document.data.get("correlation")
    keys = map(str, body) if isinstance(body, dict) else ()
    return next((key for key in keys if key not in WORDS and nearest(key, WORDS)), None)


def _stand_ins(parts: Iterable[Referable]) -> list[SigmaRuleReference]:
    """What pipelines ask of the rules beneath a correlation: their log sources."""
    found: list[SigmaRuleReference] = []
    for part in parts:
        if isinstance(part, Correlation):
            found += _stand_ins(part.of)
            continue
        source = dict(zip(KEYS, part.logsource, strict=True))
        detection = {"s": ["x"], "condition": "s"}
        reference = SigmaRuleReference(part.id)
        reference.rule = SigmaRule.from_dict(
            {"title": part.title, "logsource": {key: value for key, value in source.items() if value},
             "detection": detection},
            policy=POLICY,
        )  # fmt: skip
        found.append(reference)
    return found


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
    aliases = sigma.aliases.to_dict()
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
