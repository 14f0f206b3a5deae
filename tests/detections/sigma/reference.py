"""Sigma as naively as can be: pySigma's own condition tree over one event. It shares no code with the engine."""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any

from sigma import conditions as cond
from sigma import types as st
from sigma.rule import SigmaRule

Event = Mapping[str, tuple[str, ...]]
"""The texts of each field that is there; a field that is missing is not in it."""
Holds = Callable[[Event], bool]
_FLAGS = {
    st.SigmaRegularExpressionFlag.IGNORECASE: re.IGNORECASE,
    st.SigmaRegularExpressionFlag.MULTILINE: re.MULTILINE,
    st.SigmaRegularExpressionFlag.DOTALL: re.DOTALL,
}
_COMPARED: dict[str, Callable[[float, float], bool]] = {
    "LT": lambda a, b: a < b, "LTE": lambda a, b: a <= b, "GT": lambda a, b: a > b, "GTE": lambda a, b: a >= b,
}  # fmt: skip


def reference(rule: SigmaRule, names: Mapping[str, str]) -> Holds:
    """Whether a rule holds for an event; `names` are the event's names of the rule's fields."""
    parts = [_tree(condition.parsed, names) for condition in rule.detection.parsed_condition]
    return lambda event: any(part(event) for part in parts)


def _tree(item: Any, names: Mapping[str, str]) -> Holds:
    if isinstance(item, cond.ConditionNOT):
        part = _tree(item.args[0], names)
        return lambda event: not part(event)
    if isinstance(item, cond.ConditionAND | cond.ConditionOR):
        parts = [_tree(arg, names) for arg in item.args]
        if isinstance(item, cond.ConditionAND):
            return lambda event: all(part(event) for part in parts)
        return lambda event: any(part(event) for part in parts)
    if isinstance(item, cond.ConditionFieldEqualsValueExpression):
        return _field(names[item.field], item.value, names)
    check = _value(item.value, is_keyword=True)
    return lambda event: any(check(text) for texts in event.values() for text in texts)


def _field(name: str, value: Any, names: Mapping[str, str]) -> Holds:
    match value:
        case st.SigmaExpansion():
            parts = [_field(name, each, names) for each in value.values]
            return lambda event: any(part(event) for part in parts)
        case st.SigmaNull():
            return lambda event: name not in event
        case st.SigmaExists():
            return lambda event: (name in event) == value.exists
        case st.SigmaFieldReference():
            other, how = names[value.field], _pair(value.starts_with, value.ends_with)
            return lambda event: any(
                how(_lower(a), _lower(b)) for a in event.get(name, ()) for b in event.get(other, ())
            )
    check = _value(value, is_keyword=False)
    return lambda event: any(check(text) for text in event.get(name, ()))


def _pair(starts: bool, ends: bool) -> Callable[[str, str], bool]:
    if starts and ends:
        return lambda a, b: b in a
    return str.startswith if starts else str.endswith if ends else str.__eq__


def _value(value: Any, *, is_keyword: bool) -> Callable[[str], bool]:
    match value:
        case st.SigmaExpansion():
            parts = [_value(each, is_keyword=is_keyword) for each in value.values]
            return lambda text: any(part(text) for part in parts)
        case st.SigmaTimestampPart():
            return lambda text: _part_of(text, value.timestamp_part.name.lower()) == value.number
        case st.SigmaString():
            return _text(value.s, isinstance(value, st.SigmaCasedString), is_keyword)
        case st.SigmaNumber():
            return _text([str(value.number)], False, is_keyword)
        case st.SigmaBool():
            return _text([str(value.boolean)], False, is_keyword)
        case st.SigmaRegularExpression():
            flags = sum(_FLAGS[flag] for flag in value.flags)
            found = re.compile(str(value.regexp), flags)
            return lambda text: found.search(text) is not None
        case st.SigmaCIDRExpression():
            return lambda text: _is_inside(text, value.network)
        case st.SigmaCompareExpression():
            compared, number = _COMPARED[value.op.name], float(value.number.number)
            return lambda text: re.fullmatch(r"-?\d+(\.\d+)?", text) is not None and compared(float(text), number)
    raise TypeError(type(value).__name__)


def _lower(text: str) -> str:
    return "".join(letter.lower() for letter in text)


def _text(parts: list[Any], cased: bool, is_keyword: bool) -> Callable[[str], bool]:
    marks = {st.SpecialChars.WILDCARD_MULTI: ".*", st.SpecialChars.WILDCARD_SINGLE: "."}
    pattern = "".join(re.escape(p if cased else _lower(p)) if isinstance(p, str) else marks[p] for p in parts)
    found = re.compile(pattern, re.DOTALL)
    look = found.search if is_keyword else found.fullmatch
    return lambda text: look(text if cased else _lower(text)) is not None


def _is_inside(text: str, network: Any) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if network.version == 4 and isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped in network
    return address in network


def _part_of(text: str, part: str) -> int | None:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return int(moment.strftime("%V")) if part == "week" else int(getattr(moment, part))
