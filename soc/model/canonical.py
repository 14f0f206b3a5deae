"""Canonical JSON (RFC 8785, the JSON Canonicalization Scheme) over NFC text: what hashes and signatures are made of."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from typing import Any


def _normal(value: Any) -> Any:
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value)
    if isinstance(value, dict):
        return {_normal(str(k)): _normal(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_normal(v) for v in value]
    if isinstance(value, float):
        if value.is_integer() and abs(value) < 2**53:
            return int(value)
        raise ValueError("floats are not hashed: write them as text")
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**53:
        raise ValueError("integers beyond 2**53 are not hashed: write them as text")
    return value


def _key_order(item: tuple[str, Any]) -> bytes:
    return item[0].encode("utf-16-be", "surrogatepass")  # RFC 8785 section 3.2.3: by UTF-16 code units


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _sorted(v) for k, v in sorted(value.items(), key=_key_order)}
    return [_sorted(v) for v in value] if isinstance(value, list) else value


def canonical_bytes(value: Any) -> bytes:
    """RFC 8785 bytes; raises ValueError for fractions and for integers that JSON numbers cannot hold exactly."""
    text = json.dumps(_sorted(_normal(value)), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode()


def digest(value: Any) -> str:
    """Hex SHA-256 of the canonical bytes."""
    return hashlib.sha256(canonical_bytes(value)).hexdigest()
