"""Our own endpoint for logs of any kind, `POST /v1/logs`, and GELF over HTTP, `POST /gelf`."""

from __future__ import annotations

from soc.collectors.http.bodies import MAX_RECORDS, BadBody, lines, objects, too_many
from soc.collectors.http.calls import Call, Reply, Taken
from soc.collectors.wrapped import opened

LOGS = ("/v1/logs", "/gelf")
FORMAT = "document"
"""A record is one JSON object."""
FORMATS = ("auto", "json", "lines", "syslog", "cef", "leef", "gelf")
"""What `?format=` may say. `auto`: JSON when the body begins like it, else a record a line."""
_ACCEPTED = {"/v1/logs": 200, "/gelf": 202}


def speaks(path: str) -> bool:
    """Whether a path belongs to this dialect."""
    return path in LOGS


class Plain:
    """The dialect."""

    def fault(self, status: int, text: str, number: int = 0) -> Reply:
        """One sentence, and the place of the record that is wrong."""
        document = {"error": {"status": status, "message": text}}
        if status == 400:
            document["error"]["record"] = number
        return Reply.json(status, document)

    def answer(self, call: Call) -> Reply | Taken:
        """The records of the body."""
        if call.path not in LOGS:
            return self.fault(404, "nothing is here; logs go to POST /v1/logs")
        if call.method != "POST":
            return self.fault(405, f"{call.method} is not possible here, POST is")
        chosen = "gelf" if call.path == "/gelf" else call.query.get("format", "auto").lower()
        if chosen not in FORMATS:
            return self.fault(400, f"format '{chosen[:32]}' is not known; one of {', '.join(FORMATS)}")
        records, form = _records(call, chosen)
        if not records:
            raise BadBody(400, "the body holds no record")
        done = Reply.json(_ACCEPTED[call.path], {"accepted": len(records)})
        return Taken(records, form, lambda: done)


def _records(call: Call, chosen: str) -> tuple[list[bytes], str]:
    begins = call.body[:256].lstrip()[:1]
    if chosen == "gelf":
        return objects(call.body, call.max_bytes), "gelf"
    if chosen == "json" or (chosen == "auto" and (begins == b"[" or "json" in call.media)):
        return _events(call), FORMAT
    if chosen == "auto" and begins == b"{":
        try:
            return _events(call), FORMAT
        except BadBody as error:
            if error.status != 400:
                raise
    # A line may be JSON among others; the parsers look at each.
    return lines(call.body), "syslog" if chosen == "syslog" else "lines"


def _events(call: Call) -> list[bytes]:
    """The objects of the body; what a cloud service wrapped around several is opened. Raises BadBody."""
    found = [each for text in objects(call.body, call.max_bytes) for each in opened(text, MAX_RECORDS)]
    if len(found) > MAX_RECORDS:
        raise too_many()
    return found
