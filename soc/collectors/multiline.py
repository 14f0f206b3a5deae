"""Lines of a file that belong together (stack traces) as one record, bounded in lines, bytes and time.

Joining is framing, like line ends: what is not given yet stays in the file before the offset, so there is no state to
lose, and a joined record is one position like any other.
"""

from __future__ import annotations

from soc.collectors.lines import MIN_HOLE, PLAIN, Coding, Lines, last_end, split
from soc.model.multiline import MAX_LINES, Rule
from soc.model.record import HOLE, INCOMPLETE, OVERSIZE

_MID = 64
"""Beside the flags of `inside`: the next byte is in the middle of a line."""


def join(
    chunk: bytes, code: Coding, max_bytes: int, pattern: str, *, is_start: bool, inside: int, is_last: bool
) -> Lines:
    """The whole records of a chunk, like `lines.cut`. The last one is held back unless it is as large as one may be, or
    `is_last` says that nothing more is waited for. `inside`: the flags of a first line that goes on with a record."""
    stop = last_end(chunk, code)
    is_long = len(chunk) - stop > max_bytes
    if is_last or is_long:
        stop = len(chunk) // code.width * code.width
    body = chunk[:stop]
    is_open = stop > 0 and last_end(body, code) != stop
    lines, ends = split(body, code), _ends(body, code)
    rule = Rule(pattern)
    records: list[bytes] = []
    flags: dict[int, int] = {}
    group: list[bytes] = []
    size, used, bits = 0, 0, 0

    def close(more: int) -> None:
        nonlocal group, size, bits
        text = code.newline.join(group)
        while text.endswith(code.newline):
            text = text[: -code.width]
        bare = text.lstrip(b"\0") if code is PLAIN else text
        if len(text) - len(bare) >= MIN_HOLE:
            text, bits = bare, bits | HOLE
        if text.strip():
            most = max(max_bytes // code.width * code.width, code.width)
            bits |= more | (OVERSIZE if len(text) > most else 0)
            for at in range(0, len(text), most):
                if bits:
                    flags[len(records)] = bits
                records.append(code.mark + text[at : at + most])
        group, size, bits = [], 0, 0

    for i, line in enumerate(lines):
        if is_start and i == 0:
            line = line.removeprefix(code.mark or b"\xef\xbb\xbf")  # noqa: PLW2901
        plain = line if code is PLAIN else line.decode(code.name, "replace").encode()
        goes_on = rule.goes_on(plain.lstrip(b"\0")) or (i == 0 and bool(inside & _MID))
        if i == 0:
            bits = inside & ~_MID if goes_on else 0
        elif not goes_on:
            close(0)
            used = ends[i - 1]
        elif len(group) >= MAX_LINES or size + len(line) > max_bytes:
            close(OVERSIZE)
            used, bits = ends[i - 1], OVERSIZE
        group.append(line)
        size += len(line) + code.width
    if group and (is_last or is_long or size > max_bytes):
        is_cut = is_long or not is_last
        close(OVERSIZE if is_cut else INCOMPLETE if is_open else 0)
        return Lines(records, flags, stop, (OVERSIZE if is_cut else INCOMPLETE) | (_MID if is_open else 0))
    return Lines(records, flags, used, (bits if used else inside))


def _ends(body: bytes, code: Coding) -> list[int]:
    """Where each line ends, its line end included."""
    found, at = [], body.find(code.newline)
    while at >= 0:
        if at % code.width == 0:
            found.append(at + code.width)
            at = body.find(code.newline, at + code.width)
        else:
            at = body.find(code.newline, at + 1)
    if not found or found[-1] != len(body):
        found.append(len(body))
    return found
