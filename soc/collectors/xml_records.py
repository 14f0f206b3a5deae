"""XML files as records: each Windows event, or each child of the root, as it was written; hostile files end it."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from xml.parsers import expat

from soc.collectors.lines import coding
from soc.errors import SocError

MAX_ELEMENT = 8 << 20
"""Bytes of one record's element."""
MAX_DEPTH = 100
"""Elements inside each other."""
_PIECE = 64 << 10
_DECLARATION = re.compile(r"\A\s*<\?xml\b[^>]{0,200}?\?>")
_ENCODING = re.compile(rb"\A\s*<\?xml\b[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z0-9._-]{1,40})[\"']")
_TAG = re.compile(rb"<(?:[^>\"']|\"[^\"]*\"|'[^']*')*>")
_DOCTYPE = re.compile(rb"\A\s*+(?:(?><!--.{0,4096}?-->)\s*+)*+<!DOCTYPE", re.S)
_EVENT, _CLOSE = "Event", "</soc>"


class _Refused(Exception):
    pass


def xml_records(stream: io.BufferedReader, head: bytes, name: str) -> Iterator[bytes]:
    """The text of each record in UTF-8, in order: `<Event>` elements wherever they begin (with or without a root
    around them), in other files the children of the root. What follows a fault of the syntax is given as it is, in
    pieces of `MAX_ELEMENT` at most. Raises SocError for a document type, which records never need and attacks do."""
    finder = _Finder()
    decoder = codecs.getincrementaldecoder(_encoding(head, name))("replace")
    first = True
    try:
        while True:
            piece = stream.read(_PIECE)
            text = decoder.decode(piece, not piece)
            if first:
                text, first = _DECLARATION.sub("", text.lstrip("\ufeff")), False
            yield from finder.feed(text)
            if not piece:
                yield from finder.end()
                return
    except _Refused as error:
        raise SocError(
            f"{name}: {error}", hint="records need no such thing; look at where the file comes from"
        ) from error
    except expat.ExpatError:
        rest = finder.rest()
        if _DOCTYPE.search(rest) is not None:
            raise SocError(
                f"{name}: a document type is refused", hint="records need none; where is the file from?"
            ) from None
        while True:
            while len(rest) >= MAX_ELEMENT:
                yield rest[:MAX_ELEMENT]
                rest = rest[MAX_ELEMENT:]
            piece = stream.read(_PIECE)
            if not piece:
                break
            rest += decoder.decode(piece).encode()
        if rest.strip():
            yield rest


def _encoding(head: bytes, name: str) -> str:
    wide = coding(head).name
    if wide != "utf-8":
        return wide
    declared = _ENCODING.match(head.removeprefix(b"\xef\xbb\xbf"))
    if declared is None:
        return "utf-8"
    claimed = declared[1].decode()
    try:
        # It stands there in ASCII: with an encoding that has other bytes for it the file was written anew since.
        return claimed if declared[0].decode(claimed, "replace").encode() == declared[0] else "utf-8"
    except LookupError as error:
        raise SocError(
            f"{name}: '{claimed}' is no encoding of text", hint="correct the file's first line, or convert the file"
        ) from error
    except UnicodeError:
        return "utf-8"


class _Finder:
    """Watches a parser and cuts the text where records begin and end (offsets in UTF-8, as expat counts)."""

    def __init__(self) -> None:
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._root = b"<soc>"  # so that several documents in a row are one
        self._buffer, self._base = self._root, 0
        self._depth, self._level, self._begins = 0, 0, -1
        self._spans: list[tuple[int, int]] = []
        self._parser.Parse(self._root, False)

    def feed(self, text: str) -> Iterator[bytes]:
        data = text.encode()
        self._buffer += data
        try:
            self._parser.Parse(data, False)
        except expat.ExpatError:
            yield from self._cut()
            raise
        yield from self._cut()
        if self._begins < 0 and not self._spans:
            self._let_go(self._parser.CurrentByteIndex)
        if len(self._buffer) > MAX_ELEMENT + len(data):
            raise _Refused(f"an element of more than {MAX_ELEMENT} bytes")

    def end(self) -> Iterator[bytes]:
        yield from self.feed(_CLOSE)

    def rest(self) -> bytes:
        """What follows the last record."""
        return self._buffer.removeprefix(self._root).removesuffix(_CLOSE.encode())

    def _cut(self) -> Iterator[bytes]:
        spans, self._spans = self._spans, []
        for start, stop in spans:
            opening = _TAG.match(self._buffer, start - self._base)
            if opening is not None and opening.end() == stop - self._base and opening[0].endswith(b"/>"):
                close = opening.end()  # of an element without content expat tells the end behind it
            else:
                closing = _TAG.match(self._buffer, stop - self._base)
                close = closing.end() if closing is not None else len(self._buffer)
            yield self._buffer[start - self._base : close]
            self._let_go(self._base + close)

    def _let_go(self, upto: int) -> None:
        if upto > self._base:
            self._buffer, self._base = self._buffer[upto - self._base :], upto

    def _start(self, tag: str, _attributes: dict[str, str]) -> None:
        if self._depth >= MAX_DEPTH:
            raise _Refused(f"more than {MAX_DEPTH} elements inside each other")
        is_event = tag.rpartition(":")[2] == _EVENT
        if self._begins < 0 and self._depth and (is_event or self._depth == 2):
            self._begins, self._level = self._parser.CurrentByteIndex, self._depth
        self._depth += 1

    def _end(self, _tag: str) -> None:
        self._depth -= 1
        if self._begins >= 0 and self._depth == self._level:
            self._spans.append((self._begins, self._parser.CurrentByteIndex))
            self._begins = -1
