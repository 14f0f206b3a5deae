"""Lines out of a file's bytes: line ends, byte order marks, UTF-16, pieces of lines that are too long, NUL holes."""

from __future__ import annotations

from typing import NamedTuple

from soc.model.record import HOLE, INCOMPLETE, OVERSIZE

MIN_HOLE = 16
"""So many NULs before a line are a hole of the file (truncated under a writer that kept its place), not text."""
_UTF8_MARK = b"\xef\xbb\xbf"


class Coding(NamedTuple):
    """How characters lie in a file: `mark` goes before each line of UTF-16, so that it is told by itself."""

    name: str
    newline: bytes
    width: int
    mark: bytes


PLAIN = Coding("utf-8", b"\n", 1, b"")
_LITTLE = Coding("utf-16-le", b"\n\0", 2, b"\xff\xfe")
_BIG = Coding("utf-16-be", b"\0\n", 2, b"\xfe\xff")
CODINGS = {code.name: code for code in (PLAIN, _LITTLE, _BIG)}


def coding(head: bytes) -> Coding:
    """Of a file that begins like this: UTF-16 by its mark, or by two ASCII characters with their NULs."""
    if head.startswith(b"\xff\xfe") or (len(head) >= 4 and head[1] == head[3] == 0 and head[0] and head[2]):
        return _LITTLE
    if head.startswith(b"\xfe\xff") or (len(head) >= 4 and head[0] == head[2] == 0 and head[1] and head[3]):
        return _BIG
    return PLAIN


class Lines(NamedTuple):
    """What a chunk gave: records, flags by index, how many bytes they were, and what `inside` is for the next chunk."""

    records: list[bytes]
    flags: dict[int, int]
    used: int
    inside: int


def cut(chunk: bytes, code: Coding, max_bytes: int, *, is_start: bool, inside: int, is_last: bool) -> Lines:
    """The whole lines of a chunk; blank ones are none.

    `is_start`: the chunk begins the file. `inside`: the flags of a line that it goes on with, 0 = it begins one. A line
    of more than `max_bytes` becomes records of so many bytes, all flagged OVERSIZE; with `is_last` what has no line
    end is given too, and it and its rest are flagged INCOMPLETE. Nothing but line ends, marks and holes is left out.
    """
    stop = len(chunk) // code.width * code.width if is_last else last_end(chunk, code)
    stays = len(chunk) - stop
    if stays > max_bytes + 2:  # a line that is too long already; the 2 are for its line end
        stop += (stays - 2) // max_bytes * max_bytes // code.width * code.width
    body = chunk[:stop]
    is_open = stop > 0 and last_end(body, code) != stop
    mark = code.mark or _UTF8_MARK
    if is_start and body.startswith(mark):
        body = body[len(mark) :]
    lines = split(body, code)
    size = max(max_bytes // code.width * code.width, code.width)
    open_bits = (INCOMPLETE if is_last else OVERSIZE) if is_open else 0
    if code is PLAIN and not (inside or open_bits) and b"\0" not in body and max(map(len, lines), default=0) <= size:
        return Lines([line for line in lines if line.strip()], {}, stop, 0)
    records: list[bytes] = []
    flags: dict[int, int] = {}
    for i, whole in enumerate(lines):
        bits = (inside if i == 0 else 0) | (open_bits if i == len(lines) - 1 else 0)
        line, bits = _without_hole(whole, bits) if whole[:1] == b"\0" and code is PLAIN else (whole, bits)
        if not (line if code is PLAIN else line.decode(code.name, "replace")).strip():
            continue
        if len(line) > size:
            bits |= OVERSIZE
        for at in range(0, len(line), size):
            if bits:
                flags[len(records)] = bits
            records.append(code.mark + line[at : at + size])
    return Lines(records, flags, stop, open_bits if stop else inside)


def _without_hole(line: bytes, bits: int) -> tuple[bytes, int]:
    text = line.lstrip(b"\0")
    return (text, bits | HOLE) if len(line) - len(text) >= MIN_HOLE else (line, bits)


def last_end(chunk: bytes, code: Coding) -> int:
    """Behind the last line end."""
    at = chunk.rfind(code.newline)
    while at >= 0 and at % code.width:
        at = chunk.rfind(code.newline, 0, at + code.width - 1)
    return at + code.width if at >= 0 else 0


def split(body: bytes, code: Coding) -> list[bytes]:
    """The lines of a body, without their ends; the last one may have none."""
    if code is PLAIN:
        lines = body.split(b"\n")
        if not lines[-1]:
            lines.pop()
        return [line.rstrip(b"\r") for line in lines] if b"\r" in body else lines
    lines, start, at = [], 0, body.find(code.newline)
    back = b"\r\0" if code is _LITTLE else b"\0\r"
    while at >= 0:
        if at % 2 == 0:
            lines.append(body[start:at].removesuffix(back))
            start = at + 2
        at = body.find(code.newline, at + 1)
    if start < len(body):
        lines.append(body[start:])
    return lines
