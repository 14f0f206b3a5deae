"""A parser definition: YAML to frozen dataclasses, with every fault of every file found at once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soc.content import Document, Faults, Node, documents
from soc.errors import ContentError, Fault, nearest
from soc.model.fields import Field, FieldDictionary, describe, parse_type
from soc.model.values import Unfit, fit
from soc.parsers.compile import Pattern, compile_pattern
from soc.parsers.vocabulary import extended

LAYERS = ("network", "server", "application", "endpoint", "wire")
DECODERS = (
    "text", "keyvalue", "windows", "netflow_v5", "netflow_v9", "ipfix", "sflow", "snmp", "cef", "leef", "document",
    "packet", "w3c", "json", "auditd",
)  # fmt: skip
FORMATS = (
    "netflow", "netflow-v9", "ipfix", "sflow", "snmp", "windows", "elastic", "hec", "gelf", "packet-flow", "packet-dns",
    "packet-http", "packet-tls", "packet-dhcp", "packet-arp", "packet-capture", "journal", "w3c",
)  # fmt: skip
ORIGINS = ("captured", "vendor-doc", "specification", "synthetic")
TAKES = ("basename", "lower", "first", "hex", "without_domain", "domain", "class", "clock", "strip", "unmap", "ip")
HEADER_KEYS = ("status", "author", "date", "description", "references", "level", "tags", "i18n", "license")
_OURS = ("event.id", "event.created", "event.ingested", "event.dataset", "event.original", "soc.", "organization.")


@dataclass(frozen=True)
class FieldMap:
    """How one field gets its value: the first of `sources` that has one, through `take`, `table` and the type.

    With `join` (JSON only) it is the text of all values of all sources, with that between them.
    """

    field: Field
    sources: tuple[str, ...]
    table: Mapping[str, Any] | None = None
    otherwise: Any = None
    take: str = ""
    part: str = ""
    time: str = ""
    split: str = ""
    scale: int = 0
    join: str = ""


@dataclass(frozen=True)
class Shape:
    """One form of a product's messages: a pattern over the text, or conditions on decoded values, and the mapping.

    `dataset` is for events that go by another name than the product's others.
    """

    name: str
    pattern: Pattern | None
    when: Mapping[str, frozenset[str]]
    maps: tuple[FieldMap, ...]
    constants: tuple[tuple[Field, Any], ...]
    dataset: str = ""


@dataclass(frozen=True)
class Recognise:
    """What tells a product from all others. Programs, channels and formats are looked up; the rest is tried in turn.

    `only` narrows the programs: of what they write, messages of this form. `documents` are alternatives: each says by
    path which values a JSON document has there, `*` any.
    """

    programs: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    format: str = ""
    text: Pattern | None = None
    documents: tuple[Mapping[str, frozenset[str]], ...] = ()
    only: Pattern | None = None


@dataclass(frozen=True)
class Case:
    """One test: a message, a whole record, hex bytes or a JSON document, and what must come of it (None: no shape)."""

    path: str
    line: int
    kind: str  # line | record | hex | json
    text: str
    receipt: str
    expect: tuple[Mapping[str, Any], ...] | None


@dataclass(frozen=True)
class Definition:
    """A product: how to recognise it, how to decode it, its shapes in the order they are tried, its tests."""

    id: str
    title: str
    layer: str
    decode: str
    path: str
    recognise: Recognise
    head: Pattern | None
    maps: tuple[FieldMap, ...]
    constants: tuple[tuple[Field, Any], ...]
    shapes: tuple[Shape, ...]
    missing: frozenset[str]
    cases: tuple[Case, ...]
    dataset: str = ""

    def dataset_of(self, shape: Shape | None) -> str:
        """The dataset of the events of a shape, or of those that have none."""
        return self.dataset if shape is None else shape.dataset or self.dataset


def load(folders: Sequence[Path], fields: FieldDictionary) -> tuple[dict[str, Definition], FieldDictionary]:
    """Every definition below the folders by id, and the dictionary extended by them. The first folder ships (its
    patterns are linted and run in `re`), later ones are a site's (RE2). Raises ContentError with all faults."""
    found = documents(folders)
    faults = Faults()
    fields = extended(found, fields, faults)
    shipped = str(folders[0]) if folders else ""
    definitions = {
        name: _Reader(document, faults, fields, document.path.startswith(shipped)).definition()
        for name, document in found.items()
    }
    if faults.found:
        raise ContentError(sorted(set(faults.found)))
    return definitions, fields


class _Reader:
    """Reads one document."""

    def __init__(self, document: Document, faults: Faults, fields: FieldDictionary, is_shipped: bool) -> None:
        self.node = Node(document, faults)
        self.fields = fields
        self.is_shipped = is_shipped

    def definition(self) -> Definition:
        node = self.node
        identity = node.text("id", required=True)
        node.mapping("fields")
        common = node.child("common")
        node.mapping("sigma")
        maps, constants = self._mapping(common) if common else ((), ())
        if common:
            common.finish()
        decode = node.choice("decode", DECODERS, "text")
        if decode in ("json", "auditd"):
            maps = (*self._own_names(identity, maps), *maps)
        result = Definition(
            identity,
            node.text("title", required=True),
            node.choice("layer", LAYERS, "server", required=True),
            decode,
            node.document.path,
            self._recognise(),
            self._pattern(node, "head"),
            maps,
            constants,
            tuple(self._shape(child) for child in node.children("shapes")),
            frozenset(node.texts("missing")),
            self._cases(),
            node.text("dataset", identity),
        )
        node.finish(HEADER_KEYS)
        return result

    def _own_names(self, identity: str, maps: Sequence[FieldMap]) -> list[FieldMap]:
        """A declared field `<id>.<path>` that nothing maps has what the document has at that path."""
        mapped = {spec.field.name for spec in maps}
        declared = (self.fields.get(name) for name in self.node.mapping("fields") if name not in mapped)
        prefix = f"{identity}."
        return [FieldMap(f, (f.name.removeprefix(prefix),)) for f in declared if f and f.name.startswith(prefix)]

    def _recognise(self) -> Recognise:
        node = self.node.child("recognise", required=True)
        if node is None:
            return Recognise()
        result = Recognise(
            tuple(p.lower() for p in node.texts("program")),
            node.texts("prefix"),
            node.texts("keys"),
            tuple(c.lower() for c in node.texts("channel")),
            node.choice("format", FORMATS),
            self._pattern(node, "text"),
            _documents(node),
            self._pattern(node, "only"),
        )
        if result == Recognise():
            node.fault("nothing to recognise it by; one of program, prefix, keys, channel, format, text, document")
        node.finish()
        return result

    def _pattern(self, node: Node, key: str) -> Pattern | None:
        text = node.text(key)
        if not text:
            return None
        pattern, problems = compile_pattern(text, is_shipped=self.is_shipped)
        for problem in problems:
            node.fault(problem, key)
        return pattern

    def _shape(self, node: Node) -> Shape:
        pattern = self._pattern(node, "pattern")
        when = {k: frozenset(_words(v)) for k, v in node.mapping("when").items()}
        maps, constants = self._mapping(node, pattern)
        shape = Shape(node.text("name", required=True), pattern, when, maps, constants, node.text("dataset"))
        node.finish(("description",))
        return shape

    def _mapping(
        self, node: Node, pattern: Pattern | None = None
    ) -> tuple[tuple[FieldMap, ...], tuple[tuple[Field, Any], ...]]:
        maps = [m for name in node.mapping("fields") if (m := self._field_map(node, name, pattern)) is not None]
        constants: list[tuple[Field, Any]] = []
        for name, value in node.mapping("set").items():
            field = self._field(node, ("set", name), name)
            if field is None:
                continue
            try:
                constants.append((field, fit(field, value)))
            except Unfit as error:
                node.fault(f"field '{name}' is {describe(field)}: {error}", "set", name)
        return tuple(maps), tuple(constants)

    def _field(self, node: Node, keys: tuple[str, ...], name: str) -> Field | None:
        field = self.fields.get(name)
        if field is None:
            node.fault(f"unknown field '{name}'{nearest(name, self.fields.names())}", *keys)
        elif name.startswith(_OURS):
            node.fault(f"field '{name}' is written by the engine, not by a definition", *keys)
            return None
        return field

    def _field_map(self, node: Node, name: str, pattern: Pattern | None) -> FieldMap | None:
        field = self._field(node, ("fields", name), name)
        value = node.data["fields"][name]
        if not isinstance(value, dict):
            return None if field is None else self._sourced(node, name, FieldMap(field, tuple(_words(value))), pattern)
        spec = Node(node.document, node.faults, (*node.keys, "fields", name), value)
        self._check_type(spec, field)
        table = spec.mapping("map") or None
        result = FieldMap(
            field or Field(name, parse_type("keyword")[0]),
            spec.texts("from", required=True),
            self._table(spec, field, table),
            self._default(spec, field),
            spec.choice("take", TAKES),
            spec.text("part"),
            spec.text("time"),
            spec.text("split"),
            spec.integer("scale"),
            spec.text("join"),
        )
        spec.finish()
        return None if field is None else self._sourced(node, name, result, pattern)

    def _check_type(self, spec: Node, field: Field | None) -> None:
        text = spec.text("type")
        if not text:
            return
        try:
            kind = parse_type(text)
        except ValueError as error:
            spec.fault(str(error), "type")
            return
        if field is not None and kind != (field.type, field.many):
            spec.fault(f"field '{field.name}' is {describe(field)}, not {text}", "type")

    def _table(self, spec: Node, field: Field | None, table: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        if table is None or field is None:
            return None
        fitted: dict[str, Any] = {}
        for key, value in table.items():
            try:
                fitted[str(key)] = fit(field, value)
            except Unfit as error:
                spec.fault(f"field '{field.name}' is {describe(field)}: {error}", "map", key)
        return fitted

    def _default(self, spec: Node, field: Field | None) -> Any:
        value = spec.value("default")
        if value is None or field is None:
            return value
        try:
            return fit(field, value)
        except Unfit as error:
            spec.fault(f"field '{field.name}' is {describe(field)}: {error}", "default")
            return None

    def _sourced(self, node: Node, name: str, spec: FieldMap, pattern: Pattern | None) -> FieldMap:
        if pattern is None:
            return spec
        head = self.node.text("head")
        known = {*pattern.groups, *re.findall(r"\(\?P<(\w+)>", head)}
        for source in spec.sources:
            if source not in known and not source.startswith("@"):
                node.fault(f"'{source}' is no group of the pattern{nearest(source, known)}", "fields", name)
        return spec

    def _cases(self) -> tuple[Case, ...]:
        cases: list[Case] = []
        origin = self.node.text("origin")
        reference = self.node.text("reference")
        for node in self.node.children("tests", required=True):
            case = self._case(node)
            here = node.choice("origin", ORIGINS) or origin
            if here != "synthetic" and not (node.text("reference") or reference):
                node.fault("a sample that is not synthetic states its 'reference'")
            if not here:
                node.fault(f"'origin' is missing; one of {', '.join(ORIGINS)}")
            node.finish(("comment", "reference"))
            if case is not None:
                cases.append(case)
        if origin and origin not in ORIGINS:
            self.node.fault(f"unknown origin '{origin}'; one of {', '.join(ORIGINS)}", "origin")
        return tuple(cases)

    def _case(self, node: Node) -> Case | None:
        kinds = [kind for kind in ("line", "record", "hex", "json") if node.has(kind)]
        if len(kinds) != 1:
            node.fault("a test has one of 'line', 'record', 'hex', 'json'")
            return None
        if "expect" not in node.data:
            node.fault("'expect' is missing (null means: no shape may match)")
        value = node.value("expect")
        if value is not None and not isinstance(value, dict | list):
            node.fault("'expect' should be a mapping, a list of mappings or null", "expect")
            return None
        expected = None if value is None else tuple(value) if isinstance(value, list) else (value,)
        for i, one in enumerate(expected or ()):
            keys = ("expect", i) if isinstance(value, list) else ("expect",)
            for name in one if isinstance(one, dict) else ():
                if name not in self.fields:
                    node.fault(f"unknown field '{name}'{nearest(name, self.fields.names())}", *keys, name)
        document = node.document
        return Case(
            document.path, document.line(*node.keys), kinds[0], node.text(kinds[0]), node.text("receipt"), expected
        )


def _documents(node: Node) -> tuple[Mapping[str, frozenset[str]], ...]:
    """`document: {path: value, a list of values, or '*' for any}`, or a list of such mappings."""
    value = node.value("document")
    each = value if isinstance(value, list) else [value] if value is not None else []
    if any(not isinstance(one, dict) or not one for one in each):
        node.fault("'document' should be a mapping of paths to values, or a list of such mappings", "document")
        return ()
    return tuple({path: frozenset(_words(v)) for path, v in one.items()} for one in each)


def _words(value: Any) -> list[str]:
    return [str(v) for v in value] if isinstance(value, list) else [str(value)]


__all__ = ["Case", "Definition", "Fault", "FieldMap", "Recognise", "Shape", "load"]
