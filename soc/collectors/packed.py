"""`Packed`: many records in one piece of memory, so that the fast ways of receiving make no object for each of them."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np


class Packed(Sequence[bytes]):
    """Records one behind another in `data`; record i has `sizes[i]` bytes (array of type `I`), the longest `longest`,
    where that is known already."""

    __slots__ = ("_longest", "data", "sizes")

    def __init__(self, data: bytes, sizes: array[int], longest: int | None = None) -> None:
        self.data = data
        self.sizes = sizes
        self._longest = longest

    def has_longer(self, most: int) -> bool:
        """Whether a record has more bytes than that."""
        if self._longest is None:
            self._longest = int(np.frombuffer(self.sizes, np.uintc).max())
        return self._longest > most

    def has_begun(self, byte: bytes) -> bool:
        """Whether a record begins with this byte."""
        stops = np.frombuffer(self.sizes, np.uintc).cumsum(dtype=np.int64)
        data = np.frombuffer(self.data, np.uint8)
        starts = np.concatenate(([0], stops[:-1]))
        return bool((data[starts[starts < len(data)]] == byte[0]).any())

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[bytes]:
        at = 0
        for size in self.sizes:
            yield self.data[at : at + size]
            at += size

    @overload
    def __getitem__(self, i: int) -> bytes: ...

    @overload
    def __getitem__(self, i: slice) -> Sequence[bytes]: ...

    def __getitem__(self, i: int | slice) -> bytes | Sequence[bytes]:
        return list(self)[i]  # for people and tests


class Packer:
    """Gathers records, one by one or many at once, and the flags of those that have any."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._sizes = array("I")
        self._flags: dict[int, int] = {}

    def add(self, record: bytes, flags: int = 0) -> None:
        """One record; an empty one is none."""
        if record:
            if flags:
                self._flags[len(self._sizes)] = flags
            self._pieces.append(record)
            self._sizes.append(len(record))

    def extend(self, records: Iterable[bytes]) -> None:
        """Records without flags, none of them empty."""
        at = len(self._pieces)
        self._pieces.extend(records)
        self._sizes.extend(map(len, self._pieces[at:]))

    def join(self, data: bytes, sizes: np.ndarray[Any, Any]) -> None:
        """Records without flags that are in one piece already; `sizes` of them, none 0."""
        self._pieces.append(data)
        self._sizes.frombytes(sizes.astype(np.uintc).tobytes())

    def take(self) -> tuple[Packed, dict[int, int]]:
        """All that was gathered, and the flags by index; then it is empty again."""
        pieces = self._pieces
        packed = Packed(pieces[0] if len(pieces) == 1 else b"".join(pieces), self._sizes)
        flags = self._flags
        self._pieces, self._sizes, self._flags = [], array("I"), {}
        return packed, flags
