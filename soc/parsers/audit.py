"""Audit records that belong together: what one record of an event says of the process holds for its others.

Records come one after another, and an event may lie across two blocks; so the last open ones are remembered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from soc.parsers.decoders.auditd import Pairs
from soc.parsers.state import ParserState

MEMORY = "auditd"
"""The key in `ParserState.memory`."""
OPEN_EVENTS, SOURCES = 8, 256
"""So many open events of a source are remembered, of so many sources; with more the oldest are forgotten."""
LONGEST = 8192
"""So many characters of a value are remembered."""
_OF_THE_PROCESS = (
    "exe", "comm", "pid", "ppid", "uid", "euid", "auid", "ses", "tty", "key", "success", "UID", "EUID", "AUID",
)  # fmt: skip
_LAST = ("PROCTITLE", "EOE")
Facts = dict[str, Any]


class Events:
    """The events of one source. `join` adds to each record, with `@` before its name, what others of its event say."""

    def __init__(self, state: ParserState, source: str) -> None:
        self._source = source
        known = state.memory.get(MEMORY, {}).get(source, {})
        self._open: dict[str, Facts] = {key: dict(facts) for key, facts in known.items()}

    def join(self, records: Iterable[Pairs]) -> None:
        """Records in the order they came."""
        together: dict[str, tuple[Facts, list[Pairs]]] = {}
        for pairs in records:
            key = f"{pairs['@node'] or ''}|{pairs['@time']}|{pairs['@serial']}"
            event = together.get(key)
            if event is None:
                event = together[key] = (self._open.get(key, {}), [])
            _learn(event[0], pairs)
            event[1].append(pairs)
        for key, (facts, members) in together.items():
            for pairs in members:
                pairs.update(facts)
            self._open.pop(key, None)
            if "@pid" in facts and not any(pairs["type"] in _LAST for pairs in members):
                self._open[key] = {name: _short(value) for name, value in facts.items()}

    def kept(self, state: ParserState) -> ParserState:
        """The state with what is open now; the same when that is what it has."""
        sources: Mapping[str, Any] = state.memory.get(MEMORY, {})
        latest = dict(list(self._open.items())[-OPEN_EVENTS:])
        if sources.get(self._source, {}) == latest:
            return state
        others = {source: events for source, events in sources.items() if source != self._source}
        kept = dict(list(others.items())[1 - SOURCES :]) | ({self._source: latest} if latest else {})
        return replace(state, memory={**state.memory, MEMORY: kept}, revision=state.revision + 1)


def _learn(facts: Facts, pairs: Pairs) -> None:
    match pairs["type"]:
        case "SYSCALL":
            for name in _OF_THE_PROCESS:
                if (value := pairs.get(name)) is not None:
                    facts[f"@{name}"] = value
        case "EXECVE":  # one of many arguments comes in several records
            before = facts.get("@command")
            here = " ".join(pairs["@args"])
            facts["@command"] = here if before is None else f"{before} {here}"
        case "CWD":
            facts["@cwd"] = pairs.get("cwd")


def _short(value: Any) -> Any:
    return value[:LONGEST] if isinstance(value, str) else value
