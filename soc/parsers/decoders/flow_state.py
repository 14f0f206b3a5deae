"""What is remembered of an exporter between two datagrams: templates, options, sequence, data before its template."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from soc.parsers.decoders.flow_templates import Spec, Template

MEMORY = "flow"
"""The key in `ParserState.memory`."""
MAX_EXPORTERS = 256
"""Exporters (source, version, observation domain) that one state remembers. Of the source that has most of them the one
unused longest goes first: who invents domains pushes out his own."""
MAX_TEMPLATES = 1024
MAX_TEMPLATE_FIELDS = 8192
"""Of all templates of one exporter together; beyond, the one announced longest ago goes first."""
MAX_NAMES = 4096
"""Samplers, interface names and application names of one exporter, each."""
MAX_NAME = 256
MAX_WAITING_BYTES = 65_536
"""Octets of data sets of one exporter that wait for their template."""
MAX_WAITING_TOTAL = 1 << 20
"""And of all exporters of one state."""
BEFORE, AFTER, MESSAGES = "before", "after", "messages"
"""What a sequence number counts: data records before this message, those and its own, or messages."""
_HALF = 1 << 31
WRAP = 1 << 32
"""Sequence numbers are counted modulo this."""
Rate = tuple[int, int]
"""Each packet stands for numerator / denominator packets."""


@dataclass(frozen=True, eq=False)
class Context:
    """What the records of an exporter mean at one moment; never changed, only replaced."""

    templates: Mapping[int, Template] = field(default_factory=dict)
    contested: frozenset[int] = frozenset()
    samplers: Mapping[str, Rate] = field(default_factory=dict)
    interfaces: Mapping[int, str] = field(default_factory=dict)
    applications: Mapping[str, str] = field(default_factory=dict)
    boot_us: int | None = None

    @property
    def is_silent(self) -> bool:
        """Whether it says no more of flows than their templates do."""
        return not (self.samplers or self.interfaces or self.applications) and self.boot_us is None


@dataclass
class Waiting:
    """A data set that came before its template: where it stood, its message header, the set, when it was received."""

    position: str
    head: bytes
    data: bytes


@dataclass
class Exporter:
    """One exporter during one call of the parser."""

    key: str
    context: Context = field(default_factory=Context)
    before: dict[int, tuple[bool, tuple[Spec, ...]]] = field(default_factory=dict)
    fields: int = 0
    last: tuple[int, int | None] | None = None
    counts: str = ""
    lost: int = 0
    used_ns: int = 0
    seen: dict[str, list[int]] = field(default_factory=dict)
    waiting: dict[int, list[Waiting]] = field(default_factory=dict)
    waiting_bytes: int = 0
    is_shared: bool = True
    has_news: bool = False
    """Whether something was learned, since it was opened, that a restart must not forget."""

    def open(self) -> Exporter:
        """One to be changed; this one stays as it is."""
        return replace(
            self, before=dict(self.before), seen=dict(self.seen), waiting={k: list(v) for k, v in self.waiting.items()},
            is_shared=True, has_news=False,
        )  # fmt: skip

    def share(self) -> Context:
        """The context for records to keep: what is learned from now on goes into another."""
        self.is_shared = True
        return self.context

    def _own(self) -> dict[int, Template]:
        """The templates, to be changed: copied once for many that come in one message."""
        if self.is_shared:
            self.context = replace(self.context, templates=dict(self.context.templates))
            self.is_shared = False
        assert isinstance(self.context.templates, dict)
        return self.context.templates

    def learn(self, template: Template) -> tuple[str, ...]:
        """Take a template; how it differs from what was known: nothing, new, redefined, contested."""
        number = template.number
        known = self.context.templates.get(number)
        if known == template:
            return ()
        self.has_news = True
        templates = self._own()
        if known is not None:
            self._forget(templates, number)
        templates[number] = template
        self.fields += len(template.fields)
        marks = ("template_new",) if known is None else self._redefined(template, known)
        while len(templates) > 1 and (len(templates) > MAX_TEMPLATES or self.fields > MAX_TEMPLATE_FIELDS):
            oldest = next(iter(templates))
            self._forget(templates, oldest)
            self.before.pop(oldest, None)
            marks = (*marks, "template_forgotten")
        return marks

    def _redefined(self, template: Template, known: Template) -> tuple[str, ...]:
        number, before = template.number, self.before.get(template.number)
        self.before[number] = (known.is_options, known.fields)
        # A, B and A again: two exporters share this address and domain, and only their ports differ.
        if before != (template.is_options, template.fields):
            return ("template_redefined",)
        self.context = replace(self.context, contested=self.context.contested | {number})
        return ("template_redefined", "template_contested")

    def _forget(self, templates: dict[int, Template], number: int) -> None:
        self.fields -= len(templates.pop(number).fields)
        if number in self.context.contested:
            self.context = replace(self.context, contested=self.context.contested - {number})

    def sequence(self, number: int, records: int | None, usual: str, window: int) -> tuple[int, tuple[str, ...]]:
        """How many units are missing before this message, and what to flag.

        `records` are the data records in the message, None when nobody can know. A number that lies behind by at most
        `window` came late; farther behind, the exporter began anew. Exporters count in three ways, whatever their
        standard says (softflowd's IPFIX counts a message's own records); the first one that fits is kept.
        """
        if self.last is None:
            self.last = (number, records)
            return 0, ()
        ahead = (number - self.last[0]) % WRAP
        steps = {BEFORE: self.last[1], AFTER: records, MESSAGES: 1}
        fitting = [way for way, step in steps.items() if step is not None and step % WRAP == ahead]
        expected = steps[self.counts or usual]
        if (not self.counts and fitting) or self.counts in fitting:
            if len(fitting) == 1:
                self.counts = fitting[0]
            self.last = (number, records)
            return 0, ()
        if expected is None:
            self.last = (number, records)
            return 0, ()
        return self._jump(number, records, (ahead - expected) % WRAP, window)

    def _jump(self, number: int, records: int | None, ahead: int, window: int) -> tuple[int, tuple[str, ...]]:
        if ahead >= WRAP - window:
            return 0, ("out_of_order",)
        self.last = (number, records)
        if ahead >= _HALF:
            self.counts = ""
            return 0, ("sequence_reset",)
        self.lost += ahead
        return ahead, ("sequence_gap",)

    def wait(self, number: int, entry: Waiting, room: int, is_again: bool) -> bool:
        """Keep a set until its template comes; False when there is no room (`room`: left for all exporters).

        What is read again may wait already.
        """
        if is_again and any(other.position == entry.position for other in self.waiting.get(number, ())):
            return True
        size = len(entry.head) + len(entry.data)
        if size > min(room, MAX_WAITING_BYTES - self.waiting_bytes):
            return False
        self.waiting.setdefault(number, []).append(entry)
        self.waiting_bytes += size
        self.has_news = True
        return True

    def release(self, number: int) -> list[Waiting]:
        """What waited for this template, in the order in which it came."""
        several = self.waiting.pop(number, [])
        self.has_news = self.has_news or bool(several)
        self.waiting_bytes -= sum(len(entry.head) + len(entry.data) for entry in several)
        return several

    def is_again(self, node: str, seq: int, ordinal: int) -> bool:
        """Whether this record was read before: a crash lay between the state, which is newer, and the cursor."""
        if not node:
            return False
        last = self.seen.get(node)
        if last is not None and [seq, ordinal] <= last:
            return True
        self.seen[node] = [seq, ordinal]  # a list of its own: `open` copies only the dictionary
        if len(self.seen) > 16:
            del self.seen[next(iter(self.seen))]
        return False

    def document(self) -> dict[str, Any]:
        """As JSON."""
        context = self.context
        return {
            "templates": [[t.number, t.is_options, t.fields] for t in context.templates.values()],
            "before": {str(k): v for k, v in self.before.items()},
            "contested": sorted(context.contested),
            "samplers": dict(context.samplers),
            "interfaces": {str(k): v for k, v in context.interfaces.items()},
            "applications": dict(context.applications),
            "boot_us": context.boot_us,
            "last": self.last, "counts": self.counts, "lost": self.lost, "used_ns": self.used_ns, "seen": self.seen,
            "waiting": [
                [number, w.position, w.head.hex(), w.data.hex()]
                for number, several in self.waiting.items() for w in several
            ],
            "waiting_bytes": self.waiting_bytes,
        }  # fmt: skip

    @classmethod
    def of(cls, key: str, document: Mapping[str, Any]) -> Exporter:
        """The inverse of `document`."""
        context = Context(
            {t[0]: Template(t[0], t[1], _specs(t[2])) for t in document["templates"]},
            frozenset(document["contested"]),
            {k: (v[0], v[1]) for k, v in document["samplers"].items()},
            {int(k): v for k, v in document["interfaces"].items()},
            document["applications"],
            document["boot_us"],
        )
        last = document["last"]
        result = cls(
            key, context,
            before={int(k): (v[0], _specs(v[1])) for k, v in document["before"].items()},
            last=None if last is None else (last[0], last[1]),
            counts=document["counts"], lost=document["lost"], used_ns=document["used_ns"],
            seen={k: list(v) for k, v in document["seen"].items()},
            waiting_bytes=document["waiting_bytes"], fields=sum(len(t.fields) for t in context.templates.values()),
        )  # fmt: skip
        for number, position, head, data in document["waiting"]:
            result.waiting.setdefault(number, []).append(Waiting(position, bytes.fromhex(head), bytes.fromhex(data)))
        return result


def _specs(items: Any) -> tuple[Spec, ...]:
    return tuple((e, n, size) for e, n, size in items)


class Memory:
    """All exporters of one parser state, opened as they are met; those of the state are not changed."""

    def __init__(self, exporters: Mapping[str, Any]) -> None:
        self._kept = {
            key: found if isinstance(found, Exporter) else Exporter.of(key, found) for key, found in exporters.items()
        }
        self._open: dict[str, Exporter] = {}
        self._waiting = sum(exporter.waiting_bytes for exporter in self._kept.values())
        self.forgotten = 0
        """How many exporters had to go for others."""

    def exporter(self, key: str, now_ns: int) -> Exporter:
        """The exporter of this key, new when it was never met."""
        found = self._open.get(key)
        if found is None:
            kept = self._kept.get(key)
            if kept is None:
                self._make_room()
            found = self._open[key] = kept.open() if kept is not None else Exporter(key)
        found.used_ns = max(found.used_ns, now_ns)
        return found

    def known(self, key: str) -> Exporter | None:
        """The exporter of this key, None when it was never met."""
        found = self._open.get(key)
        if found is None and key in self._kept:
            found = self._open[key] = self._kept[key].open()
        return found

    def _make_room(self) -> None:
        every = {**self._kept, **self._open}
        if len(every) < MAX_EXPORTERS:
            return
        sources = Counter(key.partition("|")[0] for key in every)
        crowd = max(sources, key=lambda source: (sources[source], source))
        mine = (key for key in every if key.partition("|")[0] == crowd)
        gone = min(mine, key=lambda key: (every[key].used_ns, key))
        self._waiting -= every[gone].waiting_bytes
        self._kept.pop(gone, None)
        self._open.pop(gone, None)
        self.forgotten += 1

    def wait(self, exporter: Exporter, number: int, entry: Waiting, is_again: bool) -> bool:
        """`Exporter.wait` within the room that all have together."""
        before = exporter.waiting_bytes
        kept = exporter.wait(number, entry, MAX_WAITING_TOTAL - self._waiting, is_again)
        self._waiting += exporter.waiting_bytes - before
        return kept

    def release(self, exporter: Exporter, number: int) -> list[Waiting]:
        """`Exporter.release`."""
        before = exporter.waiting_bytes
        several = exporter.release(number)
        self._waiting += exporter.waiting_bytes - before
        return several

    @property
    def has_news(self) -> bool:
        """Whether something was learned that must be saved before the cursor moves."""
        return any(exporter.has_news for exporter in self._open.values())

    def exporters(self) -> Mapping[str, Exporter] | None:
        """All there are now, at most `MAX_EXPORTERS`; None when none was met."""
        return {**self._kept, **self._open} if self._open else None


def without_counts(exporters: Mapping[str, Any]) -> Mapping[str, Exporter]:
    """The exporters after frames that nobody counted: what comes next is no gap, and no repetition."""
    opened = Memory(exporters)._kept
    return {key: replace(exporter.open(), last=None) for key, exporter in opened.items()}
