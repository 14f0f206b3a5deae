"""`AnomalyModel`: what every model can do, and the definition it is made from."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from soc.content import Document, Faults, Node
from soc.detections.sigma.header import identity, version_of, vietnamese_title
from soc.detections.sigma.rule import Rule
from soc.model.clock import DAY_US
from soc.model.fields import FieldDictionary
from soc.model.finding import LEVELS, Finding

MODELS = ("first_seen", "source_silent")
HEADER = (
    "id", "name", "title", "status", "description", "author", "date", "modified", "references", "tags", "level",
    "falsepositives", "i18n", "x-playbook", "tests", "x-tests", "logsource", "detection", "license",
)  # fmt: skip
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SPAN = re.compile(r"(\d{1,9})([smhdw])", re.ASCII)


class AnomalyModel(Protocol):
    """Learns from documents of the `matched` log and speaks up; deterministic, with state that is saved.

    `counters` say what was left out.
    """

    counters: Counter[str]

    def feed(self, document: Mapping[str, Any], now_us: int) -> list[Finding]:
        """Learn from one document; `now_us` is the receipt-side clock, µs UTC."""
        ...

    def wake(self, at_us: int) -> None:
        """Nobody listened before this moment (µs UTC)."""
        ...

    def tick(self, now_us: int) -> list[Finding]:
        """What time alone shows."""
        ...

    def snapshot(self) -> Any:
        """The state as plain JSON data, the same for the same state."""
        ...

    def restore(self, data: Any) -> None:
        """The inverse of `snapshot`."""
        ...

    def changes(self) -> Any:
        """What changed since the last call or `snapshot`, as plain JSON data."""
        ...

    def apply(self, changes: Any) -> None:
        """Put what `changes` told over the state of before."""
        ...


@dataclass(frozen=True)
class Policy:
    """How a model judges. Times in µs; a model reads only what it needs."""

    learning_us: int = 7 * DAY_US
    forget_us: int = 90 * DAY_US
    factor: float = 6.0
    floor_us: int = 300_000_000
    gaps: int = 20


@dataclass(frozen=True)
class Definition:
    """A model's definition. `watch` is the rule that picks its events (None: it reads the source documents)."""

    id: str
    name: str
    version: str
    title: str
    level: str
    model: str
    entity: tuple[str, ...]
    metric: str
    policy: Policy
    watch: Rule | None = None
    tags: tuple[str, ...] = ()
    status: str = ""
    title_vi: str = ""
    playbook: str = ""
    path: str = ""
    line: int = 1

    def needs(self) -> tuple[str, ...]:
        """The event fields that its documents must carry."""
        return (*self.entity, self.metric) if self.watch is not None else ()


def span_us(text: str) -> int | None:
    """`90s`, `5m`, `2h`, `7d`, `4w` in µs, None when it is none."""
    match = _SPAN.fullmatch(text)
    return int(match[1]) * _SECONDS[match[2]] * 1_000_000 if match else None


def read_model(document: Document, watch: Rule | None, fields: FieldDictionary) -> Definition:
    """Read one definition; raises ContentError with every fault."""
    faults = Faults()
    node = Node(document, faults)
    node.text("title", required=True)
    body = node.child("anomaly", required=True) or Node(document, Faults(), (), {})
    model = body.choice("model", MODELS, required=True)
    metric = body.text("metric", required=True)
    entity = body.texts("entity", required=True)
    if model == "first_seen":
        for name in (*entity, metric):
            if name not in fields:
                body.fault(f"field '{name}' is written by no parser", "entity" if name in entity else "metric")
        if watch is None:
            node.fault("a first_seen model needs 'logsource' and 'detection' that pick its events")
    policy = _policy(body.child("policy"))
    body.finish()
    node.finish(HEADER)
    faults.raise_if_any()
    data = document.data
    level = str(data.get("level") or "medium").lower()
    return Definition(
        id=identity(document),
        name=str(data.get("name") or ""),
        version=version_of(document),
        title=str(data["title"]),
        level=level if level in LEVELS else "medium",
        model=model,
        entity=entity,
        metric=metric,
        policy=policy,
        watch=watch,
        tags=tuple(map(str, data.get("tags") or ())),
        status=str(data.get("status") or ""),
        title_vi=vietnamese_title(data),
        playbook=str(data.get("x-playbook") or ""),
        path=document.path,
        line=document.first_line,
    )


def _policy(node: Node | None) -> Policy:
    if node is None:
        return Policy()
    default = Policy()
    spans = {name: _span(node, name) for name in ("learning", "forget", "floor")}
    factor = node.number("factor", default.factor)
    gaps = node.integer("gaps", default.gaps)
    if factor <= 1:
        node.fault("'factor' should be more than 1", "factor")
    if gaps < 1:
        node.fault("'gaps' should be at least 1", "gaps")
    node.finish()
    return Policy(
        learning_us=default.learning_us if spans["learning"] is None else spans["learning"],
        forget_us=default.forget_us if spans["forget"] is None else spans["forget"],
        floor_us=default.floor_us if spans["floor"] is None else spans["floor"],
        factor=factor,
        gaps=gaps,
    )


def _span(node: Node, key: str) -> int | None:
    text = node.text(key)
    if not text:
        return None
    us = span_us(text)
    if us is None:
        node.fault(f"'{text}' is no span of time; write it like 5m, 2h or 7d", key)
    return us
