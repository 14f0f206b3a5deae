"""Lowered rules as plain JSON data, and back: reading a rule from YAML costs thirty times as much."""

from __future__ import annotations

from typing import Any

import orjson

from soc.detections.sigma.rule import All, AnyOf, Node, Not, Refused, Route, Rule, Test, Variant

Plain = list[Any]


def plain(read: Rule | Refused) -> Plain:
    """A rule or a refusal without its path: files move."""
    if isinstance(read, Refused):
        return ["refused", read.id, read.line, read.reason]
    return [
        "rule", read.id, read.name, read.version, read.title, read.level, [_variant(v) for v in read.variants],
        read.tags, read.title_vi, read.playbook, read.line, read.filters, read.status,
        read.tests, read.logsource,
    ]  # fmt: skip


def restored(data: Plain, path: str) -> Rule | Refused:
    """The inverse, of what `plain` made."""
    if data[0] == "refused":
        return Refused(str(data[1]), path, int(data[2]), str(data[3]))
    _, id, name, version, title, level, variants, tags, title_vi, playbook, line, filters, status, tests, source = data
    return Rule(
        id=id, name=name, version=version, title=title, level=level, variants=tuple(map(_variant_of, variants)),
        tags=tuple(tags), title_vi=title_vi, playbook=playbook, path=path, line=int(line), filters=tuple(filters),
        status=status, tests=tests, logsource=tuple(source),
    )  # fmt: skip


def _variant(variant: Variant) -> Plain:
    route = variant.route
    ids = None if route.event_ids is None else sorted(route.event_ids)
    node = orjson.dumps(_node(variant.node)).decode()  # a text of its own: it is read when an event needs it
    return [[route.windows, sorted(route.channels), ids, route.datasets], node, dict(variant.names)]


def _variant_of(data: Plain) -> Variant:
    (windows, channels, ids, datasets), node, names = data
    event_ids = None if ids is None else frozenset(ids)
    route = Route(bool(windows), frozenset(channels), event_ids, tuple(datasets))
    return Variant.later(route, lambda: _node_of(orjson.loads(node)), names)


def _node(node: Node) -> Plain:
    match node:
        case Test():
            return [0, node.selection, node.field, node.op, node.value, node.pattern, node.cased]
        case Not():
            return [1, _node(node.part)]
        case All():
            return [2, *map(_node, node.parts)]
        case AnyOf():
            return [3, *map(_node, node.parts)]


def _node_of(data: Plain) -> Node:
    match data[0]:
        case 0:
            _, selection, field, op, value, pattern, cased = data
            return Test(selection, field, op, tuple(value) if isinstance(value, list) else value, pattern, cased)
        case 1:
            return Not(_node_of(data[1]))
        case 2:
            return All(tuple(map(_node_of, data[1:])))
        case 3:
            return AnyOf(tuple(map(_node_of, data[1:])))
    raise ValueError(f"no kind of condition: {data[0]!r}")
