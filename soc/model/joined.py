"""`Joined`: large batches that stand for the many small ones of several blocks, and the order of those."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from soc.model.batch import EventBatch


class Stretch(NamedTuple):
    """The events `start` to `stop` of the batch with this number: what would have been a batch alone."""

    batch: int
    start: int
    stop: int


@dataclass(frozen=True)
class Joined:
    """Batches, and all their events as stretches in the order in which they would have come one by one."""

    batches: Sequence[EventBatch]
    order: Sequence[Stretch]

    @classmethod
    def of(cls, batches: Sequence[EventBatch]) -> Self:
        """Batches that are what they are."""
        return cls(batches, [Stretch(number, 0, batch.n) for number, batch in enumerate(batches)])
