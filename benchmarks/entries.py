"""One row of `results.json`, and the stopwatch that fills it; light, because the memory of its caller is measured."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from typing import Any, Self

Entry = dict[str, Any]
"""`{"name", "value", "unit", "reference", "reference_value", "ratio"}`; a ratio above 1 beats the reference."""


@dataclass(frozen=True)
class Cost:
    """What some events took; seconds of wall clock and of CPU."""

    events: int
    wall_s: float
    cpu_s: float

    @property
    def rate(self) -> float:
        """Events a second of wall clock."""
        return self.events / max(self.wall_s, 1e-9)

    @property
    def cpu_us(self) -> float:
        """CPU-µs an event, of all threads."""
        return self.cpu_s * 1e6 / max(self.events, 1)


class Stopwatch:
    """Wall clock and CPU of this process inside `with` blocks, summed."""

    def __init__(self) -> None:
        self.wall_s = self.cpu_s = 0.0

    def __enter__(self) -> Self:
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall_s += time.perf_counter() - self._wall
        self.cpu_s += time.process_time() - self._cpu

    def cost(self, events: int) -> Cost:
        """What was measured, for so many events."""
        return Cost(events, self.wall_s, self.cpu_s)


def entry(
    name: str, value: float, unit: str, reference: str | None, other: float | None, *, less_is_better: bool = False
) -> Entry:
    """A row; without a figure of the reference there is neither its name nor a ratio."""
    ratio = None
    if other is not None and value and other:
        ratio = round(other / value if less_is_better else value / other, 3)
    rounded = None if other is None else _round(other)
    return {"name": name, "value": _round(value), "unit": unit, "reference": None if other is None else reference,
            "reference_value": rounded, "ratio": ratio}  # fmt: skip


def both(name: str, own: Cost, reference: str, plain: Cost) -> list[Entry]:
    """Two rows: events a second of wall clock, and CPU-µs an event."""
    return [entry(name, own.rate, "events/s", reference, plain.rate), cpu(name, own, reference, plain)]


def cpu(name: str, own: Cost, reference: str, plain: Cost) -> Entry:
    """The row of CPU-µs an event."""
    return entry(f"{name}.cpu", own.cpu_us, "CPU-µs/event", reference, plain.cpu_us, less_is_better=True)


def child_seconds(usage: resource.struct_rusage) -> float:
    """User and system time of a process that has been waited for."""
    return usage.ru_utime + usage.ru_stime


def _round(value: float) -> float:
    return round(value) if abs(value) >= 1000 else float(f"{value:.4g}")
