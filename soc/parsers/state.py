"""What a parser remembers between two blocks; saved with the cursor, so that a restart goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True)
class ParserState:
    """Memory by product id (flow templates, open multi-line messages). NetFlow v5, SNMP and text need none."""

    memory: Mapping[str, Any] = field(default_factory=dict)

    def snapshot(self) -> bytes:
        """The state as JSON."""
        return json.dumps(dict(self.memory), sort_keys=True).encode()

    @classmethod
    def restore(cls, data: bytes) -> Self:
        """The inverse of `snapshot`; nothing gives an empty state. Raises ValueError for what is no JSON object."""
        if not data:
            return cls()
        memory = json.loads(data)
        if not isinstance(memory, dict):
            raise ValueError("a parser state is a JSON object")
        return cls(memory)
