"""Request bodies: expanded within bounds, and cut into records without changing a byte of them. No sockets here."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable

import msgspec
import zstandard

from soc.model.record import OVERSIZE

MAX_BODY = 24 << 20
"""Bytes of a body, as it comes and expanded. Logstash, the largest of the known senders, makes them of 20 MiB."""
MAX_RECORDS = 100_000
"""Records in one request."""
MAX_LINES = 2 * MAX_RECORDS
"""Lines in one request: a bulk request has two for a record. A body of line ends alone would be 24 million."""
MAX_WINDOW = 8 << 20
"""The largest zstd window (`zstd -19`)."""
_PIECE = 1 << 20
_LAYERS = 2
_SPACE = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"
# Possessive: a string without end is told at once, whatever stands in it.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["{}\[\]]', re.DOTALL)

Check = Callable[[bytes], None]
_NO_JSON = (msgspec.DecodeError, RecursionError)


class _Object(msgspec.Struct):
    """Any JSON object. msgspec looks through it and builds nothing, in a quarter of the time of building it."""


_look_through = msgspec.json.Decoder(_Object).decode


class Unwanted(ValueError):
    """A JSON object, and not of the kind that is wanted here."""


def is_object(text: bytes) -> None:
    """Raises ValueError when it is no JSON object in UTF-8."""
    try:
        if not text.isascii():
            text.decode()  # msgspec does not look into text that it passes over
        _look_through(text)
    except _NO_JSON as error:
        raise ValueError(str(error)) from None


class BadBody(Exception):
    """The body is refused with this status; `number` is the 0-based place of the record that is wrong."""

    def __init__(self, status: int, text: str, number: int = 0) -> None:
        super().__init__(text)
        self.status = status
        self.number = number


def expanded(body: bytes, encodings: str) -> bytes:
    """The body without its `Content-Encoding`s (RFC 9110 §8.4), the last one first. Raises BadBody 413, 415 or 400.

    graypy and pygelf name two and apply one: of several, those that the body does not begin like are passed over.
    """
    names = [name.strip().lower() for name in encodings.split(",") if name.strip()]
    names = [name for name in names if name != "identity"]
    if len(names) > _LAYERS:
        raise BadBody(415, f"more than {_LAYERS} content encodings")
    came = body
    for name in reversed(names):
        if name not in _BEGINS:
            raise BadBody(415, f"content encoding '{name[:32]}' is not understood; gzip, deflate and zstd are")
        if len(names) > 1 and not _BEGINS[name](body):
            continue
        if name == "zstd":
            body = _unzstd(body)
        elif name == "deflate" and not _is_zlib(body):
            body = _inflated(body, -zlib.MAX_WBITS)  # some send the bare deflate stream under this name
        else:
            body = _inflated(body, zlib.MAX_WBITS | (0 if name == "deflate" else 16))
    if names and body is came:
        raise BadBody(400, "the body is compressed in none of the ways that it names")
    return body


def _is_gzip(body: bytes) -> bool:
    return body.startswith(b"\x1f\x8b")


def _is_zlib(body: bytes) -> bool:
    """RFC 1950 §2.2."""
    return len(body) > 1 and body[0] & 15 == 8 and int.from_bytes(body[:2], "big") % 31 == 0


def _is_zstd(body: bytes) -> bool:
    """A frame, or one to skip (RFC 8878 §3.1)."""
    return body.startswith(b"\x28\xb5\x2f\xfd") or int.from_bytes(body[:4], "little") & 0xFFFFFFF0 == 0x184D2A50


_BEGINS = {"gzip": _is_gzip, "x-gzip": _is_gzip, "deflate": _is_zlib, "zstd": _is_zstd}


def _inflated(data: bytes, window: int) -> bytes:
    pieces, size = [], 0
    while data:  # gzip members may follow each other (RFC 1952 §2.2)
        inflate = zlib.decompressobj(window)
        while not inflate.eof:
            try:
                piece = inflate.decompress(data, _PIECE)
            except zlib.error as error:
                raise BadBody(400, f"the compressed body is damaged: {error}") from error
            data = inflate.unconsumed_tail
            size += len(piece)
            if size > MAX_BODY:
                raise BadBody(413, f"the body expands to more than {MAX_BODY} bytes")
            pieces.append(piece)
            if not piece and not data and not inflate.eof:
                raise BadBody(400, "the compressed body is not whole")
        data = inflate.unused_data
        if data and not window & 16:
            raise BadBody(400, "something follows the compressed body")
    return b"".join(pieces)


def _unzstd(data: bytes) -> bytes:
    pieces, size = [], 0
    expander = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
    try:
        with expander.stream_reader(data, read_across_frames=True) as reader:
            while piece := reader.read(_PIECE):
                size += len(piece)
                if size > MAX_BODY:
                    raise BadBody(413, f"the body expands to more than {MAX_BODY} bytes")
                pieces.append(piece)
        # The reader takes the end of the input for the end of the stream: only a whole frame has its parts in place.
        _check_frames(data)
    except zstandard.ZstdError as error:
        raise BadBody(400, f"the compressed body is damaged: {error}") from error
    return b"".join(pieces)


def _check_frames(data: bytes) -> None:
    """Walk the frames of RFC 8878 §3.1 by their block headers; raise BadBody when the last one is not whole."""
    at = 0
    while at < len(data):
        magic = int.from_bytes(data[at : at + 4], "little")
        if magic & 0xFFFFFFF0 == 0x184D2A50:  # a skippable frame
            at += 8 + int.from_bytes(data[at + 4 : at + 8], "little")
            continue
        try:
            frame = zstandard.get_frame_parameters(data[at : at + 18])
            at += zstandard.frame_header_size(data[at : at + 18])
        except (zstandard.ZstdError, ValueError):
            raise BadBody(400, "the compressed body is damaged") from None
        is_last = False
        while not is_last:
            if at + 3 > len(data):
                raise BadBody(400, "the compressed body is not whole")
            head = int.from_bytes(data[at : at + 3], "little")
            is_last = bool(head & 1)
            at += 3 + (1 if head >> 1 & 3 == 1 else head >> 3)
        at += 4 if frame.has_checksum else 0
    if at > len(data):
        raise BadBody(400, "the compressed body is not whole")


def lines(body: bytes) -> list[bytes]:
    """The lines that hold anything, without CR and LF. Raises BadBody 413 when they are too many."""
    found = [line for part in split_lines(body) if (line := part.removesuffix(b"\r"))]
    if len(found) > MAX_RECORDS:
        raise too_many()
    return found


def split_lines(body: bytes) -> list[bytes]:
    """All lines. Raises BadBody 413 when they are too many."""
    if body.count(b"\n") > MAX_LINES:
        raise too_many()
    return body.split(b"\n")


def objects(body: bytes, max_bytes: int, check: Check = is_object) -> list[bytes]:
    """JSON objects as they were written: a line each, one straight behind the other (Splunk HEC), or in one array.

    An object longer than `max_bytes` will be cut, so it is not looked into. `check` raises ValueError for what is no
    object, and Unwanted for one that it does not want. Raises BadBody 400 for the first of either, 413 for too many.
    """
    body = body.removeprefix(_BOM)
    found = _by_lines(body, max_bytes, check)
    if found is not None:
        return found
    found = _split(body)
    if len(found) > MAX_RECORDS:
        raise too_many()
    for number, text in enumerate(found):
        if len(text) <= max_bytes:
            _check(text, number, check)
    return found


def too_many() -> BadBody:
    """The answer to more records than one request may have."""
    return BadBody(413, f"more than {MAX_RECORDS} records in one request")


def _by_lines(body: bytes, max_bytes: int, check: Check) -> list[bytes] | None:
    """The usual case, an object a line and none too long; None when it is another."""
    if body.count(b"\n") > MAX_LINES:
        return None
    found: list[bytes] = []
    for part in body.split(b"\n"):
        line = part.strip()
        if not line:
            continue
        if len(line) > max_bytes:
            return None
        try:
            check(line)
        except Unwanted as error:
            raise _refused(len(found), error) from error
        except ValueError:
            return None
        found.append(line)
        if len(found) > MAX_RECORDS:
            raise too_many()
    return found


def _refused(number: int, error: ValueError) -> BadBody:
    return BadBody(400, f"record {number} of the request: {error}", number)


def _check(text: bytes, number: int, check: Check) -> None:
    try:
        check(text)
    except ValueError as error:
        raise _refused(number, error) from error


def _split(body: bytes) -> list[bytes]:
    """The objects, by their braces alone: nothing is built in memory, whatever a stranger nests."""
    is_array = body.lstrip(_SPACE)[:1] == b"["
    floor, depth, start, after, is_over = int(is_array), 0, 0, 0, False
    found: list[bytes] = []
    for token in _TOKEN.finditer(body):
        character = token[0][:1]
        if is_over or (depth == floor and character not in (b"{", b"]") and not (is_array and depth == 0)):
            raise BadBody(400, f"record {len(found)} of the request is no JSON object", len(found))
        if character in (b"{", b"["):
            if depth == floor and not (is_array and depth == 0):
                _only_between(body[after : token.start()], len(found))
                start = token.start()
            depth += 1
            after = token.end() if depth == floor else after
        elif character in (b"}", b"]"):
            depth -= 1
            if depth == floor and character == b"}":
                found.append(body[start : token.end()])
                after = token.end()
                if len(found) > MAX_RECORDS:
                    break
            elif depth < floor:
                _only_between(body[after : token.start()], len(found))
                after, is_over = token.end(), True
        elif len(token[0]) < 2:
            raise BadBody(400, f"record {len(found)} of the request: a string has no end", len(found))
    if depth > 0 or (is_array and not is_over):
        raise BadBody(400, f"record {len(found)} of the request has no end", len(found))
    _only_between(body[after:], len(found))
    return found


def _only_between(gap: bytes, number: int) -> None:
    if gap.strip(_SPACE + b","):
        raise BadBody(400, f"record {number} of the request is no JSON object", number)


def cut(records: list[bytes], max_bytes: int) -> dict[int, int]:
    """Shorten, in place, the records that are longer than the listener allows; their flags by index."""
    flags = {i: OVERSIZE for i, record in enumerate(records) if len(record) > max_bytes}
    for i in flags:
        records[i] = records[i][:max_bytes]
    return flags
