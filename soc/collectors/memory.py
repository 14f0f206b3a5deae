"""How the C library keeps memory: what a flood used is used again, and given back once it is over.

By default glibc returns every large block at once, and the kernel clears each page of the next one: at full rate half
of the time of a write. (mallopt(3): any of these settings also stops its own adjusting of them.)
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

KEPT = 64 << 20
"""Free bytes at the end of a heap that stay with the process while much arrives."""
_LARGE = 32 << 20
_GROWTH = 1 << 20
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_MUCH = 1 << 20


def keep() -> bool:
    """Use freed memory again instead of returning it; for the whole process. False where the C library is another."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_M_MMAP_THRESHOLD, _LARGE), (_M_TRIM_THRESHOLD, KEPT), (_M_TOP_PAD, _GROWTH))
    taken = [mallopt(what, value) for what, value in settings]
    return all(taken)


def give_back() -> None:
    """Return what is free to the kernel."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        return


def resident() -> int:
    """Bytes of this process that are in memory, what it shares with others included; 0 where nobody tells."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


class Calm:
    """Gives memory back in the first second in which little arrives after much did."""

    def __init__(self) -> None:
        self._bytes = 0
        self._is_swollen = False

    def note(self, size: int) -> None:
        """So many bytes arrived."""
        self._bytes += size

    def second(self) -> None:
        """A second, or longer, is over."""
        if self._bytes > _MUCH:
            self._is_swollen = True
        elif self._is_swollen:
            self._is_swollen = False
            give_back()
        self._bytes = 0
