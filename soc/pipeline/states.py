"""What the processes of a home say of themselves, each in a file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from soc.config import Settings

STATE = ".state.json"


def state_file(settings: Settings, name: str) -> Path:
    """Where a process says of itself how it is."""
    return settings.path("run", name + STATE)


def read_state(path: Path) -> dict[str, Any] | None:
    """What one process said of itself; None before it did."""
    try:
        found: dict[str, Any] = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found


def read_states(settings: Settings) -> list[dict[str, Any]]:
    """What every process of this home said of itself."""
    states = (read_state(path) for path in sorted(settings.path("run").glob(f"*{STATE}")))
    return [state for state in states if state is not None]
