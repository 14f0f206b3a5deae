"""What a parser remembers between two blocks; saved before the cursor moves, so a restart goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from soc.parsers.groups import NONE, Groups

_UPTO = "upto"
_MEMORY = "memory"


@dataclass(frozen=True)
class ParserState:
    """Memory by subject (flow exporters, open events of audit logs): JSON, or objects that give theirs with
    `document()`. SNMP and other text need none.

    `revision` is another whenever something was learned that must be saved before the cursor moves (templates, what
    waits for one). Else only counts went on: they may be saved later, and `upto` says up to where they reach, by node
    the sequence number of the last frame.
    """

    memory: Mapping[str, Any] = field(default_factory=dict)
    revision: int = 0
    upto: Mapping[str, int] = field(default_factory=dict)
    groups: Groups = NONE
    """Records that wait for those that go on with them; kept apart from the rest, for every block changes them."""

    def after(self, node: str, seq: int) -> ParserState:
        """The same, having read this frame; a state that remembers nothing needs no place."""
        if not self.memory:
            return self
        return replace(self, upto={**self.upto, node: max(seq, self.upto.get(node, seq))})

    def is_behind(self, cursors: Mapping[str, int]) -> bool:
        """Whether frames were passed (by node: the last one) that this state, saved before them, has not counted."""
        return any(seq > self.upto.get(node, -1) for node, seq in cursors.items())

    def snapshot(self) -> bytes:
        """The state as JSON."""
        whole = {_MEMORY: self.memory, _UPTO: self.upto}
        return json.dumps(whole, sort_keys=True, default=lambda thing: thing.document()).encode()

    @classmethod
    def restore(cls, data: bytes) -> Self:
        """The inverse of `snapshot`; nothing gives an empty state. Raises ValueError for what is no such object."""
        if not data:
            return cls()
        whole = json.loads(data)
        if not isinstance(whole, dict) or not isinstance(whole.get(_MEMORY), dict):
            raise ValueError("a parser state is a JSON object with a memory")
        return cls(whole[_MEMORY], 0, whole.get(_UPTO, {}))
