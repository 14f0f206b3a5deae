"""Reads Sigma correlation documents through pySigma into a frozen form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sigma.correlations import SigmaCorrelationRule

from soc.content import Document
from soc.detections.sigma.read import MALFORMED, POLICY, identity, version_of, vietnamese_title
from soc.detections.sigma.rule import Refused, Rule
from soc.model.fields import FieldDictionary
from soc.model.finding import LEVELS

TYPES = ("event_count", "value_count", "temporal", "temporal_ordered")


@dataclass(frozen=True)
class Correlation:
    """One correlation. `rules` are ids in the order of the document; `group_by` and `counted` name a field per rule.

    `at_least` is the smallest count that fires: events, distinct values, or (temporal) distinct rules.
    """

    id: str
    name: str
    version: str
    title: str
    level: str
    type: str
    rules: tuple[str, ...]
    span_us: int
    at_least: int
    group_by: tuple[str, ...]
    group_fields: Mapping[str, tuple[str, ...]]
    counted: Mapping[str, str]
    generate: bool = False
    tags: tuple[str, ...] = ()
    title_vi: str = ""
    playbook: str = ""
    path: str = ""
    line: int = 1


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
    """The ids or names that a correlation document refers to."""
    body = document.data.get("correlation")
    rules = body.get("rules") if isinstance(body, dict) else None
    return [str(rule) for rule in (rules if isinstance(rules, list) else [rules] if rules else [])]


def _lower(document: Document, sigma: object, known: Mapping[str, Referable], fields: FieldDictionary) -> Correlation:
    kind = sigma.type.name.lower()  # type: ignore[attr-defined]
    if kind not in TYPES:
        raise ValueError(f"correlation type '{kind}' is not built yet; one of {', '.join(TYPES)}")
    names = references(document)
    missing = [name for name in names if name not in known]
    if missing:
        raise ValueError(f"refers to '{missing[0]}', which is not loaded")
    rules = {name: known[name] for name in names}
    data = document.data
    aliases = (data["correlation"].get("aliases")) or {}
    group_by = tuple(map(str, sigma.group_by or ()))  # type: ignore[attr-defined]
    group_fields = {
        rule.id: tuple(_field(rule, name, _alias(aliases, group, name, rule), fields) for group in group_by)
        for name, rule in rules.items()
    }
    at_least, counted_name = _condition(sigma, kind, len(rules))
    counted = {r.id: _field(r, n, counted_name, fields) for n, r in rules.items()} if counted_name else {}
    level = str(data.get("level") or "medium").lower()
    return Correlation(
        id=identity(document),
        name=str(data.get("name") or ""),
        version=version_of(document),
        title=str(data.get("title") or identity(document)),
        level=level if level in LEVELS else "medium",
        type=kind,
        rules=tuple(rule.id for rule in rules.values()),
        span_us=int(sigma.timespan.seconds) * 1_000_000,  # type: ignore[attr-defined]
        at_least=at_least,
        group_by=group_by,
        group_fields=group_fields,
        counted=counted,
        generate=bool(sigma.generate),  # type: ignore[attr-defined]
        tags=tuple(map(str, data.get("tags") or ())),
        title_vi=vietnamese_title(data),
        playbook=str(data.get("x-playbook") or ""),
        path=document.path,
        line=document.first_line,
    )


def _alias(aliases: Mapping[str, Mapping[str, str]], group: str, name: str, rule: Referable) -> str:
    mapping = aliases.get(group) or {}
    return str(mapping.get(name) or mapping.get(rule.id) or mapping.get(rule.name) or group)


def _field(rule: Referable, name: str, field: str, fields: FieldDictionary) -> str:
    """The event field behind a name as the referenced rule sees it."""
    if isinstance(rule, Correlation):
        if field not in rule.group_by:
            raise ValueError(f"'{name}' is a correlation that does not group by '{field}'")
        return field
    mapped = rule.field(field, fields)
    if mapped is None:
        raise ValueError(f"groups by '{field}', which no parser writes for '{name}'")
    return mapped


def _condition(sigma: object, kind: str, rules: int) -> tuple[int, str]:
    condition = sigma.condition  # type: ignore[attr-defined]
    if kind in ("temporal", "temporal_ordered"):
        if condition is not None and not hasattr(condition, "op"):
            raise ValueError("an extended condition of a temporal correlation is not built yet")
        if condition is None or condition.op.name == "GTE":
            return (rules if condition is None else min(rules, int(condition.count))), ""
        raise ValueError("a temporal correlation takes 'gte' only")
    op, count = condition.op.name, int(condition.count)
    if op not in ("GT", "GTE"):
        # `lt` and `eq` would hold of every window that is still filling.
        raise ValueError(f"condition '{op.lower()}' cannot be decided while events still arrive; use gt or gte")
    fieldref = condition.fieldref
    if kind == "value_count" and not isinstance(fieldref, str):
        raise ValueError("value_count needs one 'field' in its condition")
    return max(1, count + (op == "GT")), fieldref if kind == "value_count" else ""
