"""The lowered form of a Sigma rule: frozen, small, and free of pySigma."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from soc.detections.sigma.mapping import field_name
from soc.model.fields import FieldDictionary

STAR = 0
"""In a glob: any number of characters."""
ONE = 1
"""In a glob: exactly one character."""
Glob = tuple[str | int, ...]


@dataclass(frozen=True)
class Test:
    """One comparison. `field` is an event's field name, None for a keyword (any value of the event).

    `op` and its `value`: equals | prefix | suffix | contains (folded text unless `cased`), glob (a `Glob`), any (None),
    re (RE2 text with its flags in front), cidr (text), lt | lte | gt | gte (a number), null (None), exists (a bool),
    fieldref (another field's name with `=`, `^`, `$` or `~` in front: equals, starts with, ends with, contains),
    minute | hour | day | week | month | year (a whole number). `pattern` is what people are shown.
    """

    selection: str
    field: str | None
    op: str
    value: Any
    pattern: str
    cased: bool = False


@dataclass(frozen=True)
class All:
    """True when every part is."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class AnyOf:
    """True when some part is."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Not:
    """True when the part is not."""

    part: Node


Node = Test | All | AnyOf | Not


_NOT_OF_WINDOWS = ("", "linux-sysmon/operational")
"""No channel, and the one of Sysmon for Linux, whose events have the shape of Windows'."""


@dataclass(frozen=True)
class Route:
    """Which events a rule sees: Windows ones by channel and event id, others by dataset; `datasets` may end in `.*`.

    Empty `channels` with `windows` is every channel of Windows; `event_ids` None is every id.
    """

    windows: bool = False
    channels: frozenset[str] = frozenset()
    event_ids: frozenset[str] | None = None
    datasets: tuple[str, ...] = ()

    def takes(self, dataset: str, channel: str, event_id: str) -> bool:
        """Whether an event of this dataset, channel (lower case) and event id goes to the rule."""
        if self.windows:
            in_channel = channel in self.channels if self.channels else channel not in _NOT_OF_WINDOWS
            return in_channel and (self.event_ids is None or event_id in self.event_ids)
        return any(dataset == d or (d.endswith("*") and dataset.startswith(d[:-1])) for d in self.datasets)


@dataclass(frozen=True)
class Variant:
    """One way to run a rule: the events it sees, and its condition with the field names those events have."""

    route: Route
    node: Node
    names: Mapping[str, str] = field(default_factory=dict, hash=False)

    @classmethod
    def later(cls, route: Route, node: Callable[[], Node], names: Mapping[str, str]) -> Variant:
        """One whose condition is made when something asks: most rules never meet an event of theirs."""
        made = cls.__new__(cls)
        made.__dict__.update(route=route, names=names, _node=node)
        return made

    def __getattr__(self, name: str) -> Any:
        if name != "node" or "_node" not in self.__dict__:
            raise AttributeError(name)
        node = self.__dict__["node"] = self.__dict__.pop("_node")()
        return node


@dataclass(frozen=True)
class Rule:
    """A rule that can run. `internal` ones (the detection part of a model) make no findings of their own.

    `filters` are the ids of the Sigma filters that are joined to its condition; `status` is Sigma's.
    `tests` is how many it carries; `logsource` its category, product and service, as pipelines left them.
    """

    id: str
    name: str
    version: str
    title: str
    level: str
    variants: tuple[Variant, ...]
    tags: tuple[str, ...] = ()
    title_vi: str = ""
    playbook: str = ""
    path: str = ""
    line: int = 1
    internal: bool = False
    filters: tuple[str, ...] = ()
    status: str = ""
    tests: int = 0
    logsource: tuple[str, str, str] = ("", "", "")

    def field(self, name: str, fields: FieldDictionary) -> str | None:
        """The event field behind one of the rule's own names, or any other name; None when nobody writes it."""
        for variant in self.variants:
            if name in variant.names:
                return variant.names[name]
        windows = any(variant.route.windows for variant in self.variants)
        datasets = [dataset for variant in self.variants for dataset in variant.route.datasets]
        return field_name(name, windows=windows, renamed={}, fields=fields, datasets=datasets)


@dataclass(frozen=True, order=True)
class Refused:
    """A definition that cannot run: which, where (1-based line), and why."""

    id: str
    path: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.id or 'a rule'} is refused: {self.reason}"


def tests_of(node: Node) -> list[Test]:
    """Every comparison of a condition, in order."""
    match node:
        case Test():
            return [node]
        case Not():
            return tests_of(node.part)
        case All() | AnyOf():
            return [test for part in node.parts for test in tests_of(part)]


def names_of(node: Node) -> list[str | None]:
    """The fields that a condition reads, None for a keyword."""
    tests = tests_of(node)
    return [test.field for test in tests] + [test.value[1:] for test in tests if test.op == "fieldref"]


def simplest(glob: Glob) -> tuple[str, Any]:
    """The cheapest comparison that means the same as the glob."""
    match glob:
        case ():
            return "equals", ""
        case (0,):
            return "any", None
        case (str(text),):
            return "equals", text
        case (str(text), 0):
            return "prefix", text
        case (0, str(text)):
            return "suffix", text
        case (0, str(text), 0):
            return "contains", text
    return "glob", glob
