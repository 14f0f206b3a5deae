"""MIB files in one text: JSON `[[name, text], …]`, zlib, base64; they shrink to a tenth and have to fit one request."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Sequence

from soc.errors import UsageError

MAX_PACKED = 1_000_000
MAX_EXPANDED = 32 << 20


def pack(files: Sequence[tuple[str, str]]) -> str:
    """Raises UsageError when it is too much for one request."""
    text = base64.b64encode(zlib.compress(json.dumps(files).encode(), 9)).decode()
    if len(text) > MAX_PACKED:
        raise UsageError("too many MIB files for one request", hint="add them in several calls; imported ones first")
    return text


def unpack(text: str) -> list[tuple[str, str]]:
    """The inverse of `pack`. Raises UsageError for anything else, and for what expands without end."""
    try:
        expander = zlib.decompressobj()
        data = expander.decompress(base64.b64decode(text, validate=True), MAX_EXPANDED)
        if not expander.eof:
            raise UsageError(f"MIB files of more than {MAX_EXPANDED >> 20} MiB, or cut")
        files = json.loads(data)
    except (binascii.Error, zlib.error, ValueError, RecursionError) as error:
        raise UsageError(f"no packed MIB files: {error}") from error
    if not isinstance(files, list) or not all(
        isinstance(each, list) and len(each) == 2 and all(isinstance(part, str) for part in each) for each in files
    ):
        raise UsageError("packed MIB files are pairs of a name and a text")
    return [(name[:1000], content) for name, content in files]
