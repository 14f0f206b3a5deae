"""Tables of text: CSV with header and dialect, W3C extended logs and Zeek's with their directives; rows stay as they
came."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import orjson

from soc.collectors.lines import PLAIN, Coding, coding

W3C, ZEEK = "w3c", "zeek"
COLUMNS, DELIMITER, SOFTWARE, TIME = "columns", "delimiter", "software", "time"
"""Keys of `RawBlock.origin`: the names of the columns (a JSON list), what parts them; who wrote a W3C log, and whether
its times are `local`, as Windows Firewall's are, and not UTC."""
SEPARATOR = "separator"
"""The same of a Zeek log: what parts its columns. Its other directives (`path`, `types`, `unset_field`, …) go by their
own names (https://docs.zeek.org/en/master/log-formats.html)."""
MAX_ROW = 1 << 20
"""Bytes of a row; a quote that never ends must not take the rest of the file."""
MAX_COLUMNS = 1000
MAX_HEADER = 64 << 10
_LINE_END = re.compile(r"\r\n?|\n")
_DELIMITERS = ",;\t|"
_NAME = re.compile(r"[A-Za-z_][\w .()#/@-]{0,127}")
_DIRECTIVE = re.compile(rb"#([A-Za-z][A-Za-z -]{0,30}): ?")
_ZEEK = re.compile(rb"#separator (\\x[0-9a-fA-F]{2}|[^\w\s])(?:[\r\n]|$)")
_ZEEK_WORDS = frozenset({"set_separator", "empty_field", "unset_field", "path", "types"})
_FIRST = re.compile(rb"#(?:Software|Version|Fields|Date|Start-Date|Remark): ?")


class Row(NamedTuple):
    """A row as it was written, the 1-based number of its first line, and the header it stands under."""

    data: bytes
    number: int
    origin: dict[str, str]


def looks_like_w3c(head: bytes) -> bool:
    """Whether a file that begins like this is a W3C extended log (W3C WD-logfile-960323)."""
    return _FIRST.match(head.removeprefix(b"\xef\xbb\xbf")) is not None


def looks_like_zeek(head: bytes) -> bool:
    """Whether a file that begins like this is a log of Zeek in its own format, tab separated or the like."""
    return _ZEEK.match(head) is not None


def form_of(origin: Mapping[str, str]) -> str:
    """`w3c` or `zeek`, by the header of the rows."""
    return ZEEK if SEPARATOR in origin else W3C


def csv_delimiter(head: bytes) -> str:
    """What parts the columns of a CSV file that begins like this; empty when it does not look like one.

    It has a header of three names or more, and the rows behind it have as many values.
    """
    text = head.decode(coding(head).name, "replace").lstrip("\ufeff")
    lines = _LINE_END.split(text)
    lines.pop()  # nothing, or cut in the middle
    if len(lines) < 2 or len(lines[0]) > MAX_HEADER:
        return ""
    for delimiter in _DELIMITERS:
        rows = _rows(lines[:6], delimiter)
        names = [name.strip() for name in rows[0]] if rows else []
        if len(names) < 3 or len(set(names)) < len(names) or not all(_NAME.fullmatch(name) for name in names):
            continue
        fit = [len(row) == len(names) for row in rows[1:]]
        is_open = len(fit) > 1 and '"' in text  # the last of these rows may end in the middle of a quote
        if fit and all(fit[:-1]) and (fit[-1] or is_open):
            return delimiter
    return ""


def _rows(lines: list[str], delimiter: str) -> list[list[str]]:
    try:
        return [row for row in csv.reader(lines, delimiter=delimiter) if row]
    except csv.Error:
        return []


def directives(chunk: bytes, header: str) -> tuple[int, str]:
    """How many bytes of whole directive lines a piece of a W3C log begins with, and its header behind them (a JSON
    object for `RawBlock.origin`; `header` is the one before)."""
    origin, used = orjson.loads(header or "{}"), 0
    while chunk[used : used + 1] == b"#" or (not used and chunk.startswith(b"\xef\xbb\xbf#")):
        stop = chunk.find(b"\n", used) + 1
        if not stop:
            break
        origin = _directed(chunk[used:stop].removeprefix(b"\xef\xbb\xbf"), origin) or origin
        used = stop
    return used, orjson.dumps(origin).decode()


def _directed(line: bytes, origin: dict[str, str]) -> dict[str, str] | None:
    """The header with what a directive says; None when the line is none."""
    if (first := _ZEEK.match(line)) is not None:
        return {SEPARATOR: chr(int(first[1][2:], 16)) if len(first[1]) > 1 else first[1].decode()}
    if SEPARATOR in origin:
        return _zeek_directed(line, origin)
    found = _DIRECTIVE.match(line)
    if found is None:
        return None
    word, value = found[1].lower(), line[found.end() :].decode("utf-8", "replace").strip()
    if word == b"fields":
        names = value[:MAX_HEADER].split()[:MAX_COLUMNS]
        return {**origin, COLUMNS: orjson.dumps(names).decode()}
    if word == b"software":
        return {**origin, SOFTWARE: value[:200]}
    if word == b"time format" and value.lower() == "local":
        return {**origin, TIME: "local"}
    return origin


def _zeek_directed(line: bytes, origin: dict[str, str]) -> dict[str, str] | None:
    if not line.startswith(b"#"):
        return None
    text = line.decode("utf-8", "replace").rstrip("\r\n")
    word, *values = text[1:MAX_HEADER].split(origin[SEPARATOR])[: MAX_COLUMNS + 1]
    if word == "fields":
        return {**origin, COLUMNS: orjson.dumps(values).decode()}
    if word in _ZEEK_WORDS:
        return {**origin, word: orjson.dumps(values).decode() if word == "types" else values[0] if values else ""}
    return origin


def directed_rows(lines: Iterator[tuple[bytes, int]]) -> Iterator[Row]:
    """Rows of a W3C or Zeek log under the `#Fields` before them. Directives are no records; a row before any `#Fields`
    has no columns."""
    origin: dict[str, str] = {}
    for line, number in lines:
        directed = _directed(line, origin)
        if directed is None:
            yield Row(line, number, origin)
        else:
            origin = directed


class _Lines:
    """Lines of a stream as text, remembered until a row is whole."""

    def __init__(self, stream: io.BufferedReader, code: Coding) -> None:
        # Half a character of UTF-16 has no byte that could be kept as it is.
        errors = "surrogateescape" if code is PLAIN else "backslashreplace"
        self._text = io.TextIOWrapper(stream, code.name, errors=errors, newline="")
        self._held: list[str] = []
        self.number = 0
        self.first = 1
        self.size = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._text.readline(MAX_ROW)
        if not line:
            raise StopIteration
        self.number += 1
        self.size += len(line)
        self._held.append(line)
        if self.size > MAX_ROW:
            raise csv.Error("a row is too long")
        return line.replace("\0", "")

    def take(self) -> tuple[list[str], int]:
        """What was read since the last call, and the number of its first line."""
        held, first = self._held, self.number - len(self._held) + 1
        self._held, self.size = [], 0
        return held, first

    def release(self) -> None:
        """The stream stays open for whoever opened it."""
        self._text.detach()


def csv_rows(stream: io.BufferedReader, head: bytes, delimiter: str) -> Iterator[Row]:
    """Rows of a CSV file under its first one. A row may hold line ends in quotes; what does not come out as a row
    (a quote that never ends) is given line by line, so nothing is lost."""
    csv.field_size_limit(MAX_ROW)
    lines = _Lines(stream, coding(head))
    try:
        origin: dict[str, str] = {}
        while True:
            reader = csv.reader(lines, delimiter=delimiter)
            try:
                for row in reader:
                    held, number = lines.take()
                    text = "".join(held).rstrip("\r\n")
                    if not origin:
                        names = [name.strip().lstrip("\ufeff") for name in row][:MAX_COLUMNS]
                        origin = {COLUMNS: orjson.dumps(names).decode(), DELIMITER: delimiter}
                    elif text.strip():
                        yield Row(_bytes(text), number, origin)
                return
            except csv.Error:
                held, number = lines.take()
                for i, line in enumerate(held):
                    if line.strip():
                        yield Row(_bytes(line.rstrip("\r\n")), number + i, origin)
    finally:
        lines.release()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
