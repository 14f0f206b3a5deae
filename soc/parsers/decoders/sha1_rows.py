"""SHA-1 (FIPS 180-4) of many short messages at once: one numpy step does the same step of every message.

For many rows faster than a call of hashlib for each; nothing secret depends on it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

MAX_OCTETS = 55
"""What one block holds beside its end mark and its length."""
_ROWS = 8192  # so that the words of a round stay in the processor's cache
_START = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0)
_ADDED = tuple(np.uint32(k) for k in (0x5A827999, 0x6ED9EBA1, 0x8F1BBCDC, 0xCA62C1D6))
Array = np.ndarray[Any, Any]


def sha1_rows(messages: Array) -> Array:
    """The 20 octets of each row's digest; all rows are equally long, at most `MAX_OCTETS`."""
    n, size = messages.shape
    if size > MAX_OCTETS:
        raise ValueError(f"a message of {size} octets; at most {MAX_OCTETS} go into one block")
    result = np.empty((n, 5), ">u4")
    for at in range(0, n, _ROWS):
        result[at : at + _ROWS] = _digests(messages[at : at + _ROWS], size)
    return result.view(np.uint8).reshape(n, 20)


def _digests(messages: Array, size: int) -> Array:
    n = len(messages)
    block = np.zeros((n, 64), np.uint8)
    block[:, :size] = messages
    block[:, size] = 0x80
    block[:, 62], block[:, 63] = size * 8 >> 8, size * 8 & 255
    words = list(np.ascontiguousarray(block.view(">u4").T.astype(np.uint32)))
    a, b, c, d, e = (np.full(n, start, np.uint32) for start in _START)
    one, two = np.empty(n, np.uint32), np.empty(n, np.uint32)
    for step in range(80):
        if step >= 16:
            words[step & 15] = _scheduled(words, step, one)
        _choice(step, b, c, d, one, two)
        e += one
        e += words[step & 15]
        e += _ADDED[step // 20]
        np.left_shift(a, 5, out=one)
        np.right_shift(a, 27, out=two)
        one |= two
        e += one
        np.left_shift(b, 30, out=one)
        np.right_shift(b, 2, out=b)
        b |= one
        a, b, c, d, e = e, a, b, c, d
    return np.stack([word + np.uint32(start) for word, start in zip((a, b, c, d, e), _START, strict=True)], axis=1)


def _scheduled(words: list[Array], step: int, spare: Array) -> Array:
    word = words[step & 15]
    for back in (3, 8, 14):
        word ^= words[step - back & 15]
    np.right_shift(word, 31, out=spare)
    np.left_shift(word, 1, out=word)
    word |= spare
    return word


def _choice(step: int, b: Array, c: Array, d: Array, one: Array, two: Array) -> None:
    """The round's function of three words, into `one`."""
    if step < 20:  # b ? c : d
        np.bitwise_xor(c, d, out=one)
        one &= b
        one ^= d
    elif 40 <= step < 60:  # the majority
        np.bitwise_or(b, c, out=one)
        one &= d
        np.bitwise_and(b, c, out=two)
        one |= two
    else:
        np.bitwise_xor(b, c, out=one)
        one ^= d
