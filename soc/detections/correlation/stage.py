"""One correlation with the state of all its groups: events in, windows that fire out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice, takewhile
from operator import itemgetter
from typing import Any, NamedTuple

from soc.detections.correlation.closing import Closing
from soc.detections.correlation.condition import METRICS
from soc.detections.correlation.definition import Correlation, Names
from soc.detections.correlation.excepting import Excepting
from soc.detections.correlation.late import Late
from soc.detections.correlation.seen import ABOUT, AT, EVENT_ID, POSITION, Seen
from soc.detections.correlation.shard import Shard
from soc.detections.correlation.window import TOO_LATE, Window

MAX_GROUPS = 100_000
"""Groups kept per correlation; those untouched for longest go first, counted as `evicted_groups`."""
SLACK = 2_000
"""So many more may be there before they go together: finding the oldest in a dict costs a search, not a step."""
MAX_NUMBER = 1e300
"""Larger ones are no measurement: their sum would leave what a float can hold."""
Key = tuple[str, ...]
"""Site, import id, `simulated` or nothing, then the values of `group-by`: private addresses repeat between sites, and
imported and simulated events never mix with live ones."""
Document = Mapping[str, Any]
Input = tuple[int, str, Document]
"""The place of a document in its frame, the rule that matched it, and the document."""
_ABOUT = ("dataset", "system_id", "organization_id", "receipt_us", "fields")
EARLIER = "earlier"
"""In the document of a finding: the time of its first event (µs UTC), and the ids of those before its last."""


class Fired(NamedTuple):
    """A window that fires: the place of the document that made it, its group, its events (the completing one last),
    and the document of that one."""

    place: int
    key: Key
    events: Sequence[Seen]
    document: Document


class Stage:
    """Groups are in the order in which they were touched, the last at the end.

    `schedule` is told when the first window of a group will be over, by the clock of receipt. `late` takes what a
    window cannot count any more.
    """

    def __init__(
        self,
        correlation: Correlation,
        counters: Counter[str],
        schedule: Callable[[Stage, Key, Closing], None],
        excepting: Excepting,
        late: Late,
        shard: Shard,
    ) -> None:
        self.correlation = correlation
        self.late = late
        self._shard = shard
        self._others: Counter[str] = Counter()  # what is counted where the groups belong
        self.excepting = excepting
        self.windows: dict[Key, Any] = {}  # of `Window`, or of `Closing` when the correlation is not lasting
        self.inputs: list[Input] = []
        self.feeds: list[Stage] = []
        self._counters = counters
        self._schedule = schedule
        self._reads = {
            rule: (_only(grouping), grouping, correlation.counted.get(rule, ()))
            for rule, grouping in correlation.group_fields.items()
        }
        self._is_number = correlation.type in METRICS
        self._is_above = correlation.is_above
        self._tells_more = self._is_above or excepting.asks_events

    def owns(self, key: Key) -> bool:
        """Whether what is found in this group is told here, and not by another shard."""
        return self._shard.owns(self.correlation.id if self._is_above else "\0".join(key))

    def keeps(self, key: Key) -> bool:
        """Whether the group is kept here: it is ours, or one of ours builds on it."""
        return bool(self.feeds) or self.owns(key)

    def in_order(self) -> list[Input]:
        """The inputs by their place; findings of other correlations come behind the events that are fed."""
        if self._is_above:
            self.inputs.sort(key=itemgetter(0))
        return self.inputs

    def run(self, inputs: Sequence[Input], now_us: int) -> Iterator[Fired]:
        """Offer each document to the window of its group; `now_us` is the clock of receipt and never goes back."""
        correlation, windows, counters = self.correlation, self.windows, self._counters
        lasting, tells_more = correlation.lasting, self._tells_more
        make: Any = Window if lasting else Closing
        reads, idle_us = self._reads, now_us - correlation.idle_us
        is_shared = self._shard.of > 1
        value: str | float | None = ""
        for place, rule, document in inputs:
            fields = document["fields"]
            only, grouping, counted = reads[rule]
            part = fields.get(only)
            if part.__class__ is str:  # what nearly all correlations group by: one text
                simulated = "simulated" if document.get("simulated") else ""
                key: Key = (document["site"], document.get("import_id") or "", simulated, part)
            else:
                key = _key(document, grouping)
                if not key:
                    self._counters["ungrouped"] += self.owns(key)
                    continue
            if is_shared:
                is_ours = self.owns(key)
                if not is_ours and not self.feeds:
                    continue
                counters = self._counters if is_ours else self._others
            if counted:
                value = self._value(fields, counted, counters)
                if value is None:
                    continue
            window = windows.pop(key, None)
            if window is None or window.touched_us < idle_us:
                window = make()
                if document["at_us"] < idle_us and not key[1]:  # what it belongs to may have been forgotten long ago
                    self._note_late(key, document, now_us)
            windows[key] = window
            if len(windows) > MAX_GROUPS + SLACK:
                counters["evicted_groups"] += self._evict(MAX_GROUPS)
            window.touched_us = now_us
            seen: Seen = (document["at_us"], document["position"], rule, document["event_id"], value)
            if lasting:
                if tells_more and (more := self._more(rule, document)):
                    seen = (*seen, more)
                events = window.offer(correlation, seen, counters)
                if events:
                    yield Fired(place, key, events, document)
                elif events is TOO_LATE:
                    self._note_late(key, document, now_us)
            else:
                seen = (*seen, {**_about(document), **self._more(rule, document)})
                if not window.offer(correlation, seen, counters, now_us):
                    self._note_late(key, document, now_us)
                yield from self._over(window, key, now_us, place)

    def _note_late(self, key: Key, document: Document, now_us: int) -> None:
        if not self.owns(key):
            return
        received_us = document.get("receipt_us", now_us)
        self.late.add(self.correlation.id, key, document["at_us"], received_us, now_us)

    def _more(self, rule: str, document: Document) -> dict[str, Any]:
        """What is kept of an event for those that build on it, and for those that are excepted."""
        asked = self.excepting.kept(rule, document["fields"]) if self.excepting.asks_events else {}
        return {EARLIER: document[EARLIER], **asked} if EARLIER in document else asked

    def _value(self, fields: Mapping[str, Any], counted: Sequence[Names], counters: Counter[str]) -> str | float | None:
        """What is counted of an event; None, and counted itself, when there is nothing."""
        values = [first_text(fields, names) for names in counted]
        if None in values:
            counters["valueless"] += 1
            return None
        text = "\0".join(map(str, values))
        if not self._is_number:
            return text
        measured = number(text)
        if measured is None:
            counters["not_a_number"] += 1
        return measured

    def touch(self, window: Closing, key: Key, now_us: int) -> Iterator[Fired]:
        """The windows of a group that are over now."""
        self.windows[key] = self.windows.pop(key)
        window.touched_us = now_us
        yield from self._over(window, key, now_us, 0)

    def _over(self, window: Closing, key: Key, now_us: int, place: int) -> Iterator[Fired]:
        for events in window.over(self.correlation, now_us):
            yield Fired(place, key, events, _document(key, events[-1]))
        self._schedule(self, key, window)

    def forget(self, now_us: int) -> None:
        """Let the groups go that nothing touched for long."""
        edge_us = now_us - self.correlation.idle_us
        for key, _ in list(takewhile(lambda item: item[1].touched_us < edge_us, self.windows.items())):
            del self.windows[key]

    def _evict(self, kept: int) -> int:
        """Let the oldest groups go, down to so many; how many went."""
        gone = list(islice(self.windows, max(len(self.windows) - kept, 0)))
        for key in gone:
            del self.windows[key]
        return len(gone)

    def to_json(self, since_us: int | None) -> list[list[Any]]:
        """The groups that were touched since then (None: all of them), with their keys before them."""
        changed: list[list[Any]] = []
        for key, window in reversed(self.windows.items()):
            if since_us is not None and window.touched_us < since_us:
                break
            changed.append([key, window.to_json()])
        changed.reverse()
        return changed

    def restore(self, groups: Sequence[Sequence[Any]], kept: int) -> None:
        """Put what `to_json` gave over the groups of before; then there were so many."""
        make: type[Window | Closing] = Window if self.correlation.lasting else Closing
        for key, data in groups:
            group = tuple(key)
            self.windows.pop(group, None)
            self.windows[group] = window = make.from_json(data)
            if isinstance(window, Closing):
                self._schedule(self, group, window)
        self._evict(kept)


def _only(grouping: Sequence[Names]) -> str:
    """The one field that is grouped by; empty when there are several, or several names for it."""
    return grouping[0][0] if len(grouping) == 1 and len(grouping[0]) == 1 else ""


def _key(document: Document, grouping: Sequence[Names]) -> Key:
    """The group of an event; empty when it lacks a field of it."""
    simulated = "simulated" if document.get("simulated") else ""
    key = [document["site"], document.get("import_id") or "", simulated]
    for names in grouping:
        part = first_text(document["fields"], names)
        if part is None:
            return ()
        key.append(part)
    return tuple(key)


def _about(document: Document) -> dict[str, Any]:
    return {name: document.get(name) for name in _ABOUT}


def _document(key: Key, seen: Seen) -> dict[str, Any]:
    """The document of an event that is gone, as far as a finding speaks of it."""
    site, import_id, simulated, *_ = key
    whose = {"site": site, "import_id": import_id or None, "simulated": bool(simulated)}
    return {
        "kind": "event", "at_us": seen[AT], "position": seen[POSITION], "event_id": seen[EVENT_ID], **whose,
        **seen[ABOUT],
    }  # fmt: skip


def first_text(fields: Mapping[str, Any], names: Names) -> str | None:
    """The first of these fields that the event has, as text."""
    for name in names:
        value = text(fields.get(name))
        if value is not None:
            return value
    return None


def text(value: Any) -> str | None:
    """A grouping value as text; a list is joined in order; None when it is missing."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def number(value: str) -> float | None:
    """A number out of text that can be summed; None when it is none."""
    try:
        made = float(value)
    except ValueError:
        return None
    return made if math.isfinite(made) and abs(made) <= MAX_NUMBER else None
