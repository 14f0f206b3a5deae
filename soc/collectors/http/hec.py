"""Splunk's HTTP Event Collector: events, raw lines, health and acknowledgements, with Splunk's own reply codes."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from typing import Any

import msgspec
import orjson

from soc.collectors.http.bodies import BadBody, Unwanted, is_object, lines, objects
from soc.collectors.http.calls import Call, Reply, Taken

FORMAT = "hec"
"""A record is one event object: `event` and, beside it, `time`, `host`, `source`, `sourcetype`, `index`, `fields`."""
MAX_CHANNELS = 16384
"""Channels whose acknowledgements are remembered; the one not used for longest is forgotten, its client sends again."""
_ROOT = "/services/collector"
_CHANNEL = re.compile(r"[0-9a-zA-Z-]{1,64}")
_META = ("host", "source", "sourcetype", "index", "time")
_CODES = {400: 6, 401: 3, 403: 4, 405: 404, 408: 9, 413: 6, 415: 6, 429: 9, 503: 9}
_NO_TOKEN, _NO_DATA, _NO_CHANNEL, _BAD_CHANNEL, _HEALTHY, _FULL = 2, 5, 10, 11, 17, 18
_SHORT = 8
_REQUIRED, _EMPTY = "Event field is required", "Event field cannot be blank"
_SAID = {_REQUIRED: 12, _EMPTY: 13}


def speaks(path: str) -> bool:
    """Whether a path belongs to this dialect."""
    return path == _ROOT or path.startswith(f"{_ROOT}/")


def is_health(path: str) -> bool:
    """Whether it only asks how we are; load balancers do, without a token."""
    return path.startswith(f"{_ROOT}/health")


class _Event(msgspec.Struct):
    """Of an event only what must be there."""

    event: msgspec.Raw = msgspec.Raw(b"null")
    fields: msgspec.Raw = msgspec.Raw()


_look = msgspec.json.Decoder(_Event).decode


class Hec:
    """The dialect."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next: OrderedDict[tuple[str, str], int] = OrderedDict()

    def fault(self, status: int, text: str, number: int = 0) -> Reply:
        """As Splunk words its errors; an overload is 503 and code 9, which HEC clients know."""
        status = 503 if status == 429 else status
        document: dict[str, Any] = {"text": text, "code": _SAID.get(text) or _CODES.get(status, 8)}
        if status == 401 and not text:
            document = {"text": "Token is required", "code": _NO_TOKEN}
        elif status == 503:
            document["text"] = "Server is busy"
        if status == 400:
            document["invalid-event-number"] = number
        return Reply.json(status, document)

    def healthy(self, is_full: bool) -> Reply:
        """Whether we take anything at the moment."""
        if is_full:
            return Reply.json(503, {"text": "HEC is unhealthy, queues are full", "code": _FULL})
        return Reply.json(200, {"text": "HEC is healthy", "code": _HEALTHY})

    def answer(self, call: Call) -> Reply | Taken:
        """Events, lines, or a question for acknowledgements."""
        what = call.path.removeprefix(_ROOT).strip("/").removesuffix("/1.0")
        if what not in ("", "event", "raw", "ack"):
            return Reply.json(404, {"text": "The requested URL was not found on this server.", "code": 404})
        if call.method != "POST":
            return Reply.json(405, {"text": f"{call.method} is not possible here", "code": 405})
        channel = call.headers.get("x-splunk-request-channel") or call.query.get("channel", "")
        if channel and not _CHANNEL.fullmatch(channel):
            return _said(400, "Invalid data channel", _BAD_CHANNEL)
        if what == "ack":
            return self._acknowledged(call, channel)
        if not call.body.strip():
            return _said(400, "No data", _NO_DATA)
        records, form = _raw(call) if what == "raw" else (_events(call), FORMAT)
        return Taken(records, form, lambda: self._success(call.who, channel))

    # acknowledgements -------------------------------------------------------------------------------------------------

    def _success(self, who: str, channel: str) -> Reply:
        """We answer when the queue has the events for good: an id that was given out is true from then on."""
        document: dict[str, Any] = {"text": "Success", "code": 0}
        if channel:
            with self._lock:
                number = self._next.pop((who, channel), 0)
                self._next[who, channel] = number + 1
                if len(self._next) > MAX_CHANNELS:
                    self._next.popitem(last=False)
            document["ackId"] = number
        return Reply.json(200, document)

    def _acknowledged(self, call: Call, channel: str) -> Reply:
        if not channel:
            return _said(400, "Data channel is missing", _NO_CHANNEL)
        try:
            asked = orjson.loads(call.body)
        except ValueError:
            asked = None
        acks = asked.get("acks") if isinstance(asked, dict) else None
        if not isinstance(acks, list) or not all(type(ack) is int for ack in acks):
            return self.fault(400, "Invalid data format")
        with self._lock:
            given = self._next.get((call.who, channel), 0)
        return Reply.json(200, {"acks": {str(ack): 0 <= ack < given for ack in acks}})


def _said(status: int, text: str, code: int) -> Reply:
    return Reply.json(status, {"text": text, "code": code})


def _events(call: Call) -> list[bytes]:
    try:
        return objects(call.body, call.max_bytes, _check)
    except BadBody as error:
        if error.status != 400:
            raise
        why = error.__cause__
        text = str(why) if isinstance(why, Unwanted) else "Invalid data format"
        raise BadBody(400, text, error.number) from error


def _check(text: bytes) -> None:
    is_object(text)
    found = _look(text)
    event = bytes(found.event) if len(found.event) < _SHORT else b""
    if event == b"null" and not len(found.fields):  # a metric has fields alone
        raise Unwanted(_REQUIRED)
    if event == b'""':
        raise Unwanted(_EMPTY)


def _raw(call: Call) -> tuple[list[bytes], str]:
    """Each line is an event. What the query says about them goes along, in the form of an event, when it can."""
    found = lines(call.body)
    meta = {name: call.query[name] for name in _META if call.query.get(name)}
    if meta:
        try:
            return [orjson.dumps({"event": line.decode(), **meta}) for line in found], FORMAT
        except UnicodeDecodeError:
            return found, "lines"  # bytes that are no UTF-8 have no JSON form; the lines matter more
    return found, "lines"
