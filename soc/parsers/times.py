"""Time stamps as devices write them to µs UTC: years that are missing, zones that are missing, epochs of any unit."""

from __future__ import annotations

import datetime as dt
import re

from soc.model.clock import DAY_US, VIETNAM
from soc.model.values import Unfit, micros

DEVICE, INFERRED, RECEIVED = "device", "inferred", "received"
"""`soc.time.basis`: the device said it all; we filled in a year or a zone; we took the receipt."""
SKEW_US = DAY_US
"""A live stamp further than this from its receipt is not believed."""
_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
MONTHS = {name: i for i, name in enumerate(_NAMES, 1)}
_ZONES = {"UTC": 0, "GMT": 0, "Z": 0, "ICT": 7, "JST": 9, "SGT": 8, "CET": 1, "CEST": 2}
# Month day [year][,] hh:mm:ss[.fraction] [year] [zone], or year first (Nexus).
BSD = re.compile(
    r"(?:(\d{4}) )?([A-Z][a-z]{2}) {1,2}(\d{1,2})(?: (\d{4}))?,? (\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?"
    r"(?: (\d{4}))?(?: ([A-Z]{1,4}|[+-]\d\d:?\d\d))?"
)
Stamp = tuple[int | None, str]
"""µs since the epoch (None: unreadable) and its basis."""
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def bsd(text: str, receipt_us: int, zone: dt.tzinfo = VIETNAM) -> Stamp:
    """An RFC 3164 section 4.1.2 stamp and its kin. A missing year is the latest that is not after receipt + 24 h."""
    found = BSD.fullmatch(text)
    if found is None or found[2] not in MONTHS:
        return None, RECEIVED
    year = found[1] or found[4] or found[9]
    offset = _offset(found[10] or "")
    tz = zone if offset is None else dt.timezone(offset)
    parts = (MONTHS[found[2]], int(found[3]), int(found[5]), int(found[6]), min(int(found[7]), 59))
    fraction = int((found[8] or "0")[:6].ljust(6, "0"))
    if year is not None:
        us = _moment(int(year), parts, fraction, tz)
        return us, RECEIVED if us is None else (INFERRED if offset is None else DEVICE)
    return _infer_year(parts, fraction, tz, receipt_us), INFERRED


def _offset(text: str) -> dt.timedelta | None:
    """What stands behind the clock: a known zone or `+07:00`; None when the zone has to be assumed."""
    if text[:1] in ("+", "-") and int(text[1:3]) < 24 and int(text[-2:]) < 60:
        size = dt.timedelta(hours=int(text[1:3]), minutes=int(text[-2:]))
        return size if text[0] == "+" else -size
    hours = _ZONES.get(text)
    return None if hours is None else dt.timedelta(hours=hours)


def _infer_year(parts: tuple[int, ...], fraction: int, tz: dt.tzinfo, receipt_us: int) -> int | None:
    this_year = (_EPOCH + dt.timedelta(microseconds=receipt_us)).year
    # Eight years back, so that 29 February finds its leap year even around 1900-like gaps.
    for year in range(this_year + 1, this_year - 9, -1):
        us = _moment(year, parts, fraction, tz)
        if us is not None and us <= receipt_us + SKEW_US:
            return us
    return None


def _moment(year: int, parts: tuple[int, ...], fraction: int, tz: dt.tzinfo) -> int | None:
    try:
        return micros(dt.datetime(year, *parts, fraction, tzinfo=tz))  # type: ignore[arg-type,misc]
    except (ValueError, OverflowError):
        return None


def iso(text: str, zone: dt.tzinfo = VIETNAM) -> Stamp:
    """An ISO 8601 or RFC 3339 stamp, with `T` or a blank, `.` or `,`; without an offset the zone is assumed."""
    text = text.strip().replace(",", ".")
    if text.endswith(" UTC"):
        text = f"{text[:-4]}+00:00"
    try:
        moment = dt.datetime.fromisoformat(text)
        if moment.tzinfo is None:
            return micros(moment.replace(tzinfo=zone)), INFERRED
        return micros(moment), DEVICE
    except (ValueError, OverflowError, Unfit):
        return None, RECEIVED


def epoch(value: object) -> Stamp:
    """Seconds, ms, µs or ns since 1970, told apart by size (good for the years 1973 to 5138)."""
    try:
        number = float(value) if not isinstance(value, int) else value  # type: ignore[arg-type]
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
            number = int(value)
        if not 1e8 <= number < 1e20:
            return None, RECEIVED
    except (TypeError, ValueError, OverflowError):
        return None, RECEIVED
    for limit, up, down in ((1e11, 1_000_000, 1), (1e14, 1000, 1), (1e17, 1, 1)):
        if number < limit:
            return int(number * up) // down, DEVICE
    return int(number) // 1000, DEVICE


def written(text: object, form: str, zone: dt.tzinfo = VIETNAM) -> Stamp:
    """A stamp in a definition's form: `iso`, `utc` (the same, in UTC where it names no zone), `epoch`, `auto` (epoch or
    iso), or a strptime text. A number is an epoch whatever the form; what is neither is no stamp."""
    if not isinstance(text, str):
        return epoch(text)
    if form == "auto":
        return epoch(text) if text.isdigit() else iso(text, zone)
    if form == "utc":
        us, _ = iso(text, dt.UTC)
        return us, RECEIVED if us is None else DEVICE
    if form == "epoch":
        return epoch(text)
    if form == "iso":
        return iso(text, zone)
    try:
        moment = dt.datetime.strptime(text, form)  # noqa: DTZ007 - the zone follows
        if moment.tzinfo is None:
            return micros(moment.replace(tzinfo=zone)), INFERRED
        return micros(moment), DEVICE
    except (ValueError, OverflowError, Unfit):
        return None, RECEIVED
