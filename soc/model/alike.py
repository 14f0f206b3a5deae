"""Messages that look alike are read once: a BER message is told from others by the bytes that do not change.

Every header of a BER message says where the next one is. So in two messages of one length whose headers are equal at
the same places, the values are at the same places too, and reading the second is nothing but slicing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

Span = tuple[int, int]
"""First and last offset, like a slice."""
MAX_MASKS = 16
"""Different sets of free bytes among messages of one length; the oldest goes."""
T = TypeVar("T")


def mask_of(length: int, free: Iterable[Span]) -> int:
    """As many bytes, all ones but for the free spans."""
    mask = bytearray(b"\xff") * length
    for start, stop in free:
        mask[start:stop] = bytes(stop - start)
    return int.from_bytes(mask, "big")


class Alike(Generic[T]):
    """What was found out about messages, by all their bytes but the free ones. Bounded: when full it starts anew."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._by_length: dict[int, list[tuple[int, dict[int, T]]]] = {}
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def find(self, data: bytes) -> T | None:
        """What is known of a message that is equal to this one in all but its free bytes."""
        known = self._by_length.get(len(data))
        if known is None:
            return None
        whole = int.from_bytes(data, "big")
        for mask, found in known:
            if (value := found.get(whole & mask)) is not None:
                return value
        return None

    def learn(self, data: bytes, free: Iterable[Span], what: T) -> None:
        """Remember it for all messages that are like this one but for the free spans."""
        mask = mask_of(len(data), free)
        place = int.from_bytes(data, "big") & mask
        for other, found in self._by_length.get(len(data), ()):
            if other == mask and place in found:
                found[place] = what
                return
        if self._n >= self._most:
            self._by_length, self._n = {}, 0
        known = self._by_length.setdefault(len(data), [])
        found = next((found for other, found in known if other == mask), {})
        if not found:
            if len(known) >= MAX_MASKS:
                self._n -= len(known.pop(0)[1])
            known.append((mask, found))
        found[place] = what
        self._n += 1
