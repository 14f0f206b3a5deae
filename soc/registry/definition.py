"""A system's definition (kind: system) to `InformationSystem` and back; every fault is found at once."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from soc.content import Document, Faults, Node, load, yaml_files
from soc.errors import ContentError, Fault
from soc.model.system import InformationSystem, LevelDecision

KIND = "system"
LEVELS = range(1, 6)
"""Cấp độ 1–5 of Decree 85/2016/NĐ-CP."""


def validate(document: Mapping[str, Any], path: str = "system") -> InformationSystem:
    """A system out of plain data (`soc system add`); `path` is only for messages. Raises ContentError."""
    faults = Faults()
    system = read(Document(path, dict(document), {}), faults)
    faults.raise_if_any()
    return system


def to_document(system: InformationSystem) -> dict[str, Any]:
    """Plain data that `validate` reads again: dates as ISO 8601 text, tuples as lists, what is empty left out."""
    levels = [
        {"level": d.level, "since": d.since.isoformat(), **({"decision": d.decision} if d.decision else {})}
        for d in system.levels
    ]
    # The model's `kind` (web portal, control system...) is `type` in a file, where `kind` names the definition.
    document: dict[str, Any] = {**vars(system), "kind": KIND, "type": system.kind, "levels": levels}
    document["registered"] = system.registered.isoformat()
    document["retired"] = None if system.retired is None else system.retired.isoformat()
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in document.items()}
    return {key: value for key, value in plain.items() if value not in (None, "", [], False)}


def load_systems(root: Path) -> list[InformationSystem]:
    """Every system in a file or below a folder, in file order. Raises ContentError with the faults of all files."""
    systems: list[InformationSystem] = []
    found: list[Fault] = []
    seen: dict[str, str] = {}
    for path in yaml_files(root):
        try:
            documents = load(path)
        except ContentError as error:
            found.extend(error.faults)
            continue
        faults = Faults()
        for document in documents:
            system = read(document, faults)
            _once(document, system.id, seen, faults)
            systems.append(system)
        found.extend(faults.found)
    if found:
        raise ContentError(found)
    return systems


def _once(document: Document, identity: str, seen: dict[str, str], faults: Faults) -> None:
    if identity and identity in seen:
        faults.add(document.fault(f"id '{identity}' stands in {seen[identity]} already", "id"))
    seen.setdefault(identity, f"{document.path}:{document.line('id')}")


def read(document: Document, faults: Faults) -> InformationSystem:
    """One system; what is wrong goes into `faults`, and the result is only good when none were added."""
    node = Node(document, faults)
    node.choice("kind", (KIND,), KIND)
    system = InformationSystem(
        id=node.text("id", required=True),
        name=node.text("name", required=True),
        code=node.text("code", required=True),
        organization_id=node.text("organization_id", required=True),
        organization_name=node.text("organization_name", required=True),
        site=node.text("site", required=True),
        levels=_levels(node),
        registered=_date(node, "registered", required=True) or dt.date.min,
        networks=_networks(node),
        hosts=_addresses(node, "hosts"),
        points=node.texts("points"),
        links=node.texts("links"),
        sources=_addresses(node, "sources"),
        contact=node.text("contact"),
        kind=node.text("type"),
        retired=_date(node, "retired"),
        simulated=node.flag("simulated"),
    )
    if system.retired is not None and system.retired < system.registered:
        node.fault(f"retired {system.retired} before it was registered {system.registered}", "retired")
    node.finish()
    return system


def _levels(node: Node) -> tuple[LevelDecision, ...]:
    decisions = []
    for child in node.children("levels", required=True):
        level = child.integer("level", required=True)
        if child.has("level") and level not in LEVELS:
            child.fault(f"level {level}; one of 1, 2, 3, 4, 5", "level")
        since = _date(child, "since", required=True) or dt.date.min
        decisions.append(LevelDecision(level, since, child.text("decision")))
        child.finish()
    if node.has("levels") and not decisions:
        node.fault("'levels' needs at least one decision", "levels")
    if len({d.since for d in decisions}) < len(decisions):
        node.fault("two levels since the same day", "levels")
    return tuple(sorted(decisions, key=lambda d: d.since))


def _date(node: Node, key: str, *, required: bool = False) -> dt.date | None:
    text = node.text(key, required=required)
    if not text:
        return None
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        node.fault(f"'{key}' should be a date like 2026-11-20, not '{text}'", key)
        return None


def _networks(node: Node) -> tuple[str, ...]:
    networks = node.texts("networks")
    for i, text in enumerate(networks):
        problem = _network_problem(text)
        if problem:
            node.fault(problem, "networks", i)
    _no_repeats(node, "networks", networks)
    return networks


def _network_problem(text: str) -> str:
    try:
        canonical = str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return f"'{text}' is no network; write it like 10.20.0.0/16"
    return "" if canonical == text else f"'{text}' is not canonical; write {canonical}"


def _addresses(node: Node, key: str) -> tuple[str, ...]:
    """Addresses or names; an address must be written as RFC 5952 says."""
    texts = node.texts(key)
    for i, text in enumerate(texts):
        try:
            canonical = str(ipaddress.ip_address(text))
        except ValueError:
            continue  # a host's name
        if canonical != text:
            node.fault(f"'{text}' is not canonical; write {canonical}", key, i)
    _no_repeats(node, key, texts)
    return texts


def _no_repeats(node: Node, key: str, texts: tuple[str, ...]) -> None:
    if len(set(texts)) < len(texts):
        twice = next(text for i, text in enumerate(texts) if text in texts[:i])
        node.fault(f"'{twice}' stands twice in '{key}'", key)
