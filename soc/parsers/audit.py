"""Audit records that belong together: what one record of an event says of the process holds for its others.

Records come one after another, and an event may lie across two blocks; so the last open ones are remembered. A state is
saved before the cursor moves and may be ahead of it by a step: it knows which frame said what and which one ended an
event, so that `at` takes back what the cursor has not passed. So a crash neither doubles an argument nor loses a name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from soc.model.record import RawBlock
from soc.parsers.decoders.auditd import Pairs
from soc.parsers.state import ParserState

MEMORY = "audit"
"""The key in `ParserState.memory`: by node and source, by event, what was said and which frame closed it."""
OPEN_EVENTS, SOURCES = 8, 256
"""So many open events of a source are remembered, of so many sources; with more the oldest are forgotten."""
LONGEST = 8192
"""So many characters of a value are remembered."""
_OF_THE_PROCESS = (
    "exe", "comm", "pid", "ppid", "uid", "euid", "auid", "ses", "tty", "key", "success", "UID", "EUID", "AUID",
)  # fmt: skip
_LAST = ("PROCTITLE", "EOE")
_SAID, _CLOSED = "said", "closed"
Facts = dict[str, Any]
Event = Mapping[str, Any]
"""`said`: pairs of frame and facts, in order; `closed`: the frame after which it is not open any more, else None."""
_NONE: Event = {_SAID: (), _CLOSED: None}


class Events:
    """The events of the sources of one block. `join` adds to each record, with `@` before its name, what others of its
    event say."""

    def __init__(self, states: Mapping[str, ParserState], block: RawBlock) -> None:
        """By source the state that it is remembered in."""
        self._states, self._block = states, block
        self._met: dict[str, _OfSource] = {}

    def join(self, records: Iterable[tuple[str, Pairs]]) -> None:
        """Records in the order they came, each with its source."""
        by_source: dict[str, list[Pairs]] = {}
        for source, pairs in records:
            by_source.setdefault(source, []).append(pairs)
        last = {frame.source: frame for frame in self._block.frames or (self._block,)}
        for source, several in by_source.items():
            if source not in self._met:
                self._met[source] = _OfSource(self._states[source], last[source])
            self._met[source].join(several)

    def kept(self, state: ParserState, sources: Iterable[str]) -> ParserState:
        """The state with what is open now of these sources, which it remembers; the same when that is what it has."""
        for source in sources:
            if source in self._met:
                state = self._met[source].kept(state)
        return state


class _OfSource:
    """The events of one source, whose last frame in the block is `frame`."""

    def __init__(self, state: ParserState, frame: RawBlock) -> None:
        self._source, self._frame = f"{frame.node}:{frame.source}", frame.seq
        self._known: Mapping[str, Event] = state.memory.get(MEMORY, {}).get(self._source, {})
        self._events = self._known

    def join(self, records: Iterable[Pairs]) -> None:
        together: dict[str, tuple[Facts, list[Pairs]]] = {}
        for pairs in records:
            key = f"{pairs['@node'] or ''}|{pairs['@time']}|{pairs['@serial']}"
            fresh, members = together.setdefault(key, ({}, []))
            _learn(fresh, pairs)
            members.append(pairs)
        for key, (fresh, members) in together.items():
            said = self._open(key)
            facts = _added(_facts(said), fresh)
            for pairs in members:
                pairs.update(facts)
            if any(pairs["type"] in _LAST for pairs in members):
                if said:
                    self._put(key, said, closed=self._frame)
            elif "@pid" in facts and fresh:
                short = {name: _short(value) for name, value in fresh.items()}
                self._put(key, [*said, [self._frame, short]])

    def _open(self, key: str) -> Sequence[Any]:
        event = self._events.get(key, _NONE)
        return event[_SAID] if event[_CLOSED] is None else ()

    def _put(self, key: str, said: Sequence[Any], *, closed: int | None = None) -> None:
        others = {known: event for known, event in self._events.items() if known != key}
        self._events = {**others, key: {_SAID: said, _CLOSED: closed}}

    def kept(self, state: ParserState) -> ParserState:
        still = [key for key, event in self._events.items() if event[_CLOSED] is None]
        for key in still[:-OPEN_EVENTS]:
            self._put(key, self._events[key][_SAID], closed=self._frame)
        events = {key: event for key, event in self._events.items() if not self._is_of_this_frame(event)}
        if events == self._known:
            return state
        others = {source: known for source, known in state.memory.get(MEMORY, {}).items() if source != self._source}
        kept = dict(list(others.items())[1 - SOURCES :]) | {self._source: events}
        return replace(state, memory={**state.memory, MEMORY: kept}, revision=state.revision + 1)

    def _is_of_this_frame(self, event: Event) -> bool:
        """Begun and closed: nothing before or behind the frame is of it."""
        return bool(event[_CLOSED] == self._frame == event[_SAID][0][0])


def settled(state: ParserState, passed: Mapping[str, int]) -> ParserState:
    """Without what nobody asks for once the store has the frames up to these (by node: the last one)."""
    return _changed(state, passed, is_ahead_kept=True)


def at(state: ParserState, passed: Mapping[str, int]) -> ParserState:
    """As it was when these were the last frames (by node) that were passed."""
    return _changed(state, passed, is_ahead_kept=False)


def _changed(state: ParserState, passed: Mapping[str, int], *, is_ahead_kept: bool) -> ParserState:
    if MEMORY not in state.memory:
        return state
    sources = {}
    for source, events in state.memory[MEMORY].items():
        upto = passed.get(source.partition(":")[0], -1)
        left = {key: _since(event, upto, is_ahead_kept=is_ahead_kept) for key, event in events.items()}
        if any(left.values()):
            sources[source] = {key: event for key, event in left.items() if event is not None}
    return replace(state, memory={**state.memory, MEMORY: sources})


def _since(event: Event, upto: int, *, is_ahead_kept: bool) -> Event | None:
    if event[_CLOSED] is not None and event[_CLOSED] <= upto:
        return None
    past = [part for part in event[_SAID] if part[0] <= upto]
    said = [[past[-1][0], _facts(past)]] if past else []
    if is_ahead_kept:
        return {_SAID: [*said, *event[_SAID][len(past) :]], _CLOSED: event[_CLOSED]}
    return {_SAID: said, _CLOSED: None} if said else None


def _learn(facts: Facts, pairs: Pairs) -> None:
    match pairs["type"]:
        case "SYSCALL":
            for name in _OF_THE_PROCESS:
                if (value := pairs.get(name)) is not None:
                    facts[f"@{name}"] = value
        case "EXECVE":  # one of many arguments comes in several records
            facts |= _added(facts, {"@command": " ".join(pairs["@args"])})
        case "CWD":
            facts["@cwd"] = pairs.get("cwd")


def _facts(said: Iterable[Sequence[Any]]) -> Facts:
    """What several frames said, as one."""
    facts: Facts = {}
    for _, more in said:
        facts = {name: _short(value) for name, value in _added(facts, more).items()}
    return facts


def _added(facts: Facts, more: Facts) -> Facts:
    """Both; words of a command go on with those before."""
    if "@command" in facts and "@command" in more:
        more = {**more, "@command": f"{facts['@command']} {more['@command']}"}
    return {**facts, **more}


def _short(value: Any) -> Any:
    return value[:LONGEST] if isinstance(value, str) else value
