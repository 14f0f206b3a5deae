"""Shapes a message for one destination by its mapping file; the schema is configuration, never code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from soc.content import Document, Faults, Node, documents, shipped
from soc.errors import ConfigError, ContentError, Fault, nearest
from soc.model.message import KINDS, Message
from soc.model.values import iso

ADAPTERS = ("json-rest",)


@dataclass(frozen=True)
class Rule:
    """One target of a mapping: the `source` path, or a fixed value; `table` translates, `default` stands in."""

    target: tuple[str, ...]
    source: tuple[str, ...] = ()
    value: Any = None
    table: Mapping[str, Any] | None = None
    default: Any = None
    is_required: bool = False

    def read(self, document: Mapping[str, Any]) -> Any:
        """The value for the target, None for nothing. Raises ValueError when required and missing."""
        if not self.source:
            return self.value
        value = _at(document, self.source)
        if self.table is not None and value is not None:
            value = self.table.get(str(value))
        value = self.default if value is None else value
        if value is None and self.is_required:
            raise ValueError(f"'{'.'.join(self.source)}' is missing for '{'.'.join(self.target)}'")
        return value


@dataclass(frozen=True)
class Mapped:
    """A mapping file. `kinds` without an entry are not taken by the destination; None = the payload as it is."""

    id: str
    adapter: str
    schema_version: str
    path: str
    is_official: bool
    envelope: tuple[Rule, ...]
    kinds: Mapping[str, tuple[Rule, ...] | None]

    def shape(self, message: Message) -> dict[str, Any]:
        """The body for the wire. Raises ValueError when the destination takes no such kind or a value is missing."""
        if message.kind not in self.kinds:
            raise ValueError(f"{self.id} takes no '{message.kind}'")
        body = _fill(self.envelope, {**asdict(message), "created": iso(message.created_us)})
        rules = self.kinds[message.kind]
        body["payload"] = dict(message.payload) if rules is None else _fill(rules, message.payload)
        return body


def load(folders: Sequence[Path] | None = None) -> dict[str, Mapped]:
    """Every mapping under `<folder>/national` by id. Raises ContentError with all faults."""
    places = [folder / "national" for folder in (folders or [shipped("connectors")])]
    found: dict[str, Mapped] = {}
    faults: list[Fault] = []
    for document in documents([place for place in places if place.is_dir()]).values():
        try:
            mapped = read(document)
        except ContentError as error:
            faults.extend(error.faults)
        else:
            found[mapped.id] = mapped
    if faults:
        raise ContentError(faults)
    return found


def named(mappings: Mapping[str, Mapped], id: str) -> Mapped:
    """The mapping of that id. Raises ConfigError with the nearest name."""
    if id not in mappings:
        raise ConfigError(f"no mapping '{id}'{nearest(id, mappings)}; known: {', '.join(sorted(mappings))}")
    return mappings[id]


def read(document: Document) -> Mapped:
    """One mapping from its document. Raises ContentError."""
    faults = Faults()
    node = Node(document, faults)
    mapped = Mapped(
        id=node.text("id", required=True),
        adapter=node.choice("adapter", ADAPTERS, required=True),
        schema_version=node.text("schema_version", required=True),
        path=node.text("path", required=True),
        is_official=node.flag("official"),
        envelope=_rules(node, "envelope", node.mapping("envelope", required=True)),
        kinds=_kinds(node),
    )
    node.finish(also=("title", "status", "author", "date", "references", "tags", "i18n"))
    faults.raise_if_any()
    return mapped


def _kinds(node: Node) -> dict[str, tuple[Rule, ...] | None]:
    kinds: dict[str, tuple[Rule, ...] | None] = {}
    for kind, rules in node.mapping("payload", required=True).items():
        if kind not in KINDS:
            node.fault(f"unknown kind '{kind}'; one of {', '.join(KINDS)}{nearest(str(kind), KINDS)}", "payload", kind)
        elif isinstance(rules, dict):
            kinds[kind] = _rules(node, f"payload.{kind}", rules)
        elif rules == "*":
            kinds[kind] = None
        else:
            node.fault("expected target: source pairs, or '*' for the payload as it is", "payload", kind)
    return kinds


def _rules(node: Node, place: str, entries: Mapping[str, Any]) -> tuple[Rule, ...]:
    rules = (_rule(node, place.split("."), str(target), entry) for target, entry in entries.items())
    return tuple(rule for rule in rules if rule is not None)


def _rule(node: Node, place: Sequence[str], target: str, entry: Any) -> Rule | None:
    path = tuple(target.split("."))
    if isinstance(entry, str):
        return Rule(path, tuple(entry.split(".")))
    known = {"from", "value", "map", "default", "required"}
    if not isinstance(entry, dict) or ("from" in entry) == ("value" in entry):
        node.fault("expected a source path, or a mapping with either 'from' or 'value'", *place, target)
        return None
    for key in entry.keys() - known:
        node.fault(f"unknown key '{key}'{nearest(str(key), known)}", *place, target, key)
    source = tuple(str(entry["from"]).split(".")) if "from" in entry else ()
    required = entry.get("required") is True
    return Rule(path, source, entry.get("value"), entry.get("map"), entry.get("default"), required)


def _fill(rules: Sequence[Rule], document: Mapping[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for rule in rules:
        value = rule.read(document)
        if value is not None:
            _place(body, rule.target, value)
    return body


def _place(body: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for part in path[:-1]:
        body = body.setdefault(part, {})
    body[path[-1]] = value


def _at(document: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = document
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
