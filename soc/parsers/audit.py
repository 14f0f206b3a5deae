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
        self._state = state
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

    def state(self) -> ParserState:
        """The state to go on with; the same when nothing that is open changed."""
        sources: Mapping[str, Any] = self._state.memory.get(MEMORY, {})
        latest = dict(list(self._open.items())[-OPEN_EVENTS:])
        if sources.get(self._source, {}) == latest:
            return self._state
        others = {source: events for source, events in sources.items() if source != self._source}
        kept = dict(list(others.items())[1 - SOURCES :]) | ({self._source: latest} if latest else {})
        memory = {**self._state.memory, MEMORY: kept}
        return replace(self._state, memory=memory, revision=self._state.revision + 1)


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
