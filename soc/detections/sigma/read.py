"""Sigma documents to `Rule`s: pySigma reads and checks them, this lowers what it made."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import re2
from sigma import conditions as cond
from sigma import modifiers as sm
from sigma import types as st
from sigma.exceptions import SigmaError
from sigma.policy import SigmaPolicy
from sigma.processing.pipeline import ProcessingPipeline
from sigma.rule import SigmaRule
from sigma.rule.detection import SigmaDetection

from soc.content import Document
from soc.detections.sigma.aggregation import advice
from soc.detections.sigma.filters import Filter, apply, plain_name, shown
from soc.detections.sigma.header import identity, tests_in, version_of, vietnamese_title
from soc.detections.sigma.mapping import field_name
from soc.detections.sigma.modifiers import as_text, complete
from soc.detections.sigma.quantity import written_out
from soc.detections.sigma.regex import QuietEngine, compile_re2, with_flags
from soc.detections.sigma.routing import Key, NoRoute, Way, ways
from soc.detections.sigma.rule import ONE, STAR, All, AnyOf, Node, Not, Refused, Route, Rule, Test, Variant, simplest
from soc.detections.sigma.site import NO_SITE, Site
from soc.detections.sigma.values import fold, text_of
from soc.errors import nearest
from soc.model.fields import FieldDictionary
from soc.model.finding import LEVELS

POLICY = SigmaPolicy(regex_engine=QuietEngine())
"""pySigma compiles regexes with our quiet RE2 and never fetches or renders anything."""
# pySigma raises plain Python errors on some malformed documents; a user's file must not stop the loading of others.
MALFORMED = (SigmaError, TypeError, ValueError, KeyError, AttributeError, IndexError)
_HYPHENED = re.compile(r"\bof\s+([\w*]*-[\w*-]*)")
_WILD = {st.SpecialChars.WILDCARD_MULTI: STAR, st.SpecialChars.WILDCARD_SINGLE: ONE}
_COMPARE = {"LT": ("lt", "<"), "LTE": ("lte", "<="), "GT": ("gt", ">"), "GTE": ("gte", ">=")}

complete()


class CannotRun(ValueError):
    """The rule cannot run here: the reason, and the keys of the place it stands at."""

    def __init__(self, reason: str, *keys: str) -> None:
        super().__init__(reason)
        self.keys = keys or ("detection",)


@dataclass
class Names:
    """Maps one way's field names and named filters; remembers which were used, and which fields nobody writes."""

    way: Way
    fields: FieldDictionary
    filters: Mapping[str, Node | str] = field(default_factory=dict)
    used: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, None] = field(default_factory=dict)
    named: dict[str, Node] = field(default_factory=dict)

    def of(self, name: str) -> str:
        """The event's name; an unknown one is noted and kept."""
        route = self.way.route
        renamed = dict(self.way.renamed)
        mapped = field_name(name, windows=route.windows, renamed=renamed, fields=self.fields, datasets=route.datasets)
        if mapped is None:
            self.unknown[name] = None
            return name
        self.used[name] = mapped
        return mapped


def read_rule(
    document: Document,
    fields: FieldDictionary,
    pipelines: Sequence[ProcessingPipeline] = (),
    *,
    filters: Sequence[Filter] = (),
    site: Site = NO_SITE,
    internal: bool = False,
) -> Rule | Refused:
    """Read one rule; what cannot run comes back as `Refused` with the reason and the line it stands on."""
    try:
        return _rule(document, fields, pipelines, filters, site, internal)
    except CannotRun as error:
        return Refused(identity(document), document.path, document.line(*error.keys), str(error))
    except NoRoute as error:
        return Refused(identity(document), document.path, document.line("logsource"), str(error))
    except MALFORMED as error:
        return Refused(identity(document), document.path, document.line("detection"), _reason(error))


def read_condition(detection: Mapping[str, Any], site: Site = NO_SITE) -> Node:
    """The condition of a detection by itself, its names as they are written. Raises ValueError with the reason."""
    data = {"title": "condition", "logsource": {"category": "any"}, "detection": _detection({"detection": detection})}
    try:
        sigma = SigmaRule.from_dict(data, collect_errors=True, policy=POLICY)
        if sigma.errors:
            raise CannotRun("; ".join(dict.fromkeys(_reason(error) for error in sigma.errors)))
        return _conditions(sigma.detection, _Written(Way(Route()), FieldDictionary([]), site.filters))
    except CannotRun:
        raise
    except MALFORMED as error:
        raise ValueError(_reason(error)) from error


class _Written(Names):
    """Leaves every name as it is."""

    def of(self, name: str) -> str:
        return name


def _detection(data: dict[str, Any]) -> Any:
    """As pySigma takes it: it reads Sigma 1's `timeframe` as keywords, and wants a detection in every rule."""
    detection = written_out(as_text(data.get("detection")))
    if not isinstance(detection, dict):
        return detection
    own = {name: value for name, value in detection.items() if name != "timeframe" or not isinstance(value, str)}
    return own if own.keys() - {"condition"} or not own else {"_": "a condition of nothing but named filters", **own}


def _reason(error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else "no text"
    return text if isinstance(error, SigmaError) else f"malformed: {text}"


def _key(source: Any) -> Key:
    return source.category or "", source.product or "", source.service or ""


def _ways(source: Any, site: Site) -> list[Way]:
    """Our ways and those of the site. Raises NoRoute where there is neither."""
    key = _key(source)
    own = [each.way for each in site.sources if each.key == key]
    try:
        return [*ways(*key), *own]
    except NoRoute:
        if own:
            return own
        raise


def _rule(
    document: Document,
    fields: FieldDictionary,
    pipelines: Sequence[Any],
    filters: Sequence[Filter],
    site: Site,
    internal: bool,
) -> Rule:
    data = document.data
    if instead := advice(data.get("detection")):
        raise CannotRun(instead, "detection", "condition")
    sigma = SigmaRule.from_dict({**data, "detection": _detection(data)}, collect_errors=True, policy=POLICY)
    if sigma.errors:
        raise CannotRun("; ".join(dict.fromkeys(_reason(error) for error in sigma.errors)))
    filtered = apply(filters, data, sigma)
    for pipeline in pipelines:
        pipeline.apply(sigma)
    variants: list[Variant] = []
    unknown: dict[str, None] = {}
    named: dict[str, Node] = {}
    for way in _ways(sigma.logsource, site):
        names = Names(way, fields, site.filters)
        node = _conditions(sigma.detection, names)
        named.update(names.named)
        if names.unknown:
            unknown.update(names.unknown)
        else:
            variants.append(Variant(way.route, node, dict(names.used)))
    if not variants:
        known = [*fields.names(), *(n for d in _datasets(sigma.logsource, site) for n in fields.called.get(d, ()))]
        close = nearest(next(iter(unknown)), known)
        reason = f"reads {_quoted(unknown)}, which no parser writes for this log source{close}"
        raise CannotRun(reason, *place_of(document, next(iter(unknown))))
    level = str(data.get("level") or "medium").lower()
    return Rule(
        id=identity(document),
        name=str(data.get("name") or ""),
        version=version_of(document, *(each.document for each in filtered), named=named),
        title=str(data.get("title") or identity(document)),
        level=level if level in LEVELS else "medium",
        variants=tuple(variants),
        tags=tuple(map(str, data.get("tags") or ())),
        title_vi=vietnamese_title(data),
        playbook=str(data.get("x-playbook") or ""),
        path=document.path,
        line=document.first_line,
        internal=internal,
        filters=tuple(identity(each.document) for each in filtered),
        status=str(data.get("status") or ""),
        tests=tests_in(data),
        logsource=_key(sigma.logsource),
    )


def _datasets(source: Any, site: Site) -> list[str]:
    return [dataset for way in _ways(source, site) for dataset in way.route.datasets]


def place_of(document: Document, name: str) -> tuple[str, ...]:
    """The keys of a field in the detection, whatever its modifiers."""
    for keys in document.lines:
        if keys[:1] == ("detection",) and str(keys[-1]).partition("|")[0] == name:
            return tuple(map(str, keys))
    return ("detection",)


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _conditions(detections: Any, names: Names) -> Node:
    """Several conditions are alternatives."""
    nodes = [_condition(_parsed(c), detections, names) for c in detections.parsed_condition]
    return nodes[0] if len(nodes) == 1 else AnyOf(tuple(nodes))


def _parsed(condition: Any) -> Any:
    try:
        return condition.parse(False)
    except SigmaError as error:
        if found := _HYPHENED.search(condition.condition):
            name = found[1]
            reason = f"pySigma reads no '-' in the names behind 'of': write '{name.replace('-', '_')}' for '{name}'"
            raise CannotRun(f"{reason}, here and in the selections", "detection", "condition") from error
        raise


def _condition(item: Any, detections: Any, names: Names) -> Node:
    match item:
        case cond.ConditionIdentifier():
            if item.identifier not in detections.detections:
                return _named(plain_name(item.identifier), names)
            return lower_detection(shown(item.identifier), detections.detections[item.identifier], names)
        case cond.ConditionSelector():
            found = [_condition(i, detections, names) for i in item.resolve_referenced_detections(detections)]
            if not found:
                raise CannotRun(f"'{item.args[0]} of {item.pattern}' matches no detection")
            return _joined(item.cond_class, found)
        case cond.ConditionNOT():
            return Not(_condition(item.args[0], detections, names))
        case cond.ConditionAND() | cond.ConditionOR():
            return _joined(type(item), [_condition(arg, detections, names) for arg in item.args])
    raise CannotRun(f"unknown condition {type(item).__name__}")


def _named(name: str, names: Names) -> Node:
    found = names.filters.get(name)
    if found is None:
        raise CannotRun(f"condition names '{name}', which is no detection and no filter")
    if isinstance(found, str):
        raise CannotRun(f"filter '{name}': {found}")
    names.named[name] = found
    return found


def _joined(kind: type, nodes: list[Node]) -> Node:
    if len(nodes) == 1:
        return nodes[0]
    return All(tuple(nodes)) if kind is cond.ConditionAND else AnyOf(tuple(nodes))


def lower_detection(selection: str, detection: Any, names: Names) -> Node:
    """A named detection: nested lists are alternatives, the items of a mapping all hold."""
    nodes = [
        lower_detection(selection, item, names) if isinstance(item, SigmaDetection) else _item(selection, item, names)
        for item in detection.detection_items
    ]
    return _joined(detection.item_linking, nodes)


@dataclass(frozen=True)
class _Item:
    """What the values of one pair of a mapping have in common; `field` is None for keywords."""

    selection: str
    field: str | None
    modifiers: frozenset[type]
    names: Names

    @property
    def is_cased(self) -> bool:
        """Asked of the item, for `windash`, `expand` and the encodings make new values that no longer say so."""
        return sm.SigmaCaseSensitiveModifier in self.modifiers

    @property
    def is_open(self) -> tuple[bool, bool]:
        """Whether anything may stand before and behind the value by itself."""
        return sm.SigmaStartswithModifier not in self.modifiers, sm.SigmaEndswithModifier not in self.modifiers

    def test(self, op: str, operand: Any, pattern: str, cased: bool = False) -> Test:
        return Test(self.selection, self.field, op, operand, pattern, cased)

    def text(self, text: str) -> Test:
        return self.test("contains" if self.field is None else "equals", fold(text), text)


def _item(selection: str, item: Any, names: Names) -> Node:
    field_ = None if item.field is None else names.of(item.field)
    shared = _Item(selection, field_, frozenset(item.modifiers), names)
    values = item.value or [st.SigmaNull()]
    node = _joined(item.value_linking, [_value(shared, value) for value in values])
    return Not(node) if item.negated else node


def _value(item: _Item, value: Any) -> Node:
    """One value of an item; the order of the cases goes from subclasses to their parents."""
    match value:
        case st.SigmaExpansion():
            return _joined(cond.ConditionOR, [_value(item, v) for v in value.values])
        case st.SigmaNull():
            if item.field is None:
                raise CannotRun("null needs a field")
            return item.test("null", None, "null")
        case st.SigmaString():
            return _string(item, value)
        case st.SigmaTimestampPart():
            part = value.timestamp_part.name.lower()
            return item.test(part, value.number, f"{part} {value.number}")
        case st.SigmaNumber():
            return item.text(text_of(value.number))
        case st.SigmaBool():
            return item.text(text_of(value.boolean))
        case st.SigmaExists():
            return item.test("exists", value.exists, f"exists {text_of(value.exists)}")
        case st.SigmaCompareExpression():
            op, sign = _COMPARE[value.op.name]
            return item.test(op, value.number.number, f"{sign} {value.number.number}")
        case st.SigmaCIDRExpression():
            return item.test("cidr", value.cidr, value.cidr)
        case st.SigmaRegularExpression():
            return item.test("re", _regex(item, value), str(value.regexp), True)
        case st.SigmaFieldReference():
            return _reference(item, value)
    raise CannotRun(f"a value of kind {type(value).__name__} cannot be compared here")


def _regex(item: _Item, value: Any) -> str:
    if value.contains_placeholder():
        raise CannotRun("needs a list for the placeholders of |expand")
    flags = "".join(sorted(value.sigma_to_re_flag[flag] for flag in value.flags))
    before, behind = item.is_open
    text = str(value.regexp)
    if not (before and behind):
        start, end = "" if before else r"\A", "" if behind else r"\z"
        text = f"{start}(?:{text}){end}"
    pattern = with_flags(text, flags)
    try:
        compile_re2(pattern)
    except re2.error as error:
        raise CannotRun(f"RE2 cannot run '{value.regexp}': {error}") from error
    return pattern


def _reference(item: _Item, value: Any) -> Test:
    if item.field is None:
        raise CannotRun("fieldref needs a field")
    sign = {(False, False): "=", (True, False): "^", (False, True): "$", (True, True): "~"}
    how = sign[value.starts_with, value.ends_with]
    return item.test("fieldref", how + item.names.of(value.field), f"field {value.field}", item.is_cased)


def _string(item: _Item, value: Any) -> Test:
    if value.contains_placeholder():
        missing = _quoted(p.name for p in value.s if isinstance(p, st.Placeholder))
        raise CannotRun(f"needs a list for placeholder {missing}")
    cased = item.is_cased or isinstance(value, st.SigmaCasedString)
    # A keyword may stand anywhere in a value.
    before, behind = item.is_open if item.field is None else (False, False)
    glob: list[str | int] = [STAR] if before else []
    for part in value.s:
        piece: str | int = _WILD[part] if isinstance(part, st.SpecialChars) else (part if cased else fold(part))
        if piece != STAR or not glob or glob[-1] != STAR:
            glob.append(piece)
    if behind and glob[-1:] != [STAR]:
        glob.append(STAR)
    op, operand = simplest(tuple(glob))
    return item.test(op, operand, value.to_plain(), cased)
