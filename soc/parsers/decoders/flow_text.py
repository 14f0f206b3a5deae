"""Whole columns of octets and numbers as Arrow text at once: addresses, hexadecimal, small codes, fixed records.

A Python call for each value costs more than all the rest of a flow; here each step works on every row.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from soc.model.batch import Column
from soc.model.fields import FieldType
from soc.model.kernel import asked

Array = np.ndarray[Any, Any]
FEW = 64
"""Of so few rows a Python list is made sooner than an array."""
MAX_CODES = 65_536
"""Numbers below are looked up in a table."""


@functools.lru_cache(maxsize=2)
def _pairs(last: str) -> tuple[Array, Array, Array]:
    """For each two octets their dotted text in eight bytes, which of them are used, and how many: for one look-up."""
    words, masks = np.zeros((256, 256, 8), np.uint8), np.zeros((256, 256, 8), bool)
    texts = [f"{value}".encode() for value in range(256)]
    for first, head in enumerate(texts):
        for width, several in ((1, slice(0, 10)), (2, slice(10, 100)), (3, slice(100, 256))):
            start, stop = len(head) + 1, len(head) + 1 + width
            words[first, several, : start - 1] = list(head)
            words[first, several, start - 1] = ord(".")
            words[first, several, start:stop] = _LAST_OCTETS[several, :width]
            words[first, several, stop : stop + len(last)] = list(last.encode())
            masks[first, several, : stop + len(last)] = True
    widths = masks.sum(axis=2, dtype=np.int32).ravel()
    return words.view(np.uint64).ravel(), masks.view(np.uint64).ravel(), widths


_LAST_OCTETS = np.array([list(str(value).encode().ljust(3)) for value in range(256)], np.uint8)
_UPPER = np.array([list(f"{value:02X}-".encode()) for value in range(256)], np.uint8)
_LOWER = np.array([list(f"{value:02x}".encode()) for value in range(256)], np.uint8)


def octets(cells: Array) -> Array:
    """Cells of one length as a table: a row a record, a column an octet."""
    whole = np.ascontiguousarray(cells)
    return whole.view(np.uint8).reshape(len(whole), whole.dtype.itemsize)


def ipv4_texts(table: Array) -> Any:
    """Dotted text of rows of four octets."""
    n = len(table)
    if n < FEW:
        return pa.array([".".join(map(str, row)) for row in table.tolist()], pa.string())
    if (found := asked("ipv4_texts", table.tobytes())) is not None:
        return text_array(*found)
    halves = np.ascontiguousarray(table).view(">u2")
    words, masks = np.empty((n, 2), np.uint64), np.empty((n, 2), np.uint64)
    widths = np.zeros(n, np.int32)
    for place, last in enumerate((".", "")):
        texts, used, width = _pairs(last)
        half = halves[:, place]
        words[:, place] = texts[half]
        masks[:, place] = used[half]
        widths += width[half]
    # Fifteen characters need sixteen places: "255.255." and "255.255".
    return _strings(widths, words.view(np.uint8)[masks.view(bool)])


def ipv6_texts(table: Array, text: Callable[[bytes], str]) -> Any:
    """RFC 5952 text of rows of 16 octets; `text` is asked once for each distinct one."""
    cells = np.ascontiguousarray(table).view("V16").ravel()
    known: dict[bytes, int] = {}
    codes = [known.setdefault(cell, len(known)) for cell in cells.tolist()]
    return pa.array([text(cell) for cell in known], pa.string()).take(pa.array(codes, pa.int32()))


def mac_texts(table: Array) -> Any:
    """`00-00-5E-00-53-01` of rows of six octets."""
    if len(table) < FEW:
        return [row.tobytes().hex("-").upper() for row in table]
    return fixed_strings(_UPPER[table].reshape(len(table), -1)[:, :-1])


def hex_texts(table: Array) -> Any:
    """Hexadecimal text of rows of octets."""
    if len(table) < FEW:
        return [row.tobytes().hex() for row in table]
    return fixed_strings(_LOWER[table].reshape(len(table), -1))


def fixed_strings(characters: Array) -> Any:
    """Rows of ASCII characters, all of one length."""
    n, width = characters.shape
    return _strings(np.full(n, width, np.int32), np.ascontiguousarray(characters))


def fixed_binary(rows: Array) -> Any:
    """Rows of octets, all of one length."""
    n, width = rows.shape
    ends = np.arange(n + 1, dtype=np.int32) * np.int32(width)
    return pa.BinaryArray.from_buffers(pa.binary(), n, [None, pa.py_buffer(ends), pa.py_buffer(_bytes(rows))])


def text_array(ends: bytes, characters: bytes) -> Any:
    """Of where each text begins (int32, and where the last one ends) and the characters of all."""
    return pa.StringArray.from_buffers(len(ends) // 4 - 1, pa.py_buffer(ends), pa.py_buffer(characters))


def _strings(widths: Array, characters: Array) -> Any:
    ends = np.zeros(len(widths) + 1, np.int32)
    np.cumsum(widths, out=ends[1:])
    return pa.StringArray.from_buffers(len(widths), pa.py_buffer(ends), pa.py_buffer(_bytes(characters)))


def _bytes(table: Array) -> Array:
    return np.ascontiguousarray(table).reshape(-1)


def coded(numbers: Array, meaning: Callable[[int], Any]) -> Any:
    """What each number (0 to `MAX_CODES`) means; None is missing.

    A list for a few, else a dictionary array whose words are asked for once.
    """
    if len(numbers) < FEW:
        return [meaning(number) for number in numbers.tolist()]
    counts = np.bincount(numbers)
    present = np.flatnonzero(counts)
    lookup = np.zeros(len(counts), np.int32)
    lookup[present] = np.arange(len(present), dtype=np.int32)
    words = [meaning(number) for number in present.tolist()]
    codes = lookup[numbers]
    if None not in words:
        return pa.DictionaryArray.from_arrays(pa.array(codes), _words(words))
    missing = np.array([word is None for word in words])[codes]
    kept = ["" if word is None else word for word in words]
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=missing), _words(kept))


def _words(words: list[Any]) -> Any:
    """With its type stated: where Arrow has to guess it looks for pandas, each time."""
    return pa.array(words, pa.int64() if words and isinstance(words[0], int) else pa.string())


def is_small(numbers: Any) -> bool:
    """Whether `coded` takes these numbers."""
    if not isinstance(numbers, np.ndarray) or numbers.dtype.kind not in "ui":
        return False
    return not len(numbers) or (int(numbers.min()) >= 0 and int(numbers.max()) < MAX_CODES)


def constant(value: Any, n: int) -> Column:
    """One value for each of n rows; a mapping converts it once."""
    return Column.constant(FieldType.KEYWORD, value, n)


def masked(numbers: Array, keep: Array) -> Any:
    """Whole numbers, missing where `keep` is false."""
    if len(numbers) < FEW:
        return [number if kept else None for number, kept in zip(numbers.tolist(), keep.tolist(), strict=True)]
    return pa.array(numbers.astype(np.int64), mask=~keep)


def plain(values: Any) -> list[Any]:
    """As a Python list; a list is not copied."""
    if isinstance(values, np.ndarray):
        return list(values.tolist())
    if isinstance(values, pa.Array):
        return list(values.to_pylist())
    return values if isinstance(values, list) else list(values)


def is_whole(values: Sequence[Any] | Array) -> bool:
    """Whether nothing is missing."""
    if isinstance(values, pa.Array):
        return bool(values.null_count == 0)
    return isinstance(values, np.ndarray) or None not in values
