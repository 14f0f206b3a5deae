"""What is wrong with rules that load: conditions that never hold, parts nobody reads, names that look misspelt, and
rules that are dear to ask."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from soc.content import Document
from soc.detections.load import DetectionSet
from soc.detections.sigma.header import identity
from soc.detections.sigma.read import place_of
from soc.detections.sigma.rule import All, AnyOf, Node, Not, Refused, Rule, Test, tests_of
from soc.detections.sigma.values import address_of, number_of
from soc.detections.sigma.windows_names import NAMES
from soc.detections.sigma.witness import witnesses
from soc.model.fields import FieldDictionary, FieldType

BLOCKING = ("refused", "never_holds", "unread_selection")
"""Kinds that make a rule, or a part of it, dead."""
_NUMBERS = (FieldType.LONG, FieldType.ULONG, FieldType.DOUBLE)
_IN_A_NUMBER = re.compile(r"[0-9eE.+-]*", re.ASCII)
_IN_AN_ADDRESS = re.compile(r"[0-9a-fA-F.:%]*", re.ASCII)
_WORD = re.compile(r"[\w*-]+")
_NOT_SELECTIONS = frozenset(("condition", "timeframe"))
_EVENT_DATA = "winlog.event_data."
_CLOSE = 0.85
Contents = Mapping[tuple[str, str], Document]


@dataclass(frozen=True, order=True)
class Remark:
    """One thing about a rule: where (1-based line), which kind, and a sentence with the way out."""

    path: str
    line: int
    id: str
    kind: str
    text: str

    @property
    def is_blocking(self) -> bool:
        """Whether something can never be found because of it."""
        return self.kind in BLOCKING


def lint(detections: DetectionSet, fields: FieldDictionary) -> list[Remark]:
    """Sorted by place. Load without a cache, for lines and selections stand in the documents alone."""
    documents = {(each.path, identity(each)): each for each in detections.documents}
    remarks = {_refusal(each) for each in detections.refused}
    for rule in (*detections.rules, *detections.watched):
        document = documents.get((rule.path, rule.id))
        if document is not None:
            remarks.update(_of_rule(rule, document, fields))
    return sorted(remarks)


def _refusal(refused: Refused) -> Remark:
    return Remark(refused.path, refused.line, refused.id, "refused", refused.reason)


def _of_rule(rule: Rule, document: Document, fields: FieldDictionary) -> Iterator[Remark]:
    def remark(kind: str, text: str, *keys: str) -> Remark:
        return Remark(document.path, document.line(*(keys or ("detection",))), rule.id, kind, text)

    for name in _unread(document.data["detection"]):
        yield remark("unread_selection", f"no condition reads '{name}'; name it there or take it out",
                     "detection", name)  # fmt: skip
    wrong = {test: why for v in rule.variants for test in tests_of(v.node) if (why := _mismatch(test, fields))}
    if not all(_never(variant.node, fields) for variant in rule.variants):
        for test, why in wrong.items():
            yield remark("type", f"{why}, so this value never matches", "detection", test.selection)
    elif wrong:
        test, why = next(iter(wrong.items()))
        yield remark("never_holds", f"{why}, so the rule never hits", "detection", test.selection)
    else:
        yield remark("never_holds", "the condition contradicts itself, so the rule never hits",
                     "detection", "condition")  # fmt: skip
    for own, mapped in {name: field for v in rule.variants for name, field in v.names.items()}.items():
        if mapped.startswith(_EVENT_DATA) and (close := _misspelt(mapped.removeprefix(_EVENT_DATA))):
            yield remark("misspelt", f"'{own}' is a name we never saw in a Windows event; did you mean '{close}'?",
                         *place_of(document, own))  # fmt: skip
    if any(witnesses(variant.node) is None for variant in rule.variants):
        yield remark(
            "dear", "nothing in it must stand in an event, so it is asked of every event of its log source; "
            "add a value that has to be there",
        )  # fmt: skip


def _unread(detection: Any) -> Iterator[str]:
    """Names of selections that no condition speaks of (Sigma specification 2.1, `condition`)."""
    if not isinstance(detection, dict):
        return
    conditions = detection.get("condition")
    words = {w for text in (conditions if isinstance(conditions, list) else [conditions])
             for w in _WORD.findall(str(text))}  # fmt: skip
    patterns = [re.compile(re.escape(word).replace(r"\*", ".*")) for word in words if "*" in word]
    for name in detection:
        read = name in words or any(p.fullmatch(str(name)) for p in patterns)
        if not read and "them" in words:
            read = not str(name).startswith("_")
        if not read and name not in _NOT_SELECTIONS:
            yield str(name)


def _never(node: Node, fields: FieldDictionary) -> bool:
    """Whether a condition cannot hold for any event; False when that is not sure."""
    match node:
        case Test():
            return _mismatch(node, fields) is not None
        case Not():
            return isinstance(node.part, All) and not node.part.parts
        case AnyOf():
            return bool(node.parts) and all(_never(part, fields) for part in node.parts)
    parts = list(_flat(node))
    denied = {part.part for part in parts if isinstance(part, Not)}
    return any(part in denied or _never(part, fields) for part in parts) or _is_two_values(parts, fields)


def _flat(node: All) -> Iterator[Node]:
    for part in node.parts:
        if isinstance(part, All):
            yield from _flat(part)
        else:
            yield part


def _is_two_values(parts: Iterable[Node], fields: FieldDictionary) -> bool:
    """Whether one field that has one value has to equal two. Event data may be lists, so of these nothing is sure."""
    wanted: dict[str, Any] = {}
    for part in parts:
        if isinstance(part, Test) and part.op == "equals" and part.field is not None and not part.cased:
            field = fields.get(part.field)
            if field is None or field.many or part.field.startswith(("winlog.event_data.", "winlog.user_data.")):
                continue
            if wanted.setdefault(part.field, part.value) != part.value:
                return True
    return False


def _mismatch(test: Test, fields: FieldDictionary) -> str | None:
    """Why no value of the field's type can be what is asked for; None when one may."""
    field = fields.get(test.field) if test.field is not None else None
    if field is None or test.op not in ("equals", "prefix", "suffix", "contains"):
        return None
    text, whole = str(test.value), test.op == "equals"
    said = f"'{test.field}' is a field of type {field.type.value} and '{test.pattern}' is "
    if field.type in _NUMBERS and (number_of(text) is None if whole else not _IN_A_NUMBER.fullmatch(text)):
        return said + "no number"
    if field.type is FieldType.IP and (address_of(text) is None if whole else not _IN_AN_ADDRESS.fullmatch(text)):
        return said + "no address"
    if field.type is FieldType.BOOL and whole and text not in ("true", "false"):
        return said + "neither true nor false"
    return None


def _misspelt(name: str) -> str | None:
    """The known name that is meant; None when it is known itself or like no other."""
    if name in NAMES:
        return None
    same = next((known for known in NAMES if known.lower() == name.lower()), None)
    return same or next(iter(difflib.get_close_matches(name, NAMES, n=1, cutoff=_CLOSE)), None)
