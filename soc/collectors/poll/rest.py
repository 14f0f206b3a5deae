"""`Rest`: a JSON interface that is asked page by page: token, Link header, page number, offset, or from a time on.

Without `since_param` the paging itself is the cursor: the last page stays open and gives what is new in it. With it,
each look is a sweep from the newest time that was seen, less the overlap, and what was had is left out by its key.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from soc.collectors.poll import items
from soc.collectors.poll.page import Cursor, Page
from soc.collectors.poll.runner import text_keys
from soc.collectors.poll.web import Answer, Web
from soc.errors import TryAgain
from soc.model.clock import Clock
from soc.model.poll import Poll

MAX_PAGES = 100_000
"""Pages of one sweep; a server that always has one more is an error."""
MAX_TOKEN = 16_384


@dataclass(frozen=True)
class Shape:
    """How an interface is spoken to; what the options of `rest` say, and what MISP and TAXII lay down."""

    method: str = "GET"
    params: Mapping[str, Any] | None = None
    items: str = ""
    id: tuple[str, ...] = ()
    """Paths that together tell a record from all others; empty: its text does."""
    paging: str = "none"
    next: str = ""
    next_param: str = ""
    first_page: int = 1
    limit: int = 1000
    limit_param: str = ""
    since_param: str = ""
    time: str = ""
    time_header: str = ""
    """The header that has the newest time of a page, where records have none (TAXII)."""
    time_form: str = "iso"
    more: str = ""
    """token: where the answer says whether there is another page (TAXII); empty: the token alone says it."""
    is_by_clock: bool = False
    """The cursor is the server's own clock (its Date header) when a look began: for records without a usable time."""
    accept: str = "application/json"
    basic: tuple[str, str] | None = None
    format: str = "json"


class Rest:
    """The driver. `shape` is what the interface is like, `poll` how it is reached and how often."""

    def __init__(self, poll: Poll, shape: Shape, web: Web, clock: Clock) -> None:
        self.source = f"{poll.driver} {web.url.copy_with(query=None)} {shape.paging} {shape.since_param}".rstrip()
        self.peer, self.format, self.dataset = web.peer, shape.format, poll["dataset"]
        self._poll, self._shape, self._web, self._clock = poll, shape, web, clock
        self._met: Counter[str] = Counter()
        self._goes_on_at: Any = None

    # asking ---------------------------------------------------------------------------------------------------------

    def fetch(self, cursor: Cursor) -> Page:
        """One request, see `Driver`. A cursor is `{at, pages, since, high}`, with `at` where paging stands."""
        now: dict[str, Any] = dict(cursor or self._beginning())
        # Equal texts of a sweep are counted, and TAXII's tokens may be good for one answer only: after a fault or a new
        # start such a sweep begins again, and what was had is known by its key.
        is_fragile = self._shape.since_param and (self._shape.more or not self._shape.id)
        if is_fragile and now["at"] is not None and now["at"] != self._goes_on_at:
            now |= {"at": None, "pages": 0}
        self._goes_on_at = None
        if now["at"] is None:
            self._met.clear()
        answer = self._ask(now)
        found = items.records(answer.body, self._shape.items)
        after = self._after(now, answer, len(found))
        self._goes_on_at = after
        if after is not None and now["pages"] >= MAX_PAGES:
            raise TryAgain(f"{self.peer} has more than {MAX_PAGES} pages in one look")
        if self._shape.since_param:
            return self._swept(now, found, answer, after)
        return self._paged(cursor, now, found, after)

    def durable(self, cursor: Cursor) -> None:
        """Nobody is told."""

    def close(self) -> None:
        """End the connection."""
        self._web.close()

    def _beginning(self) -> dict[str, Any]:
        start = self._poll["start"]
        since: float | None = None
        if start == "now":
            since = self._clock.now_ns() / 1e9
        elif start != "beginning":
            since = seconds(start, "iso")
        return {"at": None, "pages": 0, "since": since, "high": since}

    def _ask(self, now: Mapping[str, Any]) -> Answer:
        shape, at = self._shape, now["at"]
        if shape.paging == "link" and at is not None:
            return self._web.ask(shape.method, at, basic=shape.basic, accept=shape.accept)
        sent: dict[str, Any] = dict(shape.params or {})
        if shape.limit_param:
            sent[shape.limit_param] = shape.limit
        if isinstance(at, list):  # no token: on from the time of the page before
            sent[shape.since_param] = at[0]
            at = None
        elif shape.since_param and now["since"] is not None:
            sent[shape.since_param] = written(now["since"] - self._poll["overlap_s"], shape.time_form)
        if shape.paging == "page":
            sent[shape.next_param] = shape.first_page if at is None else at
        elif shape.paging == "offset":
            sent[shape.next_param] = at or 0
        elif at is not None:
            sent[shape.next_param] = at
        if shape.method == "POST":
            return self._web.ask("POST", body=sent, basic=shape.basic, accept=shape.accept)
        params = {name: _said(value) for name, value in sent.items()}
        return self._web.ask("GET", params=params, basic=shape.basic, accept=shape.accept)

    def _after(self, now: Mapping[str, Any], answer: Answer, n: int) -> Any:
        """Where paging goes on; None when this was the last page."""
        shape, at = self._shape, now["at"]
        if shape.paging == "link":
            following: Any = answer.links.get("next")
        elif shape.paging == "token":
            document = items.loads(answer.body)
            following = items.value(document, shape.next)
            if shape.more:
                is_over = not n or items.value(document, shape.more) is not True
                return None if is_over else self._token(following) or self._after_time(at, answer)
        elif shape.paging == "page":
            following = (shape.first_page if at is None else at) + 1 if n >= shape.limit else None
        elif shape.paging == "offset":
            following = (at or 0) + n if n else None
        else:
            following = None
        return None if following == at else self._token(following)

    def _token(self, following: Any) -> Any:
        if following in (None, "", False):
            return None
        if not isinstance(following, str | int) or len(str(following)) > MAX_TOKEN:
            raise TryAgain(f"{self.peer} names no next page that could be asked for")
        return following

    def _after_time(self, at: Any, answer: Answer) -> list[str]:
        """TAXII 2.1 section 3.5: more, but no token to ask for it; then from the time that the newest was added."""
        try:
            newest = dt.datetime.fromisoformat(answer.headers.get(self._shape.time_header, "")[:64])
            # `added_after` leaves out the moment itself, of which there may be more.
            text = (newest - dt.timedelta(microseconds=1)).astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        except (ValueError, OverflowError):
            text = ""
        if not text or at == [text]:
            raise TryAgain(
                f"{self.peer} has more of one moment than a page holds, and no way to ask for it", hint="raise 'limit'"
            )
        return [text]

    # what came ------------------------------------------------------------------------------------------------------

    def _paged(self, cursor: Cursor, now: dict[str, Any], found: Sequence[bytes], after: Any) -> Page:
        records = [self._record(record) for record in found]
        keys = self._keys(found, Counter())
        if after is None:
            return Page(records, cursor, self._poll["every_s"], keys)
        wait_s = 0.0 if found else self._poll["every_s"]
        return Page(records, {**now, "at": after, "pages": 0}, wait_s, keys)

    def _swept(self, now: dict[str, Any], found: Sequence[bytes], answer: Answer, after: Any) -> Page:
        times = self._times(now, found, answer)
        is_timed = times or self._shape.is_by_clock
        counts = {"without_time": len(found)} if found and not is_timed else {}
        # A clock that runs ahead must not carry the cursor past what is still to come.
        newest = min(max(times), self._clock.now_ns() / 1e9) if times else None
        high = max((t for t in (now["high"], newest) if t is not None), default=None)
        keys = self._keys(found, self._met)
        page = Page(
            [self._record(r) for r in found], None, keys=keys,
            at=(high if high is not None else self._clock.now_ns() / 1e9), counts=counts,
        )  # fmt: skip
        if after is not None:
            return replace(page, cursor={**now, "high": high, "at": after, "pages": now["pages"] + 1})
        begin = None if high is None else high - self._poll["overlap_s"]
        cursor = {"at": None, "pages": 0, "since": high, "high": high}
        return replace(page, cursor=cursor, wait_s=self._poll["every_s"], forget_before=begin)

    def _times(self, now: Mapping[str, Any], found: Sequence[bytes], answer: Answer) -> list[float]:
        """Of which time the records are, as far as anybody says."""
        if self._shape.is_by_clock:
            return [http_date(answer.headers.get("date", ""))] if now["at"] is None else []
        times = [t for record in found if (t := self._time(record)) is not None]
        text = answer.headers.get(self._shape.time_header) if self._shape.time_header and found else None
        return [*times, *([t] if (t := _maybe_seconds(text, self._shape.time_form)) is not None else [])]

    def _time(self, record: bytes) -> float | None:
        value = items.value(items.loads(record), self._shape.time) if self._shape.time else None
        return _maybe_seconds(value, self._shape.time_form)

    def _keys(self, found: Sequence[bytes], met: Counter[str]) -> list[str]:
        if not self._shape.id:
            return text_keys(found, met)
        keys = []
        for record in found:
            document = items.loads(record)
            parts = [items.value(document, path) for path in self._shape.id]
            # A record without what should tell it apart is told apart by its text.
            is_named = parts[0] is not None and parts[0] != ""
            name = repr(parts).encode("utf-8", "backslashreplace") if is_named else record
            keys.append(hashlib.blake2b(name, digest_size=12).hexdigest())
        return keys

    def _record(self, record: bytes) -> bytes:
        if self.format == "json":
            return record
        text = items.loads(record)
        return text.encode() if isinstance(text, str) else record


def shape_of(poll: Poll) -> Shape:
    """What `[poll.<name>]` of the driver `rest` says."""
    return Shape(
        method=poll["method"], params=poll["params"], items=poll["items"], id=(poll["id"],) if poll["id"] else (),
        paging=poll["paging"], next=poll["next"], next_param=poll["next_param"], first_page=poll["first_page"],
        limit=poll["limit"], limit_param=poll["limit_param"], since_param=poll["since_param"], time=poll["time"],
        time_form=poll["time_form"], format=poll["format"],
    )  # fmt: skip


def seconds(value: Any, form: str) -> float:
    """Seconds since the epoch. An ISO time without a zone is UTC. Raises ValueError."""
    if form == "iso":
        if not isinstance(value, str) or len(value) > 64:
            raise ValueError("no time")
        at = dt.datetime.fromisoformat(value)
        return (at if at.tzinfo else at.replace(tzinfo=dt.UTC)).timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float | str) or len(str(value)) > 32:
        raise ValueError("no time")
    number = float(value) / (1000 if form == "epoch_ms" else 1)
    if not 0 <= number < 1e11:
        raise ValueError("no time")
    return number


def http_date(text: str) -> float:
    """Seconds of a Date header. Raises TryAgain: without the server's clock nobody knows where to go on."""
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError):
        raise TryAgain("the answer has no Date header") from None


def _maybe_seconds(value: Any, form: str) -> float | None:
    if value is None:
        return None
    try:
        return seconds(value, form)
    except (ValueError, OverflowError):
        return None


def written(at: float, form: str) -> str:
    """A time as the interface reads it; never later than it is."""
    at = max(at, 0.0)
    if form == "epoch":
        return str(int(at))
    if form == "epoch_ms":
        return str(int(at * 1000))
    whole = dt.datetime.fromtimestamp(int(at), dt.UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{int(at % 1 * 1000):03d}Z"


def _said(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


__all__ = ["Rest", "Shape", "seconds", "shape_of", "written"]
