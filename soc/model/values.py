"""From any value to the one form a field type allows, and back to JSON."""

from __future__ import annotations

import datetime as dt
import functools
import ipaddress
import json
import math
from typing import Any

import orjson

from soc.model.fields import Field, FieldType

I64_MIN, I64_MAX = -(2**63), 2**63 - 1
U64_MAX = 2**64 - 1
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Unfit(ValueError):
    """The value does not convert to the field's type; the caller keeps it in `soc.rest`."""


@functools.lru_cache(maxsize=65536)
def canonical_ip(text: str) -> str:
    """RFC 5952 text of an IPv4 or IPv6 address, without a zone; raises Unfit."""
    try:
        address = ipaddress.ip_address(text.strip().partition("%")[0])
    except ValueError as error:
        raise Unfit(f"'{text[:64]}' is no IP address") from error
    return str(address)


def micros(moment: dt.datetime) -> int:
    """Microseconds since the epoch of an aware datetime; raises Unfit for a naive one."""
    if moment.tzinfo is None:
        raise Unfit("a time without a zone")
    delta = moment - _EPOCH
    return (delta.days * 86400 + delta.seconds) * 1_000_000 + delta.microseconds


def iso(us: int) -> str:
    """ISO 8601 in UTC with microseconds and `Z`, for an int64 of microseconds; years outside 1–9999 as `@<µs>`."""
    try:
        return (_EPOCH + dt.timedelta(microseconds=us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")
    except OverflowError:
        return f"@{us}"


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    raise Unfit(f"{type(value).__name__} is no text")


def _integer(value: Any, low: int, high: int) -> int:
    if isinstance(value, bool):
        raise Unfit("a truth value is no number")
    if isinstance(value, str):
        text = value.strip()
        if len(text) > 24:
            raise Unfit("too long for a number")
        try:
            value = int(text, 16) if text[:2].lower() == "0x" else int(text)
        except ValueError as error:
            raise Unfit(f"'{text}' is no integer") from error
    elif isinstance(value, float):
        if not value.is_integer():
            raise Unfit(f"{value} is no integer")
        value = int(value)
    if not hasattr(value, "__index__"):
        raise Unfit(f"{type(value).__name__} is no integer")
    number = value.__index__()
    if not low <= number <= high:
        raise Unfit(f"{number} is out of range")
    return int(number)


def _double(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Unfit(f"{type(value).__name__} is no number")
    try:
        number = float(value)
    except (ValueError, OverflowError) as error:
        raise Unfit(f"'{value}' is no number") from error
    return None if math.isnan(number) else number


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise Unfit(f"{value!r:.40} is neither true nor false")


def _date(value: Any) -> int:
    if isinstance(value, dt.datetime):
        return micros(value)
    if isinstance(value, str) and not value.strip().lstrip("-").isdigit():
        try:
            return micros(dt.datetime.fromisoformat(value.strip()))
        except ValueError as error:
            raise Unfit(f"'{value[:40]}' is no ISO 8601 time with a zone") from error
    return _integer(value, I64_MIN, I64_MAX)


def _binary(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str):
        try:
            return bytes.fromhex(value)
        except ValueError as error:
            raise Unfit("no hexadecimal text") from error
    raise Unfit(f"{type(value).__name__} is no byte string")


def _ip(value: Any) -> str:
    return canonical_ip(_text(value))


def one(kind: FieldType, value: Any) -> Any:
    """A single value in the form of `kind`; None stays None; raises Unfit."""
    if value is None:
        return None
    match kind:
        case FieldType.KEYWORD | FieldType.TEXT:
            return _text(value)
        case FieldType.LONG:
            return _integer(value, I64_MIN, I64_MAX)
        case FieldType.ULONG:
            return _integer(value, 0, U64_MAX)
        case FieldType.DOUBLE:
            return _double(value)
        case FieldType.BOOL:
            return _bool(value)
        case FieldType.DATE:
            return _date(value)
        case FieldType.IP:
            return _ip(value)
        case FieldType.BINARY:
            return _binary(value)
        case FieldType.OBJECT:
            return json.loads(json.dumps(value, default=str))


def fit(field: Field, value: Any) -> Any:
    """`value` in the field's form: a scalar, or a tuple when the field is `many`. Missing is None. Raises Unfit."""
    if value is None:
        return None
    if not field.many:
        if isinstance(value, list | tuple) and field.type is not FieldType.OBJECT:
            if len(value) > 1:
                raise Unfit("several values for a field that holds one")
            value = value[0] if value else None
        return one(field.type, value)
    items = value if isinstance(value, list | tuple | set | frozenset) else (value,)
    fitted = tuple(item for item in (one(field.type, v) for v in items) if item is not None)
    return fitted or None


def json_text(value: Any) -> str:
    """Compact JSON of what an `object` field holds; integers of any size. Raises TypeError for what is no JSON."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # beyond 64 bits, or a key that is no text
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def to_json(kind: FieldType, value: Any) -> Any:
    """The JSON form of a stored value: dates as ISO 8601 UTC, bytes as hex, tuples as lists."""
    if isinstance(value, tuple):
        return [to_json(kind, item) for item in value]
    if value is None:
        return None
    if kind is FieldType.DATE:
        return iso(value)
    if kind is FieldType.BINARY:
        return value.hex()
    return value
