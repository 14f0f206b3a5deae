"""`PlaybookSet`: playbooks read from YAML with every fault at once, and which one fits an alert."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from soc.content import Document, Faults, Node, documents
from soc.errors import ContentError, NotFound, nearest
from soc.model.alert import Alert
from soc.model.check import CheckResult
from soc.model.run import DAY_S, ActionSpec, Playbook, Step

KINDS = ("playbook", "clocks")
"""What may lie in a playbook folder; clocks are read by `tickets`."""
VERBS = {"nftables": {"block_address": ("address",)}}
"""The actions that can be asked for: actuator → verb → its parameters. Another one is refused at load."""
MAX_TTL_S = 30 * DAY_S


class PlaybookSet:
    """The playbooks by id."""

    def __init__(self, playbooks: Mapping[str, Playbook]) -> None:
        self.playbooks = dict(playbooks)

    @classmethod
    def load(cls, folders: Sequence[Path]) -> Self:
        """Every playbook under the folders, the later folder winning by id. Raises ContentError with all faults."""
        faults = Faults()
        found: dict[str, Playbook] = {}
        for identity, document in documents(folders).items():
            kind = document.data.get("kind")
            if kind == "playbook":
                found[identity] = _playbook(document, faults)
            elif kind not in KINDS:
                faults.add(document.fault(f"unknown kind '{kind}'; one of {', '.join(KINDS)}", "kind"))
        faults.raise_if_any()
        return cls(found)

    def get(self, id: str) -> Playbook:
        """The playbook of this id. Raises NotFound with the nearest name."""
        if id not in self.playbooks:
            raise NotFound(f"no playbook '{id}'{nearest(id, self.playbooks)}")
        return self.playbooks[id]

    def match(self, alert: Alert) -> Playbook | None:
        """The one the rule names; else the one that shares most tags (the first by id among equals); else None."""
        if alert.playbook in self.playbooks:
            return self.playbooks[alert.playbook]
        tags = set(alert.tags)
        shared = {id: len(tags.intersection(playbook.tags)) for id, playbook in sorted(self.playbooks.items())}
        best = max(shared, key=lambda id: shared[id], default=None)
        return self.playbooks[best] if best is not None and shared[best] else None


def check(folders: Sequence[Path]) -> list[CheckResult]:
    """One result a playbook, or one a fault: `soc check` shows them beside those of the other kinds of content."""
    try:
        found = PlaybookSet.load(folders).playbooks
        places = documents(folders)
    except ContentError as error:
        return [CheckResult(f.path, f.line, "playbook", False, f.message) for f in error.faults]
    return [CheckResult(places[id].path, places[id].line("id"), id, True) for id in sorted(found)]


def _playbook(document: Document, faults: Faults) -> Playbook:
    node = Node(document, faults)
    node.text("kind")
    for header in ("status", "author", "date", "level"):
        node.text(header)
    node.texts("references")
    vietnamese = _vietnamese(node)
    triggers = node.child("triggers")
    playbook = Playbook(
        id=node.text("id", required=True),
        title=node.text("title", required=True),
        title_vi=vietnamese.text("title", required=True) if vietnamese else "",
        description=node.text("description", required=True),
        description_vi=vietnamese.text("description", required=True) if vietnamese else "",
        tags=triggers.texts("tags") if triggers else (),
        steps=_steps(node),
        version=node.text("version", "1"),
    )
    for part in (triggers, vietnamese, node):
        if part is not None:
            part.finish()
    return playbook


def _vietnamese(node: Node) -> Node | None:
    translations = node.child("i18n", required=True)
    return translations.child("vi", required=True) if translations else None


def _steps(node: Node) -> tuple[Step, ...]:
    steps: dict[str, Step] = {}
    for child in node.children("steps", required=True):
        step = _step(child)
        if step.id in steps:
            child.fault(f"step '{step.id}' stands twice", "id")
        steps[step.id] = step
    if not steps:
        node.fault("a playbook needs a step", "steps")
    return tuple(steps.values())


def _step(node: Node) -> Step:
    vietnamese = _vietnamese(node)
    tier = node.integer("tier", required=True)
    kind = node.choice("kind", ("manual", "action"), required=True)
    deadline = node.integer("deadline_minutes", 0)
    action = node.child("action", required=kind == "action")
    step = Step(
        id=node.text("id", required=True),
        tier=tier,
        kind=kind,
        title=node.text("title", required=True),
        title_vi=vietnamese.text("title", required=True) if vietnamese else "",
        guidance=node.text("guidance", required=tier == 2),
        guidance_vi=vietnamese.text("guidance", required=tier == 2) if vietnamese else "",
        deadline_minutes=deadline or None,
        action=_action(action) if action else None,
    )
    if tier not in (1, 2, 3):
        node.fault("'tier' is 1, 2 or 3", "tier")
    if deadline < 0:
        node.fault("'deadline_minutes' cannot be negative", "deadline_minutes")
    if kind == "manual" and action is not None:
        node.fault("a manual step has no action", "action")
    if vietnamese is not None:
        vietnamese.finish()
    node.finish()
    return step


def _action(node: Node) -> ActionSpec:
    actuator = node.choice("actuator", tuple(VERBS), required=True)
    verbs = VERBS.get(actuator, {})
    verb = node.choice("verb", tuple(verbs), required=True) if verbs else node.text("verb")
    params = {name: str(value) for name, value in node.mapping("params", required=True).items()}
    wanted = set(verbs.get(verb, ()))
    for name in params.keys() ^ wanted if verb else ():
        node.fault(f"'{verb}' takes {', '.join(sorted(wanted))}; '{name}' is unknown or missing", "params")
    ttl_s = node.integer("ttl_hours", 24) * 3600
    if not 0 < ttl_s <= MAX_TTL_S:
        node.fault(f"'ttl_hours' is 1 to {MAX_TTL_S // 3600}", "ttl_hours")
    node.finish()
    return ActionSpec(actuator, verb, params, ttl_s)
