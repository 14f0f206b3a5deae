"""What was read of the settings so far, from wherever, and every fault."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from soc.config.knobs import Knob
from soc.model import poll as polls


@dataclass
class Reading:
    """What was read so far: values and origins by attribute, and every fault, so that all are mended at once."""

    values: dict[str, Any]
    origins: dict[str, str]
    faults: list[str] = field(default_factory=list)

    def take(self, knob: Knob, raw: Any, base: Path, place: str, origin: str, name: str = "") -> Any:
        """The checked value, None when it is no such thing; then the fault is noted at `place`."""
        try:
            value = knob.check(raw, base)
        except ValueError as error:
            # Somebody may have written the secret itself where its place belongs: that is repeated nowhere.
            shown = "what stands there" if knob.section == "poll" and knob.key in polls.SECRETS else repr(raw)
            self.faults.append(f"{place}: '{name or knob.key}' should be {error}, not {shown}")
            return None
        self.origins[name or knob.attribute] = origin
        return value
